#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/rank/option.hpp"

namespace wasi::rank {

struct FrontierOptions {
    /// The longest list of undominated pairs, over any number of layers, for which the frontier is exact. 24 bytes each
    /// while two lists are merged, 8 bytes each for every layer afterwards.
    std::int64_t max_pairs = 1 << 16;
};

/// What a budget buys on a frontier.
struct FrontierPoint {
    std::int64_t bytes = 0;
    double cost = 0.0;
    double lower_bound = 0.0;  ///< no choice within the budget costs less (up to rounding of the sums)
    double gap = 0.0;          ///< cost - lower_bound; 0 on an exact frontier
};

/// Least cost for every budget at once. Exact: all undominated pairs (bytes, cost) of choices, by merging layer after
/// layer (Nemhauser, Ullmann 1969). Where the pairs exceed `max_pairs`: the convex frontier, the corners of the linear
/// relaxation; every point of it is a choice, and `gap` tells how far above the bound it can be. Costs are summed in
/// double, layer by layer. Cost: pairs x options a layer. Thread safety: const calls may come from any thread.
class Frontier {
public:
    /// Throws argument_error as check_options, and for max_pairs < 1.
    explicit Frontier(std::span<const LayerOptions> layers, const FrontierOptions& options = {})
    {
        check_options(layers, "Frontier");
        require<argument_error>(options.max_pairs >= 1 && options.max_pairs <= (std::int64_t{1} << 31),
                                "Frontier: max_pairs is ", options.max_pairs);
        for (const LayerOptions& layer : layers) {
            std::vector<Entry> entries;
            for (const std::size_t i : undominated(layer)) {
                entries.push_back({layer[i].bytes, layer[i].cost, static_cast<std::uint32_t>(i)});
            }
            layers_.push_back(std::move(entries));
        }
        exact_ = merge_all(static_cast<std::size_t>(options.max_pairs));
        if (!exact_) {
            records_.clear();
            relax();
        }
    }

    /// Every undominated pair, rather than the corners of their hull.
    [[nodiscard]] bool exact() const { return exact_; }
    /// The points: bytes rise, costs fall.
    [[nodiscard]] std::size_t size() const { return pairs_.size(); }
    [[nodiscard]] std::int64_t bytes(std::size_t point) const { return pairs_[point].bytes; }
    [[nodiscard]] double cost(std::size_t point) const { return pairs_[point].cost; }
    /// The largest gap that at() can report: 0 when exact.
    [[nodiscard]] double gap() const
    {
        double largest = 0.0;
        for (std::size_t i = 1; !exact_ && i < pairs_.size(); ++i) {
            largest = std::max(largest, pairs_[i - 1].cost - pairs_[i].cost);
        }
        return largest;
    }

    /// The position of the last point within a budget. Throws budget_error naming the least bytes that would do.
    [[nodiscard]] std::size_t find(std::int64_t budget) const
    {
        const auto above = std::upper_bound(pairs_.begin(), pairs_.end(), budget,
                                            [](std::int64_t value, const Pair& pair) { return value < pair.bytes; });
        require<budget_error>(above != pairs_.begin(), "Frontier: no choice fits into ", budget,
                              " bytes; the least that any needs is ", pairs_.front().bytes, " bytes");
        return static_cast<std::size_t>(std::distance(pairs_.begin(), above)) - 1;
    }

    /// Bytes and cost of the best point within a budget, with the bound. Throws as find.
    [[nodiscard]] FrontierPoint at(std::int64_t budget) const
    {
        const std::size_t point = find(budget);
        FrontierPoint result{pairs_[point].bytes, pairs_[point].cost, pairs_[point].cost, 0.0};
        if (!exact_ && point + 1 < pairs_.size()) {
            const Pair& next = pairs_[point + 1];
            const double share =
                static_cast<double>(budget - result.bytes) / static_cast<double>(next.bytes - result.bytes);
            result.gap = share * (result.cost - next.cost);
            result.lower_bound = result.cost - result.gap;
        }
        return result;
    }

