#pragma once
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/linalg/sketched_svd.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

/// Truncated SVD A ~ U diag(s) Vᵀ, U (m,k), V (n,k), of a matrix or of any linear operator, by a randomized range
/// finder (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1; block Krylov: Musco, Musco 2015).
///
/// Method: for a fixed rank one sketch, with power iterations and then Krylov steps until the values stand still. For
/// other rules the sketch grows by blocks that at least double, each made orthogonal to what is there, until the rule
/// is met (a blocked adaptive QB). Power iterations are re-orthonormalised; of the two half steps only the shorter
/// side's, unless the sketch is too ill-conditioned for that. Where the sketch would be wider than 0.3 of the smaller
/// side, the dense SVD is cheaper and is taken; so it is for rules that need all singular values. An operator without a
/// matrix behind it is made dense only within options.memory_limit.
///
/// Error for a fixed rank k, oversampling p >= 2, q power iterations and l the smaller side of A:
/// E ||A - U diag(s) Vᵀ||_2 <= (1 + (1 + sqrt(k / (p - 1)) + e sqrt(k + p) sqrt(l - k) / p)^(1 / (2q + 1)))
/// sigma_{k+1}, where the first 1 is the cut from k + p to k (their theorem 9.3 and corollary 10.10). An energy or
/// tolerance is met by the true error: of a matrix by ||A||² - ||QᵀA||² where that is a number, else by the difference
/// of A and its factors, formed and measured; of an operator by residual_bound. A rule that cannot be met, since it
/// asks for less than rounding, ends with Status::rule_not_met. s_j never exceeds sigma_j, so a rule may take a few
/// more triplets than it must. residual_estimate² = ||(1 - Q Qᵀ) A Ω||_F² / probes + the discarded s² of the sketch, an
/// unbiased estimate of ||A - U diag(s) Vᵀ||_F² that sees relative residuals down to about epsilon, where
/// 1 - captured_energy ends at 1e-8; residual_bound holds with probability 1 - bound_failure (see norm_bound_factor).
/// The answer is the same at every scale that the type holds.
///
/// Throws argument_error on NaN or infinity in A (for an operator: in anything it returns), on an operator whose
/// apply_adjoint is not the transpose of its apply or whose squared_norm() is not its norm, and on negative options;
/// shape_error on an empty A; budget_error where a rule that needs every value of an operator would need more than
/// memory_limit.
/// Cost 2 mn (k+p) (2 + 2q) flops in 2 + 2q passes, workspace (m + n)(k + p). Same bits for any number of threads.
/// This overload is the engine's: an operator in, booked tensors out. Example: examples/operator_svd.cpp
template <class S, Scalar T, class Operator>
requires StorageFor<S, T> && LinearOperator<Operator, T>
[[nodiscard]] SvdFactors<T> randomized_svd(const Operator& a, const RandomizedSvdOptions& options, RandomKey key,
                                           Memory& memory)
{
    detail::check_options(options, a.rows(), a.cols());
    int exponent = 0;
    if constexpr (requires { a.largest(); }) {
        exponent = scale_exponent<T>(a.largest());
    }
    detail::GuardedOperator<S, T, Operator> guarded(a, "randomized_svd", exponent);
    return detail::SketchedSvd<S, T, Operator>(guarded, detail::known_squared_norm(guarded), options, key, memory)
        .run();
}

/// The same for a matrix. Throws argument_error on NaN or infinity in A.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> randomized_svd(ConstMatrixView<T> a, const RandomizedSvdOptions& options, RandomKey key,
                                           Memory& memory)
{
    detail::check_options(options, a.rows, a.cols);
    return detail::with_scaled_operator<S, T>(a, "randomized_svd", memory, [&](auto& guarded, double squared_norm) {
        if (squared_norm == 0.0) {
            return detail::dense_svd<S, T>(
                guarded, {.rank = options.rank, .max_rank = options.max_rank, .signs = options.signs}, 0, memory);
        }
        return detail::SketchedSvd<S, T, MatrixOperator<S, T>>(guarded, squared_norm, options, key, memory).run();
    });
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
