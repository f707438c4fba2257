#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

#include "wasi/linalg/status.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/family.hpp"
#include "wasi/storage/scale.hpp"
#include "wasi/storage/tensor.hpp"

/// What a singular value decomposition returns, and what it says of itself.
namespace wasi::linalg {

/// Which way a decomposition was computed.
enum class Route { dense, randomized };

struct SvdInfo {
    Status status = Status::ok;
    Index rank = 0;
    /// sum of the kept s² over ||A||_F², in double; 1 for a zero matrix. 1 - captured_energy is a difference of sums:
    /// it says nothing about a relative error below 1e-8 (sqrt of double's epsilon), in float below 3e-4 times the
    /// error of the factors themselves. See residual_estimate.
    double captured_energy = 0.0;
    /// ||A - U diag(s) Vᵀ||_F, or an estimate of it that has no such floor: the dense route sums the discarded s², the
    /// randomized one applies what is left to random vectors, and where a rule asks for an error near rounding, the
    /// difference is formed and measured. Negative when it was not asked for.
    double residual_estimate = -1.0;
    /// ||A - U diag(s) Vᵀ||_F is at most this, but for rounding, except with probability bound_failure (0: certain).
    /// Negative where residual_estimate is.
    double residual_bound = -1.0;
    double bound_failure = 0.0;
    Index passes = 0;  ///< how often A was read
    Route route = Route::dense;
};

/// U (m,k), s (k), V (n,k) as booked tensors; s is the host's (host_row).
template <Scalar T>
struct SvdFactors {
    Tensor<T> u;
    Tensor<T> s;
    Tensor<T> v;
    SvdInfo info;
};

/// U, s, V in the types of the matrix they came from.
template <class Matrix, class Vector>
struct Svd {
    Matrix u;
    Vector s;
    Matrix v;
    SvdInfo info;
};

namespace detail {

/// Singular values at or below this are rounding, not data. Rounding every element of A (m,n) to epsilon moves the
/// values by epsilon ||A||_F / sqrt(longer side) or so, and the decompositions here, whose sums are in double or over
/// thin blocks, add some epsilon ||A||_F; that is at most sqrt(shorter side) epsilon s_1. The longer side has no part
/// in it: a floor of max(m,n) epsilon s_1, as is usual, would take the values of a float matrix of a million rows for
/// rounding.
template <Scalar T>
[[nodiscard]] double rounding_floor(Index rows, Index cols, std::span<const double> values)
{
    return values.empty() ? 0.0
                          : 4.0 * std::sqrt(static_cast<double>(std::min(rows, cols))) *
                                static_cast<double>(epsilon<T>) * values[0];
}

/// What rounding of U, s and V adds to the error of U diag(s) Vᵀ, as a share of ||A||_F. Float is computed in double
/// and rounded once; in double the orthogonal factors carry the rounding of the reflections and rotations that they are
/// products of (the largest seen over 6,000 matrices: 90 epsilon; bench/rules).
template <Scalar T>
inline constexpr double factor_rounding = (sizeof(T) < sizeof(double) ? 8.0 : 128.0) * static_cast<double>(epsilon<T>);

/// A rule that allows an error below this share of ||A||_F is near enough to rounding for the error to be measured.
template <Scalar T>
inline constexpr double measured_below = 4096.0 * static_cast<double>(epsilon<T>);

/// Sets captured energy and status once a rule has chosen. `wanted` is what the rule asked for.
template <Scalar T>
void account(SvdFactors<T>& factors, double total, Index wanted)
{
    double kept = 0.0;
    for (const T value : factors.s.span()) {
        kept += static_cast<double>(value) * static_cast<double>(value);
    }
    factors.info.rank = factors.s.size();
    factors.info.captured_energy = total > 0.0 ? std::min(1.0, kept / total) : 1.0;
    if (factors.info.rank < wanted && factors.info.status == Status::ok) {
        factors.info.status = Status::rank_limit;
    }
}

/// Singular values and errors of a matrix that was scaled by 2^-exponent. Throws argument_error where a value leaves
/// the type.
template <Scalar T>
void rescale(SvdFactors<T>& factors, int exponent, std::string_view who)
{
    if (exponent == 0) {
        return;
    }
    for (T& value : factors.s.span()) {
        value = std::ldexp(value, exponent);
        require<argument_error>(std::isfinite(value), who,
                                ": the largest singular value is beyond the largest number "
                                "of its type");
    }
    const double unit = power_of_two(exponent);
    for (double* error : {&factors.info.residual_estimate, &factors.info.residual_bound}) {
        *error = *error > 0.0 ? *error * unit : *error;
    }
}

}  // namespace detail

/// Factors of the engine in the types of a user's matrix.
template <MatrixLike A, Scalar T>
[[nodiscard]] auto as_family(const SvdFactors<T>& factors)
{
    using F = Family<A>;
    using S = typename F::Storage;
    const Index k = factors.info.rank;
    Svd<typename F::Matrix, typename F::Vector> result{F::make_matrix(factors.u.shape()[0], k), F::make_vector(k),
                                                       F::make_matrix(factors.v.shape()[0], k), factors.info};
    S::copy(F::view(result.u), factors.u.matrix());
    std::copy_n(factors.s.data(), k, F::span(result.s).begin());
    S::copy(F::view(result.v), factors.v.matrix());
    return result;
}

}  // namespace wasi::linalg
