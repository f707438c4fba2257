#pragma once
#include <cmath>
#include <optional>
#include <utility>

#include "wasi/linalg/ordinary_size.hpp"

namespace wasi::subspace {

/// D (O,K) = (1 - L Lᵀ) dL (R Rᵀ)⁻¹, how L moves along the tangent space of rank-K matrices at L R for the partial
/// gradient dL = dW Rᵀ (O,K); L (O,K) orthonormal, R (K,I). R Rᵀ is damped by epsilon tr(R Rᵀ), and more until Cholesky
/// succeeds: it squares the condition of R, and rows of R may be zero; they get no step. The size of R does not matter
/// (squares that would leave T are taken of 2^k R), that of dL does: it is of the size of dW times R, and what of it
/// lies below the smallest normal number is lost before it comes here. Throws argument_error on NaN or infinity in R.
/// 4 O K² + 2 I K² + 2 O K² + K³/3 flops, the first 4 O K² only where dL is not `outside` of span(L) already. Shapes
/// are the caller's business.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> tangent_direction(ConstMatrixView<T> left, ConstMatrixView<T> right, ConstMatrixView<T> d_left,
                                          Memory& memory, bool outside = false)
{
    const Index k = left.cols;
    Tensor<T> square = workspace<T>(memory, k, k);
    Tensor<T> direction = workspace<T>(memory, left.rows, k);
    S::copy(direction.matrix(), d_left);
    if (!outside) {
        S::multiply(square.matrix(), T(1), left.transposed(), d_left, T(0), memory);
        S::multiply(direction.matrix(), T(-1), left, square.matrix(), T(1), memory);
    }
    // Damped until Cholesky succeeds: R Rᵀ squares the condition of R, and rows of R may be zero. Where the squares
    // leave T, of 2^shift R.
    double trace = S::dot(right, right);
    int shift = 0;
    std::optional<linalg::detail::ScaledCopy<S, T>> scaled;
    if (!linalg::detail::is_ordinary<T>(trace * trace)) {
        const double largest = S::largest(right);
        require<argument_error>(std::isfinite(largest), "WeightSubspace: R ", shape_text(right.shape()),
                                " holds NaN or infinity");
        shift = linalg::detail::ordinary_shift<T>(largest);
        if (shift != 0) {
            scaled.emplace(right, shift, memory);
            trace = S::dot(scaled->matrix(), scaled->matrix());
        }
    }
    const ConstMatrixView<T> r = scaled ? scaled->matrix() : right;
    if (trace == 0.0) {
        S::fill(direction.matrix(), T(0));
        return direction;
    }
    T damping = static_cast<T>(static_cast<double>(epsilon<T>) * trace);
    for (bool solved = false; !solved; damping *= T(10)) {
        require<argument_error>(std::isfinite(damping), "WeightSubspace: R Rᵀ of R ", shape_text(right.shape()),
                                " overflows");
        S::multiply(square.matrix(), T(1), r, r.transposed(), T(0), memory);
        S::add_constant(square.matrix().diagonal(), damping);
        solved = S::solve_spd(square.matrix(), direction.matrix().transposed(), memory);
    }
    if (shift != 0) {
        linalg::detail::scale_to<S, T>(direction.matrix(), std::as_const(direction).matrix(), 2 * shift);
    }
    return direction;
}

}  // namespace wasi::subspace
