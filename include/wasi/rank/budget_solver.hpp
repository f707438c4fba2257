#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "wasi/rank/core_search.hpp"
#include "wasi/rank/option.hpp"

namespace wasi::rank {

enum class SolveStatus {
    optimal,  ///< no choice costs less
    limit,    ///< the node limit ended the search; the best choice found, at most `gap` above the optimum
};

struct SolverOptions {
    /// Partial choices that may be looked at. A few thousand are usual; hard instances (many options that save almost
    /// the same a byte) can need more than any limit. The default is about a tenth of a second.
    std::int64_t max_nodes = 4'000'000;
};

/// A choice under a budget, and how good it is.
struct BudgetSolution {
    std::vector<Index> choice;  ///< the position of each layer's option
    std::int64_t bytes = 0;
    double cost = 0.0;
    double lower_bound = 0.0;  ///< no choice within the budget costs less: the certificate
    double gap = 0.0;          ///< cost - lower_bound
    SolveStatus status = SolveStatus::optimal;
    std::int64_t nodes = 0;  ///< partial choices that were looked at
};

namespace detail {

/// Costs above each layer's least, in whole steps of a power of two.
struct ScaledLayers {
    std::vector<Items> layers;
    double step = 1.0;
    bool exact = true;  ///< no cost was rounded
};

/// `most`: an option that costs more than this above its layer's least is in no optimal choice.
[[nodiscard]] inline ScaledLayers scale_costs(std::span<const LayerOptions> layers, double most)
{
    // Whole costs below 2^52 are exact in double too, and sums over all layers fit into 64 bits.
    const int bits = std::min(52, 60 - static_cast<int>(std::bit_width(layers.size())));
    double largest = 0.0;
    for (const LayerOptions& options : layers) {
        const double least_cost = options[undominated(options).back()].cost;
        for (const Option& option : options) {
            const double above = option.cost - least_cost;
            largest = above <= most ? std::max(largest, above) : largest;
        }
    }
    int exponent = 0;
    static_cast<void>(std::frexp(largest, &exponent));
    exponent = std::max(exponent - bits, -1074);
    ScaledLayers result;
    result.step = std::ldexp(1.0, exponent);
    for (const LayerOptions& options : layers) {
        const auto kept = undominated(options);
        const double least_cost = options[kept.back()].cost;
        const std::int64_t least = options[kept.front()].bytes;
        Items items;
        for (const std::size_t i : kept) {
            const double above = options[i].cost - least_cost;
            if (above > most) {
                continue;
            }
            const double scaled = std::ldexp(above, -exponent);
            const double whole = std::nearbyint(scaled);
            result.exact = result.exact && whole == scaled && above + least_cost == options[i].cost &&
                           options[i].cost - above == least_cost;
            const auto cost = static_cast<std::int64_t>(whole);
            if (items.empty() || cost < items.back().cost) {
                items.push_back({options[i].bytes - least, cost, i});
            }
        }
        result.layers.push_back(std::move(items));
    }
    return result;
}

/// Divides bytes and costs by their greatest common divisors, so that bounds can be rounded to whole units. Returns the
/// units (bytes, cost).
inline std::pair<std::int64_t, std::int64_t> divide_out(std::vector<Items>& layers, bool costs_too)
{
    std::int64_t bytes = 0;
    std::int64_t cost = 0;
    for (const Items& items : layers) {
        for (const Item& item : items) {
            bytes = std::gcd(bytes, item.bytes);
            cost = std::gcd(cost, item.cost);
        }
    }
    bytes = std::max<std::int64_t>(bytes, 1);
    cost = costs_too ? std::max<std::int64_t>(cost, 1) : 1;
    for (Items& items : layers) {
        for (Item& item : items) {
            item.bytes /= bytes;
            item.cost /= cost;
        }
    }
    return {bytes, cost};
}

/// Cost of a choice above the sum of the layers' least costs.
[[nodiscard]] inline double cost_above_least(std::span<const LayerOptions> layers,
                                             const std::vector<std::size_t>& choice)
{
    double sum = 0.0;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        double least = layers[layer].front().cost;
        for (const Option& option : layers[layer]) {
            least = std::min(least, option.cost);
        }
        sum += layers[layer][choice[layer]].cost - least;
    }
    return sum;
}

}  // namespace detail

