#pragma once
#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

/// How much of a gradient a low-rank weight or an adapter can follow.
namespace wasi::plan {

namespace detail {

/// ||PᵀQ||² of P (m,a) and Q (m,b): of the product where it is the smaller, else <P Pᵀ, Q Qᵀ>, so that no gradient of a
/// large weight is ever formed. 2 m a b flops, or 2 m² (a + b).
template <class S, Scalar T>
[[nodiscard]] double squared_product(ConstMatrixView<T> p, ConstMatrixView<T> q, Memory& memory)
{
    const Index m = p.rows;
    if (p.cols * q.cols <= 2 * m * m) {
        Tensor<T> product = workspace<T>(memory, p.cols, q.cols);
        S::multiply(product.matrix(), T(1), p.transposed(), q, T(0), memory);
        return S::dot(std::as_const(product).matrix(), std::as_const(product).matrix());
    }
    Tensor<T> first = workspace<T>(memory, m, m);
    Tensor<T> second = workspace<T>(memory, m, m);
    S::multiply(first.matrix(), T(1), p, p.transposed(), T(0), memory);
    S::multiply(second.matrix(), T(1), q, q.transposed(), T(0), memory);
    return S::dot(std::as_const(first).matrix(), std::as_const(second).matrix());
}

template <class S, Scalar T>
[[nodiscard]] Tensor<T> product(ConstMatrixView<T> a, ConstMatrixView<T> b, Memory& memory)
{
    Tensor<T> result = workspace<T>(memory, a.rows, b.cols);
    S::multiply(result.matrix(), T(1), a, b, T(0), memory);
    return result;
}

}  // namespace detail

/// Of dW = dYᵀX, dY (m,O), X (m,I), the square of the part that lies in the tangent space of the matrices of rank K at
/// one with the column space of L (O,K) and the row space of Rᵀ (I,K), both orthonormal (Lubich, Koch 2007):
///
///     ||P_T dW||² = ||LᵀdW||² + ||dW Rᵀ||² - ||LᵀdW Rᵀ||²,   P_T dW = L LᵀdW + dW RᵀR - L LᵀdW RᵀR
///
/// for each K of `ranks`, by the leading K columns; rank 0 stands for a full matrix, which can follow all. dW is not
/// formed where m is small. 2 m (O + I) K flops and for each rank at most 2 m² (O + I + 2 K).
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] std::vector<double> tangent_parts(ConstMatrixView<T> dy, ConstMatrixView<T> x, ConstMatrixView<T> left,
                                                ConstMatrixView<T> right, std::span<const Index> ranks, Memory& memory)
{
    const Tensor<T> through_left = detail::product<S, T>(dy, left, memory);   // dY L
    const Tensor<T> through_right = detail::product<S, T>(x, right, memory);  // X Rᵀ
    std::vector<double> result;
    for (const Index rank : ranks) {
        if (rank == 0) {
            result.push_back(detail::squared_product<S, T>(dy, x, memory));
            continue;
        }
        const auto a = through_left.matrix().col_block(0, std::min(rank, left.cols));
        const auto b = through_right.matrix().col_block(0, std::min(rank, right.cols));
        result.push_back(detail::squared_product<S, T>(a, x, memory) + detail::squared_product<S, T>(dy, b, memory) -
                         detail::squared_product<S, T>(a, b, memory));
    }
    return result;
}

/// What adapters can follow of a gradient, squares of norms.
struct AdapterParts {
    double both = 0.0;      ///< A and B trained
    double b_alone = 0.0;   ///< A frozen
    double gradient = 0.0;  ///< ||dW||², of all
};

/// Of an adapter s B A of rank r with random A and B = 0, which the first step turns into B ~ dW₁Aᵀ. While A is frozen
/// an update lies in {B' A}: dW Aᵀ(A Aᵀ)⁻¹A. Where both are trained it lies, once B has moved, in the tangent space of
/// B A (a random sketch of dW's range: Halko, Martinsson, Tropp 2011). B is found by the gradient dW₁ of the first
/// `half` rows and the parts are those of the gradient of the others, which nothing was fitted to; half = 0: of all.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] AdapterParts adapter_parts(ConstMatrixView<T> dy, ConstMatrixView<T> x, Index half, Index rank,
                                         RandomKey key, Memory& memory)
{
    const Index r = std::min({rank, dy.cols, x.cols});
    Tensor<T> right = workspace<T>(memory, x.cols, r);
    S::fill_normal(right.matrix(), key);
    linalg::orthonormalize_columns<S, T>(right.matrix(), memory);
    const Index first = half > 0 ? half : x.rows;
    Tensor<T> left = workspace<T>(memory, dy.cols, r);
    {
        const Tensor<T> inner = detail::product<S, T>(x.row_block(0, first), std::as_const(right).matrix(), memory);
        S::multiply(left.matrix(), T(1), dy.row_block(0, first).transposed(), inner.matrix(), T(0), memory);
    }
    linalg::orthonormalize_columns<S, T>(left.matrix(), memory);
    const auto rest_dy = dy.row_block(half, dy.rows - half);
    const auto rest_x = x.row_block(half, x.rows - half);
    AdapterParts parts;
    const std::vector<Index> ranks{r, 0};
    const auto found = tangent_parts<S, T>(rest_dy, rest_x, std::as_const(left).matrix(), std::as_const(right).matrix(),
                                           ranks, memory);
    parts.both = found[0];
    parts.gradient = found[1];
    const Tensor<T> inner = detail::product<S, T>(rest_x, std::as_const(right).matrix(), memory);
    parts.b_alone = detail::squared_product<S, T>(rest_dy, inner.matrix(), memory);
    return parts;
}

}  // namespace wasi::plan
