#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/core/random.hpp"
#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/eigen/symmetric.hpp"
#include "wasi/storage/tensor.hpp"

/// A few leading eigenvectors of a symmetric matrix, for less than all of them cost: tridiagonal form, all eigenvalues,
/// inverse iteration for the wanted ones (Wilkinson; Golub and Van Loan 8.4), and back. What comes out is checked; the
/// full solver takes over where it is not good enough. Templates although everything is double: only what calls them
/// compiles them.
namespace wasi::eigen {

/// LU with row interchanges of the tridiagonal T - shift 1, to solve with it again and again.
template <class Real>
class ShiftedTridiagonal {
public:
    ShiftedTridiagonal(const Eigen::VectorX<Real>& diagonal, const Eigen::VectorX<Real>& beside, Real shift, Real tiny)
        : pivot_(diagonal.array() - shift),
          upper_(beside),
          second_(Eigen::VectorX<Real>::Zero(beside.size())),
          factor_(beside.size()),
          swapped_(static_cast<std::size_t>(beside.size()), 0)
    {
        const Index n = diagonal.size();
        for (Index i = 0; i + 1 < n; ++i) {
            const Real below = beside(i);
            if (std::abs(pivot_(i)) >= std::abs(below)) {
                pivot_(i) = away_from_zero(pivot_(i), tiny);
                factor_(i) = below / pivot_(i);
                pivot_(i + 1) -= factor_(i) * upper_(i);
            } else {
                // Rows i and i + 1 change places; row i gets a second upper diagonal.
                swapped_[static_cast<std::size_t>(i)] = 1;
                factor_(i) = pivot_(i) / below;
                const Real next = pivot_(i + 1);
                pivot_(i + 1) = upper_(i) - factor_(i) * next;
                pivot_(i) = below;
                upper_(i) = next;
                if (i + 2 < n) {
                    second_(i) = upper_(i + 1);
                    upper_(i + 1) = -factor_(i) * second_(i);
                }
            }
        }
        pivot_(n - 1) = away_from_zero(pivot_(n - 1), tiny);
    }

    template <class Vector>
    void solve(Vector&& x) const
    {
        const Index n = pivot_.size();
        for (Index i = 0; i + 1 < n; ++i) {
            if (swapped_[static_cast<std::size_t>(i)] != 0) {
                std::swap(x(i), x(i + 1));
            }
            x(i + 1) -= factor_(i) * x(i);
        }
        x(n - 1) /= pivot_(n - 1);
        if (n > 1) {
            x(n - 2) = (x(n - 2) - upper_(n - 2) * x(n - 1)) / pivot_(n - 2);
        }
        for (Index i = n - 3; i >= 0; --i) {
            x(i) = (x(i) - upper_(i) * x(i + 1) - second_(i) * x(i + 2)) / pivot_(i);
        }
    }

private:
    [[nodiscard]] static Real away_from_zero(Real x, Real tiny)
    {
        return std::abs(x) >= tiny ? x : std::copysign(tiny, x);
    }

