#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "wasi/rank/break_point.hpp"
#include "wasi/rank/partial_choice.hpp"

namespace wasi::rank::detail {

/// Least cost under a budget, in integers: dynamic programming over a growing core of layers (Pisinger 1995) with
/// dominance. It differs from the source in two points. Every partial choice is bounded by the exact hull of all layers
/// that are not in the core yet, where the source uses one slope each way; the same sweep finds the greedy completion
/// of every partial choice, which keeps the incumbent sharp. And lists of partial choices are joined with lists of the
/// layers to come by one sweep from both ends (Horowitz, Sahni 1974), which finds exact fillings when many options save
/// equally much a byte.
class CoreSearch {
public:
    /// Items as relaxation.hpp wants them, and sum of the least bytes <= budget. Choices within `tolerance` of the
    /// least cost count as equal. Past `max_nodes` partial choices only the most promising are followed.
    CoreSearch(std::vector<Items> layers, std::int64_t budget, std::int64_t tolerance, std::int64_t max_nodes)
        : layers_(std::move(layers)),
          budget_(budget),
          tolerance_(tolerance),
          max_nodes_(max_nodes),
          relaxation_(layers_, budget),
          best_cost_(relaxation_.greedy_cost())
    {
        names_.resize(layers_.size());
        std::iota(names_.begin(), names_.end(), std::size_t{0});
        for (const Item& item : relaxation_.greedy()) {
            best_.push_back(item.option);
        }
    }

    /// Finds the best choice. Call once.
    void run()
    {
        if (solved()) {
            return;
        }
        order_layers();
        std::vector<State> states{{0, 0, relaxation_.bound(), 0}};
        archive_.push_back({0, 0});
        bool changed = true;
        std::size_t joined = 16;
        for (std::size_t stage = 0; stage < layers_.size() && !states.empty() && !solved(); ++stage) {
            if (changed) {
                remove_hopeless(stage);
                edges_ = sorted_edges(layers_, stage);
            }
            const std::int64_t before = best_cost_;
            states = expand(std::move(states), stage);
            if (states.size() >= 2 * joined) {
                joined = states.size();
                join(states, stage + 1, join_size_);
            }
            changed = best_cost_ < before;
        }
    }

    [[nodiscard]] std::int64_t cost() const { return best_cost_; }
    /// No choice costs less.
    [[nodiscard]] std::int64_t lower_bound() const
    {
        return std::max(relaxation_.bound(), std::min(ceiling(), least_dropped_));
    }
    /// The option of each layer.
    [[nodiscard]] const std::vector<std::size_t>& choice() const { return best_; }
    /// Partial choices that were looked at.
    [[nodiscard]] std::int64_t nodes() const { return nodes_; }
    /// False when the node limit cut something off that might have been better.
    [[nodiscard]] bool complete() const { return std::max(relaxation_.bound(), least_dropped_) >= ceiling(); }

private:
    static constexpr std::size_t beam_ = 128;             // partial choices followed past the node limit
    static constexpr std::size_t join_size_ = 1U << 14U;  // the longest list that states are joined with as they grow

    /// The bound of the relaxation is met: nothing is left to search.
    [[nodiscard]] bool solved() const { return relaxation_.bound() >= ceiling(); }
    /// At or above this a partial choice cannot better the incumbent.
    [[nodiscard]] std::int64_t ceiling() const { return best_cost_ - tolerance_; }

    /// The layers whose second choice is closest come first: the others are fixed sooner or later.
    void order_layers()
    {
        constexpr Wide none = static_cast<Wide>(std::numeric_limits<std::int64_t>::max()) << 62U;
        std::vector<Wide> second(layers_.size(), none);
        for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
            for (const Item& item : layers_[layer]) {
                if (item.option != relaxation_.base(layer).option) {
                    second[layer] = std::min(second[layer], relaxation_.loss(item, layer));
                }
            }
        }
        std::stable_sort(names_.begin(), names_.end(),
                         [&](std::size_t a, std::size_t b) { return second[a] < second[b]; });
        std::vector<Items> layers;
        for (const std::size_t name : names_) {
            layers.push_back(std::move(layers_[name]));
        }
        layers_ = std::move(layers);
        relaxation_.reorder(names_);
    }

    /// Items of layers from `stage` on that no better choice can hold.
    void remove_hopeless(std::size_t stage)
    {
        const Wide allowed = relaxation_.loss_below(ceiling(), budget_);
        for (std::size_t layer = stage; layer < layers_.size(); ++layer) {
            std::erase_if(layers_[layer], [&](const Item& item) {
                return item.option != relaxation_.base(layer).option && relaxation_.loss(item, layer) > allowed;
            });
        }
    }

