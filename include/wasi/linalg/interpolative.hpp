#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/pivoted_qr.hpp"

namespace wasi::linalg {

struct InterpolativeOptions {
    /// How many columns to keep. Tolerances and energies are of the true error ||A - A(:,J) T||_F. Default: everything
    /// above rounding.
    RankRule rank = Tolerance{0.0};
    /// Never more than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    /// For the form with a key: rows of the sketch beyond the rank (Voronin, Martinsson 2017 take 10).
    Index oversampling = 10;
    /// For the form with a key: power iterations of the sketch, two passes each. One is enough to choose columns unless
    /// the spectrum is flat.
    Index power_iterations = 1;
};

struct InterpolativeInfo {
    /// rule_not_met: the tolerance is below what rounding leaves. rank_limit: max_rank columns were not enough.
    Status status = Status::ok;
    Index rank = 0;
    double error = 0.0;                ///< ||A - A(:,J) T||_F, measured, in double
    double relative_error = 0.0;       ///< the same over ||A||_F; 0 for a zero matrix
    double largest_coefficient = 0.0;  ///< largest |t_ij|: near 1 in practice, 2^k at worst
};

/// A ~ A(:,J) T: J the indices `columns` (k), T (k,n) with T(:,J) = 1.
template <Scalar T>
struct InterpolativeFactors {
    std::vector<Index> columns;
    Tensor<T> coefficients;
    InterpolativeInfo info;
};

/// The same in a user's types.
template <class Matrix>
struct Interpolative {
    std::vector<Index> columns;  ///< J: A(:,J) are columns of A itself, the most important first
    Matrix coefficients;         ///< T (k,n), T(:,J) = 1
    InterpolativeInfo info;
};

namespace detail {

/// X <- R⁻¹ X, R (k,k) upper triangular, by blocks of rows: what is above a block is a product. Where a pivot is at
/// most `negligible` times the largest one, the row becomes zero.
template <class S, Scalar T>
void solve_upper(MatrixView<T> x, ConstMatrixView<T> r, double negligible, Memory& memory)
{
    constexpr Index block = 32;
    double largest = 0.0;
    for (Index i = 0; i < r.rows; ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(r(i, i))));
    }
    for (Index last = r.rows; last > 0;) {
        const Index first = (last - 1) / block * block;
        for (Index i = last - 1; i >= first; --i) {
            const auto row = x.row_block(i, 1);
            for (Index j = i + 1; j < last; ++j) {
                S::add_scaled(row, T(1), -r(i, j), ConstMatrixView<T>(x.row_block(j, 1)));
            }
            const auto pivot = static_cast<double>(r(i, i));
            const bool zero = !(std::abs(pivot) > negligible * largest);
            S::add_scaled(row, T(0), zero ? T(0) : static_cast<T>(1.0 / pivot), ConstMatrixView<T>(row));
        }
        if (first > 0) {
            S::multiply(x.row_block(0, first), T(-1), r.block(0, first, first, last - first),
                        ConstMatrixView<T>(x.row_block(first, last - first)), T(1), memory);
        }
        last = first;
    }
}

/// T (k,n) from R (k,n) in the order of the pivots: R11⁻¹ R, with the identity where it is one, in A's own order.
template <class S, Scalar T>
void coefficients_from(MatrixView<T> coefficients, ConstMatrixView<T> r, std::span<const Index> order,
                       double negligible, Memory& memory)
{
    const Index k = r.rows;
    Tensor<T> solved = workspace<T>(memory, k, r.cols);
    S::fill(solved.matrix(), T(0));
    S::fill(solved.matrix().diagonal(), T(1));
    const auto rest = solved.matrix().col_block(k, r.cols - k);
    S::copy(rest, r.col_block(k, r.cols - k));
    solve_upper<S, T>(rest, r.col_block(0, k), negligible, memory);
    scatter_columns<S, T>(coefficients, std::as_const(solved).matrix(), order);
}

/// A(:,J), T and the true error for the first k columns of `order`.
template <class S, Scalar T>
[[nodiscard]] double measure_columns(ConstMatrixView<T> a, InterpolativeFactors<T>& result, ConstMatrixView<T> r,
                                     std::span<const Index> order, double negligible, Memory& memory)
{
    const Index k = r.rows;
    result.columns.assign(order.begin(), order.begin() + k);
    result.coefficients = workspace<T>(memory, k, a.cols);
    coefficients_from<S, T>(result.coefficients.matrix(), r, order, negligible, memory);
    Tensor<T> kept = workspace<T>(memory, a.rows, k);
    gather_columns<S, T>(kept.matrix(), a, result.columns);
    return product_error<S, T>(a, std::as_const(kept).matrix(), std::as_const(result.coefficients).matrix(), memory);
}

