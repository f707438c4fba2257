#pragma once
#include <cmath>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

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

/// ||P Qᵀ||_F². With orthonormal Q it is ||P||²; else the sum of the elementwise product of PᵀP and QᵀQ, 2 (m+n) r²
/// flops.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] double squared_norm(const Factored<T>& m, Memory& memory)
{
    if (m.q_orthonormal) {
        return S::dot(m.p, m.p);
    }
    Tensor<T> left = workspace<T>(memory, m.rank(), m.rank());
    Tensor<T> right = workspace<T>(memory, m.rank(), m.rank());
    S::multiply(left.matrix(), T(1), m.p.transposed(), m.p, T(0), memory);
    S::multiply(right.matrix(), T(1), m.q.transposed(), m.q, T(0), memory);
    return S::dot(left.matrix(), right.matrix());
}

}  // namespace wasi::linalg
