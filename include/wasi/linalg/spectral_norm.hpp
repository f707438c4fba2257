#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/dense_route.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/linalg/orthonormalize.hpp"

namespace wasi::linalg {

struct SpectralNormOptions {
    /// Random starts. More of them make the interval narrower for the same probability; eight go through a product for
    /// little more than one.
    Index vectors = 8;
    /// Stop once upper <= (1 + accuracy) lower.
    double accuracy = 0.1;
    /// The probability that the norm is above `upper`.
    double failure = 1e-9;
    /// Applications of A and Aᵀ at most; the interval holds all the same, it is only wider.
    Index max_iterations = 200;
};

/// lower <= ||A||_2 <= upper, but for rounding: the lower end always, the upper one except with probability `failure`.
struct SpectralNorm {
    double lower = 0.0;
    double upper = 0.0;
    double failure = 0.0;
    Status status = Status::ok;  ///< not_converged: max_iterations came before the accuracy
    Index iterations = 0;
    Index passes = 0;

    /// The middle of the interval, in proportion.
    [[nodiscard]] double estimate() const { return std::sqrt(lower) * std::sqrt(upper); }
};

namespace detail {

template <class S, Scalar T, class Operator>
[[nodiscard]] SpectralNorm spectral_norm(GuardedOperator<S, T, Operator>& a, const SpectralNormOptions& options,
                                         RandomKey key, Memory& memory)
{
    const Index count = options.vectors;
    Tensor<T> x = workspace<T>(memory, a.cols(), count);  // (AᵀA)^q ω, columns of length 1
    Tensor<T> y = workspace<T>(memory, a.rows(), count);
    S::fill_normal(x.matrix(), key);
    // What is divided out of a column, as a logarithm: the length that the power of A gave it.
    std::vector<double> grown(static_cast<std::size_t>(count), 0.0);
    const double spread =
        std::log(options.failure) / -static_cast<double>(count) + 0.5 * std::log(2.0 / std::numbers::pi);
    SpectralNorm result;
    result.failure = options.failure;
    result.upper = std::numeric_limits<double>::infinity();
    /// The factor by which the longest column grew; columns get length 1 again. Zero where all of them vanish.
    const auto normalize = [&](Tensor<T>& block, double power) {
        double longest = 0.0;
        double most = -std::numeric_limits<double>::infinity();
        for (Index j = 0; j < count; ++j) {
            const auto column = block.matrix().col_block(j, 1);
            const double length = std::sqrt(S::dot(ConstMatrixView<T>(column), column));
            longest = std::max(longest, length);
            double& log = grown[static_cast<std::size_t>(j)];
            log += std::log(length);
            most = std::max(most, log);
            if (length > 0.0) {
                S::add_scaled(column, T(0), static_cast<T>(1.0 / length), ConstMatrixView<T>(column));
            }
        }
        if (power > 0.0) {
            result.upper = std::min(result.upper, std::exp((spread + most) / power));
        }
        return longest;
    };
    Tensor<T> start;
    if constexpr (!has_matrix<Operator>) {
        start = clone<S>(x, Tag{});
    }
    a.apply_first(y.matrix(), std::as_const(x).matrix(), memory);
    if constexpr (!has_matrix<Operator>) {
        // <A ω, A ω> = <ω, Aᵀ A ω>
        a.apply_adjoint(x.matrix(), std::as_const(y).matrix(), memory);
        const auto image = std::as_const(y).matrix();
        a.check_adjoint(std::as_const(start).matrix(), image, image, std::as_const(x).matrix());
    }
    if (normalize(y, 1.0) == 0.0) {
        result.upper = 0.0;  // A of random vectors is zero: A is
        result.passes = a.passes();
        return result;
    }
    double power = 1.0;
    for (result.iterations = 1;; ++result.iterations) {
        a.apply_adjoint(x.matrix(), std::as_const(y).matrix(), memory);
        result.lower = std::max(result.lower, normalize(x, ++power));
        if (result.upper <= (1.0 + options.accuracy) * result.lower) {
            break;
        }
        a.apply(y.matrix(), std::as_const(x).matrix(), memory);
        result.lower = std::max(result.lower, normalize(y, ++power));
        if (result.upper <= (1.0 + options.accuracy) * result.lower) {
            break;
        }
        if (result.iterations >= options.max_iterations) {
            result.status = Status::not_converged;
            break;
        }
    }
    result.upper = std::max(result.upper, result.lower);
    for (double* end : {&result.lower, &result.upper}) {
        *end = std::ldexp(*end, a.exponent());
    }
    result.passes = a.passes();
    return result;
}

inline void check_options(const SpectralNormOptions& options, Index rows, Index cols)
{
    require<shape_error>(rows > 0 && cols > 0, "spectral_norm: empty matrix (", rows, ", ", cols, ")");
    require<argument_error>(options.vectors >= 1, "spectral_norm: vectors is ", options.vectors);
    require<argument_error>(options.accuracy > 0.0, "spectral_norm: accuracy is ", options.accuracy);
    require<argument_error>(options.failure > 0.0 && options.failure < 1.0, "spectral_norm: failure is ",
                            options.failure);
    require<argument_error>(options.max_iterations >= 1, "spectral_norm: max_iterations is ", options.max_iterations);
}

}  // namespace detail

/// The largest singular value of a matrix or any linear operator, as an interval with a probability. Works on
/// DifferenceOperator, so ||A - P Qᵀ||_2 is had without forming the difference.
///
/// Method: r Gaussian vectors ω_i go through A, AᵀA, A AᵀA, ... (the power method). Lower end: ||A x|| for unit x.
/// Upper end: for any B, ||B||_2 <= alpha sqrt(2/pi) max_i ||B ω_i|| except with probability alpha^-r (Halko,
/// Martinsson, Tropp 2011, lemma 4.1; Dixon 1983), here for the p-th power of A, of which the p-th root is taken:
/// alpha^(1/p) tends to 1, and no gap in the spectrum is needed. With 8 vectors, failure 1e-9 and no start at all, some
/// 25 products give 10 per cent. Throws argument_error on NaN or infinity, an apply_adjoint that is not the transpose,
/// options out of range; shape_error on an empty A. Cost 2 mn r flops a product; workspace (m + n) r. Example:
/// examples/operator_svd.cpp
template <class S, Scalar T, class Operator>
requires StorageFor<S, T> && LinearOperator<Operator, T>
[[nodiscard]] SpectralNorm spectral_norm(const Operator& a, const SpectralNormOptions& options, RandomKey key,
                                         Memory& memory)
{
    detail::check_options(options, a.rows(), a.cols());
    int exponent = 0;
    if constexpr (requires { a.largest(); }) {
        exponent = scale_exponent<T>(a.largest());
    }
    detail::GuardedOperator<S, T, Operator> guarded(a, "spectral_norm", exponent);
    return detail::spectral_norm<S, T, Operator>(guarded, options, key, memory);
}

/// The same for a matrix.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SpectralNorm spectral_norm(ConstMatrixView<T> a, const SpectralNormOptions& options, RandomKey key,
                                         Memory& memory)
{
    detail::check_options(options, a.rows, a.cols);
    return detail::with_scaled_operator<S, T>(a, "spectral_norm", memory, [&](auto& guarded, double) {
        return detail::spectral_norm<S, T>(guarded, options, key, memory);
    });
}

/// What is no matrix of float or double, and a call without a key, is refused when compiling, with one sentence.
SpectralNorm spectral_norm(wasi::detail::NotAMatrix a, RandomKey key, const SpectralNormOptions& options = {},
                           Memory& memory = plain_memory());
SpectralNorm spectral_norm(wasi::detail::WithoutKey a, const SpectralNormOptions& options = {});
SpectralNorm spectral_norm(wasi::detail::Anything a, wasi::detail::NotAKey key, const SpectralNormOptions& options = {},
                           Memory& memory = plain_memory());

/// The same for a user's matrix.
template <MatrixLike A>
[[nodiscard]] SpectralNorm spectral_norm(const A& a, RandomKey key, const SpectralNormOptions& options = {},
                                         Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        return spectral_norm<typename F::Storage, typename F::Scalar>(view, options, key, memory);
    });
}

WASI_COMPILED(WASI_LINALG_SPECTRAL_NORM)

}  // namespace wasi::linalg
