#pragma once
#include <cmath>
#include <utility>

#include "wasi/linalg/ordinary_size.hpp"

namespace wasi::linalg {

/// A matrix as a product, M = P Qᵀ with P (m,r) and Q (n,r); never multiplied out. A view: it lives while its owner
/// does.
template <Scalar T>
struct Factored {
    ConstMatrixView<T> p;
    ConstMatrixView<T> q;
    bool q_orthonormal = false;  // QᵀQ = 1, so that ||M||_F = ||P||_F

    [[nodiscard]] Index rows() const { return p.rows; }
    [[nodiscard]] Index cols() const { return q.rows; }
    [[nodiscard]] Index rank() const { return p.cols; }
};

/// The two partial gradients of W = L R: d_left = dW Rᵀ (O,K) and d_right = Lᵀ dW (K,I). They are all that a step along
/// the manifold of rank-K matrices needs, and unlike dW they are small and add up over micro-batches. A view.
template <Scalar T>
struct FactorGradients {
    ConstMatrixView<T> d_left;
    ConstMatrixView<T> d_right;
};

namespace detail {

/// AᵀA as a workspace.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> square_of(ConstMatrixView<T> a, Memory& memory)
{
    Tensor<T> square = workspace<T>(memory, a.cols, a.cols);
    S::multiply(square.matrix(), T(1), a.transposed(), a, T(0), memory);
    return square;
}

/// AᵀA of 2^k A. k becomes what A needs if AᵀA leaves T, else 0.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> ordinary_square(int& k, ConstMatrixView<T> a, Memory& memory)
{
    k = 0;
    Tensor<T> square = square_of<S, T>(a, memory);
    if (!is_ordinary<T>(S::dot(std::as_const(square).matrix(), square.matrix()))) {
        k = ordinary_shift<T>(S::largest(a));
        if (k != 0) {
            square = square_of<S, T>(ScaledCopy<S, T>(a, k, memory).matrix(), memory);
        }
    }
    return square;
}

}  // namespace detail

/// ||P Qᵀ||_F². With orthonormal Q it is ||P||²; else the sum of the elementwise product of PᵀP and QᵀQ, 2 (m+n) r²
/// flops. P and Q may be of any size that T holds; the result is a double, which the square of a double may leave.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] double squared_norm(const Factored<T>& m, Memory& memory)
{
    if (m.q_orthonormal) {
        return S::dot(m.p, m.p);
    }
    int k_of_p = 0;
    int k_of_q = 0;
    const Tensor<T> left = detail::ordinary_square<S, T>(k_of_p, m.p, memory);
    const Tensor<T> right = detail::ordinary_square<S, T>(k_of_q, m.q, memory);
    return std::ldexp(S::dot(left.matrix(), right.matrix()), -2 * (k_of_p + k_of_q));
}

}  // namespace wasi::linalg