    /// The option of each layer at a point. O(number of layers), plus the steps before the point when not exact.
    [[nodiscard]] std::vector<Index> choice(std::size_t point) const
    {
        require<argument_error>(point < pairs_.size(), "Frontier::choice: point ", point, " of ", pairs_.size());
        std::vector<Index> result(layers_.size());
        if (!exact_) {
            for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
                result[layer] = static_cast<Index>(layers_[layer].front().option);
            }
            for (std::size_t step = 0; step < point; ++step) {
                result[steps_[step].layer] = static_cast<Index>(steps_[step].option);
            }
            return result;
        }
        auto record = static_cast<std::uint32_t>(point);
        for (std::size_t layer = layers_.size(); layer-- > 0;) {
            result[layer] = static_cast<Index>(records_[layer][record].option);
            record = records_[layer][record].parent;
        }
        return result;
    }

private:
    struct Entry {
        std::int64_t bytes;
        double cost;
        std::uint32_t option;
    };
    struct Pair {
        std::int64_t bytes;
        double cost;
    };
    struct Record {
        std::uint32_t parent;
        std::uint32_t option;
    };
    struct Candidate {
        Pair pair;
        Record record;
        [[nodiscard]] friend bool operator<(const Candidate& a, const Candidate& b)
        {
            return a.pair.bytes != b.pair.bytes ? a.pair.bytes < b.pair.bytes : a.pair.cost < b.pair.cost;
        }
    };
    struct Step {
        double cost;
        double bytes;
        std::int64_t exact_bytes;
        std::size_t layer;
        std::uint32_t option;
    };

    /// False when a list of pairs exceeds the limit.
    bool merge_all(std::size_t limit)
    {
        pairs_ = {{0, 0.0}};
        for (const auto& entries : layers_) {
            std::vector<Candidate> merged;
            for (const Entry& entry : entries) {
                std::vector<Candidate> shifted;
                for (std::size_t i = 0; i < pairs_.size(); ++i) {
                    shifted.push_back({{pairs_[i].bytes + entry.bytes, pairs_[i].cost + entry.cost},
                                       {static_cast<std::uint32_t>(i), entry.option}});
                }
                std::vector<Candidate> both;
                std::merge(merged.begin(), merged.end(), shifted.begin(), shifted.end(), std::back_inserter(both));
                merged.clear();
                for (const Candidate& candidate : both) {  // dominated pairs go at once
                    if (merged.empty() || candidate.pair.cost < merged.back().pair.cost) {
                        merged.push_back(candidate);
                    }
                }
            }
            if (merged.size() > limit) {
                return false;
            }
            pairs_.clear();
            records_.emplace_back();
            for (const Candidate& candidate : merged) {
                pairs_.push_back(candidate.pair);
                records_.back().push_back(candidate.record);
            }
        }
        return true;
    }

    /// The corners of the linear relaxation: hull steps of all layers, the steepest first.
    void relax()
    {
        Pair start{0, 0.0};
        for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
            start.bytes += layers_[layer].front().bytes;
            start.cost += layers_[layer].front().cost;
            append_hull(layer);
        }
        std::stable_sort(steps_.begin(), steps_.end(),
                         [](const Step& a, const Step& b) { return a.cost * b.bytes > b.cost * a.bytes; });
        pairs_ = {start};
        for (const Step& step : steps_) {
            pairs_.push_back({pairs_.back().bytes + step.exact_bytes, pairs_.back().cost - step.cost});
        }
    }

    void append_hull(std::size_t layer)
    {
        const auto& entries = layers_[layer];
        const auto step = [&](std::size_t from, std::size_t to) {
            const std::int64_t bytes = entries[to].bytes - entries[from].bytes;
            return Step{entries[from].cost - entries[to].cost, static_cast<double>(bytes), bytes, layer,
                        entries[to].option};
        };
        std::vector<std::size_t> hull;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            while (hull.size() >= 2) {
                const Step last = step(hull.back(), i);
                const Step before = step(hull[hull.size() - 2], hull.back());
                if (last.cost * before.bytes <= before.cost * last.bytes) {
                    break;
                }
                hull.pop_back();
            }
            hull.push_back(i);
        }
        for (std::size_t h = 1; h < hull.size(); ++h) {
            steps_.push_back(step(hull[h - 1], hull[h]));
        }
    }

    std::vector<std::vector<Entry>> layers_;
    std::vector<Pair> pairs_;
    std::vector<std::vector<Record>> records_;  // exact: of each layer's pairs
    std::vector<Step> steps_;                   // not exact: from point to point
    bool exact_ = true;
};

}  // namespace wasi::rank
