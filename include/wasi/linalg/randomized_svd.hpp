#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/range_finder.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

struct RandomizedSvdOptions {
    /// How many singular triplets to return: {.rank = 64}, {.rank = Energy{0.9}}, {.rank = Tolerance{1e-3}}, or the
    /// first of several that is met, {.rank = first_of(Energy{0.9}, 64)}.
    RankRule rank = Energy{0.99};
    /// Never more triplets than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    /// Extra sample columns: five to ten make the failure probability of the error bound negligible (Halko et al.,
    /// Theorem 10.7).
    Index oversampling = 10;
    /// Power iterations, each two more passes over A. Two suffice for spectra that decay like 1/sqrt(j); steep ones
    /// need none.
    Index power_iterations = 2;
    /// First width of the sketch for rules that are not a fixed rank; it doubles until the rule is met.
    Index first_block = 16;
    /// Random vectors behind residual_estimate, whose relative standard deviation is at most 1 / sqrt(2 probes). They
    /// ride along with the first pass. 0: no estimate.
    Index probes = 8;
};

namespace detail {

/// A dense SVD is cheaper than a sketch once the sketch is about this share of the smaller side: measured by
/// bench/linalg/dense_crossover.cpp, see docs/linalg.md.
inline constexpr double dense_share = 0.3;

/// The dense SVD of an operator: of the matrix behind it where there is one, else of A applied to the identity.
template <class S, Scalar T, class Operator>
[[nodiscard]] SvdFactors<T> dense_svd(const Operator& a, const TruncatedSvdOptions& options, Memory& memory)
{
    if constexpr (requires { a.dense(); }) {
        return truncated_svd<S, T>(a.dense(), options, memory);
    } else {
        Tensor<T> identity = workspace<T>(memory, a.cols(), a.cols());
        Tensor<T> matrix = workspace<T>(memory, a.rows(), a.cols());
        identity.fill(T(0));
        for (Index j = 0; j < a.cols(); ++j) {
            identity.matrix()(j, j) = T(1);
        }
        a.apply(matrix.matrix(), std::as_const(identity).matrix(), memory);
        SvdFactors<T> result = truncated_svd<S, T>(std::as_const(matrix).matrix(), options, memory);
        result.info.passes = 1;
        return result;
    }
}

/// What the rule would ask for at least: the values beyond those of the sketch are not above its last one, so the most
/// favourable spectrum goes on with that one until the energy is used up.
[[nodiscard]] inline Index least_rank(const RankRule& rule, std::span<const double> values, Spectrum spectrum)
{
    std::vector<double> hopeful(values.begin(), values.end());
    double left = spectrum.total;
    for (const double value : values) {
        left -= value * value;
    }
    const double last = hopeful.back();
    while (last > 0.0 && left > 0.0 && static_cast<Index>(hopeful.size()) < std::min(spectrum.rows, spectrum.cols)) {
        hopeful.push_back(std::min(last, std::sqrt(left)));
        left -= last * last;
    }
    spectrum.values = hopeful;
    return rule.choose(spectrum);
}

}  // namespace detail

