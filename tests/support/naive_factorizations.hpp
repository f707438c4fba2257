#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "support/naive_columns.hpp"

/// Textbook factorizations in plain loops: slow, short, in wider arithmetic than their result. The reference for the
/// fast ones.
namespace wasi_tests::naive {

/// Modified Gram-Schmidt, twice, with random completion where nothing is left of a column.
template <Scalar T>
[[nodiscard]] Index orthonormalize(MatrixView<T> a)
{
    using W = Wide<T>;
    expect(a.rows >= a.cols, "orthonormalize: fewer rows than columns");
    Columns<W> q(a);
    normalise_scale(q, a.cols);
    W longest = 0;
    for (Index j = 0; j < a.cols; ++j) {
        longest = std::max(longest, norm(q[j]));
    }
    const W significant = static_cast<W>(std::max(a.rows, a.cols)) * static_cast<W>(wasi::epsilon<T>) * longest;
    const W noise = W(64) * std::numeric_limits<W>::epsilon();
    Index rank = 0;
    for (Index j = 0; j < a.cols; ++j) {
        const W before = norm(q[j]);
        project_off(q[j], q, j);
        const W rest = norm(q[j]);
        rank += rest > significant ? 1 : 0;
        if (rest > noise * before) {
            scale(q[j], W(1) / rest);
            project_off(q[j], q, j);
            scale(q[j], W(1) / norm(q[j]));
        } else {
            complete(q, j);
        }
    }
    q.store(a);
    return rank;
}

/// The order that sorts `values` descending.
template <class W>
[[nodiscard]] std::vector<Index> descending_order(const std::vector<W>& values)
{
    std::vector<Index> order(values.size());
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) {
        return values[static_cast<std::size_t>(i)] > values[static_cast<std::size_t>(j)];
    });
    return order;
}

/// The rotation (c, s) by the smaller of the two angles that make the off-diagonal q of [[p, q], [q, r]] zero.
template <class W>
[[nodiscard]] std::pair<W, W> jacobi_rotation(W p, W q, W r)
{
    const W tau = (r - p) / (W(2) * q);
    const W t = (tau >= W(0) ? W(1) : W(-1)) / (std::abs(tau) + std::hypot(W(1), tau));
    const W c = W(1) / std::hypot(W(1), t);
    return {c, t * c};
}

/// Columns i and j become (c x - s y, s x + c y).
template <class W>
void rotate(std::vector<W>& x, std::vector<W>& y, W c, W s)
{
    for (std::size_t k = 0; k < x.size(); ++k) {
        const W first = x[k];
        x[k] = c * first - s * y[k];
        y[k] = s * first + c * y[k];
    }
}

template <class W>
[[nodiscard]] Columns<W> identity(Index n)
{
    Columns<W> result(n, n);
    for (Index i = 0; i < n; ++i) {
        result(i, i) = W(1);
    }
    return result;
}

inline constexpr int most_sweeps = 60;

/// Cyclic Jacobi.
template <Scalar T>
[[nodiscard]] bool eigh(MatrixView<T> a, std::span<T> w)
{
    using W = Wide<T>;
    const Index n = a.rows;
    expect(a.cols == n && static_cast<Index>(w.size()) == n, "eigh: shapes");
    Columns<W> work(a);
    const W factor = normalise_scale(work, n);
    Columns<W> vectors = identity<W>(n);
    bool converged = false;
    for (int sweep = 0; sweep < most_sweeps && !converged; ++sweep) {
        converged = true;
        for (Index i = 0; i < n; ++i) {
            for (Index j = i + 1; j < n; ++j) {
                const W off = work(i, j);
                if (std::abs(off) <= std::numeric_limits<W>::epsilon() / W(8)) {
                    continue;
                }
                converged = false;
                const auto [c, s] = jacobi_rotation(work(i, i), off, work(j, j));
                rotate(work[i], work[j], c, s);
                for (Index k = 0; k < n; ++k) {
                    const W first = work(i, k);
                    work(i, k) = c * first - s * work(j, k);
                    work(j, k) = s * first + c * work(j, k);
                }
                rotate(vectors[i], vectors[j], c, s);
            }
        }
    }
    std::vector<W> values(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) {
        values[static_cast<std::size_t>(i)] = work(i, i);
    }
    const auto order = descending_order(values);
    poison(a);
    for (Index j = 0; j < n; ++j) {
        const Index from = order[static_cast<std::size_t>(j)];
        w[static_cast<std::size_t>(j)] = static_cast<T>(values[static_cast<std::size_t>(from)] * factor);
        for (Index i = 0; i < n; ++i) {
            a(i, j) = static_cast<T>(vectors(i, from));
        }
    }
    return converged;
}

