#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "wasi/core/language.hpp"

/// The linear relaxation of the multiple-choice knapsack problem, in integers: what core_search.hpp bounds with.
namespace wasi::rank::detail {

// Products of a 64-bit number of bytes and a 52-bit cost.
__extension__ typedef __int128 Wide;  // NOLINT(modernize-use-using): the alias form takes no __extension__

/// An option in whole units of bytes and cost. In a list bytes rise and costs fall, strictly.
struct Item {
    std::int64_t bytes;
    std::int64_t cost;
    std::size_t option;  ///< its name in the caller's list
};
using Items = std::vector<Item>;

/// A step along the lower convex hull of one layer's items: `cost` is saved for `bytes` more.
struct Edge {
    std::int64_t bytes;
    std::int64_t cost;
    std::size_t layer;
    std::size_t option;  ///< where the step leads
};

/// a saves more a byte than b.
[[nodiscard]] inline bool steeper(std::int64_t a_cost, std::int64_t a_bytes, std::int64_t b_cost, std::int64_t b_bytes)
{
    return static_cast<Wide>(a_cost) * b_bytes > static_cast<Wide>(b_cost) * a_bytes;
}

/// Adds the hull's steps from left to right, so from steep to flat. Points on a straight part stay: they are feasible
/// choices that cost the bound nothing. O(k).
inline void append_hull_edges(const Items& items, std::size_t layer, std::vector<Edge>& edges)
{
    std::vector<std::size_t> hull;
    for (std::size_t i = 0; i < items.size(); ++i) {
        while (hull.size() >= 2) {
            const Item& last = items[hull.back()];
            const Item& before = items[hull[hull.size() - 2]];
            if (!steeper(last.cost - items[i].cost, items[i].bytes - last.bytes, before.cost - last.cost,
                         last.bytes - before.bytes)) {
                break;
            }
            hull.pop_back();
        }
        hull.push_back(i);
    }
    for (std::size_t h = 1; h < hull.size(); ++h) {
        const Item& from = items[hull[h - 1]];
        const Item& to = items[hull[h]];
        edges.push_back({to.bytes - from.bytes, from.cost - to.cost, layer, to.option});
    }
}

/// The steps of all layers from first to last, the steepest first; steps of one layer keep their order. The greedy
/// solution of the relaxation takes them one after another (Sinha, Zoltners 1979).
[[nodiscard]] inline std::vector<Edge> sorted_edges(std::span<const Items> layers, std::size_t first = 0)
{
    std::vector<Edge> edges;
    for (std::size_t layer = first; layer < layers.size(); ++layer) {
        append_hull_edges(layers[layer], layer, edges);
    }
    std::stable_sort(edges.begin(), edges.end(),
                     [](const Edge& a, const Edge& b) { return steeper(a.cost, a.bytes, b.cost, b.bytes); });
    return edges;
}

/// The hull of the sums of some layers' items: point j takes the first j steps. Every point is a feasible choice, and
/// between two points the straight line bounds every choice from below.
class Chain {
public:
    /// Steps of layers numbered `first` and above, out of steps sorted by steepness.
    Chain(std::span<const Items> layers, std::span<const Edge> edges, std::size_t first)
    {
        Point start{0, 0, 0.0};
        for (std::size_t layer = first; layer < layers.size(); ++layer) {
            start.bytes += layers[layer].front().bytes;
            start.cost += layers[layer].front().cost;
        }
        points_.push_back(start);
        for (std::size_t e = 0; e < edges.size(); ++e) {
            if (edges[e].layer >= first) {
                const Edge& edge = edges[e];
                points_.back().slope = static_cast<double>(edge.cost) / static_cast<double>(edge.bytes);
                points_.push_back({points_.back().bytes + edge.bytes, points_.back().cost - edge.cost, 0.0});
                steps_.push_back(e);
            }
        }
    }

    [[nodiscard]] std::size_t last() const { return points_.size() - 1; }
    [[nodiscard]] std::int64_t bytes(std::size_t point) const { return points_[point].bytes; }
    /// Cost of the choice at a point.
    [[nodiscard]] std::int64_t cost(std::size_t point) const { return points_[point].cost; }
    /// A whole number that no choice of at most `room` bytes falls below; bytes(point) <= room < bytes(point + 1).
    [[nodiscard]] std::int64_t bound(std::size_t point, std::int64_t room) const
    {
        const Point& at = points_[point];
        // Rounding up by more than the error of slope, difference and product keeps it a bound.
        const double saving = at.slope * static_cast<double>(room - at.bytes) * (1.0 + 1e-15);
        return at.cost - static_cast<std::int64_t>(saving);
    }
    /// The last point that takes no more than `room`; 0 when all take more.
    [[nodiscard]] std::size_t find(std::int64_t room) const
    {
        const auto above = std::upper_bound(points_.begin() + 1, points_.end(), room,
                                            [](std::int64_t value, const Point& point) { return value < point.bytes; });
        return static_cast<std::size_t>(above - points_.begin()) - 1;
    }
    /// Which of the sorted edges lead from point 0 to `point`.
    [[nodiscard]] std::span<const std::size_t> steps(std::size_t point) const { return {steps_.data(), point}; }

private:
    struct Point {
        std::int64_t bytes;
        std::int64_t cost;
        double slope;  // saved a byte by the next step
    };
    std::vector<Point> points_;
    std::vector<std::size_t> steps_;
};

}  // namespace wasi::rank::detail
