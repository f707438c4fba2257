#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

struct RandomizedSvdOptions {
    /// How many singular triplets to return: {.rank = 64} or {.rank = Energy{0.9}} or {.rank = Tolerance{1e-3}}.
    RankRule rank = Energy{0.99};
    /// Never more triplets than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    /// Extra sample columns: five to ten make the failure probability of the error bound negligible (Halko et al.,
    /// Theorem 10.7).
    Index oversampling = 10;
    /// Power iterations, each two more passes over A. Two suffice for spectra that decay like 1/sqrt(j); steep ones
    /// need none.
    Index power_iterations = 2;
};

namespace detail {

/// Columns [0, old) of q are orthonormal; makes columns [old, old + added) so too and orthogonal to the old ones,
/// unless they lie in the span of the old ones (then only some are: see complete_orthonormal). Projecting twice is
/// enough for orthogonality to rounding (Giraud, Langou, Rozložník 2005).
template <class S, Scalar T>
void append_orthonormal(MatrixView<T> q, Index old, Index added, Memory& memory)
{
    const auto head = q.col_block(0, old);
    const auto block = q.col_block(old, added);
    Tensor<T> coefficients = workspace<T>(memory, old, added);
    for (int sweep = 0; sweep < 2; ++sweep) {
        if (old > 0) {
            S::multiply(coefficients.matrix(), T(1), head.transposed(), block, T(0), memory);
            S::multiply(block, T(-1), head, coefficients.matrix(), T(1), memory);
        }
        (void)S::orthonormalize(block, memory);
    }
}

/// Makes all of q orthonormal. Where A has no more directions than the old columns hold, what append_orthonormal puts
/// in the new ones is arbitrary and may repeat old ones; a QR of all columns together replaces those. Old columns
/// change by rounding and sign only.
template <class S, Scalar T>
void complete_orthonormal(MatrixView<T> q, Index old, Memory& memory)
{
    if (old > 0) {
        (void)S::orthonormalize(q, memory);
    }
}

/// A dense SVD is cheaper than a sketch once the sketch is about this share of the smaller side.
inline constexpr double dense_share = 0.45;

}  // namespace detail

