#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

/// Choosing one option a layer under a budget of bytes: the multiple-choice knapsack problem.
namespace wasi::rank {

/// One way to hold something: what it takes and what it costs (an error, a perplexity). Its position in the list of its
/// layer is its name.
struct Option {
    std::int64_t bytes = 0;
    double cost = 0.0;
};

/// The options of one layer; exactly one is chosen.
using LayerOptions = std::vector<Option>;

/// Throws argument_error unless every layer has an option, bytes are at least 0, costs finite and at least 0, and the
/// sums of the largest bytes and of the largest costs can be held. O(number of options).
inline void check_options(std::span<const LayerOptions> layers, std::string_view who)
{
    std::int64_t most_bytes = 0;
    double most_cost = 0.0;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        require<argument_error>(!layers[layer].empty(), who, ": layer ", layer, " has no options");
        std::int64_t bytes = 0;
        double cost = 0.0;
        for (const Option& option : layers[layer]) {
            require<argument_error>(option.bytes >= 0, who, ": layer ", layer, " has an option of ", option.bytes,
                                    " bytes");
            require<argument_error>(std::isfinite(option.cost) && option.cost >= 0.0, who, ": layer ", layer,
                                    " has an option with cost ", option.cost, "; costs are finite and at least 0");
            bytes = std::max(bytes, option.bytes);
            cost = std::max(cost, option.cost);
        }
        require<argument_error>(bytes <= std::numeric_limits<std::int64_t>::max() - most_bytes, who,
                                ": the bytes of all layers do not fit into 64 bits");
        most_bytes += bytes;
        most_cost += cost;
    }
    require<argument_error>(std::isfinite(most_cost), who, ": the sum of the largest costs is not finite");
}

/// The least bytes that any choice needs: the sum of each layer's least. For options that were checked.
[[nodiscard]] inline std::int64_t least_bytes(std::span<const LayerOptions> layers)
{
    std::int64_t sum = 0;
    for (const LayerOptions& options : layers) {
        const auto least = std::min_element(options.begin(), options.end(),
                                            [](const Option& a, const Option& b) { return a.bytes < b.bytes; });
        sum += least->bytes;
    }
    return sum;
}

/// Throws budget_error, naming the least bytes that would do, if no choice fits.
inline void require_feasible(std::span<const LayerOptions> layers, std::int64_t budget, std::string_view who)
{
    const std::int64_t least = least_bytes(layers);
    require<budget_error>(least <= budget, who, ": no choice fits into ", budget,
                          " bytes; the least that any needs is ", least, " bytes");
}

/// Positions of the options that no other option beats in both bytes and cost: bytes rise, costs fall, strictly. Of
/// equal options the first is kept. O(k log k).
[[nodiscard]] inline std::vector<std::size_t> undominated(std::span<const Option> options)
{
    std::vector<std::size_t> order(options.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        if (options[a].bytes != options[b].bytes) {
            return options[a].bytes < options[b].bytes;
        }
        return options[a].cost != options[b].cost ? options[a].cost < options[b].cost : a < b;
    });
    std::vector<std::size_t> kept;
    for (const std::size_t i : order) {
        if (kept.empty() || options[i].cost < options[kept.back()].cost) {
            kept.push_back(i);
        }
    }
    return kept;
}

}  // namespace wasi::rank
