#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

/// How two matrices, or a stream of them, make one.
enum class Stack {
    rows,     ///< one above the other: they have the same columns
    columns,  ///< side by side: they have the same rows
};

struct MergeOptions {
    /// How many triplets of the whole to keep; by default every one above rounding.
    RankRule rank = Energy{1.0};
    Index max_rank = std::numeric_limits<Index>::max();
    Stack along = Stack::rows;
    Signs signs = Signs::largest_right_positive;
};

namespace detail {

/// The leading triplets of K = [diag(s1) V1ᵀ; ...], which stands for a matrix of which `lost` energy is gone already.
template <Scalar T>
struct StackedSvd {
    SvdFactors<T> factors;       // `width` triplets of K, s in K's units
    std::vector<double> values;  // (width)
    Index rank = 0;              // of them the rule wants
    double discarded = 0.0;      // energy of the values beyond `width`
    Status status = Status::ok;
};

/// `extra` triplets are kept beyond the rank. `rounding` is the error of K itself, in norm.
template <class S, Scalar T>
[[nodiscard]] StackedSvd<T> decompose_stack(ConstMatrixView<T> k, double total, double lost, double rounding,
                                            Index rows, const RankRule& rule, Index max_rank, Index extra,
                                            Memory& memory)
{
    StackedSvd<T> result;
    std::vector<double> all;
    Spectrum spectrum{{}, total, total, 0.0, rows, k.cols, lost, rounding};
    Index wanted = 0;
    result.factors = leading_svd<S, T>(
        k,
        [&](std::span<const double> values) {
            all.assign(values.begin(), values.end());
            spectrum.values = all;
            spectrum.noise = rounding_floor<T>(k.rows, k.cols, all);
            wanted = rule.choose(spectrum);
            const auto data = static_cast<Index>(
                std::count_if(all.begin(), all.end(), [&](double value) { return value > spectrum.noise; }));
            result.rank = std::min({wanted, max_rank, std::max<Index>(data, 1)});
            return std::min({result.rank + extra, std::max<Index>(data, 1)});
        },
        memory);
    const auto width = static_cast<std::size_t>(result.factors.s.size());
    double beyond_rank = 0.0;
    for (std::size_t j = all.size(); j > 0; --j) {
        const double square = all[j - 1] * all[j - 1];
        result.discarded += j > width ? square : 0.0;
        beyond_rank += j > static_cast<std::size_t>(result.rank) ? square : 0.0;
    }
    const double error = std::sqrt(lost + beyond_rank) + rounding;
    if (result.factors.info.status != Status::ok) {
        result.status = result.factors.info.status;
    } else if (wanted > max_rank) {
        result.status = Status::rank_limit;
    } else if (rule.allowed_share() && !rule.met(error * error, result.rank, spectrum)) {
        result.status = Status::rule_not_met;
    }
    all.resize(width);
    result.values = std::move(all);
    return result;
}

/// What the decomposition of a stack of `height` rows adds to the error, in norm.
template <Scalar T>
[[nodiscard]] double step_rounding(Index height, double energy)
{
    return 8.0 * std::sqrt(static_cast<double>(height)) * static_cast<double>(epsilon<T>) * std::sqrt(energy);
}

/// Rows of K from triplets: factor s_j v_jᵀ.
template <class S, Scalar T>
void put_triplets(MatrixView<T> rows, std::span<const double> s, ConstMatrixView<T> v, double factor)
{
    for (Index j = 0; j < rows.rows; ++j) {
        S::add_scaled(rows.row_block(j, 1), T(0), static_cast<T>(factor * s[static_cast<std::size_t>(j)]),
                      v.col_block(j, 1).transposed());
    }
}

/// ||A - U diag(s) Vᵀ||_F² of a truncated SVD, from what it says of itself.
template <Scalar T>
[[nodiscard]] double lost_energy(const SvdFactors<T>& f, double unit)
{
    if (f.info.residual_estimate >= 0.0) {
        const double residual = f.info.residual_estimate * unit;
        return residual * residual;
    }
    double kept = 0.0;
    for (const T value : f.s.span()) {
        const double s = static_cast<double>(value) * unit;
        kept += s * s;
    }
    return f.info.captured_energy > 0.0 ? kept * std::max(0.0, 1.0 / f.info.captured_energy - 1.0) : 0.0;
}

}  // namespace detail