/// Truncated SVD A ~ U diag(s) Vᵀ, U (m,k), V (n,k), of a matrix or of any linear operator, by a randomized range
/// finder with power iterations (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1). For rules other than a fixed
/// rank the sketch grows by blocks that at least double, each made orthogonal to what is there, until the rule is met
/// (a blocked adaptive QB). Power iterations are re-orthonormalised; of the two half steps only the shorter side's,
/// unless the sketch is too ill-conditioned for that. Where the sketch would be wider than 0.3 of the smaller side, the
/// dense SVD is cheaper and is taken; so it is for rules that need all singular values.
///
/// Error for a fixed rank k, oversampling p >= 2, q power iterations and l the smaller side of A:
/// E ||A - U diag(s) Vᵀ||_2 <= (1 + (1 + sqrt(k / (p - 1)) + e sqrt(k + p) sqrt(l - k) / p)^(1 / (2q + 1)))
/// sigma_{k+1}, where the first 1 is the cut from k + p to k (their theorem 9.3 and corollary 10.10). captured_energy =
/// sum of s² / ||A||_F², in double, is what is really captured; s_j never exceeds sigma_j, so an energy or tolerance
/// may take a few more triplets than it must. residual_estimate² = ||(1 - Q Qᵀ) A Ω||_F² / probes + the discarded s² of
/// the sketch, an unbiased estimate of ||A - U diag(s) Vᵀ||_F² that sees relative residuals down to about epsilon,
/// where 1 - captured_energy ends at 1e-8; the rules use it there. An operator without squared_norm() has its norm
/// estimated the same way. Throws argument_error on NaN or infinity in A (for an operator: in what it returns) and on
/// negative options, shape_error on an empty A. Cost 2 mn (k+p) (2 + 2q) flops in 2 + 2q passes, workspace (m + n)(k +
/// p). Same bits for any number of threads. This overload is the engine's: an operator in, booked tensors out. Example:
/// examples/operator_svd.cpp
template <class S, Scalar T, class Operator>
requires StorageFor<S, T> && LinearOperator<Operator, T>
[[nodiscard]] SvdFactors<T> randomized_svd(const Operator& a, const RandomizedSvdOptions& options, RandomKey key,
                                           Memory& memory)
{
    const Index smaller = std::min<Index>(a.rows(), a.cols());
    require<shape_error>(smaller > 0, "randomized_svd: empty matrix (", a.rows(), ", ", a.cols(), ")");
    require<argument_error>(options.oversampling >= 0, "randomized_svd: oversampling is ", options.oversampling);
    require<argument_error>(options.power_iterations >= 0, "randomized_svd: power_iterations is ",
                            options.power_iterations);
    require<argument_error>(options.max_rank >= 1, "randomized_svd: max_rank is ", options.max_rank);
    require<argument_error>(options.first_block >= 1, "randomized_svd: first_block is ", options.first_block);
    require<argument_error>(options.probes >= 0, "randomized_svd: probes is ", options.probes);

    constexpr bool norm_known = requires
    {
        a.squared_norm();
    };
    double total = -1.0;
    if constexpr (norm_known) {
        total = a.squared_norm();
        require<argument_error>(std::isfinite(total), "randomized_svd: ||A||² is not finite");
    }
    const TruncatedSvdOptions dense_options{.rank = options.rank, .max_rank = options.max_rank};
    const std::optional<Index> fixed = options.rank.fixed();
    const Index limit = std::min(options.max_rank, smaller);
    const Index extra = std::min(options.oversampling, smaller);
    const auto dense_from = static_cast<Index>(detail::dense_share * static_cast<double>(smaller));
    // One column above the limit tells a rule that is met at the limit from one that is not, also without oversampling.
    Index width =
        std::min(fixed ? std::min(*fixed, limit + 1) + extra : std::min(options.first_block, limit) + extra, smaller);
    if (width > dense_from || total == 0.0 || options.rank.needs_all_values()) {
        return detail::dense_svd<S, T>(a, dense_options, memory);
    }
    // Without a norm, energies need the estimate.
    const Index probes = norm_known ? options.probes : std::max<Index>(options.probes, 1);
    // Products of a multiple of 16 columns cost no more than what is left of one.
    width = std::max(width, std::min((width + 15) / 16 * 16, dense_from));
    detail::RangeFinder<S, T, Operator> finder(a, probes, key, memory);
    const double noise = 1e3 * static_cast<double>(epsilon<T>);  // a difference of energies below this is rounding
    for (;;) {
        finder.widen(width, options.power_iterations);
        const auto projected = finder.projected();  // (n, width), (Qᵀ A)ᵀ = V diag(s) U_smallᵀ
        const double seen = S::dot(projected, projected);
        const double unseen = finder.residual_squared();
        double whole = norm_known ? total : seen + unseen;
        if (norm_known && probes > 0 && whole - seen < noise * whole) {
            whole = seen + 4.0 * unseen;  // four: an estimate may be low
        }
        Index wanted = 0;
        Index at_least = 0;
        bool unmet = false;
        SvdFactors<T> result = leading_svd<S, T>(
            projected,
            [&](std::span<const double> values) {
                const double floor = detail::rounding_floor<T>(a.rows(), a.cols(), values);
                wanted = options.rank.choose({values, whole, whole, floor, a.rows(), a.cols()});
                // A rule that wants every value of the sketch may want more, unless there is nothing beyond.
                unmet = !fixed && wanted == width && seen < whole * (1.0 - 1e-12) && width < smaller &&
                        width < limit + std::max<Index>(extra, 1);
                if (unmet) {
                    at_least = detail::least_rank(options.rank, values, {{}, whole, whole, floor, a.rows(), a.cols()});
                }
                return unmet ? 0 : std::min(wanted, options.max_rank);
            },
            memory);
        if (unmet) {
            const Index needed = std::min(at_least, limit) + extra;
            width = std::min(std::max(2 * width, needed), smaller);
            if (width > dense_from && needed <= dense_from && 4 * finder.basis().cols <= 3 * dense_from) {
                width = dense_from;  // less than twice as wide, and it may do
            }
            if (width > dense_from) {
                result = detail::dense_svd<S, T>(a, dense_options, memory);
                result.info.passes += finder.passes();
                return result;
            }
            continue;
        }
        // So far `u` holds right and `v` small left vectors.
        Tensor<T> left = workspace<T>(memory, a.rows(), result.s.size());
        S::multiply(left.matrix(), T(1), finder.basis(), std::as_const(result.v).matrix(), T(0), memory);
        result.v = std::move(result.u);
        result.u = std::move(left);
        detail::account(result, norm_known ? total : whole, wanted);
        const double tail = result.info.residual_estimate;
        result.info.residual_estimate = probes > 0 ? std::sqrt(unseen + tail * tail) : -1.0;
        result.info.passes = finder.passes() + (norm_known ? 1 : 0);
        result.info.route = Route::randomized;
        return result;
    }
}