/// One option a layer, least sum of costs with sum of bytes <= budget: exactly, with a bound that proves it.
///
/// Options that others dominate go; the hulls of the layers give the linear (equally: Lagrangian) bound; what is within
/// the gap is searched by dynamic programming over a core of layers with dominance and bound pruning (Pisinger, A
/// minimal algorithm for the multiple-choice knapsack problem, EJOR 83, 1995; how ours differs: core_search.hpp).
/// Bytes are exact. Costs are taken to a grid of 2^-52 of the largest that can matter; where that rounds one,
/// "optimal" and the bound hold up to three such steps a layer, which is the rounding of a sum in double. Same input,
/// same choice. Cost: typically O(number of options) and a few thousand states; worst case bounded by `max_nodes`,
/// after which the status is `limit`. Throws budget_error naming the least bytes that would do, argument_error as
/// check_options. Example: examples/tucker_budget.cpp
[[nodiscard]] inline BudgetSolution solve_budget(std::span<const LayerOptions> layers, std::int64_t budget,
                                                 const SolverOptions& options = {})
{
    check_options(layers, "solve_budget");
    require<argument_error>(options.max_nodes >= 0 && options.max_nodes <= 2'000'000'000, "solve_budget: max_nodes is ",
                            options.max_nodes, "; it must be between 0 and 2e9");
    require_feasible(layers, budget, "solve_budget");
    const std::int64_t room = budget - least_bytes(layers);

    double most = 0.0;
    for (const LayerOptions& layer : layers) {
        const auto kept = undominated(layer);
        most = std::max(most, layer[kept.front()].cost - layer[kept.back()].cost);
    }
    BudgetSolution result;
    std::vector<std::size_t> choice(layers.size(), 0);
    while (true) {
        detail::ScaledLayers scaled = detail::scale_costs(layers, most);
        const auto [byte_unit, cost_unit] = detail::divide_out(scaled.layers, scaled.exact);
        const auto count = static_cast<std::int64_t>(layers.size());
        const std::int64_t tolerance = scaled.exact ? 0 : 2 * count;
        detail::CoreSearch search(std::move(scaled.layers), room / byte_unit, tolerance, options.max_nodes);
        // A choice rules out all options that alone cost more: a finer grid for the rest. So costs that forbid an
        // option do not drown the others.
        const auto refine = [&] {
            const double reached = detail::cost_above_least(layers, search.choice()) * (1.0 + 1e-9);
            const bool finer = reached > 0.0 && reached < most / 16.0;
            most = finer ? reached : most;
            return finer;
        };
        if (refine()) {
            continue;
        }
        search.run();
        result.nodes += search.nodes();
        if (refine()) {
            continue;
        }
        choice = search.choice();
        result.status = search.complete() ? SolveStatus::optimal : SolveStatus::limit;
        long double least_cost = 0.0L;
        long double cost = 0.0L;
        for (std::size_t layer = 0; layer < layers.size(); ++layer) {
            const Option& chosen = layers[layer][choice[layer]];
            cost += static_cast<long double>(chosen.cost);
            result.bytes += chosen.bytes;
            double least = chosen.cost;
            for (const Option& option : layers[layer]) {
                least = std::min(least, option.cost);
            }
            least_cost += static_cast<long double>(least);
        }
        result.cost = static_cast<double>(cost);
        // A rounded cost is at most one step off.
        const std::int64_t bound = search.lower_bound() * cost_unit - (scaled.exact ? 0 : count);
        result.lower_bound =
            static_cast<double>(least_cost + static_cast<long double>(scaled.step) *
                                                 static_cast<long double>(std::max<std::int64_t>(bound, 0)));
        break;
    }
    result.lower_bound = std::min(result.lower_bound, result.cost);
    result.gap = result.cost - result.lower_bound;
    for (const std::size_t option : choice) {
        result.choice.push_back(static_cast<Index>(option));
    }
    return result;
}

}  // namespace wasi::rank
