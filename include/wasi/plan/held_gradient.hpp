#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/subspace/tangent_parts.hpp"

/// How much of a gradient an adapter can follow.
namespace wasi::plan {

namespace detail {

template <class S, Scalar T>
[[nodiscard]] Tensor<T> product(ConstMatrixView<T> a, ConstMatrixView<T> b, Memory& memory)
{
    Tensor<T> result = workspace<T>(memory, a.rows, b.cols);
    S::multiply(result.matrix(), T(1), a, b, T(0), memory);
    return result;
}

}  // namespace detail

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
    const auto found = subspace::tangent_parts<S, T>(rest_dy, rest_x, std::as_const(left).matrix(),
                                                     std::as_const(right).matrix(), ranks, memory);
    parts.both = found[0];
    parts.gradient = found[1];
    const Tensor<T> inner = detail::product<S, T>(rest_x, std::as_const(right).matrix(), memory);
    parts.b_alone = subspace::squared_product<S, T>(rest_dy, inner.matrix(), memory);
    return parts;
}

}  // namespace wasi::plan
