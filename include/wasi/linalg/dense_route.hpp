#pragma once
#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "wasi/linalg/guarded_operator.hpp"
#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg::detail {

/// What an operator takes as a matrix.
template <Scalar T, class Operator>
[[nodiscard]] std::size_t dense_bytes(const Operator& a)
{
    return static_cast<std::size_t>(a.rows()) * static_cast<std::size_t>(a.cols()) * sizeof(T);
}

/// body(guarded, squared norm) for a matrix at hand, after one look at its numbers. Both are of 2^-e A, where e is not
/// 0 only for numbers far from 1. Throws argument_error on NaN or infinity.
template <class S, Scalar T, class Body>
[[nodiscard]] auto with_scaled_operator(ConstMatrixView<T> a, std::string_view who, Memory& memory, Body&& body)
{
    double total = S::dot(a, a);
    int exponent = 0;
    // The largest element is between the root mean square and the norm: for ordinary sizes that is known already.
    const double mean = std::sqrt(total / static_cast<double>(a.size()));
    if (!std::isnormal(total) || scale_exponent<T>(mean) != 0 || scale_exponent<T>(std::sqrt(total)) != 0) {
        const double largest = S::largest(a);
        require<argument_error>(std::isfinite(largest), who, ": a ", shape_text(a.shape()), " holds NaN or infinity");
        exponent = scale_exponent<T>(largest);
        if (exponent != 0) {
            total = scaled_energy<S, T>(a, -exponent, memory);
        }
    }
    const MatrixOperator<S, T> map(a, total);
    GuardedOperator<S, T, MatrixOperator<S, T>> guarded(map, who, exponent);
    return body(guarded, total);
}

/// ||2^-exponent A||_F² of an operator that says its norm, unless the square has left double; else -1.
template <class S, Scalar T, class Operator>
[[nodiscard]] double known_squared_norm(const GuardedOperator<S, T, Operator>& a)
{
    if constexpr (requires { a.inner().squared_norm(0); }) {
        return a.inner().squared_norm(a.exponent());
    } else if constexpr (requires { a.inner().squared_norm(); }) {
        const double value = a.inner().squared_norm();
        require<argument_error>(!std::isnan(value) && value >= 0.0, a.who(), ": squared_norm() is ", value);
        const double scaled = std::ldexp(value, -2 * a.exponent());
        return std::isnormal(value) && std::isnormal(scaled) ? scaled : -1.0;
    } else {
        return -1.0;
    }
}

/// The dense SVD of an operator: of the matrix behind it where there is one, else of A applied to the identity, in
/// blocks. Throws budget_error where that matrix would have more bytes than `limit`.
template <class S, Scalar T, class Operator>
[[nodiscard]] SvdFactors<T> dense_svd(const GuardedOperator<S, T, Operator>& a, const TruncatedSvdOptions& options,
                                      std::size_t limit, Memory& memory)
{
    if constexpr (has_matrix<Operator>) {
        return truncated_svd<S, T>(a.inner().dense(), options, memory);
    } else {
        require<budget_error>(dense_bytes<T>(a) <= limit, a.who(),
                              ": this rule needs every singular value, and an operator (", a.rows(), ", ", a.cols(),
                              ") as a matrix takes ", dense_bytes<T>(a), " bytes; memory_limit is ", limit);
        // Along the shorter side: fewer products.
        const bool by_columns = a.cols() <= a.rows();
        const Index count = by_columns ? a.cols() : a.rows();
        const Index length = by_columns ? a.rows() : a.cols();
        constexpr Index block = 256;
        Tensor<T> matrix = workspace<T>(memory, a.rows(), a.cols());
        for (Index first = 0; first < count; first += block) {
            const Index columns = std::min(block, count - first);
            Tensor<T> unit = workspace<T>(memory, count, columns);
            Tensor<T> image = workspace<T>(memory, length, columns);
            S::fill(unit.matrix(), T(0));
            S::fill(unit.matrix().row_block(first, unit.shape()[1]).diagonal(), T(1));
            if (by_columns) {
                a.apply(image.matrix(), std::as_const(unit).matrix(), memory);
                S::copy(matrix.matrix().col_block(first, columns), image.matrix());
            } else {
                a.apply_adjoint(image.matrix(), std::as_const(unit).matrix(), memory);
                S::copy(matrix.matrix().row_block(first, columns), image.matrix().transposed());
            }
        }
        SvdFactors<T> result = truncated_svd<S, T>(std::as_const(matrix).matrix(), options, memory);
        rescale(result, a.exponent(), a.who());
        result.info.passes = 1;
        return result;
    }
}

}  // namespace wasi::linalg::detail
