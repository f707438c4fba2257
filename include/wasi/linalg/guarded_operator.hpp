#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/storage/scale.hpp"

namespace wasi::linalg::detail {

/// An operator that is a matrix at hand: what it returns is as good as the matrix, which was looked at.
template <class Operator>
inline constexpr bool has_matrix = requires(const Operator& a)
{
    a.dense();
};

/// An operator as algorithms see it: 2^-exponent A, so that numbers of any size are ordinary ones inside, with each
/// result looked at when it comes back. A matrix at hand is not looked at again. Counts the passes. A view.
template <class S, Scalar T, class Operator>
class GuardedOperator {
public:
    GuardedOperator(const Operator& a, std::string_view who, int exponent = 0) : a_(&a), who_(who)
    {
        set_exponent(exponent);
    }

    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }
    [[nodiscard]] int exponent() const { return exponent_; }
    [[nodiscard]] Index passes() const { return passes_; }
    [[nodiscard]] std::string_view who() const { return who_; }
    [[nodiscard]] const Operator& inner() const { return *a_; }
    void set_exponent(int exponent)
    {
        exponent_ = exponent;
        // Half before the product and half after: neither the argument nor the result leaves the type on its way.
        before_ = static_cast<T>(power_of_two(-(exponent / 2)));
        after_ = static_cast<T>(power_of_two(-(exponent - exponent / 2)));
    }

    /// Y = 2^-exponent A X. Throws argument_error where that is not finite.
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        product(
            y, x, memory, [&](ConstMatrixView<T> from) { a_->apply(y, from, memory); }, "A");
    }
    /// Y = 2^-exponent Aᵀ X
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        product(
            y, x, memory, [&](ConstMatrixView<T> from) { a_->apply_adjoint(y, from, memory); }, "the transpose of A");
    }

    /// Y = A X with the exponent that suits what comes out: the first product of an operator of unknown size.
    void apply_first(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory)
    {
        if constexpr (has_matrix<Operator>) {
            apply(y, x, memory);
        } else {
            a_->apply(y, x, memory);
            ++passes_;
            const double largest = S::largest(ConstMatrixView<T>(y));
            if (!std::isfinite(largest)) {
                // Finite elements near the end of the type have infinite sums. Products with small numbers tell: they
                // must come out as large as that.
                set_exponent(scale_exponent<T>(static_cast<double>(std::numeric_limits<T>::max())));
                apply(y, x, memory);
                const double true_size = std::log2(S::largest(ConstMatrixView<T>(y))) + exponent_;
                require_numbers(true_size >= std::numeric_limits<T>::max_exponent - 3, "A");
                return;
            }
            const int suited = scale_exponent<T>(largest);
            if (suited != 0) {
                set_exponent(suited);
                S::add_scaled(y, T(0), static_cast<T>(power_of_two(-suited)), ConstMatrixView<T>(y));
            }
        }
    }

    /// Throws argument_error unless <A x, y> = <x, Aᵀ y> for the columns of X and Y, of which `image` = A X and `back`
    /// = Aᵀ Y are at hand. Rounding separates the two by some epsilon ||A x||, more where an operator's sums cancel;
    /// another matrix's transpose by about ||A - B||_F times a normal number. A limit of the cube root of epsilon lets
    /// one such number in two hundred pass in float, and four of them in a billion.
    void check_adjoint(ConstMatrixView<T> x, ConstMatrixView<T> image, ConstMatrixView<T> y,
                       ConstMatrixView<T> back) const
    {
        for (Index j = 0; j < x.cols; ++j) {
            const auto forward = image.col_block(j, 1);
            const auto backward = back.col_block(j, 1);
            const double left = S::dot(forward, y.col_block(j, 1));
            const double right = S::dot(x.col_block(j, 1), backward);
            const double size = std::sqrt(S::dot(forward, forward)) + std::sqrt(S::dot(backward, backward));
            require<argument_error>(std::abs(left - right) <= std::cbrt(static_cast<double>(epsilon<T>)) * size, who_,
                                    ": apply_adjoint is not the transpose of apply: <A x, y> is ", left,
                                    " and <x, Aᵀ y> is ", right, " for the same x and y");
        }
    }

private:
    void require_numbers(bool finite, const char* what) const
    {
        require<argument_error>(finite, who_, ": ", what, " applied to finite vectors gave NaN or infinity");
    }

    template <class Product>
    void product(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory, Product&& multiply, const char* what) const
    {
        ++passes_;
        if (exponent_ == 0) {
            multiply(x);
        } else {
            Tensor<T> scaled = workspace<T>(memory, x.rows, x.cols);
            S::add_scaled(scaled.matrix(), T(0), before_, x);
            multiply(std::as_const(scaled).matrix());
            S::add_scaled(y, T(0), after_, ConstMatrixView<T>(y));
        }
        if constexpr (!has_matrix<Operator>) {
            require_numbers(S::all_finite(ConstMatrixView<T>(y)), what);
        }
    }

    const Operator* a_;
    std::string_view who_;
    int exponent_ = 0;
    T before_ = T(1);
    T after_ = T(1);
    mutable Index passes_ = 0;
};

}  // namespace wasi::linalg::detail
