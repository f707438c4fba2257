#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "wasi/rank/relaxation.hpp"

namespace wasi::rank::detail {

/// The relaxation of the whole problem, solved once: its bound, the choice where its steps first pass the budget, and
/// the greedy choice, which goes on past the step that no longer fits.
class BreakPoint {
public:
    /// Items as relaxation.hpp wants them, and sum of the least bytes <= budget.
    BreakPoint(const std::vector<Items>& layers, std::int64_t budget)
    {
        const std::vector<Edge> edges = sorted_edges(layers);
        for (const Items& items : layers) {
            base_.push_back(items.front());
        }
        std::vector<Item> chosen = base_;
        std::vector<bool> stopped(layers.size(), false);
        std::int64_t bytes = sum(base_).first;
        bool broken = false;
        for (const Edge& edge : edges) {
            if (stopped[edge.layer]) {
                continue;
            }
            if (edge.bytes > budget - bytes) {
                stopped[edge.layer] = true;
                if (!broken) {
                    broken = true;
                    base_ = chosen;
                    slope_cost_ = edge.cost;
                    slope_bytes_ = edge.bytes;
                }
                continue;
            }
            bytes += edge.bytes;
            Item& item = chosen[edge.layer];
            item = {item.bytes + edge.bytes, item.cost - edge.cost, edge.option};
        }
        if (!broken) {
            base_ = chosen;
        }
        const auto [base_bytes, base_cost] = sum(base_);
        base_bytes_ = base_bytes;
        base_cost_ = base_cost;
        // Whole costs: what the relaxation can save beyond the break point is rounded down.
        bound_ = base_cost -
                 static_cast<std::int64_t>(static_cast<Wide>(slope_cost_) * (budget - base_bytes) / slope_bytes_);
        greedy_cost_ = sum(chosen).second;
        greedy_ = std::move(chosen);
    }

    /// No choice within the budget costs less.
    [[nodiscard]] std::int64_t bound() const { return bound_; }
    /// An item of each layer, by the caller's numbers.
    [[nodiscard]] const std::vector<Item>& greedy() const { return greedy_; }
    [[nodiscard]] std::int64_t greedy_cost() const { return greedy_cost_; }
    /// The item of a layer at the break point.
    [[nodiscard]] const Item& base(std::size_t layer) const { return base_[layer]; }

    /// slope_bytes times what the relaxation loses by taking `item` instead of the layer's base: at least 0.
    [[nodiscard]] Wide loss(const Item& item, std::size_t layer) const
    {
        return static_cast<Wide>(item.cost - base_[layer].cost) * slope_bytes_ +
               static_cast<Wide>(item.bytes - base_[layer].bytes) * slope_cost_;
    }

    /// The largest loss that a choice cheaper than `ceiling` can have.
    [[nodiscard]] Wide loss_below(std::int64_t ceiling, std::int64_t budget) const
    {
        return static_cast<Wide>(ceiling - 1 - base_cost_) * slope_bytes_ +
               static_cast<Wide>(budget - base_bytes_) * slope_cost_;
    }

    /// Layer i is from now on what was layer names[i].
    void reorder(const std::vector<std::size_t>& names)
    {
        std::vector<Item> base;
        base.reserve(names.size());
        for (const std::size_t name : names) {
            base.push_back(base_[name]);
        }
        base_ = std::move(base);
    }

private:
    [[nodiscard]] static std::pair<std::int64_t, std::int64_t> sum(const std::vector<Item>& items)
    {
        std::pair<std::int64_t, std::int64_t> result{0, 0};
        for (const Item& item : items) {
            result.first += item.bytes;
            result.second += item.cost;
        }
        return result;
    }

    std::vector<Item> base_;
    std::vector<Item> greedy_;
    std::int64_t base_bytes_ = 0;
    std::int64_t base_cost_ = 0;
    std::int64_t slope_cost_ = 0;  // the break step: what it would save, for how many bytes
    std::int64_t slope_bytes_ = 1;
    std::int64_t bound_ = 0;
    std::int64_t greedy_cost_ = 0;
};

}  // namespace wasi::rank::detail
