#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "wasi/core/random.hpp"

namespace wasi::data {

/// Numbers of examples, each in one of two lists, in their order.
struct SplitIndices {
    std::vector<Index> training;
    std::vector<Index> validation;
};

/// Puts `share` of the examples of every class aside, drawn from the key and the class: as near to it as whole numbers
/// are, at least one and never all; of a class with one example, none. A pure function.
/// Cost: O(n log n). Throws argument_error for a share outside (0, 1).
[[nodiscard]] inline SplitIndices stratified_split(std::span<const std::int64_t> labels, double share, RandomKey key)
{
    require<argument_error>(share > 0.0 && share < 1.0, "stratified_split: the share is ", share,
                            ", it must be in (0, 1)");
    std::map<std::int64_t, std::vector<Index>> members;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        members[labels[i]].push_back(static_cast<Index>(i));
    }
    SplitIndices result;
    for (const auto& [label, all] : members) {
        const auto count = static_cast<Index>(all.size());
        const auto order = random_permutation(count, key.derive(label));
        const auto wanted = static_cast<Index>(std::llround(share * static_cast<double>(count)));
        const Index aside = std::min(std::max<Index>(wanted, 1), count - 1);
        for (Index i = 0; i < count; ++i) {
            auto& list = i < aside ? result.validation : result.training;
            list.push_back(all[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])]);
        }
    }
    std::sort(result.training.begin(), result.training.end());
    std::sort(result.validation.begin(), result.validation.end());
    return result;
}

}  // namespace wasi::data
