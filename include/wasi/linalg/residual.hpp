#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

/// What an approximation misses: measured where the matrix is at hand, bounded where it is only known by its products.
namespace wasi::linalg {

namespace detail {

/// to = from in double, columns scaled by `scale` where there are any.
template <class S, Scalar T>
void widen_columns(MatrixView<double> to, ConstMatrixView<T> from, std::span<const T> scale)
{
    if constexpr (sizeof(T) == sizeof(double)) {
        S::copy(to, from);
    } else {
        S::convert(to, from);
    }
    for (std::size_t j = 0; j < scale.size(); ++j) {
        const auto column = to.col_block(static_cast<Index>(j), 1);
        S::add_scaled(column, static_cast<double>(scale[j]), 0.0, ConstMatrixView<double>(column));
    }
}

/// ||A - P diag(s) Qᵀ||_F for A (m,n), P (m,k), Q (n,k), by blocks of rows in double. An empty s is all ones.
template <class S, Scalar T>
[[nodiscard]] double residual_of_rows(ConstMatrixView<T> a, ConstMatrixView<T> p, std::span<const T> s,
                                      ConstMatrixView<T> q, Memory& memory)
{
    constexpr Index height = 256;
    const Index most = std::min(height, a.rows);
    Tensor<double> right = workspace<double>(memory, a.cols, q.cols);  // (n,k)
    Tensor<double> left = workspace<double>(memory, most, p.cols);     // (block,k)
    Tensor<double> rest = workspace<double>(memory, most, a.cols);     // (block,n)
    widen_columns<S, T>(right.matrix(), q, {});
    double sum = 0.0;
    for (Index first = 0; first < a.rows; first += height) {
        const Index rows = std::min(height, a.rows - first);
        const auto block = rest.matrix().row_block(0, rows);
        const auto part = left.matrix().row_block(0, rows);
        widen_columns<S, T>(block, a.row_block(first, rows), {});
        widen_columns<S, T>(part, p.row_block(first, rows), s);
        S::multiply(block, -1.0, ConstMatrixView<double>(part), std::as_const(right).matrix().transposed(), 1.0,
                    memory);
        sum += S::dot(ConstMatrixView<double>(block), block);
    }
    return std::sqrt(sum);
}

/// P(X <= x) for X of the chi-squared law with `freedom` degrees: the series of the lower incomplete gamma function.
[[nodiscard]] inline double chi_squared_below(double x, double freedom)
{
    const double shape = freedom / 2.0;
    const double y = x / 2.0;
    double term = 1.0;
    double sum = 1.0;
    for (int k = 1; k < 500 && term > 1e-17 * sum; ++k) {
        term *= y / (shape + k);
        sum += term;
    }
    return std::exp(shape * std::log(y) - y - std::lgamma(shape + 1.0)) * sum;
}

}  // namespace detail

/// How much larger than its estimate ||B Ω||_F² / p from p Gaussian vectors a squared Frobenius norm ||B||_F² can be,
/// except with probability `failure`: p / x with P(chi²_p <= x) = failure. The estimate is a sum of sigma_i² chi²_p(i)
/// / p, whose lower tail is the heaviest when there is one sigma; so the factor holds for every B. 8 vectors and 1e-6:
/// 56; 16: 11; 32: 4.5. By bisection.
[[nodiscard]] inline double norm_bound_factor(Index vectors, double failure)
{
    const auto freedom = static_cast<double>(vectors);
    double low = std::log(1e-300);
    double high = std::log(freedom);
    for (int i = 0; i < 100; ++i) {
        const double middle = 0.5 * (low + high);
        (detail::chi_squared_below(std::exp(middle), freedom) < failure ? low : high) = middle;
    }
    return freedom / std::exp(low);
}

}  // namespace wasi::linalg
