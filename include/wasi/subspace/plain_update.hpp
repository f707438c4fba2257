#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/linalg/decay.hpp"
#include "wasi/linalg/factored.hpp"
#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/orthonormalize.hpp"

namespace wasi::subspace {

namespace detail {

/// The shift that brings alpha R - step P Qᵀ to ordinary size, by the larger of the two terms; 0 where both are zero.
template <class S, Scalar T>
[[nodiscard]] int step_shift(ConstMatrixView<T> right, T step, T alpha, const linalg::Factored<T>& gradient)
{
    constexpr int none = -10000;
    const auto exponent_of = [](double x) { return x > 0.0 && std::isfinite(x) ? std::ilogb(x) + 1 : none; };
    const int held = exponent_of(std::abs(static_cast<double>(alpha))) + exponent_of(S::largest(right));
    const int moved = exponent_of(std::abs(static_cast<double>(step))) + exponent_of(S::largest(gradient.p)) +
                      exponent_of(S::largest(gradient.q));
    const int exponent = std::max(held, moved);
    if (exponent < none / 2) {
        return 0;
    }
    // From the smallest to the largest double.
    return linalg::detail::ordinary_shift<T>(std::ldexp(0.5, std::clamp(exponent, -1060, 1024)));
}

/// L+ into `left` and L+ᵀ W+ into `new_right`, which may be `right`. With `look`: where W+ W+ᵀ L leaves T, changes
/// nothing and returns the shift that W+ needs. 0 otherwise.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] int plain_sweep(MatrixView<T> left, MatrixView<T> new_right, ConstMatrixView<T> right, T step, T shrink,
                              const linalg::Factored<T>& gradient, bool look, Memory& memory)
{
    const Index r = gradient.rank();
    const Index k = left.cols;
    const T alpha = T(1) - shrink;  // of what spans L+ alone: in R+ the rounding of a small shrink would add up
    Tensor<T> small = workspace<T>(memory, r, k);  // PᵀL, then QᵀZ
    Tensor<T> square = workspace<T>(memory, k, k);
    Tensor<T> z = workspace<T>(memory, right.cols, k);
    S::multiply(small.matrix(), T(1), gradient.p.transposed(), left, T(0), memory);
    S::copy(z.matrix(), right.transposed());
    S::multiply(z.matrix(), -step, gradient.q, small.matrix(), alpha, memory);

    Tensor<T> fresh = workspace<T>(memory, left.rows, k);
    S::multiply(square.matrix(), T(1), right, z.matrix(), T(0), memory);
    S::multiply(small.matrix(), T(1), gradient.q.transposed(), z.matrix(), T(0), memory);
    S::multiply(fresh.matrix(), alpha, left, square.matrix(), T(0), memory);
    S::multiply(fresh.matrix(), -step, gradient.p, small.matrix(), T(1), memory);
    const auto fresh_left = std::as_const(fresh).matrix();
    if (look && !linalg::detail::is_ordinary<T>(S::dot(fresh_left, fresh_left))) {
        if (const int shift = step_shift<S, T>(right, step, alpha, gradient); shift != 0) {
            return shift;
        }
    }
    linalg::orthonormalize_columns<S, T>(fresh.matrix(), memory);

    Tensor<T> fresh_right = workspace<T>(memory, k, right.cols);
    Tensor<T> coefficients = workspace<T>(memory, k, r);  // L+ᵀP
    S::multiply(square.matrix(), T(1), fresh_left.transposed(), left, T(0), memory);
    S::multiply(coefficients.matrix(), T(1), fresh_left.transposed(), gradient.p, T(0), memory);
    S::multiply(fresh_right.matrix(), T(1), square.matrix(), right, T(0), memory);
    linalg::decay<S>(fresh_right.matrix(), shrink);
    S::multiply(fresh_right.matrix(), -step, coefficients.matrix(), gradient.q.transposed(), T(1), memory);
    S::copy(left, fresh_left);
    S::copy(new_right, std::as_const(fresh_right).matrix());
    return 0;
}

}  // namespace detail

/// One warm step L R <- the projection of W+ = (1 - shrink) L R - step P Qᵀ on its next subspace, in the plain form of
/// WeightSubspace::update: Z = W+ᵀ L, Y = W+ Z, L+ = orth(Y), R+ = L+ᵀ W+. L (O,K) and R (K,I) change in place; W+ is
/// not formed. The size of W+ does not matter: where Y, of its square, leaves T, the step is computed anew of
/// 2^k W+ and R+ brought back, at twice the cost and with copies of R, P and Q as workspace. 2^k W and 2^k P give the
/// bits of W and P, as in linalg::subspace_step. Cost: plain_update_flops; workspace (2 O + 2 I) K. Shapes are the
/// caller's business.
template <class S, Scalar T>
requires StorageFor<S, T>
void plain_update(MatrixView<T> left, MatrixView<T> right, T step, T shrink, const linalg::Factored<T>& gradient,
                  Memory& memory)
{
    const int shift = detail::plain_sweep<S, T>(left, right, right, step, shrink, gradient, true, memory);
    if (shift == 0) {
        return;
    }
    // P and Q get sizes of their own: their product may be ordinary where they are not.
    using linalg::detail::ordinary_shift;
    using linalg::detail::ScaledCopy;
    const int p_shift = ordinary_shift<T>(S::largest(gradient.p));
    const int q_shift = ordinary_shift<T>(S::largest(gradient.q));
    const ScaledCopy<S, T> p(gradient.p, p_shift, memory);
    const ScaledCopy<S, T> q(gradient.q, q_shift, memory);
    const ScaledCopy<S, T> r(right, shift, memory);
    const auto scaled_step = static_cast<T>(std::ldexp(static_cast<double>(step), shift - p_shift - q_shift));
    static_cast<void>(detail::plain_sweep<S, T>(left, right, r.matrix(), scaled_step, shrink, {p.matrix(), q.matrix()},
                                                false, memory));
    linalg::detail::scale_to<S, T>(right, right, -shift);
}

}  // namespace wasi::subspace
