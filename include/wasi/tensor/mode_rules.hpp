#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include "wasi/linalg/rank_rule.hpp"
#include "wasi/storage/tensor_family.hpp"

namespace wasi::tensor {

/// Says of a mode that it is not compressed: {.ranks = {8, uncompressed, Energy{0.9}}}. It has no basis then, and the
/// core has its full extent there (partial Tucker, also Tucker-2, Tucker-1: Kolda, Bader 2009, 4).
struct Uncompressed {};
inline constexpr Uncompressed uncompressed{};

/// What stands for a mode in ModeRules.
template <class Rule>
concept ModeRule = std::convertible_to<Rule, linalg::RankRule> || std::same_as<std::remove_cvref_t<Rule>, Uncompressed>;

/// One rank rule for each mode: {Energy{0.9}, Energy{0.9}, 16}, or one for all of them: Energy{0.9}.
/// Energies and tolerances are fractions of the whole tensor's energy in every mode; `in_total` shares one out among
/// them. A mode may be left as it is: {8, uncompressed, 8}.
template <std::size_t N>
class ModeRules {
public:
    template <class Rule>
    requires(!std::same_as<Rule, ModeRules> && std::convertible_to<Rule, linalg::RankRule>)
        ModeRules(Rule rule)  // NOLINT(google-explicit-constructor): {.ranks = Energy{0.9}} is the common case
        : ModeRules(linalg::RankRule(std::move(rule)), std::make_index_sequence<N>())
    {
    }
    template <class... Rules>
    requires(N >= 2 && sizeof...(Rules) == N && (ModeRule<Rules> && ...))
        ModeRules(Rules&&... rules)  // NOLINT(google-explicit-constructor): {.ranks = {8, 4, 8}}
        : rules_{rule_of(std::forward<Rules>(rules))...},
          uncompressed_{std::same_as<std::remove_cvref_t<Rules>, Uncompressed>...}
    {
    }
    ModeRules(std::array<linalg::RankRule, N> rules)  // NOLINT(google-explicit-constructor)
        : rules_(std::move(rules))
    {
    }
    ModeRules(const std::array<Index, N>& ranks)  // NOLINT(google-explicit-constructor): ranks of an earlier result
        : ModeRules(ranks, std::make_index_sequence<N>())
    {
    }

    [[nodiscard]] const linalg::RankRule& operator[](std::size_t mode) const { return rules_[mode]; }
    [[nodiscard]] const std::array<linalg::RankRule, N>& by_mode() const { return rules_; }
    /// Whether the mode is left as it is; its rule keeps everything then.
    [[nodiscard]] bool is_uncompressed(std::size_t mode) const { return uncompressed_[mode]; }
    [[nodiscard]] const std::array<bool, N>& uncompressed_modes() const { return uncompressed_; }
    /// The same rules, and these modes left as they are.
    [[nodiscard]] ModeRules without(const std::array<bool, N>& modes) const
    {
        ModeRules result = *this;
        result.uncompressed_ = modes;
        return result;
    }

private:
    template <class Rule>
    static linalg::RankRule rule_of(Rule&& rule)
    {
        if constexpr (std::same_as<std::remove_cvref_t<Rule>, Uncompressed>) {
            return linalg::Energy{1.0};
        } else {
            return linalg::RankRule(std::forward<Rule>(rule));
        }
    }
    template <std::size_t... M>
    ModeRules(const linalg::RankRule& rule, std::index_sequence<M...>) : rules_{(static_cast<void>(M), rule)...}
    {
    }
    template <std::size_t... M>
    ModeRules(const std::array<Index, N>& ranks, std::index_sequence<M...>) : rules_{linalg::RankRule(ranks[M])...}
    {
    }

