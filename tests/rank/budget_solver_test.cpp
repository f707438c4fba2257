// The solver against trying every choice, its certificate, and instances of full size.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <wasi/rank/budget_solver.hpp>

#include "knapsack_cases.hpp"

namespace {

using wasi::rank::BudgetSolution;
using wasi::rank::LayerOptions;
using wasi::rank::solve_budget;
using wasi::rank::SolveStatus;
using namespace wasi_tests;  // NOLINT(google-build-using-namespace)

/// What the solver promises: three steps of its grid a layer, a step being up to 2 epsilon of the largest cost that can
/// matter.
[[nodiscard]] double tolerance(std::size_t layers, double cost)
{
    return 6.0 * static_cast<double>(layers) * std::numeric_limits<double>::epsilon() * cost;
}

/// The largest cost that can matter when the best choice costs `best`.
[[nodiscard]] double largest_cost(const std::vector<LayerOptions>& layers, double best)
{
    double largest = best;
    for (const LayerOptions& layer : layers) {
        for (const auto& option : layer) {
            largest = option.cost < 1e29 ? std::max(largest, option.cost) : largest;
        }
    }
    return largest;
}

/// A choice within the budget whose sums are those reported, and a bound below its cost.
void check_sound(const std::vector<LayerOptions>& layers, std::int64_t budget, const BudgetSolution& solution)
{
    REQUIRE(solution.choice.size() == layers.size());
    const Trial trial = sums(layers, solution.choice);
    CHECK(trial.bytes == solution.bytes);
    CHECK(solution.bytes <= budget);
    CHECK(std::abs(trial.cost - solution.cost) <= tolerance(layers.size(), solution.cost));
    CHECK(solution.lower_bound <= solution.cost);
    CHECK(solution.gap == solution.cost - solution.lower_bound);
}

[[nodiscard]] std::string complaint(const std::vector<LayerOptions>& layers, std::int64_t budget)
{
    try {
        static_cast<void>(solve_budget(layers, budget));
    } catch (const wasi::error& error) {
        return error.what();
    }
    return "";
}

/// 200 layers with 64 options each and gigabytes in all.
[[nodiscard]] std::vector<LayerOptions> full_size(double (*cost)(std::int64_t bytes, Draw& draw), std::uint64_t seed)
{
    Draw draw(seed);
    std::vector<LayerOptions> layers(200);
    for (LayerOptions& layer : layers) {
        for (int i = 0; i < 64; ++i) {
            const std::int64_t bytes = 1 + draw.whole(20'000'000);
            layer.push_back({bytes, cost(bytes, draw)});
        }
    }
    return layers;
}

TEST_CASE("budget solver: equal to trying every choice")
{
    Draw draw(1);
    for (int run = 0; run < 6000; ++run) {
        const auto kind = static_cast<Kind>(run % kind_count);
        CAPTURE(run);
        const auto layers = random_layers(kind, 1 + draw.whole(5), 5, draw);
        const auto trials = all_choices(layers);
        const std::int64_t least = wasi::rank::least_bytes(layers);
        const std::int64_t most = most_bytes(layers);
        const std::int64_t budget = least - 2 + draw.whole(most - least + 5);
        CAPTURE(budget);
        const double best = least_cost(trials, budget);
        if (std::isinf(best)) {
            CHECK(budget < least);
            CHECK_THROWS_AS(static_cast<void>(solve_budget(layers, budget)), wasi::budget_error);
            continue;
        }
        const BudgetSolution solution = solve_budget(layers, budget);
        check_sound(layers, budget, solution);
        CHECK(solution.status == SolveStatus::optimal);
        const double margin = tolerance(layers.size(), largest_cost(layers, best));
        CHECK(std::abs(solution.cost - best) <= margin);
        CHECK(solution.lower_bound <= best * (1.0 + 1e-15));
        CHECK(solution.gap <= margin);
    }
}

/// Least cost by dynamic programming over every number of bytes up to the budget. Whole costs: sums are exact.
[[nodiscard]] double least_cost_by_bytes(const std::vector<LayerOptions>& layers, std::int64_t budget)
{
    std::vector<double> best(static_cast<std::size_t>(budget) + 1, 0.0);
    for (const LayerOptions& layer : layers) {
        std::vector<double> next(best.size(), std::numeric_limits<double>::infinity());
        for (std::size_t b = 0; b < best.size(); ++b) {
            for (const auto& option : layer) {
                const auto bytes = static_cast<std::size_t>(option.bytes);
                if (bytes <= b) {
                    next[b] = std::min(next[b], best[b - bytes] + option.cost);
                }
            }
        }
        best = next;
    }
    return best.back();
}

/// Strongly correlated bytes and whole costs.
[[nodiscard]] std::vector<LayerOptions> correlated(std::size_t count, std::int64_t bytes_below, std::int64_t noise,
                                                   Draw& draw)
{
    std::vector<LayerOptions> layers(count);
    for (LayerOptions& layer : layers) {
        const std::int64_t options = 1 + draw.whole(9);
        for (std::int64_t i = 0; i < options; ++i) {
            const std::int64_t bytes = draw.whole(bytes_below);
            layer.push_back({bytes, static_cast<double>(2 * bytes_below - bytes + draw.whole(noise))});
        }
    }
    return layers;
}

TEST_CASE("budget solver: more layers, against dynamic programming over all bytes")
{
    Draw draw(2);
    for (int run = 0; run < 60; ++run) {
        CAPTURE(run);
        const auto layers = correlated(12, 60, run % 3 == 0 ? 1 : 5, draw);
        const std::int64_t budget = wasi::rank::least_bytes(layers) + draw.whole(200);
        const BudgetSolution solution = solve_budget(layers, budget);
        check_sound(layers, budget, solution);
        CHECK(solution.status == SolveStatus::optimal);
        CHECK(solution.cost == least_cost_by_bytes(layers, budget));
        CHECK(solution.gap == 0.0);
    }
}

TEST_CASE("budget solver: at any node limit the choice fits and the bound holds")
{
    Draw draw(3);
    int cut = 0;
    for (int run = 0; run < 6; ++run) {
        CAPTURE(run);
        // Each option saves a little more than the bytes it adds: the relaxation rules out next to nothing.
        std::vector<LayerOptions> layers(30);
        for (LayerOptions& layer : layers) {
            layer.push_back({0, 2000.0});
            for (int i = 1; i < 16; ++i) {
                const std::int64_t bytes = 1 + draw.whole(60);
                layer.push_back({layer.back().bytes + bytes, layer.back().cost - static_cast<double>(bytes + 10)});
            }
        }
        const std::int64_t budget = most_bytes(layers) / 8 * (1 + run);
        const double best = least_cost_by_bytes(layers, budget);
        for (const std::int64_t nodes : {0, 3000, 30'000}) {
            const BudgetSolution solution = solve_budget(layers, budget, {.max_nodes = nodes});
            check_sound(layers, budget, solution);
            CHECK(solution.cost >= best);
            CHECK(solution.lower_bound <= best);
            if (solution.status == SolveStatus::optimal) {
                CHECK(solution.cost == best);
            } else {
                ++cut;
                CHECK(solution.gap > 0.0);
            }
        }
        CHECK(solve_budget(layers, budget).cost == best);
    }
    CHECK(cut > 0);
}

TEST_CASE("budget solver: a hard instance past its node limit says so, with a bound")
{
    // Savings a byte that differ in the sixth digit: nothing can be ruled out early.
    const auto layers =
        full_size([](std::int64_t bytes,
                     Draw& draw) { return (2e7 + 1.0 - static_cast<double>(bytes)) * (1.0 + 1e-6 * draw.share()); },
                  4);
    const std::int64_t least = wasi::rank::least_bytes(layers);
    const std::int64_t budget = least + (most_bytes(layers) - least) / 2;
    const BudgetSolution solution = solve_budget(layers, budget, {.max_nodes = 30'000});
    check_sound(layers, budget, solution);
    REQUIRE(solution.status == SolveStatus::limit);
    CHECK(solution.gap > 0.0);
    CHECK(solution.gap < 1e-6 * solution.cost);
    // More nodes: the cost does not rise above what was found, the bounds stay apart.
    const BudgetSolution again = solve_budget(layers, budget, {.max_nodes = 300'000});
    CHECK(again.cost >= solution.lower_bound);
    CHECK(solution.cost >= again.lower_bound);
}

TEST_CASE("budget solver: 200 layers, 64 options, gigabytes: optimal within few partial choices")
{
    const auto uncorrelated = [](std::int64_t, Draw& draw) { return draw.share(); };
    const auto equal_ratio = [](std::int64_t bytes, Draw&) { return 2e7 + 1.0 - static_cast<double>(bytes); };
    const auto inexact_ratio = [](std::int64_t bytes, Draw&) {
        return 1.37 * (2e7 + 1.0 - static_cast<double>(bytes));
    };
    const auto convex = [](std::int64_t bytes, Draw& draw) {
        return (1.0 + draw.share()) * std::exp(-static_cast<double>(bytes) / 4e6);
    };
    struct Case {
        double (*cost)(std::int64_t, Draw&);
        std::int64_t nodes;
    };
    for (const Case& one : {Case{uncorrelated, 200'000}, Case{equal_ratio, 1'500'000}, Case{inexact_ratio, 1'500'000},
                            Case{convex, 200'000}}) {
        const auto layers = full_size(one.cost, 5);
        const std::int64_t least = wasi::rank::least_bytes(layers);
        for (const std::int64_t eighths : {1, 4}) {
            const std::int64_t budget = least + (most_bytes(layers) - least) / 8 * eighths;
            const BudgetSolution solution = solve_budget(layers, budget);
            check_sound(layers, budget, solution);
            CHECK(solution.status == SolveStatus::optimal);
            CHECK(solution.gap <= tolerance(layers.size(), largest_cost(layers, 0.0)));
            CHECK(solution.nodes <= one.nodes);
            CHECK(solution.choice == solve_budget(layers, budget).choice);
        }
    }
}

TEST_CASE("budget solver: no layers, and everything fits")
{
    const BudgetSolution none = solve_budget({}, 0);
    CHECK(none.choice.empty());
    CHECK(none.cost == 0.0);
    const std::vector<LayerOptions> layers{{{10, 1.0}, {0, 2.0}, {20, 0.5}, {20, 0.5}}, {{7, 3.0}}};
    const BudgetSolution all = solve_budget(layers, 1000);
    CHECK(all.choice == std::vector<Index>{2, 0});  // of equal options the first
    CHECK(all.cost == 3.5);
    CHECK(all.bytes == 27);
}

TEST_CASE("budget solver: a forbidding cost does not drown the others")
{
    // The greedy start takes the forbidden option of the second layer; the search finds its way round it.
    const std::vector<LayerOptions> layers{{{0, 1.0}, {60, 0.0}}, {{0, 1e25}, {50, 0.25}, {51, 0.125}}};
    const BudgetSolution solution = solve_budget(layers, 60);
    CHECK(solution.choice == std::vector<Index>{0, 2});
    CHECK(solution.cost == 1.125);
    CHECK(solution.gap <= tolerance(2, 16.0 * 1.125));
}

TEST_CASE("budget solver: bad input is refused by name")
{
    const std::vector<LayerOptions> good{{{10, 1.0}, {4, 2.0}}, {{6, 1.0}, {9, 0.0}}};
    CHECK(complaint(good, 9) == "solve_budget: no choice fits into 9 bytes; the least that any needs is 10 bytes");
    CHECK(complaint(good, 10).empty());
    CHECK(complaint(good, -1).find("least that any needs is 10") != std::string::npos);
    const auto with = [&](wasi::rank::Option option) {
        auto layers = good;
        layers[1].push_back(option);
        return complaint(layers, 100);
    };
    CHECK(with({-1, 1.0}).find("layer 1 has an option of -1 bytes") != std::string::npos);
    for (const double cost :
         {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        CHECK(with({1, cost}).find("layer 1 has an option with cost") != std::string::npos);
    }
    constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
    CHECK(with({largest, 1.0}).find("do not fit into 64 bits") != std::string::npos);
    CHECK(complaint({{{largest, 1.0}, {0, 1e308}}}, largest).empty());
    CHECK(complaint({{{1, 1.7e308}}, {{1, 1.7e308}}}, 10).find("not finite") != std::string::npos);
    CHECK(complaint({{{1, 1.0}}, {}}, 10).find("layer 1 has no options") != std::string::npos);
    CHECK_THROWS_AS(static_cast<void>(solve_budget(good, 100, {.max_nodes = -1})), wasi::argument_error);
}

}  // namespace