/// One-sided Jacobi (Hestenes): rotations from the right until the columns of A V are orthogonal; their norms are s.
template <Scalar T>
[[nodiscard]] bool svd(ConstMatrixView<T> a, MatrixView<T> u, std::span<T> s, MatrixView<T> v)
{
    using W = Wide<T>;
    if (a.rows < a.cols) {
        return svd<T>(a.transposed(), v, s, u);
    }
    const Index n = a.cols;
    expect(u.rows == a.rows && u.cols == n && static_cast<Index>(s.size()) == n && v.rows == n && v.cols == n,
           "svd: shapes");
    Columns<W> work(a);
    const W factor = normalise_scale(work, n);
    Columns<W> right = identity<W>(n);
    const W enough = std::numeric_limits<W>::epsilon();
    bool converged = false;
    for (int sweep = 0; sweep < most_sweeps && !converged; ++sweep) {
        converged = true;
        for (Index i = 0; i < n; ++i) {
            for (Index j = i + 1; j < n; ++j) {
                const W p = inner(work[i], work[i]);
                const W q = inner(work[i], work[j]);
                const W r = inner(work[j], work[j]);
                // Relative to the two columns, except among columns that are nothing but rounding.
                if (std::abs(q) <= W(8) * enough * std::sqrt(p * r) || std::abs(q) <= enough * enough) {
                    continue;
                }
                converged = false;
                const auto [c, sine] = jacobi_rotation(p, q, r);
                rotate(work[i], work[j], c, sine);
                rotate(right[i], right[j], c, sine);
            }
        }
    }
    std::vector<W> values(static_cast<std::size_t>(n));
    for (Index j = 0; j < n; ++j) {
        values[static_cast<std::size_t>(j)] = norm(work[j]);
    }
    const auto order = descending_order(values);
    const W noise = W(64) * static_cast<W>(std::max<Index>(a.rows, 1)) * enough;
    Columns<W> left(a.rows, n);
    poison(u);
    poison(v);
    for (Index j = 0; j < n; ++j) {
        const Index from = order[static_cast<std::size_t>(j)];
        const W value = values[static_cast<std::size_t>(from)];
        s[static_cast<std::size_t>(j)] = static_cast<T>(value * factor);
        left[j] = work[from];
        if (value > noise) {
            scale(left[j], W(1) / value);
            project_off(left[j], left, j);
            scale(left[j], W(1) / norm(left[j]));
        } else {
            complete(left, j);
        }
        for (Index i = 0; i < n; ++i) {
            v(i, j) = static_cast<T>(right(i, from));
        }
    }
    left.store(u);
    return converged;
}

/// The lower triangular F of A = F Fᵀ, with zeros above; empty when A is not positive definite.
template <class W, Scalar T>
[[nodiscard]] std::optional<Columns<W>> lower_factor(MatrixView<T> a)
{
    const Index n = a.rows;
    expect(a.cols == n, "cholesky: shapes");
    Columns<W> l(a);
    poison(a);
    for (Index j = 0; j < n; ++j) {
        for (Index i = 0; i < j; ++i) {
            l(i, j) = W(0);
        }
        for (Index i = j; i < n; ++i) {
            W sum = l(i, j);
            for (Index k = 0; k < j; ++k) {
                sum -= l(i, k) * l(j, k);
            }
            if (i == j && !(sum > W(0))) {
                return std::nullopt;
            }
            l(i, j) = i == j ? std::sqrt(sum) : sum / l(j, j);
        }
    }
    return l;
}

template <Scalar T>
[[nodiscard]] bool cholesky(MatrixView<T> a)
{
    auto l = lower_factor<Wide<T>>(a);
    if (l) {
        l->store(a);
    }
    return l.has_value();
}

/// Cholesky, then forward and back substitution. A is destroyed for good: it holds NaN afterwards.
template <Scalar T>
[[nodiscard]] bool solve_spd(MatrixView<T> a, MatrixView<T> b)
{
    using W = Wide<T>;
    const Index n = a.rows;
    expect(b.rows == n, "solve_spd: shapes");
    auto factor = lower_factor<W>(a);
    if (!factor) {
        return false;
    }
    Columns<W>& l = *factor;
    Columns<W> x(b);
    for (Index c = 0; c < b.cols; ++c) {
        for (Index i = 0; i < n; ++i) {
            for (Index k = 0; k < i; ++k) {
                x(i, c) -= l(i, k) * x(k, c);
            }
            x(i, c) /= l(i, i);
        }
        for (Index i = n - 1; i >= 0; --i) {
            for (Index k = i + 1; k < n; ++k) {
                x(i, c) -= l(k, i) * x(k, c);
            }
            x(i, c) /= l(i, i);
        }
    }
    x.store(b);
    return true;
}

}  // namespace wasi_tests::naive
