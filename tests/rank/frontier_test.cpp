// The frontier against trying every choice for every budget, exact and convex.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <wasi/rank/budget_solver.hpp>
#include <wasi/rank/frontier.hpp>

#include "knapsack_cases.hpp"

namespace {

using wasi::rank::Frontier;
using wasi::rank::LayerOptions;
using namespace wasi_tests;  // NOLINT(google-build-using-namespace)

/// Every budget at which the answer can change, and those just beside.
[[nodiscard]] std::vector<std::int64_t> budgets(const std::vector<Trial>& trials)
{
    std::vector<std::int64_t> result;
    for (const Trial& trial : trials) {
        for (const std::int64_t beside : {-1, 0, 1}) {
            result.push_back(trial.bytes + beside);
        }
    }
    return result;
}

void check_points(const std::vector<LayerOptions>& layers, const Frontier& frontier)
{
    for (std::size_t point = 0; point < frontier.size(); ++point) {
        const Trial trial = sums(layers, frontier.choice(point));
        CHECK(trial.bytes == frontier.bytes(point));
        CHECK(std::abs(trial.cost - frontier.cost(point)) <= 1e-13 * std::max(frontier.cost(0), std::abs(trial.cost)));
        if (point > 0) {
            CHECK(frontier.bytes(point) > frontier.bytes(point - 1));
            CHECK(frontier.cost(point) < frontier.cost(point - 1));
        }
    }
}

TEST_CASE("frontier: for every budget equal to trying every choice")
{
    Draw draw(11);
    for (int run = 0; run < 600; ++run) {
        CAPTURE(run);
        const auto layers = random_layers(static_cast<Kind>(run % kind_count), 1 + draw.whole(4), 4, draw);
        const auto trials = all_choices(layers);
        const Frontier frontier(layers);
        REQUIRE(frontier.exact());
        CHECK(frontier.gap() == 0.0);
        check_points(layers, frontier);
        for (const std::int64_t budget : budgets(trials)) {
            const double best = least_cost(trials, budget);
            if (std::isinf(best)) {
                CHECK_THROWS_AS(static_cast<void>(frontier.at(budget)), wasi::budget_error);
                continue;
            }
            const auto point = frontier.at(budget);
            CHECK(point.cost == best);  // both are summed layer by layer
            CHECK(point.bytes <= budget);
            CHECK(point.gap == 0.0);
        }
    }
}

TEST_CASE("frontier: past the limit its points are choices and its bounds hold")
{
    Draw draw(12);
    int convex = 0;
    for (int run = 0; run < 200; ++run) {
        CAPTURE(run);
        const auto layers = random_layers(run % 2 == 0 ? Kind::falling : Kind::few_costs, 4, 5, draw);
        const auto trials = all_choices(layers);
        const Frontier frontier(layers, {.max_pairs = 3});
        if (frontier.exact()) {
            continue;
        }
        ++convex;
        check_points(layers, frontier);
        for (const std::int64_t budget : budgets(trials)) {
            const double best = least_cost(trials, budget);
            if (std::isinf(best)) {
                CHECK_THROWS_AS(static_cast<void>(frontier.at(budget)), wasi::budget_error);
                continue;
            }
            const auto point = frontier.at(budget);
            const double margin = 1e-13 * frontier.cost(0);
            CHECK(point.bytes <= budget);
            CHECK(point.cost >= best - margin);
            CHECK(point.lower_bound <= best + margin);
            CHECK(point.gap <= frontier.gap());
        }
    }
    CHECK(convex > 100);
}

TEST_CASE("frontier: agrees with the solver on layers of a whole transformer")
{
    Draw draw(13);
    std::vector<LayerOptions> layers(48);
    for (LayerOptions& layer : layers) {
        double cost = 100.0;
        std::int64_t bytes = 0;
        for (int i = 0; i < 8; ++i) {
            bytes += 4 * (1 + draw.whole(500));
            cost *= 0.4 + 0.5 * draw.share();
            layer.push_back({bytes, cost});
        }
    }
    const Frontier frontier(layers);
    REQUIRE(frontier.exact());
    const std::int64_t least = wasi::rank::least_bytes(layers);
    for (int eighths = 0; eighths <= 8; ++eighths) {
        const std::int64_t budget = least + (most_bytes(layers) - least) / 8 * eighths;
        const auto solution = wasi::rank::solve_budget(layers, budget);
        CHECK(solution.status == wasi::rank::SolveStatus::optimal);
        CHECK(std::abs(solution.cost - frontier.at(budget).cost) <=
              100.0 * std::numeric_limits<double>::epsilon() * solution.cost);
    }
}

TEST_CASE("frontier: bad input")
{
    CHECK_THROWS_AS(Frontier(std::vector<LayerOptions>{{}}), wasi::argument_error);
    CHECK_THROWS_AS(Frontier(std::vector<LayerOptions>{{{1, 1.0}}}, {.max_pairs = 0}), wasi::argument_error);
    const Frontier frontier(std::vector<LayerOptions>{{{5, 1.0}, {9, 0.0}}});
    CHECK(frontier.find(8) == 0);
    CHECK(frontier.find(9) == 1);
    CHECK_THROWS_WITH_AS(static_cast<void>(frontier.at(4)),
                         "Frontier: no choice fits into 4 bytes; the least that any needs is 5 bytes",
                         wasi::budget_error);
    CHECK_THROWS_AS(static_cast<void>(frontier.choice(2)), wasi::argument_error);
    CHECK(Frontier({}).at(0).cost == 0.0);
}

}  // namespace