    /// All states with one more layer, without those that are dominated or cannot better the incumbent.
    [[nodiscard]] std::vector<State> expand(std::vector<State> states, std::size_t stage)
    {
        const Items& items = layers_[stage];
        const Chain chain(layers_, edges_, stage + 1);
        if (nodes_ + static_cast<std::int64_t>(states.size() * items.size()) > max_nodes_) {
            if (!cut_) {
                cut_ = true;
                join(states, stage, 16 * join_size_);  // the last chance to prove the bound tight
            }
        }
        if (cut_) {
            keep_most_promising(states);
        }
        nodes_ += static_cast<std::int64_t>(states.size() * items.size());

        struct Found {
            const State* state;
            const Item* item;
            std::size_t point;
        };
        std::optional<Found> found;
        std::vector<Child> children;
        std::vector<std::size_t> runs{0};
        for (const Item& item : items) {
            std::size_t point = chain.last();
            for (const State& state : states) {
                const std::int64_t bytes = state.bytes + item.bytes;
                const std::int64_t room = budget_ - bytes;
                while (point > 0 && chain.bytes(point) > room) {
                    --point;
                }
                if (chain.bytes(point) > room) {
                    break;  // states that follow take more still
                }
                const std::int64_t cost = state.cost + item.cost;
                if (cost + chain.cost(point) < best_cost_) {
                    best_cost_ = cost + chain.cost(point);
                    found = Found{&state, &item, point};
                }
                const std::int64_t bound = cost + chain.bound(point, room);
                if (bound < ceiling()) {
                    children.push_back({bytes, cost, bound, state.record, static_cast<std::uint32_t>(item.option)});
                }
            }
            runs.push_back(children.size());
        }
        if (found) {
            write_down(found->state->record, stage);
            best_[names_[stage]] = found->item->option;
            take_steps(chain, found->point, stage + 1);
        }
        merge_runs(children, runs);
        return record_undominated(children);
    }

    [[nodiscard]] std::vector<State> record_undominated(const std::vector<Child>& children)
    {
        std::vector<State> states;
        std::int64_t least = std::numeric_limits<std::int64_t>::max();
        for (const Child& child : children) {
            if (child.cost < least && child.bound < ceiling()) {
                least = child.cost;
                states.push_back({child.bytes, child.cost, child.bound, static_cast<std::uint32_t>(archive_.size())});
                archive_.push_back({child.parent, child.option});
            }
        }
        return states;
    }

    /// Past the node limit: the states of the least bounds, still by bytes; the bounds of the rest are remembered.
    void keep_most_promising(std::vector<State>& states)
    {
        if (states.size() <= beam_) {
            return;
        }
        const auto middle = states.begin() + static_cast<std::ptrdiff_t>(beam_);
        std::nth_element(states.begin(), middle, states.end(), [](const State& a, const State& b) {
            return a.bound != b.bound ? a.bound < b.bound : a.record < b.record;
        });
        least_dropped_ = std::min(least_dropped_, middle->bound);
        states.resize(beam_);
        std::sort(states.begin(), states.end(), [](const State& a, const State& b) { return a.bytes < b.bytes; });
    }

    /// The choice of a record for the layers before `stage`.
    void write_down(std::uint32_t record, std::size_t stage)
    {
        while (stage-- > 0) {
            best_[names_[stage]] = archive_[record].option;
            record = archive_[record].parent;
        }
    }

    /// Joins the states with all choices of the next few layers, at most `longest`, the others at points
    /// of their hull.
    void join(const std::vector<State>& states, std::size_t first, std::size_t longest)
    {
        const auto lists = all_choices(layers_, first, longest);
        const std::size_t last = first + lists.size() - 1;
        const Chain rest(layers_, edges_, last);
        const auto& list = lists.back();
        // The steps that leave the room in the middle of what the lists can fill, where most pairs are.
        const std::int64_t middle =
            budget_ - (states.front().bytes + states.back().bytes) / 2 - (list.front().bytes + list.back().bytes) / 2;
        const std::size_t point = rest.find(middle);
        std::int64_t base_bytes = 0;
        for (std::size_t layer = last; layer < layers_.size(); ++layer) {
            base_bytes += relaxation_.base(layer).bytes;
        }
        struct Found {
            const State* state;
            std::size_t partner;
            std::size_t point;
        };
        std::optional<Found> found;
        for (const std::size_t at : {rest.find(base_bytes), point, std::min(point + 1, rest.last())}) {
            std::size_t partner = list.size();
            for (const State& state : states) {  // bytes rise here, so they fall there
                const std::int64_t room = budget_ - rest.bytes(at) - state.bytes;
                while (partner > 0 && list[partner - 1].bytes > room) {
                    --partner;
                }
                if (partner == 0) {
                    break;
                }
                const std::int64_t cost = state.cost + list[partner - 1].cost + rest.cost(at);
                if (cost < best_cost_) {
                    best_cost_ = cost;
                    found = Found{&state, partner - 1, at};
                }
            }
            nodes_ += static_cast<std::int64_t>(list.size());
        }
        if (!found) {
            return;
        }
        write_down(found->state->record, first);
        std::size_t partner = found->partner;
        for (std::size_t layer = last; layer-- > first;) {
            const Child& child = lists[layer - first + 1][partner];
            best_[names_[layer]] = child.option;
            partner = child.parent;
        }
        take_steps(rest, found->point, last);
    }

    /// The choice of the layers from `first` on at a point of their chain.
    void take_steps(const Chain& chain, std::size_t point, std::size_t first)
    {
        for (std::size_t layer = first; layer < layers_.size(); ++layer) {
            best_[names_[layer]] = layers_[layer].front().option;
        }
        for (const std::size_t e : chain.steps(point)) {
            best_[names_[edges_[e].layer]] = edges_[e].option;
        }
    }

    std::vector<Items> layers_;       // in the order in which they enter the core
    std::vector<std::size_t> names_;  // the caller's number of each
    std::int64_t budget_;
    std::int64_t tolerance_;
    std::int64_t max_nodes_;
    BreakPoint relaxation_;
    std::vector<Edge> edges_;
    std::vector<Record> archive_;
    std::vector<std::size_t> best_;  // by the caller's numbers
    std::int64_t best_cost_;
    std::int64_t least_dropped_ = std::numeric_limits<std::int64_t>::max();
    std::int64_t nodes_ = 0;
    bool cut_ = false;
};

}  // namespace wasi::rank::detail