    std::array<linalg::RankRule, N> rules_;
    std::array<bool, N> uncompressed_{};
};

/// An error for the whole form, shared out in equal parts among the modes: {.ranks = in_total<3>(Tolerance{1e-6})}
/// gives
/// ||X - X~|| <= 1e-6 ||X||, where {.ranks = Tolerance{1e-6}} allows each mode as much, sqrt(3) times that together.
template <std::size_t N>
[[nodiscard]] ModeRules<N> in_total(linalg::Tolerance rule)
{
    static_cast<void>(linalg::RankRule(rule));  // the checks of the whole
    return linalg::RankRule(linalg::Tolerance{rule.relative / std::sqrt(static_cast<double>(N))});
}

/// The same for an energy: the form captures at least this share.
template <std::size_t N>
[[nodiscard]] ModeRules<N> in_total(linalg::Energy rule)
{
    static_cast<void>(linalg::RankRule(rule));
    return linalg::RankRule(linalg::Energy{1.0 - (1.0 - rule.fraction) / static_cast<double>(N)});
}

/// The order in which modes are truncated one after another: {2, 0, 1}, or the cheapest one (the default).
template <std::size_t N>
class ModeOrder {
public:
    ModeOrder() = default;
    template <std::integral... Modes>
    requires(sizeof...(Modes) == N) ModeOrder(Modes... modes)  // NOLINT(google-explicit-constructor)
        : modes_{static_cast<std::size_t>(modes)...}, chosen_(true)
    {
    }
    ModeOrder(const std::array<std::size_t, N>& modes)  // NOLINT(google-explicit-constructor)
        : modes_(modes), chosen_(true)
    {
    }

    /// False: the cheapest order.
    [[nodiscard]] bool is_chosen() const { return chosen_; }
    [[nodiscard]] const std::array<std::size_t, N>& modes() const { return modes_; }

private:
    std::array<std::size_t, N> modes_{};
    bool chosen_ = false;
};

/// What a sequential truncation of a tensor to `ranks` costs in this order, in floating-point operations: in each step
/// the Gram matrix of the shorter side of the unfolding, its eigenvectors, and the contraction.
template <std::size_t N>
[[nodiscard]] double truncation_flops(const std::array<Index, N>& shape, const std::array<Index, N>& ranks,
                                      const std::array<std::size_t, N>& order)
{
    double size = 1.0;
    for (const Index extent : shape) {
        size *= static_cast<double>(extent);
    }
    double flops = 0.0;
    for (const std::size_t m : order) {
        const auto extent = static_cast<double>(std::max<Index>(shape[m], 1));
        const auto rank = static_cast<double>(ranks[m]);
        const double shorter = std::min(extent, size / extent);
        flops += 2.0 * shorter * size + 9.0 * shorter * shorter * shorter + 2.0 * rank * size;
        size *= rank / extent;
    }
    return flops;
}

/// The order with the fewest predicted flops, out of all N!. A rank that is not known before any spectrum is (energy,
/// tolerance) counts as half of the extent; with no rank known that is nearly always the smallest mode first, the rule
/// of Vannieuwenhoven, Vandebril, Meerbergen (2012), 3.3.
template <std::size_t N>
[[nodiscard]] std::array<std::size_t, N> cheapest_order(const std::array<Index, N>& shape, const ModeRules<N>& rules)
{
    std::array<Index, N> ranks{};
    std::array<std::size_t, N> order{};
    for (std::size_t m = 0; m < N; ++m) {
        ranks[m] =
            rules.is_uncompressed(m) ? shape[m] : std::min(shape[m], rules[m].fixed().value_or((shape[m] + 1) / 2));
        order[m] = m;
    }
    auto best = order;
    double least = std::numeric_limits<double>::infinity();
    do {
        const double flops = truncation_flops<N>(shape, ranks, order);
        if (flops < least) {
            least = flops;
            best = order;
        }
    } while (std::next_permutation(order.begin(), order.end()));
    return best;
}

/// A user's rules in the order of the views (and the other way round).
template <TensorLike X, std::size_t N>
[[nodiscard]] ModeRules<N> view_rules(const ModeRules<N>& rules)
{
    return ModeRules<N>(view_order<X>(rules.by_mode())).without(view_order<X>(rules.uncompressed_modes()));
}

/// The order of a user's modes, chosen or the cheapest, as the view counts them. `shape` is that of the view.
template <TensorLike X>
[[nodiscard]] ModeOrder<order_of<X>> view_modes(const ModeOrder<order_of<X>>& order,
                                                const std::array<Index, order_of<X>>& shape,
                                                const ModeRules<order_of<X>>& rules)
{
    auto modes = order.is_chosen() ? order.modes() : cheapest_order<order_of<X>>(view_order<X>(shape), rules);
    for (std::size_t& mode : modes) {
        mode = view_mode<X>(mode);
    }
    return modes;
}

}  // namespace wasi::tensor