/// The truncated SVD of two matrices above one another (side by side) from their truncated SVDs alone: with K =
/// [diag(s1) V1ᵀ; diag(s2) V2ᵀ] = U' diag(s) Vᵀ, U = diag(U1, U2) U'. Exact, to rounding, as long as nothing is
/// discarded. What is discarded adds up as orthogonal parts do where both are best approximations:
///   ||A - U diag(s) Vᵀ||² = ||A1 - A1'||² + ||A2 - A2'||² + discarded s²,
/// which is what info.residual_estimate holds, and s_j² <= s_j(A)² <= s_j² + residual². info.residual_bound holds for
/// inputs of any kind, as far as theirs do: sqrt(b1² + b2²) + discarded. `rank` is asked with the energy lost before.
/// About (k1 + k2)² n + 2 m (k1 + k2) k flops for A (m,n); A itself is not needed. Throws shape_error when the common
/// sides differ, argument_error on NaN or infinity. This overload is the engine's. Sources: Brand 2006; Iwen and Ong
/// 2016.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] SvdFactors<T> merge(const SvdFactors<T>& first, const SvdFactors<T>& second, const MergeOptions& options,
                                  Memory& memory)
{
    const bool by_rows = options.along == Stack::rows;
    const std::array parts{&first, &second};
    const auto common = [&](const SvdFactors<T>& f) { return by_rows ? f.v.matrix() : f.u.matrix(); };
    const auto growing = [&](const SvdFactors<T>& f) { return by_rows ? f.u.matrix() : f.v.matrix(); };
    const Index n = common(first).rows;
    require<shape_error>(n == common(second).rows && n > 0, "merge: ", by_rows ? "V " : "U ",
                         shape_text(common(first).shape()), " and ", shape_text(common(second).shape()),
                         " are not of matrices with the same ", by_rows ? "columns" : "rows");
    require<argument_error>(options.max_rank >= 1, "merge: max_rank is ", options.max_rank);
    require<argument_error>(!options.rank.needs_all_values(),
                            "merge: a rule that needs every singular value cannot be asked of a few");
    double largest = 0.0;
    Index rows = 0;
    Index height = 0;
    for (const auto* f : parts) {
        require<shape_error>(f->u.matrix().cols == f->s.size() && f->v.matrix().cols == f->s.size(),
                             "merge: U, s and V have ", f->u.matrix().cols, ", ", f->s.size(), " and ",
                             f->v.matrix().cols, " columns");
        require_finite<S, T>(f->u.matrix(), "merge", "u");
        require_finite<S, T>(f->s.matrix(), "merge", "s");
        require_finite<S, T>(f->v.matrix(), "merge", "v");
        largest = std::max(largest, S::largest(f->s.matrix()));
        rows += growing(*f).rows;
        height += f->s.size();
    }
    require<shape_error>(height > 0, "merge: no triplets");
    const int exponent = scale_exponent<T>(largest);
    const double unit = power_of_two(-exponent);
    Tensor<T> k = workspace<T>(memory, height, n);
    double lost = 0.0;
    double kept = 0.0;
    double bound = 0.0;
    Index passes = 0;
    Index at = 0;
    for (const auto* f : parts) {
        const std::vector<double> s(f->s.span().begin(), f->s.span().end());
        detail::put_triplets<S, T>(k.matrix().row_block(at, f->s.size()), s, common(*f), unit);
        at += f->s.size();
        lost += detail::lost_energy(*f, unit);
        for (const double value : s) {
            kept += value * unit * value * unit;
        }
        const double of_part =
            f->info.residual_bound >= 0.0 ? f->info.residual_bound * unit : std::sqrt(detail::lost_energy(*f, unit));
        bound = std::hypot(bound, of_part);
        passes = std::max(passes, f->info.passes);
    }
    const double total = kept + lost;
    const double rounding = detail::step_rounding<T>(height, total);
    auto stacked = detail::decompose_stack<S, T>(std::as_const(k).matrix(), total, lost, rounding, rows, options.rank,
                                                 options.max_rank, 0, memory);
    k.reset();
    const Index rank = stacked.rank;
    SvdFactors<T> result{workspace<T>(memory, rows, rank), host_row<T>(memory, rank), {}, {}};
    Index row = 0;
    at = 0;
    for (const auto* f : parts) {
        const auto u = growing(*f);
        S::multiply(result.u.matrix().row_block(row, u.rows), T(1), u,
                    std::as_const(stacked.factors.u).matrix().row_block(at, u.cols), T(0), memory);
        row += u.rows;
        at += u.cols;
    }
    S::copy(result.s.matrix(), std::as_const(stacked.factors.s).matrix());
    result.v = std::move(stacked.factors.v);
    const double tail = std::sqrt(stacked.discarded);
    result.info.status = stacked.status;
    result.info.rank = rank;
    result.info.captured_energy = total > 0.0 ? 1.0 - std::min(1.0, (lost + stacked.discarded) / total) : 1.0;
    result.info.residual_estimate = std::sqrt(lost + stacked.discarded);
    result.info.residual_bound = bound + tail + rounding;
    result.info.bound_failure = std::min(1.0, first.info.bound_failure + second.info.bound_failure);
    result.info.passes = passes;
    if (!by_rows) {
        std::swap(result.u, result.v);
    }
    detail::rescale(result, exponent, "merge");
    if (options.signs == Signs::largest_right_positive) {
        settle_signs<S, T>(result.u.matrix(), result.v.matrix(), memory);
    }
    return result;
}

/// The same for decompositions in a user's types, whatever gave them: truncated_svd, randomized_svd, merge. The result
/// is of the same kind. Example: auto whole = merge(randomized_svd(top, ...), randomized_svd(bottom, ...));
template <class Matrix, class Vector>
requires MatrixLike<Matrix>
[[nodiscard]] Svd<Matrix, Vector> merge(const Svd<Matrix, Vector>& first, const Svd<Matrix, Vector>& second,
                                        const MergeOptions& options = {}, Memory& memory = plain_memory())
{
    using F = Family<Matrix>;
    using S = typename F::Storage;
    using T = typename F::Scalar;
    const auto booked = [&](const Svd<Matrix, Vector>& svd) {
        const auto matrix = [&](const Matrix& m) {
            return F::with_view(m, [&](auto view) {
                Tensor<T> copy = workspace<T>(memory, view.rows, view.cols);
                S::copy(copy.matrix(), view);
                return copy;
            });
        };
        Vector values = svd.s;  // a Family views vectors to write to them
        const auto span = F::span(values);
        Tensor<T> s = host_row<T>(memory, static_cast<Index>(span.size()));
        std::copy(span.begin(), span.end(), s.data());
        return SvdFactors<T>{matrix(svd.u), std::move(s), matrix(svd.v), svd.info};
    };
    return as_family<Matrix>(merge<S, T>(booked(first), booked(second), options, memory));
}

}  // namespace wasi::linalg
