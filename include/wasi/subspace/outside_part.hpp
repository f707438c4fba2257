#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/subspace/right_gram.hpp"

/// What a matrix has outside a subspace: an inner step of rank_r_update.
namespace wasi::subspace::detail {

/// Column j of `to` = factors[j] times column j of `from`.
template <class S, Scalar T>
void scale_columns(MatrixView<T> to, ConstMatrixView<T> from, std::span<const T> factors)
{
    for (Index j = 0; j < from.cols; ++j) {
        S::add_scaled(to.col_block(j, 1), T(0), factors[static_cast<std::size_t>(j)], from.col_block(j, 1));
    }
}

/// What P (O,r) has outside span(L): (1 - L Lᵀ) P = basis triangle, basis (O,k) orthonormal and orthogonal to L.
template <Scalar T>
struct OutsidePart {
    Index rank = 0;           // k; the tensors are empty where it is 0
    Tensor<T> basis;          // (O,k)
    Tensor<double> triangle;  // (k,r)
};

/// `inside` is C = LᵀP. Rank-revealing by an SVD of D = P - L C: what is at the rounding of that difference is dropped,
/// and no more than O - K directions exist. D is orthogonal to L to the rounding of P, not of D, so the directions kept
/// are projected once more; twice is enough (Giraud, Langou, Rozložník 2005). Nothing when the SVD fails.
template <class S, Scalar T>
[[nodiscard]] std::optional<OutsidePart<T>> outside_part(ConstMatrixView<T> left, ConstMatrixView<T> p,
                                                         ConstMatrixView<T> inside, Memory& memory)
{
    OutsidePart<T> result;
    const Index d = std::min(p.rows, p.cols);
    Tensor<T> outside = workspace<T>(memory, p.rows, p.cols);
    S::copy(outside.matrix(), p);
    S::multiply(outside.matrix(), T(-1), left, inside, T(1), memory);
    Tensor<T> u = workspace<T>(memory, p.rows, d);
    Tensor<T> s = host_row<T>(memory, d);
    Tensor<T> v = workspace<T>(memory, p.cols, d);
    if (!S::svd(std::as_const(outside).matrix(), u.matrix(), s.span(), v.matrix(), memory)) {
        return std::nullopt;
    }
    const double noise = 4.0 * std::sqrt(static_cast<double>(left.cols + 1)) * static_cast<double>(epsilon<T>) *
                         linalg::detail::norm_at_any_size<S, T>(p, memory);
    const Index most = std::min(d, left.rows - left.cols);
    while (result.rank<most&& static_cast<double>(s.data()[result.rank])> noise) {
        ++result.rank;
    }
    const Index k = result.rank;
    if (k == 0) {
        return result;
    }
    result.basis = workspace<T>(memory, p.rows, k);
    S::copy(result.basis.matrix(), std::as_const(u).matrix().col_block(0, k));
    Tensor<T> overlap = workspace<T>(memory, left.cols, k);
    S::multiply(overlap.matrix(), T(1), left.transposed(), std::as_const(result.basis).matrix(), T(0), memory);
    S::multiply(result.basis.matrix(), T(-1), left, std::as_const(overlap).matrix(), T(1), memory);
    const auto projected = u.matrix().col_block(0, k);
    S::copy(projected, std::as_const(result.basis).matrix());
    linalg::orthonormalize_columns<S, T>(result.basis.matrix(), memory);

    // D = U diag(s) Vᵀ and U = basis (basisᵀ U), so the triangle is (basisᵀ U) diag(s) Vᵀ.
    Tensor<T> turn = workspace<T>(memory, k, k);
    S::multiply(turn.matrix(), T(1), std::as_const(result.basis).matrix().transposed(), projected, T(0), memory);
    const Tensor<double> wide_turn = widened<S, T>(std::as_const(turn).matrix(), memory);
    const Tensor<double> wide_v = widened<S, T>(std::as_const(v).matrix().col_block(0, k), memory);
    const Tensor<double> wide_s = widened<S, T>(std::as_const(s).matrix().col_block(0, k), memory);
    Tensor<double> scaled = workspace<double>(memory, k, k);
    scale_columns<S, double>(scaled.matrix(), wide_turn.matrix(), wide_s.span());
    result.triangle = workspace<double>(memory, k, p.cols);
    S::multiply(result.triangle.matrix(), 1.0, scaled.matrix(), wide_v.matrix().transposed(), 0.0, memory);
    return result;
}

}  // namespace wasi::subspace::detail
