#pragma once
#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "wasi/tensor/hosvd.hpp"
#include "wasi/tensor/unfolding_sketch.hpp"

namespace wasi::tensor {

/// What `randomized_hosvd` may do.
template <std::size_t N>
struct RandomizedHosvdOptions {
    /// One rule a mode, or one for all. Energy 1 has no use for a sketch and takes the exact way in every mode.
    ModeRules<N> ranks = linalg::Energy{0.99};
    /// Which mode is truncated first, second, ...; the default is the order of `cheapest_order`.
    ModeOrder<N> order = {};
    /// Columns sampled beyond the wanted rank; 5 to 10 is the usual advice (Halko, Martinsson, Tropp 2011).
    Index oversampling = 10;
    /// Each makes the spectrum steeper, s^(2q+1), for two more products with X; 1 is enough for spectra that fall.
    Index power_iterations = 1;
    /// Modes whose Gram matrix would have at most this order are taken exactly: 1000 is 8 MB and a second or two. 0
    /// sketches every mode.
    Index gram_limit = 1000;
};

namespace detail {

/// A mode truncated by a sketch: its basis, and X contracted with it. Where the sketch would be wider than half of the
/// Gram's order it saves nothing, and the exact way is taken.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] std::pair<ModeBasis<T>, Tensor<T>> sketched_mode(ConstTensorView<T, N> x, std::size_t mode,
                                                               const linalg::RankRule& rule, double reference,
                                                               const RandomizedHosvdOptions<N>& options, RandomKey key,
                                                               Memory& memory)
{
    const Index n = x.shape[mode];
    const Index others = x.size() / n;
    const Index order = std::min(n, others);
    const double here = S::dot(x.rows_by(N - 1), x.rows_by(N - 1));
    const auto fixed = rule.fixed();
    UnfoldingSketch<S, T, N> sketch(x, mode, key, memory);
    Index width = fixed.value_or(16) + options.oversampling;
    while (order > options.gram_limit && !rule.needs_all_values() && 2 * width <= order) {
        sketch.grow(width, options.power_iterations);
        const Tensor<T> image = mode_product<S, T, N>(x, sketch.basis().transposed(), mode, memory);
        // What the sketch misses: the difference of two energies, and the residual itself where that is blind.
        double missed = here - S::dot(image.matrix(), image.matrix());
        if (missed <= 1000.0 * static_cast<double>(epsilon<T>) * here) {
            missed = sketch.squared_residual();
        }
        const auto view = image.template view<N>();
        ModeBasis<T> inner = mode_basis<S, T, N>(view, mode, rule, reference, memory, missed);
        const Index rank = inner.u.shape()[1];
        const auto share = allowed_share(rule, n, others, rank);
        if (fixed || (rank < width && (!share || missed <= *share * reference))) {
            const ConstMatrixView<T> turn = std::as_const(inner.u).matrix();
            ModeBasis<T> basis{workspace<T>(memory, n, rank), inner.status};
            S::multiply(basis.u.matrix(), T(1), sketch.basis(), turn, T(0), memory);
            return {std::move(basis), mode_product<S, T, N>(view, turn.transposed(), mode, memory)};
        }
        width *= 2;
    }
    ModeBasis<T> basis = mode_basis<S, T, N>(x, mode, rule, reference, memory);
    Tensor<T> core = mode_product<S, T, N>(x, std::as_const(basis.u).matrix().transposed(), mode, memory);
    return {std::move(basis), std::move(core)};
}

}  // namespace detail

/// Sequentially truncated HOSVD for modes whose Gram matrix would be too large: there the basis comes from a randomized
/// range finder on the unfolding, which is never formed (Minster, Saibaba, Kilmer 2020, algorithms 3.2 and 4.2; Che,
/// Wei 2019). For an energy or a tolerance the sketch at least doubles until what it misses, measured, is within the
/// rule. Error: with a fixed rank r, p columns of oversampling and no power iteration, the expected square of what a
/// mode discards is at most (1 + r / (p - 1)) times the best, and falls towards it with every iteration; the squared
/// error is the sum over the modes, as in sequentially_truncated_hosvd, and so are status and error. Same key, same
/// bits, for any number of threads. Cost a sketched mode: 2 |X| w (3 + 2 power_iterations) flops, w = r + oversampling,
/// and 2 + 2 power_iterations reads of X; memory (n + |X| / n) w. Throws shape_error on an empty tensor, argument_error
/// on NaN or infinity, negative options, or an order that is no permutation.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> randomized_hosvd(ConstTensorView<T, N> x, const RandomizedHosvdOptions<N>& options,
                                            RandomKey key, Memory& memory)
{
    constexpr std::string_view who = "randomized_hosvd";
    require<argument_error>(options.oversampling >= 0, who, ": oversampling is ", options.oversampling);
    require<argument_error>(options.power_iterations >= 0, who, ": power_iterations is ", options.power_iterations);
    require<argument_error>(options.gram_limit >= 0, who, ": gram_limit is ", options.gram_limit);
    const auto& rules = options.ranks;
    const auto modes = options.order.is_chosen() ? options.order.modes() : cheapest_order<N>(x.shape, rules);
    detail::require_permutation<N>(modes, who);
    const auto from = detail::at_ordinary_size<S, T, N>(x, who, memory);
    Tucker<T, N> result;
    for (const std::size_t m : modes) {
        if (rules.is_uncompressed(m)) {
            continue;
        }
        const auto left = result.core.empty() ? from.view : std::as_const(result.core).template view<N>();
        auto step = detail::sketched_mode<S, T, N>(left, m, rules[m], from.total, options, key.derive(m), memory);
        detail::take_basis(result, m, std::move(step.first));
        result.core = std::move(step.second);
    }
    if (result.core.empty()) {
        result.core = detail::products_or_copy<S, T, N>(from.view, {}, memory);
    }
    detail::set_energy<S, T, N>(result, from.total);
    detail::judge<S, T, N>(result, from.view, from.total, rules, memory);
    detail::back_to_size<S, T, N>(result, from.exponent, who);
    return result;
}

/// randomized_hosvd for users' tensors: randomized_hosvd(x, {.ranks = {20, 20, Energy{0.99}}}, RandomKey(7)).
template <TensorLike X>
[[nodiscard]] auto randomized_hosvd(const X& x, const RandomizedHosvdOptions<order_of<X>>& options, RandomKey key,
                                    Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using T = typename F::Scalar;
    return F::with_view(x, [&](ConstTensorView<T, F::order> view) {
        RandomizedHosvdOptions<F::order> inside = options;
        inside.ranks = view_rules<X>(options.ranks);
        inside.order = view_modes<X>(options.order, view.shape, options.ranks);
        return as_family<F>(randomized_hosvd<typename F::Storage, T, F::order>(view, inside, key, memory));
    });
}

}  // namespace wasi::tensor
