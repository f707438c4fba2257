#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/interpolative.hpp"

namespace wasi::linalg {

struct CurOptions {
    /// How many columns and rows to keep: a rank for both, or a tolerance or energy of the true error ||A - C U R||_F.
    /// 1e-6 as default: far below it the middle factor cannot be held in working precision, see cur.
    RankRule rank = Tolerance{1e-6};
    /// Never more columns or rows than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
};

struct CurInfo {
    /// rule_not_met: the error could not be brought to the tolerance; error tells how near it came.
    Status status = Status::ok;
    double error = 0.0;           ///< ||A - C U R||_F, measured, in double
    double relative_error = 0.0;  ///< the same over ||A||_F; 0 for a zero matrix
};

/// A ~ C U R with C = A(:,J) and R = A(I,:): J = `columns` (k), I = `rows` (l), U (k,l).
template <Scalar T>
struct CurFactors {
    std::vector<Index> columns;
    std::vector<Index> rows;
    Tensor<T> c;
    Tensor<T> u;
    Tensor<T> r;
    CurInfo info;
};

/// The same in a user's types.
template <class Matrix>
struct Cur {
    std::vector<Index> columns;  ///< J (k)
    std::vector<Index> rows;     ///< I (l)
    Matrix c;                    ///< A(:,J), (m,k)
    Matrix u;                    ///< (k,l)
    Matrix r;                    ///< A(I,:), (l,n)
    CurInfo info;
};

namespace detail {

/// Q (m,k) and the triangle of A(:,order[0..k)): columns = Q triangle.
template <class S, Scalar T>
void triangle_of(ConstMatrixView<T> columns, Tensor<T>& q, Tensor<T>& triangle, Memory& memory)
{
    q = workspace<T>(memory, columns.rows, columns.cols);
    triangle = workspace<T>(memory, columns.cols, columns.cols);
    S::copy(q.matrix(), columns);
    (void)S::orthonormalize(q.matrix(), memory);
    S::multiply(triangle.matrix(), T(1), ConstMatrixView<T>(q.matrix().transposed()), columns, T(0), memory);
}

/// C, U, R for these columns and rows, U = C⁺ A R⁺ by the two QR factorizations, and the true error.
template <class S, Scalar T>
[[nodiscard]] double measure_cur(ConstMatrixView<T> a, CurFactors<T>& result, double negligible, Memory& memory)
{
    const auto k = static_cast<Index>(result.columns.size());
    const auto l = static_cast<Index>(result.rows.size());
    result.c = workspace<T>(memory, a.rows, k);
    result.r = workspace<T>(memory, l, a.cols);
    result.u = workspace<T>(memory, k, l);
    gather_columns<S, T>(result.c.matrix(), a, result.columns);
    gather_columns<S, T>(result.r.matrix().transposed(), a.transposed(), result.rows);
    Tensor<T> left = workspace<T>(memory, 0, 0);
    Tensor<T> left_triangle = workspace<T>(memory, 0, 0);
    Tensor<T> right = workspace<T>(memory, 0, 0);
    Tensor<T> right_triangle = workspace<T>(memory, 0, 0);
    triangle_of<S, T>(std::as_const(result.c).matrix(), left, left_triangle, memory);
    triangle_of<S, T>(std::as_const(result.r).matrix().transposed(), right, right_triangle, memory);
    Tensor<T> half = workspace<T>(memory, k, a.cols);
    S::multiply(half.matrix(), T(1), ConstMatrixView<T>(left.matrix().transposed()), a, T(0), memory);
    S::multiply(result.u.matrix(), T(1), std::as_const(half).matrix(), std::as_const(right).matrix(), T(0), memory);
    solve_upper<S, T>(result.u.matrix(), std::as_const(left_triangle).matrix(), negligible, memory);
    solve_upper<S, T>(result.u.matrix().transposed(), std::as_const(right_triangle).matrix(), negligible, memory);
    // C U first: it is of moderate size although U may be huge.
    Tensor<T> weights = workspace<T>(memory, a.rows, l);
    S::multiply(weights.matrix(), T(1), std::as_const(result.c).matrix(), std::as_const(result.u).matrix(), T(0),
                memory);
    return product_error<S, T>(a, std::as_const(weights).matrix(), std::as_const(result.r).matrix(), memory);
}

/// Pivots of A's columns until the rule is met by sqrt(2) times what is left: columns and rows share the error.
template <class S, Scalar T>
[[nodiscard]] PivotedReflections<S, T> pivots_for_half(ConstMatrixView<T> a, const ErrorRule& rule, Index limit,
                                                       Memory& memory)
{
    PivotedReflections<S, T> pivots(a, memory);
    const double floor = static_cast<double>(epsilon<T>) * rule.norm();
    pivots.advance(limit, [&](double rest) {
        return rule.met(pivots.row_lengths(), std::numbers::sqrt2 * std::hypot(rest, floor)) ||
               (!rule.fixed() && rest <= 4.0 * floor);
    });
    return pivots;
}

/// How many pivots give the smallest error when U, whose entries are up to 1 / |r_kk|, is rounded: truncation and
/// rounding are equal there, near sqrt(epsilon).
template <class S, Scalar T>
[[nodiscard]] Index best_count(const PivotedReflections<S, T>& pivots)
{
    const auto lengths = pivots.row_lengths();
    const double norm = std::sqrt(pivots.squared_norm());
    double left = pivots.rest() * pivots.rest();
    double least = std::numeric_limits<double>::infinity();
    Index best = pivots.taken();
    for (Index k = pivots.taken(); k > 0; --k) {
        const double pivot = std::abs(pivots.diagonal(k - 1));
        const double error = std::sqrt(left) + static_cast<double>(epsilon<T>) * norm * norm / pivot;
        if (error < least) {
            least = error;
            best = k;
        }
        const double length = lengths[static_cast<std::size_t>(k - 1)];
        left += length * length;
    }
    return best;
}

}  // namespace detail

/// CUR decomposition A ~ C U R of columns and rows of A itself: both chosen by QR with column pivoting, of A and of Aᵀ
/// (Voronin, Martinsson 2017), and U = C⁺ A R⁺, the best middle factor for them (Stewart 1999), from two QR
/// factorizations: U = R_C⁻¹ (Q_Cᵀ A Q_R) R_R⁻ᵀ. For a tolerance columns and rows take half of the squared error each,
/// so their numbers may differ. ||A - C U R||² <= ||A - C C⁺ A||² + ||A - A R⁺ R||².
///
/// U holds numbers up to 1 / sigma_k, and rounding them costs epsilon ||A||² / sigma_k: the error of a CUR cannot be
/// brought below about sqrt(epsilon) ||A|| (1e-8 in double, 1e-4 in float) when the spectrum goes on. A tolerance below
/// that ends with Status::rule_not_met and the best that there is; pivoted_qr and interpolative have no such floor.
/// 8 m n k flops for the pivots, 6 m n k for U and the error; workspace 2 m n. Throws argument_error on NaN or
/// infinity, shape_error on an empty A. This overload is the engine's. Example: examples/decompositions.cpp
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] CurFactors<T> cur(ConstMatrixView<T> a, const CurOptions& options, Memory& memory)
{
    detail::check_limits("cur", a.shape(), options.max_rank, options.rank);
    const auto at_scale = detail::at_ordinary_scale<S, T>(a, "cur", "a", memory);
    const ConstMatrixView<T> view = at_scale.view();
    const detail::ErrorRule rule(options.rank, S::dot(view, view));
    const Index all = std::min(a.rows, a.cols);
    const Index limit = std::min({all, options.max_rank, rule.fixed().value_or(all)});
    const auto columns = detail::pivots_for_half<S, T>(view, rule, limit, memory);
    const auto rows = detail::pivots_for_half<S, T>(view.transposed(), rule, limit, memory);
    CurFactors<T> result;
    const auto take = [&](Index k, Index l, double negligible) {
        result.columns.assign(columns.order().begin(), columns.order().begin() + k);
        result.rows.assign(rows.order().begin(), rows.order().begin() + l);
        return detail::measure_cur<S, T>(view, result, negligible, memory);
    };
    const double unit = static_cast<double>(epsilon<T>);
    const double noise = 8.0 * std::sqrt(static_cast<double>(all)) * unit;
    double error = take(columns.taken(), rows.taken(), noise);
    const auto met = [&] { return rule.shown(columns.row_lengths(), error); };
    if (error > std::max(32.0 * unit * rule.norm(), 2.0 * std::hypot(columns.rest(), rows.rest())) &&
        (rule.fixed() || !met())) {
        // Rounding of U is the larger part. Fewer columns and rows, or as many of which U leaves the smallest out.
        const double before = error;
        const auto fewer = [&](bool really) {
            return rule.fixed() ? take(columns.taken(), rows.taken(), really ? 0.25 * std::sqrt(unit) : noise)
                   : really     ? take(detail::best_count(columns), detail::best_count(rows), noise)
                                : take(columns.taken(), rows.taken(), noise);
        };
        error = fewer(true);
        if (before < error) {
            error = fewer(false);
        }
    }
    const bool done = met();
    const Index taken = std::max(columns.taken(), rows.taken());
    const bool down = error <= 32.0 * unit * rule.norm();
    result.info = {detail::status_of(rule, done, down, taken, limit, all), error * at_scale.factor(),
                   rule.norm() > 0.0 ? error / rule.norm() : 0.0};
    detail::restore_scale<S, T>(result.c.matrix(), at_scale.exponent(), "cur", "C");
    detail::restore_scale<S, T>(result.r.matrix(), at_scale.exponent(), "cur", "R");
    detail::restore_scale<S, T>(result.u.matrix(), -at_scale.exponent(), "cur", "U");
    return result;
}

/// The same for a user's matrix; C, U and R are of the same kind. Example: examples/decompositions.cpp
template <MatrixLike A>
[[nodiscard]] auto cur(const A& a, const CurOptions& options = {}, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        auto factors = cur<typename F::Storage, typename F::Scalar>(view, options, memory);
        return Cur<typename F::Matrix>{std::move(factors.columns),      std::move(factors.rows),
                                       detail::to_family<A>(factors.c), detail::to_family<A>(factors.u),
                                       detail::to_family<A>(factors.r), factors.info};
    });
}

}  // namespace wasi::linalg
