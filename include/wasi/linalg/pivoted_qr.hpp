#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/linalg/column_pivoting.hpp"
#include "wasi/linalg/error_rule.hpp"
#include "wasi/storage/eigen/family.hpp"

namespace wasi::linalg {

struct PivotedQrOptions {
    /// How many columns to take: a rank, Tolerance{1e-6}, Energy{0.99}, first_of(...). Tolerances and energies are of
    /// the true error ||A P - Q R||_F, which is at most a small factor above that of the SVD. A rule of your own is
    /// asked with the lengths of the rows of R and the error as the last value. Default: everything above rounding.
    RankRule rank = Tolerance{0.0};
    /// Never more than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
};

struct PivotedQrInfo {
    /// rule_not_met: the tolerance is below what rounding leaves. rank_limit: max_rank columns were not enough.
    Status status = Status::ok;
    Index rank = 0;
    double error = 0.0;           ///< ||A P - Q R||_F, measured on the factors returned, in double
    double relative_error = 0.0;  ///< the same over ||A||_F; 0 for a zero matrix
};

/// Q (m,k), R (k,n) as booked tensors: column `columns[j]` of A is Q times column j of R.
template <Scalar T>
struct PivotedQrFactors {
    Tensor<T> q;
    Tensor<T> r;
    std::vector<Index> columns;
    PivotedQrInfo info;
};

/// The same in a user's types.
template <class Matrix>
struct PivotedQr {
    Matrix q;                    ///< (m,k), orthonormal columns
    Matrix r;                    ///< (k,n), upper trapezoidal, |r_00| >= |r_11| >= ...
    std::vector<Index> columns;  ///< (n): A(:, columns[j]) ~ Q R(:, j)
    PivotedQrInfo info;
};

namespace detail {

/// Where columns were stopped, and with which true error.
struct Stopped {
    double error = 0.0;
    Status status = Status::ok;
};

/// Takes columns until the rule is met by an error that `measure()` finds on the finished factors. `weight` times that
/// error is what the rule is asked about. Where the measured error misses the rule although what is left of the columns
/// does not, rounding is the reason: more columns are taken as long as they can make up for it.
template <class Reflections, class Measure>
[[nodiscard]] Stopped take_columns(Reflections& columns, const ErrorRule& rule, Index limit, Index all, double roundoff,
                                   double weight, Measure&& measure)
{
    const double norm = rule.norm();
    double rounding = 0.5 * roundoff * norm;
    double floor = 4.0 * roundoff * norm;  // what is left of the columns is then mostly rounding
    for (;;) {
        columns.advance(limit, [&](double rest) {
            return rule.met(columns.row_lengths(), weight * std::hypot(rest, rounding)) ||
                   (!rule.fixed() && rest <= floor);
        });
        const double rest = columns.rest();
        const double error = measure();
        const bool met = rule.shown(columns.row_lengths(), weight * error);
        const double rounded = std::sqrt(std::max(0.0, error * error - rest * rest));
        const bool down = rest <= floor || columns.taken() == all;
        const bool hopeless = rule.exact() || !rule.met(columns.row_lengths(), weight * rounded);
        if (met || columns.taken() == limit || (down && hopeless)) {
            return {error, status_of(rule, met, down, columns.taken(), limit, all)};
        }
        rounding = std::max(1.1 * rounding, 1.05 * rounded);
        floor = std::min(floor, 0.5 * rest);
    }
}

inline void check_limits(std::string_view who, std::array<Index, 2> shape, Index max_rank, const RankRule& rule)
{
    require<shape_error>(shape[0] > 0 && shape[1] > 0, who, ": empty matrix ", shape_text(shape));
    require<argument_error>(max_rank >= 1, who, ": max_rank is ", max_rank);
    require<argument_error>(!rule.needs_all_values(), who, ": the rule needs singular values, and there are none here");
}

}  // namespace detail

/// A P = Q R by Householder reflections with column pivoting, stopped as soon as the rule is met (Businger, Golub 1965;
/// norms of the columns downdated safely: Drmač, Bujanović 2008; half of the work in matrix products: Quintana-Ortí,
/// Sun, Bischof 1998). Ours differs in that the error is measured on the result, and in that the answer is the same at
/// every size that the type holds. Rank-revealing in practice: for k columns ||A P - Q R||_2 <= sqrt(1 + k (n - k))
/// sigma_{k+1} but for contrived matrices (Kahan 1966), where 2^k replaces the root. ||QᵀQ - 1|| is a small multiple of
/// sqrt(m) epsilon. 4 m n k flops for the reflections, 2 m n k for the error; workspace 2 m n. Throws argument_error on
/// NaN or infinity, shape_error on an empty A. Same bits for any number of threads. This overload is the engine's.
/// Example: examples/decompositions.cpp
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] PivotedQrFactors<T> pivoted_qr(ConstMatrixView<T> a, const PivotedQrOptions& options, Memory& memory)
{
    detail::check_limits("pivoted_qr", a.shape(), options.max_rank, options.rank);
    const auto at_scale = detail::at_ordinary_scale<S, T>(a, "pivoted_qr", "a", memory);
    detail::PivotedReflections<S, T> columns(at_scale.view(), memory);
    const detail::ErrorRule rule(options.rank, columns.squared_norm());
    const Index all = std::min(a.rows, a.cols);
    const Index limit = std::min({all, options.max_rank, rule.fixed().value_or(all)});
    PivotedQrFactors<T> result;
    Tensor<T> in_order = workspace<T>(memory, 0, 0);
    const auto stopped = detail::take_columns(columns, rule, limit, all, static_cast<double>(epsilon<T>), 1.0, [&] {
        const Index k = columns.taken();
        result.q = workspace<T>(memory, a.rows, k);
        result.r = workspace<T>(memory, k, a.cols);
        in_order = workspace<T>(memory, k, a.cols);
        columns.make_q(result.q.matrix());
        columns.make_r(result.r.matrix());
        detail::scatter_columns<S, T>(in_order.matrix(), std::as_const(result.r).matrix(), columns.order());
        return detail::product_error<S, T>(at_scale.view(), std::as_const(result.q).matrix(),
                                           std::as_const(in_order).matrix(), memory);
    });
    detail::restore_scale<S, T>(result.r.matrix(), at_scale.exponent(), "pivoted_qr", "R");
    result.columns.assign(columns.order().begin(), columns.order().end());
    result.info = {stopped.status, columns.taken(), stopped.error * at_scale.factor(),
                   rule.norm() > 0.0 ? stopped.error / rule.norm() : 0.0};
    return result;
}

/// The same for a user's matrix; Q and R are of the same kind. Example: examples/decompositions.cpp
template <MatrixLike A>
[[nodiscard]] auto pivoted_qr(const A& a, const PivotedQrOptions& options = {}, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        auto factors = pivoted_qr<typename F::Storage, typename F::Scalar>(view, options, memory);
        return PivotedQr<typename F::Matrix>{detail::to_family<A>(factors.q), detail::to_family<A>(factors.r),
                                             std::move(factors.columns), factors.info};
    });
}

}  // namespace wasi::linalg