/// Truncated SVD A ~ U diag(s) Vᵀ, U (m,k), V (n,k), by a randomized range finder with power iterations (Halko,
/// Martinsson, Tropp 2011, algorithms 4.4 and 5.1). For rules other than a fixed rank the sketch grows by blocks that
/// double, each made orthogonal to what is there, until the rule is met. Where the sketch would be wider than 0.45 of
/// the smaller side, the dense SVD is cheaper and is taken.
///
/// Error for a fixed rank k, oversampling p >= 2, q power iterations and l the smaller side of A:
/// E ||A - U diag(s) Vᵀ||_2 <= (1 + (1 + sqrt(k / (p - 1)) + e sqrt(k + p) sqrt(l - k) / p)^(1 / (2q + 1)))
/// sigma_{k+1}, where the first 1 is the cut from k + p to k (their theorem 9.3 and corollary 10.10). captured_energy =
/// sum of s² / ||A||², in double, is what is really captured; s_j never exceeds sigma_j, so an energy or tolerance may
/// take a few more triplets than it must. Throws argument_error on NaN or infinity in A and on negative oversampling or
/// power_iterations, shape_error on an empty A. Cost 2 mn (k+p) (2 + 2q) flops in 2 + 2q passes, workspace (m + n)(k +
/// p). Same bits for any number of threads. This overload is the engine's: views in, booked tensors out.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> randomized_svd(ConstMatrixView<T> a, const RandomizedSvdOptions& options, RandomKey key,
                                           Memory& memory)
{
    const Index smaller = std::min(a.rows, a.cols);
    require<shape_error>(smaller > 0, "randomized_svd: empty matrix ", shape_text(a.shape()));
    require<argument_error>(options.oversampling >= 0, "randomized_svd: oversampling is ", options.oversampling);
    require<argument_error>(options.power_iterations >= 0, "randomized_svd: power_iterations is ",
                            options.power_iterations);
    require<argument_error>(options.max_rank >= 1, "randomized_svd: max_rank is ", options.max_rank);
    require_finite<S, T>(a, "randomized_svd", "a");

    const double total = S::dot(a, a);
    const std::optional<Index> fixed = options.rank.fixed();
    const Index limit = std::min(options.max_rank, smaller);
    const Index extra = std::min(options.oversampling, smaller);
    const auto dense_from = static_cast<Index>(detail::dense_share * static_cast<double>(smaller));
    // One column above the limit tells a rule that is met at the limit from one that is not, also without oversampling.
    Index width = std::min(fixed ? std::min(*fixed, limit + 1) + extra : std::min<Index>(16, limit) + extra, smaller);
    if (width > dense_from || total == 0.0) {
        return truncated_svd<S, T>(a, {.rank = options.rank, .max_rank = options.max_rank}, memory);
    }

    Tensor<T> q = workspace<T>(memory, 0, 0);
    Index have = 0;
    Index passes = 1;  // the norm
    for (Index block = 0;; ++block) {
        const Index added = width - have;
        Tensor<T> wider = workspace<T>(memory, a.rows, width);
        if (have > 0) {
            S::copy(wider.matrix().col_block(0, have), q.matrix());
        }
        q = std::move(wider);
        const auto fresh = q.matrix().col_block(have, added);
        Tensor<T> sample = workspace<T>(memory, a.cols, added);
        S::fill_normal(sample.matrix(), key.derive(block));
        S::multiply(fresh, T(1), a, sample.matrix(), T(0), memory);
        detail::append_orthonormal<S, T>(q.matrix(), have, added, memory);
        for (Index iteration = 0; iteration < options.power_iterations; ++iteration) {
            S::multiply(sample.matrix(), T(1), a.transposed(), fresh, T(0), memory);
            (void)S::orthonormalize(sample.matrix(), memory);
            S::multiply(fresh, T(1), a, sample.matrix(), T(0), memory);
            detail::append_orthonormal<S, T>(q.matrix(), have, added, memory);
        }
        detail::complete_orthonormal<S, T>(q.matrix(), have, memory);
        passes += 1 + 2 * options.power_iterations;
        have = width;

        Tensor<T> projected = workspace<T>(memory, a.cols, width);  // (Qᵀ A)ᵀ
        S::multiply(projected.matrix(), T(1), a.transposed(), q.matrix(), T(0), memory);
        ++passes;
        SvdFactors<T> small = thin_svd<S, T>(projected.matrix(), memory);  // (Qᵀ A)ᵀ = V diag(s) U_smallᵀ
        // A rule that wants every value of the sketch may want more, unless there is nothing beyond.
        const std::vector<double> values(small.s.span().begin(), small.s.span().end());
        const bool unmet = options.rank.choose({values, total, total, detail::rounding_floor(small)}) == width &&
                           S::dot(projected.matrix(), projected.matrix()) < total * (1.0 - 1e-12);
        if (!fixed && unmet && width < smaller && width < limit + std::max<Index>(extra, 1)) {
            width = std::min(2 * width, smaller);
            if (width > dense_from) {
                SvdFactors<T> result =
                    truncated_svd<S, T>(a, {.rank = options.rank, .max_rank = options.max_rank}, memory);
                result.info.passes += passes;
                return result;
            }
            continue;
        }
        SvdFactors<T> result =
            truncate<S, T>(std::move(small), {.rank = options.rank, .max_rank = options.max_rank}, total, memory);
        // So far `u` holds right and `v` small left vectors.
        Tensor<T> left = workspace<T>(memory, a.rows, result.info.rank);
        S::multiply(left.matrix(), T(1), q.matrix(), result.v.matrix(), T(0), memory);
        result.v = std::move(result.u);
        result.u = std::move(left);
        result.info.passes = passes;
        result.info.route = Route::randomized;
        return result;
    }
}

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
