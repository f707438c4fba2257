#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/tensor/tucker.hpp"

namespace wasi::tensor {

/// One rank rule for each mode. Energies and tolerances are fractions of the whole tensor's energy in every mode.
template <std::size_t N>
using ModeRules = std::array<linalg::RankRule, N>;

namespace detail {

/// The leading left singular vectors of X_(m), as many as the rule asks for; energies relative to `reference`.
/// Through the Gram matrix of the shorter side, of order n: singular values below sqrt(n epsilon) of the largest are
/// lost in the rounding of the squares, so no rule is asked to keep them.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> leading_basis(ConstTensorView<T, N> x, std::size_t mode, const linalg::RankRule& rule,
                                      double reference, Memory& memory)
{
    const Index n = x.shape[mode];
    const Index others = n == 0 ? 0 : x.size() / n;
    const auto choose = [&](std::span<const T> squares) {
        std::vector<double> values;
        double total = 0.0;
        for (const T square : squares.first(static_cast<std::size_t>(std::min(n, others)))) {
            values.push_back(std::sqrt(std::max(0.0, static_cast<double>(square))));
            total += values.back() * values.back();
        }
        const double order = static_cast<double>(values.size()) * static_cast<double>(epsilon<T>);
        return rule.choose({values, total, reference, std::sqrt(order) * values.front()});
    };
    if (n <= others) {
        Tensor<T> gram = mode_gram<S, T, N>(x, mode, memory);
        Tensor<T> squares = workspace<T>(memory, 1, n);
        (void)S::eigh(gram.matrix(), squares.span(), memory);
        const Index rank = choose(squares.span());
        Tensor<T> basis = workspace<T>(memory, n, rank);
        S::copy(basis.matrix(), gram.matrix().col_block(0, rank));
        return basis;
    }
    // X_(m) is tall: eigenvectors V of X_(m)ᵀ X_(m), then orth(X_(m) V).
    const Tensor<T> unfolded = unfold<S, T, N>(x, mode, memory);
    Tensor<T> gram = workspace<T>(memory, others, others);
    S::multiply(gram.matrix(), T(1), unfolded.matrix().transposed(), unfolded.matrix(), T(0), memory);
    Tensor<T> squares = workspace<T>(memory, 1, others);
    (void)S::eigh(gram.matrix(), squares.span(), memory);
    const Index rank = choose(squares.span());
    Tensor<T> basis = workspace<T>(memory, n, rank);
    S::multiply(basis.matrix(), T(1), unfolded.matrix(), gram.matrix().col_block(0, rank), T(0), memory);
    (void)S::orthonormalize(basis.matrix(), memory);
    return basis;
}

template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double checked_energy(ConstTensorView<T, N> x, std::string_view who)
{
    require<shape_error>(x.size() > 0, who, ": empty tensor ", shape_text(x.shape));
    const double total = S::dot(x.rows_by(N - 1), x.rows_by(N - 1));
    if (!std::isfinite(total)) {  // a finite sum of squares has finite terms: the usual case costs no pass of its own
        linalg::require_finite<S, T>(x.rows_by(N - 1), who, "x");
    }
    return total;
}

}  // namespace detail

/// Truncated higher-order SVD (De Lathauwer, De Moor, Vandewalle 2000): every basis from the full tensor, then the core
/// S = X x_1 U_1ᵀ ... x_N U_Nᵀ. ||X - X~||² <= sum over modes of the discarded squares <= N times the best possible.
/// Accuracy: bases are orthonormal to rounding; energies are resolved to n epsilon ||X||² in a mode of extent n (about
/// 1e-5 for n = 100 in float), so energies nearer to 1 and tolerances below sqrt(n epsilon) act like those. Throws
/// shape_error on an empty tensor, argument_error on NaN or infinity. Example: examples/tucker.cpp
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> hosvd(ConstTensorView<T, N> x, const ModeRules<N>& rules, Memory& memory)
{
    const double total = detail::checked_energy<S, T, N>(x, "hosvd");
    Tucker<T, N> result;
    for (std::size_t m = 0; m < N; ++m) {
        result.bases[m] = detail::leading_basis<S, T, N>(x, m, rules[m], total, memory);
    }
    for (std::size_t m = 0; m < N; ++m) {
        const auto from = m == 0 ? x : std::as_const(result.core).template view<N>();
        result.core = mode_product<S, T, N>(from, std::as_const(result.bases[m]).matrix().transposed(), m, memory);
    }
    result.captured_energy =
        total > 0.0 ? S::dot(result.core.matrix(), std::as_const(result.core).matrix()) / total : 1.0;
    return result;
}

/// Sequentially truncated HOSVD (Vannieuwenhoven, Vandebril, Meerbergen 2012): each mode is truncated in what the modes
/// before it, in `order`, have left. The same error bound as hosvd at a fraction of the cost, and
/// ||X - X~||² = sum over modes of what that mode discarded, exactly.
/// Throws argument_error if `order` is not a permutation; else like hosvd.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> sequentially_truncated_hosvd(ConstTensorView<T, N> x, const ModeRules<N>& rules,
                                                        const std::array<std::size_t, N>& order, Memory& memory)
{
    auto sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t m = 0; m < N; ++m) {
        require<argument_error>(sorted[m] == m, "sequentially_truncated_hosvd: order ", shape_text(order),
                                " is not a permutation of the modes");
    }
    const double total = detail::checked_energy<S, T, N>(x, "sequentially_truncated_hosvd");
    Tucker<T, N> result;
    for (std::size_t step = 0; step < N; ++step) {
        const std::size_t m = order[step];
        const auto from = step == 0 ? x : std::as_const(result.core).template view<N>();
        result.bases[m] = detail::leading_basis<S, T, N>(from, m, rules[m], total, memory);
        result.core = mode_product<S, T, N>(from, std::as_const(result.bases[m]).matrix().transposed(), m, memory);
    }
    result.captured_energy =
        total > 0.0 ? S::dot(result.core.matrix(), std::as_const(result.core).matrix()) / total : 1.0;
    return result;
}

}  // namespace wasi::tensor