template <class S, Scalar T>
void finish(InterpolativeFactors<T>& result, const Stopped& stopped, const MatrixAtScale<S, T>& at_scale, double norm)
{
    result.info = {stopped.status, static_cast<Index>(result.columns.size()), stopped.error * at_scale.factor(),
                   norm > 0.0 ? stopped.error / norm : 0.0, S::largest(std::as_const(result.coefficients).matrix())};
}

/// The deterministic form; A is of ordinary size.
template <class S, Scalar T>
[[nodiscard]] Stopped interpolate(ConstMatrixView<T> a, const RankRule& wanted, Index max_rank, double weight,
                                  InterpolativeFactors<T>& result, Memory& memory)
{
    PivotedReflections<S, T> columns(a, memory);
    const ErrorRule rule(wanted, columns.squared_norm());
    const Index all = std::min(a.rows, a.cols);
    const Index limit = std::min({all, max_rank, rule.fixed().value_or(all)});
    return take_columns(columns, rule, limit, all, static_cast<double>(epsilon<T>), weight, [&] {
        Tensor<T> r = workspace<T>(memory, columns.taken(), a.cols);
        columns.make_r(r.matrix());
        // Pivots are the largest there are, also among rounding: their coefficients are of ordinary size.
        return measure_columns<S, T>(a, result, std::as_const(r).matrix(), columns.order(),
                                     0.01 * static_cast<double>(epsilon<T>), memory);
    });
}

/// Y (l,n) = orthonormalised rows of samples, times A: Ωᵀ A, or ((Ωᵀ A) Aᵀ)^q A with bases made orthonormal in between.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> row_sketch(ConstMatrixView<T> a, Index height, Index power_iterations, RandomKey key,
                                   Memory& memory)
{
    Tensor<T> left = workspace<T>(memory, a.rows, height);
    Tensor<T> right = workspace<T>(memory, a.cols, height);
    S::fill_normal(left.matrix(), key);
    S::multiply(right.matrix(), T(1), a.transposed(), std::as_const(left).matrix(), T(0), memory);
    for (Index i = 0; i < power_iterations; ++i) {
        (void)orthonormalize_columns<S, T>(right.matrix(), memory);
        S::multiply(left.matrix(), T(1), a, std::as_const(right).matrix(), T(0), memory);
        (void)orthonormalize_columns<S, T>(left.matrix(), memory);
        S::multiply(right.matrix(), T(1), a.transposed(), std::as_const(left).matrix(), T(0), memory);
    }
    return right;
}

/// Q and QᵀA of the first `count` columns of `order`, R in the order of the pivots; returns ||A - Q QᵀA||_F.
template <class S, Scalar T>
[[nodiscard]] double project_on(ConstMatrixView<T> a, std::span<const Index> order, Index count, Tensor<T>& r,
                                Memory& memory)
{
    Tensor<T> q = workspace<T>(memory, a.rows, count);
    Tensor<T> projected = workspace<T>(memory, count, a.cols);
    gather_columns<S, T>(q.matrix(), a, order);
    (void)S::orthonormalize(q.matrix(), memory);  // Householder: R is triangular whatever the columns are
    S::multiply(projected.matrix(), T(1), ConstMatrixView<T>(q.matrix().transposed()), a, T(0), memory);
    r = workspace<T>(memory, count, a.cols);
    gather_columns<S, T>(r.matrix(), std::as_const(projected).matrix(), order);
    for (Index j = 0; j < count; ++j) {
        for (Index i = j + 1; i < count; ++i) {
            r.matrix()(i, j) = T(0);
        }
    }
    return product_error<S, T>(a, std::as_const(q).matrix(), std::as_const(projected).matrix(), memory);
}

}  // namespace detail

/// Interpolative decomposition A ~ A(:,J) T: a basis of columns of A itself, by QR with column pivoting and T = R11⁻¹ R
/// (Cheng, Gimbutas, Martinsson, Rokhlin 2005). Error as for pivoted_qr but for the rounding of T, and measured. T's
/// entries are near 1 at most in practice. Rows instead of columns: give the transpose. 4 m n k + n k² flops for the
/// columns, 2 m n k for the error; workspace 2 m n. Throws argument_error on NaN or infinity, shape_error on an empty
/// A. This overload is the engine's. Example: examples/decompositions.cpp
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] InterpolativeFactors<T> interpolative(ConstMatrixView<T> a, const InterpolativeOptions& options,
                                                    Memory& memory)
{
    detail::check_limits("interpolative", a.shape(), options.max_rank, options.rank);
    const auto at_scale = detail::at_ordinary_scale<S, T>(a, "interpolative", "a", memory);
    InterpolativeFactors<T> result;
    const auto stopped =
        detail::interpolate<S, T>(at_scale.view(), options.rank, options.max_rank, 1.0, result, memory);
    detail::finish<S, T>(result, stopped, at_scale, std::sqrt(S::dot(at_scale.view(), at_scale.view())));
    return result;
}