/// The same for a matrix. Throws argument_error on NaN or infinity in A.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> randomized_svd(ConstMatrixView<T> a, const RandomizedSvdOptions& options, RandomKey key,
                                           Memory& memory)
{
    const double total = S::dot(a, a);
    if (!std::isfinite(total)) {  // a finite sum of squares has finite terms: the usual case costs no pass of its own
        require_finite<S, T>(a, "randomized_svd", "a");
    }
    return randomized_svd<S, T, MatrixOperator<S, T>>(MatrixOperator<S, T>(a, total), options, key, memory);
}

/// What is no matrix of float or double, and a call without a key, is refused when compiling, with one sentence.
Svd<Eigen::MatrixXd, Eigen::VectorXd> randomized_svd(wasi::detail::NotAMatrix a, const RandomizedSvdOptions& options,
                                                     RandomKey key, Memory& memory = plain_memory());
Svd<Eigen::MatrixXd, Eigen::VectorXd> randomized_svd(wasi::detail::WithoutKey a,
                                                     const RandomizedSvdOptions& options = {});
Svd<Eigen::MatrixXd, Eigen::VectorXd> randomized_svd(wasi::detail::Anything a, const RandomizedSvdOptions& options,
                                                     wasi::detail::NotAKey key, Memory& memory = plain_memory());

/// The same for a user's matrix; U, s and V are of the same kind. Example: examples/randomized_svd.cpp
template <MatrixLike A>
[[nodiscard]] auto randomized_svd(const A& a, const RandomizedSvdOptions& options, RandomKey key,
                                  Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        return as_family<A>(randomized_svd<typename F::Storage, typename F::Scalar>(view, options, key, memory));
    });
}

}  // namespace wasi::linalg
