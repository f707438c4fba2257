#pragma once
#include <utility>

#include "wasi/linalg/factored.hpp"

namespace wasi::subspace {

using linalg::FactorGradients;

/// The gradients of the two factors of W = L R, L (O,K), R (K,I), from a factored gradient dW = P Qᵀ of rank r:
///
///     dL = beta dL + alpha P (QᵀRᵀ)     (O,K)
///     dR = beta dR + alpha (LᵀP) Qᵀ     (K,I)
///
/// dW is not formed. 4 (O + I) K r flops, a workspace of 2 K r. Throws shape_error unless all shapes fit.
template <class S, Scalar T>
requires StorageFor<S, T>
void add_partial_gradients(MatrixView<T> d_left, MatrixView<T> d_right, T beta, T alpha, ConstMatrixView<T> left,
                           ConstMatrixView<T> right, const linalg::Factored<T>& gradient, Memory& memory)
{
    require<shape_error>(
        gradient.p.rows == left.rows && gradient.q.rows == right.cols && gradient.p.cols == gradient.q.cols &&
            d_left.shape() == left.shape() && d_right.shape() == right.shape() && left.cols == right.rows,
        "partial gradients: P ", shape_text(gradient.p.shape()), " Qᵀ, Q ", shape_text(gradient.q.shape()),
        " does not fit L ", shape_text(left.shape()), " and R ", shape_text(right.shape()));
    Tensor<T> onto_right = workspace<T>(memory, gradient.rank(), right.rows);  // QᵀRᵀ
    Tensor<T> onto_left = workspace<T>(memory, left.cols, gradient.rank());    // LᵀP
    S::multiply(onto_right.matrix(), T(1), gradient.q.transposed(), right.transposed(), T(0), memory);
    S::multiply(onto_left.matrix(), T(1), left.transposed(), gradient.p, T(0), memory);
    S::multiply(d_left, alpha, gradient.p, std::as_const(onto_right).matrix(), beta, memory);
    S::multiply(d_right, alpha, std::as_const(onto_left).matrix(), gradient.q.transposed(), beta, memory);
}

}  // namespace wasi::subspace
