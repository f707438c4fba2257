#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/linalg/nystrom_sketch.hpp"
#include "wasi/linalg/pivoted_qr.hpp"
#include "wasi/linalg/residual.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

struct NystromOptions {
    /// How many eigenpairs to keep: a rank, or a tolerance or energy of the error in the Frobenius norm. 1e-6 as
    /// default: what a single precision result can use.
    RankRule rank = Tolerance{1e-6};
    /// Never more than this; a rule that would need more ends with Status::rank_limit. For an operator the sketch also
    /// stops at 4 GiB of workspace.
    Index max_rank = std::numeric_limits<Index>::max();
    /// Sketch columns beyond a fixed rank; ten as for the randomized SVD.
    Index oversampling = 10;
    /// First width of the sketch for rules that are not a fixed rank; it doubles until the rule is met.
    Index first_block = 32;
    /// For an operator: random vectors behind the bound of the error, 20 more columns of A to be read.
    Index probes = 20;
    /// For an operator: the error may exceed the bound with at most this probability.
    double failure_probability = 1e-6;
};

struct NystromInfo {
    /// rule_not_met: the tolerance is below what rounding leaves. rank_limit: max_rank or memory was not enough.
    Status status = Status::ok;
    Index rank = 0;
    double error = 0.0;           ///< ||A - U diag(s) Uᵀ||_F: of a matrix measured, of an operator a bound
    double relative_error = 0.0;  ///< the same over ||A||_F (operator: over ||U diag(s) Uᵀ||_F, which is at most that)
    double failure_probability = 0.0;  ///< that error is too small; 0 where it was measured
    Index columns = 0;                 ///< products of A with a vector, the probes included
};

/// A ~ U diag(s) Uᵀ: `vectors` U (n,k), UᵀU = 1, `values` s (k) >= 0, descending.
template <Scalar T>
struct NystromFactors {
    Tensor<T> vectors;
    Tensor<T> values;
    NystromInfo info;
};

/// The same in a user's types.
template <class Matrix, class Vector>
struct Nystrom {
    Matrix vectors;
    Vector values;
    NystromInfo info;
};