    Eigen::VectorX<Real> pivot_;
    Eigen::VectorX<Real> upper_;
    Eigen::VectorX<Real> second_;
    Eigen::VectorX<Real> factor_;
    std::vector<char> swapped_;
};

/// Columns [first, last) of z become eigenvectors of T for the eigenvalues w, orthogonal to one another. They lie so
/// close together that inverse iteration alone may find the same vector twice.
template <class Real>
void invert_group(ColMajor<Real>& z, Index first, Index last, const Eigen::VectorX<Real>& w,
                  const Eigen::VectorX<Real>& diagonal, const Eigen::VectorX<Real>& beside, Real scale)
{
    const Index n = diagonal.size();
    const Real tiny = epsilon<Real> * scale;
    Real shift = w(first);
    for (Index j = first; j < last; ++j) {
        // Equal shifts would give equal vectors.
        shift = j == first ? w(j) : std::min(w(j), shift - Real(4) * tiny);
        const ShiftedTridiagonal<Real> shifted(diagonal, beside, shift, tiny);
        auto x = z.col(j);
        const RandomKey key = RandomKey(0x1e2d).derive(static_cast<std::uint64_t>(j));
        for (Index i = 0; i < n; ++i) {
            x(i) = static_cast<Real>(key.uniform(static_cast<std::uint64_t>(i))) - Real(0.5);
        }
        x.normalize();
        for (int iteration = 0; iteration < 3; ++iteration) {
            shifted.solve(x);
            x /= x.cwiseAbs().maxCoeff();
            for (Index other = first; other < j; ++other) {
                x -= z.col(other).dot(x) * z.col(other);
            }
            x.normalize();
        }
    }
}

/// Leading eigenvectors of the tridiagonal matrix; false when too many eigenvalues lie together, and when they fail the
/// check (not orthonormal, not eigenvectors).
template <class Real>
bool tridiagonal_vectors(ColMajor<Real>& z, const Eigen::VectorX<Real>& w, const Eigen::VectorX<Real>& diagonal,
                         const Eigen::VectorX<Real>& beside)
{
    const Index n = diagonal.size();
    const Index count = z.cols();
    const Real scale = std::max(w.cwiseAbs().maxCoeff(), std::numeric_limits<Real>::min() / epsilon<Real>);
    // Farther apart than this, inverse iteration leaves 1e-4 at most between two vectors, which the steps below remove:
    // what one takes from the other changes a residual by no more than rounding does.
    const Real close = Real(1e-12) * scale;
    std::vector<Index> starts{0};
    for (Index j = 1; j < count; ++j) {
        if (w(j - 1) - w(j) > close) {
            starts.push_back(j);
        }
    }
    starts.push_back(count);
    for (std::size_t at = 0; at + 1 < starts.size(); ++at) {
        if (starts[at + 1] - starts[at] > std::max<Index>(n / 4, 8)) {
            return false;  // orthogonal to one another, vector after vector, costs more than all at once
        }
    }
    parallel_for(static_cast<Index>(starts.size()) - 1, [&](Index group) {
        const auto at = static_cast<std::size_t>(group);
        invert_group<Real>(z, starts[at], starts[at + 1], w, diagonal, beside, scale);
    });
    // A Newton-Schulz step squares the distance from orthonormality.
    const SerialScope serial;
    for (int step = 0;; ++step) {
        const ColMajor<Real> gram = product<Real>(view_of(z).transposed(), view_of(z));
        const Real defect = (gram - ColMajor<Real>::Identity(count, count)).norm();
        if (!(defect < Real(0.1)) || step == 4) {
            return false;
        }
        z = Real(1.5) * z - Real(0.5) * product<Real>(view_of(z), view_of(gram));
        if (defect < Real(1e-7)) {
            break;
        }
    }
    // Plain loops, of which there is little to compile: ||T z_j - w_j z_j||.
    const Real most = Real(32) * std::sqrt(static_cast<Real>(n)) * epsilon<Real> * scale;
    for (Index j = 0; j < count; ++j) {
        Real sum = Real(0);
        for (Index i = 0; i < n; ++i) {
            Real rest = (diagonal(i) - w(j)) * z(i, j);
            rest += i > 0 ? beside(i - 1) * z(i - 1, j) : Real(0);
            rest += i + 1 < n ? beside(i) * z(i + 1, j) : Real(0);
            sum += rest * rest;
        }
        if (!(std::sqrt(sum) <= most)) {
            return false;
        }
    }
    return true;
}

/// All eigenvalues of a symmetric A (n,n), descending, into w; the first choose(w) columns of A become their
/// eigenvectors, the others hold nothing of use. Returns that count, or -1 when the iteration does not converge. About
/// 4/3 n³ + 2 n² count + 4 n count² flops where count is at most 9/10 n, else 9 n³.
template <class Real>
Index eigh_leading(MatrixView<Real> a, std::span<Real> w, const ChooseCount& choose, Memory& memory)
{
    const Index n = a.rows;
    if (n == 0) {
        return 0;
    }
    const Real magnitude = with_map(a, [](const auto& map) { return map.cwiseAbs().maxCoeff(); });
    const Real unit = magnitude > Real(0) ? magnitude : Real(1);
    const auto scaled = [&] { return with_map(a, [&](const auto& map) -> ColMajor<Real> { return map / unit; }); };
    const auto order = static_cast<double>(n);
    const auto deliver = [&](const Eigen::VectorX<Real>& ascending) {
        for (Index j = 0; j < n; ++j) {
            w[static_cast<std::size_t>(j)] = ascending(n - 1 - j) * unit;
        }
        return std::clamp<Index>(choose(w), 0, n);
    };
    SymmetricEigen<Real> solver(scaled());
    if (!solver.find_values()) {
        return -1;
    }
    const Index count = deliver(solver.values());
    if (n > 32) {
        memory.count_flops(4.0 / 3.0 * order * order * order);
        if (count == 0) {
            return 0;
        }
    }
    if (n > 32 && 10 * count <= 9 * n) {
        ColMajor<Real> vectors(n, count);
        if (tridiagonal_vectors<Real>(vectors, solver.values().reverse(), solver.diagonal(), solver.beside())) {
            const auto wanted = static_cast<double>(count);
            memory.count_flops(2.0 * order * order * wanted + 4.0 * order * wanted * wanted);
            const Reflections<Real> q = solver.reflections();
            constexpr Index block = 48;
            parallel_for((count + block - 1) / block, [&](Index index) {
                const Index first = index * block;
                SymmetricEigen<Real>::turn(q, MatrixView<Real>::col_major(vectors.data(), n, count)
                                                  .col_block(first, std::min(block, count - first)));
            });
            copy<Real>(a.col_block(0, count), view_of(vectors));
            return count;
        }
    }
    const SerialScope serial;
    memory.count_flops(9.0 * order * order * order);
    if (!solver.find_vectors()) {
        return -1;
    }
    const ColMajor<Real> vectors = solver.vectors_descending();
    copy<Real>(a.col_block(0, count), view_of(vectors).col_block(0, count));
    return count;
}

}  // namespace wasi::eigen
