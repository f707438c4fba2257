#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "wasi/rank/relaxation.hpp"

/// Choices for some of the layers, and lists of them: what core_search.hpp searches through.
namespace wasi::rank::detail {

/// Items of the layers so far: their sums, a bound for what they can become, and where the choice is written down.
struct State {
    std::int64_t bytes;
    std::int64_t cost;
    std::int64_t bound;
    std::uint32_t record;
};

/// The option of one layer, and the record of the layers before it.
struct Record {
    std::uint32_t parent;
    std::uint32_t option;
};

/// A state with one more layer that is not written down yet.
struct Child {
    std::int64_t bytes;
    std::int64_t cost;
    std::int64_t bound;
    std::uint32_t parent;
    std::uint32_t option;
    [[nodiscard]] friend bool operator<(const Child& a, const Child& b)
    {
        return a.bytes != b.bytes ? a.bytes < b.bytes : a.cost < b.cost;
    }
};

/// Sorted runs, starting at runs[0], runs[1], .., become one sorted list; the last number of `runs` is the size.
inline void merge_runs(std::vector<Child>& children, std::vector<std::size_t> runs)
{
    std::vector<Child> other(children.size());
    while (runs.size() > 2) {
        std::vector<std::size_t> merged{0};
        for (std::size_t r = 0; r + 1 < runs.size(); r += 2) {
            const std::size_t last = r + 2 < runs.size() ? runs[r + 2] : runs[r + 1];
            const auto at = [&](std::size_t i) { return children.begin() + static_cast<std::ptrdiff_t>(i); };
            std::merge(at(runs[r]), at(runs[r + 1]), at(runs[r + 1]), at(last),
                       other.begin() + static_cast<std::ptrdiff_t>(runs[r]));
            merged.push_back(last);
        }
        runs = std::move(merged);
        children.swap(other);
    }
}

/// Undominated choices of the layers from `first` on, as many layers as keep a list within `longest`: list k is of k
/// layers, and the parent of an entry is its place in list k - 1.
[[nodiscard]] inline std::vector<std::vector<Child>> all_choices(std::span<const Items> layers, std::size_t first,
                                                                 std::size_t longest)
{
    std::vector<std::vector<Child>> lists{{Child{0, 0, 0, 0, 0}}};
    for (std::size_t layer = first; layer < layers.size(); ++layer) {
        const auto& from = lists.back();
        if (from.size() * layers[layer].size() > longest) {
            break;
        }
        std::vector<Child> all;
        std::vector<std::size_t> runs{0};
        for (const Item& item : layers[layer]) {
            for (std::size_t i = 0; i < from.size(); ++i) {
                all.push_back({from[i].bytes + item.bytes, from[i].cost + item.cost, 0, static_cast<std::uint32_t>(i),
                               static_cast<std::uint32_t>(item.option)});
            }
            runs.push_back(all.size());
        }
        merge_runs(all, std::move(runs));
        std::vector<Child> kept;
        for (const Child& child : all) {
            if (kept.empty() || child.cost < kept.back().cost) {
                kept.push_back(child);
            }
        }
        lists.push_back(std::move(kept));
    }
    return lists;
}

}  // namespace wasi::rank::detail