namespace detail {

/// U diag(s) as (n,k).
template <class S, Scalar T>
[[nodiscard]] Tensor<T> times_values(ConstMatrixView<T> u, const std::vector<double>& values, Memory& memory)
{
    Tensor<T> result = workspace<T>(memory, u.rows, u.cols);
    for (Index j = 0; j < u.cols; ++j) {
        S::add_scaled(result.matrix().col_block(j, 1), T(0), static_cast<T>(values[static_cast<std::size_t>(j)]),
                      u.col_block(j, 1));
    }
    return result;
}

/// What both forms do. `error_of(u, values)` is ||A - U diag(values) Uᵀ||_F, or a bound; `reference(values)` the
/// squared norm that rules are relative to. Sizes are those of the sketch.
template <class S, Scalar T, class Operator, class ErrorOf, class Reference>
[[nodiscard]] NystromFactors<T> nystrom_by(NystromSketch<S, T, Operator>& sketch, Index size, Index limit,
                                           const NystromOptions& options, ErrorOf&& error_of, Reference&& reference,
                                           Memory& memory)
{
    const auto fixed = options.rank.fixed();
    const Index widest = std::min(size, limit + options.oversampling);
    Index width = fixed ? std::min(*fixed, limit) + options.oversampling : options.first_block + options.oversampling;
    Tensor<T> vectors = workspace<T>(memory, 0, 0);
    std::vector<double> values;
    NystromFactors<T> result;
    for (;; width = 2 * width) {
        width = std::min(width, widest);
        sketch.widen(width);
        const bool converged = sketch.factor(vectors, values);
        const ErrorRule rule(options.rank, reference(values));
        const double whole = error_of(std::as_const(vectors).matrix(), values);
        const double floor =
            16.0 * std::sqrt(static_cast<double>(width)) * static_cast<double>(epsilon<T>) * rule.norm();
        const bool down = whole <= floor;
        // The fewest pairs that do. Dropped ones add their norm to the error at most.
        const std::span<const double> all(values);
        Index k = width;
        double dropped = 0.0;
        for (; fixed && k > *fixed; --k) {
            dropped += all[static_cast<std::size_t>(k - 1)] * all[static_cast<std::size_t>(k - 1)];
        }
        while (!fixed && k > 1) {
            const double value = all[static_cast<std::size_t>(k - 1)];
            const double error = whole + std::sqrt(dropped + value * value);
            if (rule.exact() ? error > std::max(floor, 1.1 * whole)
                             : !rule.met(all.first(static_cast<std::size_t>(k - 1)), error)) {
                break;
            }
            dropped += value * value;
            --k;
        }
        for (const Index most = std::min(k, limit); k > most; --k) {
            dropped += all[static_cast<std::size_t>(k - 1)] * all[static_cast<std::size_t>(k - 1)];
        }
        const auto kept = all.first(static_cast<std::size_t>(k));
        const std::vector<double> kept_values(kept.begin(), kept.end());
        double error = k == width ? whole : error_of(std::as_const(vectors).matrix().col_block(0, k), kept_values);
        if (sketch.of_operator()) {  // of two bounds the better one
            error = std::min(error, whole + std::sqrt(dropped));
        }
        const bool met = rule.shown(kept, error);
        if (met || down || width == widest || !converged) {
            result.vectors = workspace<T>(memory, size, k);
            result.values = host_row<T>(memory, k);
            S::copy(result.vectors.matrix(), std::as_const(vectors).matrix().col_block(0, k));
            for (Index j = 0; j < k; ++j) {
                const double value = kept[static_cast<std::size_t>(j)] * sketch.factor();
                require<argument_error>(value <= static_cast<double>(std::numeric_limits<T>::max()),
                                        "nystrom: an eigenvalue ", value, " is larger than its type holds");
                result.values.data()[j] = static_cast<T>(value);
            }
            const bool short_of_fixed = fixed && k < std::min(*fixed, size);
            const Status status =
                !converged ? Status::not_converged
                : fixed    ? (short_of_fixed ? Status::rank_limit : Status::ok)
                           : status_of(rule, met, down, std::max(k, width == widest ? limit : k), limit, size);
            result.info = {status, k,    error * sketch.factor(), rule.norm() > 0.0 ? error / rule.norm() : 0.0,
                           0.0,    width};
            return result;
        }
    }
}

inline void check_nystrom(Index rows, Index cols, const NystromOptions& options)
{
    require<shape_error>(rows == cols, "nystrom: a symmetric matrix is square, got ", shape_text({rows, cols}));
    check_limits("nystrom", {rows, cols}, options.max_rank, options.rank);
    require<argument_error>(options.oversampling >= 0, "nystrom: oversampling is ", options.oversampling);
    require<argument_error>(options.first_block >= 1, "nystrom: first_block is ", options.first_block);
    require<argument_error>(options.probes >= 1, "nystrom: probes is ", options.probes);
    require<argument_error>(options.failure_probability > 0.0 && options.failure_probability < 1.0,
                            "nystrom: failure_probability must be in (0, 1), got ", options.failure_probability);
}

}  // namespace detail

