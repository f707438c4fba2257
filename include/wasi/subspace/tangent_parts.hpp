#pragma once
#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/factored.hpp"

/// How much of a gradient a weight of low rank can follow.
namespace wasi::subspace {

/// ||PᵀQ||² of P (m,a) and Q (m,b): of the product where it is the smaller, else linalg::squared_norm of it as factors,
/// so that no gradient of a large weight is ever formed. 2 m a b flops, or 2 m² (a + b).
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] double squared_product(ConstMatrixView<T> p, ConstMatrixView<T> q, Memory& memory)
{
    if (p.cols * q.cols > 2 * p.rows * p.rows) {
        return linalg::squared_norm<S, T>(linalg::Factored<T>{p.transposed(), q.transposed()}, memory);
    }
    Tensor<T> product = workspace<T>(memory, p.cols, q.cols);
    S::multiply(product.matrix(), T(1), p.transposed(), q, T(0), memory);
    return S::dot(std::as_const(product).matrix(), std::as_const(product).matrix());
}

/// Of dW = dYᵀX, dY (m,O), X (m,I), the square of the part that lies in the tangent space of the matrices of rank K at
/// one with the column space of L (O,K) and the row space of Rᵀ (I,K), both orthonormal (Koch and Lubich 2007):
///
///     ||P_T dW||² = ||LᵀdW||² + ||(1 - L Lᵀ) dW Rᵀ||²,   P_T dW = L LᵀdW + (1 - L Lᵀ) dW RᵀR
///
/// for each K of `ranks`, by the leading K columns; rank 0 stands for a full matrix, which can follow all. dW is not
/// formed where m is small. 2 m (O + I) K flops and for each rank 2 m O K and at most 2 m² (O + I + 2 K); a workspace
/// of m (O + 2 K).
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] std::vector<double> tangent_parts(ConstMatrixView<T> dy, ConstMatrixView<T> x, ConstMatrixView<T> left,
                                                ConstMatrixView<T> right, std::span<const Index> ranks, Memory& memory)
{
    Tensor<T> through_left = workspace<T>(memory, dy.rows, left.cols);  // dY L
    S::multiply(through_left.matrix(), T(1), dy, left, T(0), memory);
    Tensor<T> through_right = workspace<T>(memory, x.rows, right.cols);  // X Rᵀ
    S::multiply(through_right.matrix(), T(1), x, right, T(0), memory);
    Tensor<T> outside = workspace<T>(memory, dy.rows, dy.cols);  // dY (1 - L Lᵀ)
    std::vector<double> result;
    for (const Index rank : ranks) {
        if (rank == 0) {
            result.push_back(squared_product<S, T>(dy, x, memory));
            continue;
        }
        const auto l = left.col_block(0, std::min(rank, left.cols));
        const auto a = std::as_const(through_left).matrix().col_block(0, l.cols);
        const auto b = std::as_const(through_right).matrix().col_block(0, std::min(rank, right.cols));
        S::copy(outside.matrix(), dy);
        S::multiply(outside.matrix(), T(-1), a, l.transposed(), T(1), memory);
        result.push_back(squared_product<S, T>(a, x, memory) +
                         squared_product<S, T>(std::as_const(outside).matrix(), b, memory));
    }
    return result;
}

}  // namespace wasi::subspace
