#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/pca_model.hpp"
#include "wasi/linalg/randomized_svd.hpp"

namespace wasi::linalg {

struct PcaOptions {
    /// How many components: {.rank = 10}, {.rank = Energy{0.95}} for a share of the variance, or any other rule.
    RankRule rank = Energy{0.99};
    /// Never more components than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    Solver solver = Solver::automatic;
    /// Scores of variance 1 each (their directions stay, their lengths go). Off: distances are kept.
    bool whiten = false;
    /// Scores of the rows of A itself, (m,k). Without them nothing as tall as A is made.
    bool scores = true;
    /// By default the element largest in magnitude of each component is positive, whatever computed it.
    Signs signs = Signs::largest_right_positive;
    /// How a randomized solver works; its `rank`, `max_rank` and `signs` are not looked at. Power iterations, where
    /// they are left to it, are seven for a fixed rank: what is wanted of principal components are their variances, to
    /// three digits and more on flat spectra too, as scikit-learn has them.
    RandomizedSvdOptions sketch = {};
};

namespace detail {

/// Components before they are described, of a centred matrix C that may be A's times a power of two.
template <Scalar W>
struct PcaParts {
    Tensor<W> components;        // (n,k)
    Tensor<W> scores;            // (m,k), or empty
    std::vector<double> values;  // (k), of C
    SvdInfo info;
    Solver solver;
};

/// A sketch wider than this share of the smaller side costs more than an exact solver.
inline constexpr double widest_sketch = 0.3;

[[nodiscard]] inline RandomizedSvdOptions sketch_of(const PcaOptions& options)
{
    RandomizedSvdOptions sketch = options.sketch;
    sketch.rank = options.rank;
    sketch.max_rank = options.max_rank;
    sketch.signs = Signs::as_computed;  // settled later
    if (sketch.power_iterations == RandomizedSvdOptions{}.power_iterations && options.rank.fixed()) {
        sketch.power_iterations = 7;
    }
    return sketch;
}

[[nodiscard]] inline Solver exact_solver(Index rows, Index cols)
{
    return rows >= cols && cols <= 2000 ? Solver::covariance : Solver::dense;
}

/// What `automatic` means for a matrix in memory.
template <Scalar T>
[[nodiscard]] Solver choose_solver(const PcaOptions& options, Index rows, Index cols)
{
    const Index smaller = std::min(rows, cols);
    const Index width = std::min(options.rank.fixed().value_or(options.sketch.first_block), options.max_rank) +
                        options.sketch.oversampling;
    // Multiply-adds beside the longer side: smaller² in a Gram matrix, 6 smaller² and a serial polish in the dense SVD
    // of doubles, smaller width (2 q + 2) of the sketch, whose reads of A are centred anew each.
    const Index of_gram = std::min<Index>(std::max<Index>(512, 16 * width), 2000);
    const Index of_dense = sizeof(T) < sizeof(double) ? of_gram : 128;
    if (options.rank.needs_all_values() || static_cast<double>(width) > widest_sketch * static_cast<double>(smaller) ||
        smaller <= (rows >= cols ? of_gram : of_dense)) {
        return exact_solver(rows, cols);
    }
    return Solver::randomized;
}

/// Eigenvectors of G = CᵀC (n,n), which is overwritten. `accuracy` is that of G, relative to its largest eigenvalue.
/// Nothing where `strict` and the values that are wanted drown in that: less than six digits of a variance, or a rule
/// that values below it decide.
template <class S, Scalar W, class Centered>
[[nodiscard]] std::optional<PcaParts<W>> parts_by_covariance(const Centered& c, Tensor<double> g, double accuracy,
                                                             const PcaOptions& options, bool strict, Memory& memory)
{
    const Index most = std::min<Index>(c.rows(), c.cols());
    Tensor<double> squares = host_row<double>(memory, c.cols());
    std::vector<double> values(static_cast<std::size_t>(most));
    Index wanted = 0;
    double total = 0.0;
    double tail = 0.0;
    double rounding = 0.0;
    bool drowned = false;
    const Index k = S::eigh_leading(
        g.matrix(), squares.span(),
        [&](std::span<const double> w) {
            for (std::size_t j = 0; j < values.size(); ++j) {
                values[j] = std::sqrt(std::max(w[j], 0.0));
            }
            total = 0.0;
            for (const double value : values) {
                total += value * value;
            }
            const Spectrum spectrum{values,   total,    total, std::sqrt(accuracy) * values[0],
                                    c.rows(), c.cols(), 0.0,   factor_rounding<W> * std::sqrt(total)};
            rounding = spectrum.rounding;
            wanted = options.rank.choose(spectrum);
            const auto unmet = [&] {
                tail = 0.0;
                for (Index j = most; j > wanted; --j) {
                    tail += values[static_cast<std::size_t>(j - 1)] * values[static_cast<std::size_t>(j - 1)];
                }
                const double error = std::sqrt(tail + accuracy * total) + rounding;
                return total > 0.0 && !options.rank.met(error * error, wanted, spectrum);
            };
            drowned = unmet();
            while (drowned && wanted < most && values[static_cast<std::size_t>(wanted)] > spectrum.noise) {
                ++wanted;
                drowned = unmet();
            }
            const Index kept = std::min({wanted, options.max_rank, most});
            const double last = kept > 0 ? values[static_cast<std::size_t>(kept - 1)] : 0.0;
            const bool blurred = sizeof(W) == sizeof(double) && last * last < 1e6 * accuracy * values[0] * values[0];
            if (strict && total > 0.0 && (drowned || blurred)) {
                return Index{0};
            }
            return kept;
        },
        memory);
    if (k == 0 || (k < 0 && strict)) {
        return std::nullopt;
    }
    const Index kept = std::max<Index>(k, 0);
    PcaParts<W> parts{workspace<W>(memory, c.cols(), kept), {}, values, {}, Solver::covariance};
    S::convert(parts.components.matrix(), std::as_const(g).matrix().col_block(0, kept));
    tail = 0.0;
    for (Index j = most; j > kept; --j) {
        tail += values[static_cast<std::size_t>(j - 1)] * values[static_cast<std::size_t>(j - 1)];
    }
    parts.values.resize(static_cast<std::size_t>(kept));
    parts.info.rank = kept;
    parts.info.captured_energy = total > 0.0 ? std::min(1.0, 1.0 - tail / total) : 1.0;
    parts.info.residual_estimate = std::sqrt(tail);
    parts.info.residual_bound = std::sqrt(tail + accuracy * total) + rounding;
    parts.info.passes = options.scores ? 2 : 1;
    parts.info.status = k < 0           ? Status::not_converged
                        : wanted > kept ? Status::rank_limit
                        : drowned       ? Status::rule_not_met
                                        : Status::ok;
    if (options.scores) {
        parts.scores = workspace<W>(memory, c.rows(), kept);
    }
    return parts;
}

/// From triplets of C; scores are U until they are described.
template <Scalar W>
[[nodiscard]] PcaParts<W> parts_of(SvdFactors<W> svd, Solver solver)
{
    PcaParts<W> parts{std::move(svd.v), std::move(svd.u), {}, svd.info, solver};
    parts.values.assign(svd.s.span().begin(), svd.s.span().end());
    return parts;
}

template <Scalar T, Scalar W, class S>
[[nodiscard]] Tensor<T> as_type(Tensor<W> from, Memory& memory)
{
    if constexpr (sizeof(T) == sizeof(W)) {
        return from;
    } else {
        if (from.empty()) {
            return {};
        }
        Tensor<T> to = workspace<T>(memory, from.shape()[0], from.shape()[1]);
        S::convert(to.matrix(), std::as_const(from).matrix());
        return to;
    }
}

/// What every solver leaves to do: signs, scores, variances, mean, in A's units: those of C times 2^exponent. `total`
/// is
/// ||C||_F², a variance is s² / `freedom`.
template <class S, Scalar T, Scalar W, class Centered>
[[nodiscard]] PcaFactors<T> describe(PcaParts<W> parts, const Centered& c, double total,
                                     std::span<const double> mean_high, std::span<const double> mean_low, int exponent,
                                     double freedom, const PcaOptions& options, Memory& memory)
{
    const auto k = static_cast<Index>(parts.values.size());
    const Index n = c.cols();
    const bool products = parts.solver == Solver::covariance;  // scores are C V and not yet computed; else U
    if (options.signs == Signs::largest_right_positive) {
        const MatrixView<W> none{nullptr, 0, k, k, 1};
        settle_signs<S, W>(products || parts.scores.empty() ? none : parts.scores.matrix(), parts.components.matrix(),
                           memory);
    }
    if (!options.scores) {
        parts.scores.reset();
    } else if (products) {
        c.apply(parts.scores.matrix(), std::as_const(parts.components).matrix(), memory);
    }
    PcaFactors<T> result{host_row<T>(memory, n),
                         {},
                         {},
                         host_row<T>(memory, k),
                         {parts.info, std::ldexp(total, 2 * exponent) / freedom, 0.0, parts.solver, options.whiten},
                         host_row<T>(memory, k),
                         host_row<T>(memory, k),
                         host_row<T>(memory, n),
                         host_row<T>(memory, k)};
    double kept = 0.0;
    for (Index j = 0; j < k; ++j) {
        const double s = parts.values[static_cast<std::size_t>(j)];
        kept += s * s;
        result.singular_values.data()[j] = static_cast<T>(std::ldexp(s, exponent));
        require<argument_error>(std::isfinite(result.singular_values.data()[j]),
                                "pca: the largest singular value is beyond the largest number of its type");
        result.deviations.data()[j] = static_cast<T>(std::ldexp(s / std::sqrt(freedom), exponent));
        result.explained_variance.data()[j] = static_cast<T>(std::ldexp(s * s / freedom, 2 * exponent));
        result.explained_ratio.data()[j] = static_cast<T>(total > 0.0 ? std::min(1.0, s * s / total) : 0.0);
        if (options.scores) {
            // Halves of the exponent: the whole one may leave the type where the scores do not.
            const double of_products = options.whiten ? (s > 0.0 ? std::sqrt(freedom) / s : 0.0) : 1.0;
            const double of_vectors = options.whiten ? std::sqrt(freedom) : s;
            const int half = options.whiten ? 0 : exponent / 2;
            const int other = options.whiten ? 0 : exponent - half;
            const auto column = parts.scores.matrix().col_block(j, 1);
            S::add_scaled(column, W(0), static_cast<W>(std::ldexp(products ? of_products : of_vectors, half)),
                          ConstMatrixView<W>(column));
            if (other != 0) {
                S::add_scaled(column, W(0), static_cast<W>(std::ldexp(1.0, other)), ConstMatrixView<W>(column));
            }
        }
    }
    double left = parts.info.residual_estimate * parts.info.residual_estimate;
    if (parts.solver == Solver::randomized && (parts.info.residual_estimate < 0.0 || total - kept > 1e-6 * total)) {
        left = std::max(0.0, total - kept);  // exact as long as it is no difference of equals
    }
    const auto discarded = static_cast<double>(std::min<Index>(c.rows(), n) - k);
    result.info.noise_variance = discarded > 0.0 ? std::ldexp(left / freedom / discarded, 2 * exponent) : 0.0;
    for (double* error : {&result.info.svd.residual_estimate, &result.info.svd.residual_bound}) {
        *error = *error > 0.0 ? std::ldexp(*error, exponent) : *error;
    }
    for (Index j = 0; j < n; ++j) {
        const double high = std::ldexp(mean_high[static_cast<std::size_t>(j)], exponent);
        const double low = mean_low.empty() ? 0.0 : std::ldexp(mean_low[static_cast<std::size_t>(j)], exponent);
        const T mean = static_cast<T>(high + low);
        result.mean.data()[j] = mean;
        result.mean_rest.data()[j] = static_cast<T>((high - static_cast<double>(mean)) + low);
    }
    result.components = as_type<T, W, S>(std::move(parts.components), memory);
    result.scores = options.scores ? as_type<T, W, S>(std::move(parts.scores), memory) : workspace<T>(memory, 0, k);
    return result;
}

inline void check(const PcaOptions& options, Index rows, Index cols)
{
    require<shape_error>(rows >= 2 && cols >= 1, "pca: a variance needs two rows, got a matrix ",
                         shape_text({rows, cols}));
    require<argument_error>(options.max_rank >= 1, "pca: max_rank is ", options.max_rank);
}

}  // namespace detail

}  // namespace wasi::linalg