/// The same for large matrices: columns are chosen by pivoting a random sketch of few rows (Voronin, Martinsson 2017,
/// after Halko, Martinsson, Tropp 2011, 5.2); T is then the least squares solution for these columns of A itself, so
/// that the sketch costs columns but never accuracy. For tolerances the sketch doubles until the true error does; where
/// it would be half of A, the form without a key takes over. 2 m n (2 k + (1 + 2 q)(k + p)) flops, all in matrix
/// products. Same key, same bits.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] InterpolativeFactors<T> interpolative(ConstMatrixView<T> a, const InterpolativeOptions& options,
                                                    RandomKey key, Memory& memory)
{
    detail::check_limits("interpolative", a.shape(), options.max_rank, options.rank);
    require<argument_error>(options.oversampling >= 0, "interpolative: oversampling is ", options.oversampling);
    require<argument_error>(options.power_iterations >= 0, "interpolative: power_iterations is ",
                            options.power_iterations);
    const auto at_scale = detail::at_ordinary_scale<S, T>(a, "interpolative", "a", memory);
    const ConstMatrixView<T> view = at_scale.view();
    const double squared = S::dot(view, view);
    const detail::ErrorRule rule(options.rank, squared);
    const Index all = std::min(a.rows, a.cols);
    const Index limit = std::min({all, options.max_rank, rule.fixed().value_or(all)});
    constexpr Index first_rank = 32;
    // The sketch's pivots are not A's: those of A's columns may be rounding in any order.
    const double negligible = 8.0 * std::sqrt(static_cast<double>(all)) * static_cast<double>(epsilon<T>);
    InterpolativeFactors<T> result;
    for (Index wanted = rule.fixed() ? limit : std::min(first_rank, limit);; wanted = std::min(2 * wanted, limit)) {
        const Index height = wanted + options.oversampling;
        if (2 * height >= all || rule.exact()) {
            const auto stopped = detail::interpolate<S, T>(view, options.rank, options.max_rank, 1.0, result, memory);
            detail::finish<S, T>(result, stopped, at_scale, std::sqrt(squared));
            return result;
        }
        const Tensor<T> sketch =
            detail::row_sketch<S, T>(view, height, options.power_iterations, key.derive(wanted), memory);
        detail::PivotedReflections<S, T> columns(sketch.matrix().transposed(), memory);
        columns.advance(wanted, [](double) { return false; });
        Tensor<T> r = workspace<T>(memory, 0, 0);
        const double beyond = detail::project_on<S, T>(view, columns.order(), wanted, r, memory);
        std::vector<double> lengths(static_cast<std::size_t>(wanted));
        double lost = beyond * beyond;
        Index k = wanted;
        for (Index i = 0; i < wanted; ++i) {
            const auto row = std::as_const(r).matrix().row_block(i, 1);
            lengths[static_cast<std::size_t>(i)] = std::sqrt(S::dot(row, row));
        }
        while (!rule.fixed() && k > 1) {  // the fewest of these columns that will do
            const double length = lengths[static_cast<std::size_t>(k - 1)];
            const std::span<const double> fewer(lengths.data(), static_cast<std::size_t>(k - 1));
            if (!rule.met(fewer, std::sqrt(lost + length * length))) {
                break;
            }
            lost += length * length;
            --k;
        }
        for (Index next = k; k <= wanted; k = next) {  // more of them only where rounding asks for it
            next = k == wanted ? k + 1 : std::min(wanted, k + std::max<Index>(1, (wanted - k) / 4));
            Tensor<T> shorter = workspace<T>(memory, k, a.cols);
            S::copy(shorter.matrix(), std::as_const(r).matrix().row_block(0, k));
            const double error = detail::measure_columns<S, T>(view, result, std::as_const(shorter).matrix(),
                                                               columns.order(), negligible, memory);
            const bool met = rule.shown(std::span<const double>(lengths.data(), static_cast<std::size_t>(k)), error);
            if (met || (k == wanted && wanted == limit)) {
                const auto status = detail::status_of(rule, met, false, k, limit, all);
                detail::finish<S, T>(result, {error, status}, at_scale, std::sqrt(squared));
                return result;
            }
        }
    }
}

/// interpolative for a user's matrix; T is of the same kind. Example: examples/decompositions.cpp
template <MatrixLike A>
[[nodiscard]] auto interpolative(const A& a, const InterpolativeOptions& options = {}, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        auto factors = interpolative<typename F::Storage, typename F::Scalar>(view, options, memory);
        return Interpolative<typename F::Matrix>{std::move(factors.columns), detail::to_family<A>(factors.coefficients),
                                                 factors.info};
    });
}

/// The form with a random sketch.
template <MatrixLike A>
[[nodiscard]] auto interpolative(const A& a, const InterpolativeOptions& options, RandomKey key,
                                 Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        auto factors = interpolative<typename F::Storage, typename F::Scalar>(view, options, key, memory);
        return Interpolative<typename F::Matrix>{std::move(factors.columns), detail::to_family<A>(factors.coefficients),
                                                 factors.info};
    });
}

}  // namespace wasi::linalg