/// Randomized Nystrom approximation A ~ U diag(s) Uᵀ of a symmetric positive semidefinite operator, from Y = A Ω alone:
/// Y (ΩᵀY)⁻¹ Yᵀ, which no U diag(s) Uᵀ of a sketch Q QᵀA Q Qᵀ beats (Tropp, Yurtsever, Udell, Cevher 2017, algorithm 3,
/// with its stabilising shift; Frangella, Tropp, Udell 2021 for doubling). For k columns with p more, E ||A - Â||_2 <=
/// (1 + k / (p - 1)) sigma_{k+1} + e² (k + p) / (p² - 1) sum_{j > k} sigma_j. For a tolerance the sketch doubles,
/// nothing is read twice, and the error is bounded by fresh random vectors: with probability 1 - failure_probability it
/// is at most info.error (see norm_bound_factor; twenty probes and 1e-6 cost a factor of about 3). Tolerances are
/// relative to ||Â||_F <=
/// ||A||_F. Refuses, with the numbers, an A that is clearly not symmetric or not positive semidefinite as seen in ΩᵀA
/// Ω, and NaN or infinity in any product (argument_error); shape_error unless A is square. l products of A, O(n l²)
/// flops, workspace 5 n l, l the width of the sketch. Same key, same bits, for any number of threads. This overload is
/// the engine's. Example: examples/decompositions.cpp
template <class S, Scalar T, class Operator>
requires StorageFor<S, T> && SymmetricOperator<Operator, T>
[[nodiscard]] NystromFactors<T> nystrom(const Operator& a, const NystromOptions& options, RandomKey key, Memory& memory)
{
    detail::check_nystrom(a.rows(), a.cols(), options);
    const Index size = a.rows();
    constexpr double most_bytes = 4.0 * 1024.0 * 1024.0 * 1024.0;
    const double per_column = 5.0 * static_cast<double>(size) * static_cast<double>(sizeof(T));
    const auto fitting = static_cast<Index>(std::max(1.0, std::min(most_bytes / per_column, 1e9)));
    const Index limit =
        options.rank.fixed() ? std::min(size, options.max_rank) : std::min({size, options.max_rank, fitting});
    detail::NystromSketch<S, T, Operator> sketch(a, true, key.derive(1), memory);
    constexpr double most_looks = 64.0;  // twice for each doubling
    const double safety = norm_bound_factor(options.probes, options.failure_probability / most_looks);
    Tensor<T> probes = workspace<T>(memory, size, options.probes);
    Tensor<T> images = workspace<T>(memory, size, options.probes);
    S::fill_normal(probes.matrix(), key.derive(2));
    bool probed = false;
    const auto bound = [&](ConstMatrixView<T> u, const std::vector<double>& values) {
        if (!probed) {  // after the first sketch, which sets the size of numbers
            sketch.apply(images.matrix(), std::as_const(probes).matrix());
            probed = true;
        }
        const Tensor<T> scaled = detail::times_values<S, T>(u, values, memory);
        Tensor<T> along = workspace<T>(memory, u.cols, options.probes);
        S::multiply(along.matrix(), T(1), u.transposed(), std::as_const(probes).matrix(), T(0), memory);
        const double error = detail::product_error<S, T>(std::as_const(images).matrix(), scaled.matrix(),
                                                         std::as_const(along).matrix(), memory);
        return error * std::sqrt(safety / static_cast<double>(options.probes));
    };
    const auto reference = [](const std::vector<double>& values) {
        double sum = 0.0;
        for (const double value : values) {
            sum += value * value;
        }
        return sum;
    };
    NystromFactors<T> result = detail::nystrom_by<S, T>(sketch, size, limit, options, bound, reference, memory);
    result.info.failure_probability = options.failure_probability;
    result.info.columns += options.probes;
    return result;
}

/// The same for a matrix; the error is measured on A itself, so that a tolerance holds for certain. 2 n² l flops a
/// look.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] NystromFactors<T> nystrom(ConstMatrixView<T> a, const NystromOptions& options, RandomKey key,
                                        Memory& memory)
{
    detail::check_nystrom(a.rows, a.cols, options);
    const auto at_scale = detail::at_ordinary_scale<S, T>(a, "nystrom", "a", memory);
    const ConstMatrixView<T> view = at_scale.view();
    const double squared = S::dot(view, view);
    using Matrix = MatrixOperator<S, T>;
    const Matrix map(view, squared);
    detail::NystromSketch<S, T, Matrix> sketch(map, false, key.derive(1), memory);
    const auto measure = [&](ConstMatrixView<T> u, const std::vector<double>& values) {
        const Tensor<T> scaled = detail::times_values<S, T>(u, values, memory);
        return detail::product_error<S, T>(view, scaled.matrix(), u.transposed(), memory);
    };
    NystromFactors<T> result = detail::nystrom_by<S, T>(
        sketch, a.rows, std::min(a.rows, options.max_rank), options, measure,
        [&](const std::vector<double>&) { return squared; }, memory);
    detail::restore_scale<S, T>(result.values.matrix(), at_scale.exponent(), "nystrom", "s");
    result.info.error *= at_scale.factor();
    return result;
}

/// The same for a user's matrix; U and s are of the same kind. Example: examples/decompositions.cpp
template <MatrixLike A>
[[nodiscard]] auto nystrom(const A& a, const NystromOptions& options, RandomKey key, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        const auto factors = nystrom<typename F::Storage, typename F::Scalar>(view, options, key, memory);
        Nystrom<typename F::Matrix, typename F::Vector> result{detail::to_family<A>(factors.vectors),
                                                               F::make_vector(factors.info.rank), factors.info};
        F::Storage::copy(as_row(F::span(result.values)), factors.values.matrix());
        return result;
    });
}

}  // namespace wasi::linalg
