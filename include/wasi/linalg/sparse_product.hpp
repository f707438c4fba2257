#pragma once
#include <Eigen/SparseCore>
#include <algorithm>
#include <array>
#include <utility>

#include "wasi/core/parallel.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/storage/view.hpp"

namespace wasi::linalg::detail {

/// The lines of a compressed or uncompressed sparse matrix: rows of a row-major one, columns of another.
template <class Sparse>
class SparseLines {
public:
    using T = typename Sparse::Scalar;
    using Index32 = typename Sparse::StorageIndex;

    explicit SparseLines(const Sparse& a) : a_(&a) {}

    [[nodiscard]] Index count() const { return a_->outerSize(); }
    [[nodiscard]] const Index32* inner() const { return a_->innerIndexPtr(); }
    [[nodiscard]] const T* values() const { return a_->valuePtr(); }
    /// Where line `outer` begins and ends in `inner` and `values`.
    [[nodiscard]] std::pair<Index, Index> range(Index outer) const
    {
        const Index32* starts = a_->outerIndexPtr();
        if (starts == nullptr) {  // a sparse vector is one line
            return {0, static_cast<Index>(a_->nonZeros())};
        }
        const auto first = static_cast<Index>(starts[outer]);
        const Index32* counts = a_->innerNonZeroPtr();
        return {first,
                counts != nullptr ? first + static_cast<Index>(counts[outer]) : static_cast<Index>(starts[outer + 1])};
    }
    /// Whether indices rise along every line, as Eigen keeps them; a map of a user's arrays may hold any order.
    [[nodiscard]] bool sorted() const
    {
        for (Index outer = 0; outer < count(); ++outer) {
            const auto [first, end] = range(outer);
            if (!std::is_sorted(inner() + first, inner() + end)) {
                return false;
            }
        }
        return true;
    }

private:
    const Sparse* a_;
};

/// y (p) += factor x (p)
template <Scalar W>
void add_row(W* y, W factor, const W* x, Index p)
{
    for (Index j = 0; j < p; ++j) {
        y[j] += factor * x[j];
    }
}

/// `width` columns of one line's sum, in registers.
template <Index width, class Sparse, Scalar W>
void gather_columns(W* y, const SparseLines<Sparse>& a, std::pair<Index, Index> range, W scale, const W* x,
                    Index stride)
{
    std::array<W, static_cast<std::size_t>(width)> sum;
    std::copy_n(y, width, sum.begin());
    for (Index at = range.first; at < range.second; ++at) {
        const W factor = scale * static_cast<W>(a.values()[at]);
        const W* row = x + static_cast<Index>(a.inner()[at]) * stride;
        for (std::size_t j = 0; j < static_cast<std::size_t>(width); ++j) {
            sum[j] += factor * row[j];
        }
    }
    std::copy_n(sum.begin(), width, y);
}

/// Y += scale op(A) X where a line of A makes a row of Y: row-major A X, column-major Aᵀ X. Lines are independent.
template <class Sparse, Scalar W>
void gather_product(MatrixView<W> y, const SparseLines<Sparse>& a, W scale, ConstMatrixView<W> x)
{
    constexpr Index height = 128;
    constexpr Index wide = 256 / static_cast<Index>(sizeof(W));  // eight vector registers of AVX
    parallel_for((a.count() + height - 1) / height, [&](Index piece) {
        for (Index line = piece * height; line < std::min(a.count(), (piece + 1) * height); ++line) {
            const auto range = a.range(line);
            W* to = y.data + line * y.row_stride;
            Index j = 0;
            for (; j + wide <= x.cols; j += wide) {
                gather_columns<wide>(to + j, a, range, scale, x.data + j, x.row_stride);
            }
            for (; j + wide / 4 <= x.cols; j += wide / 4) {
                gather_columns<wide / 4>(to + j, a, range, scale, x.data + j, x.row_stride);
            }
            for (Index at = range.first; j < x.cols && at < range.second; ++at) {
                add_row<W>(to + j, scale * static_cast<W>(a.values()[at]),
                           x.data + static_cast<Index>(a.inner()[at]) * x.row_stride + j, x.cols - j);
            }
        }
    });
}

/// Y += scale op(A) X where a line of A adds to many rows of Y: row-major Aᵀ X, column-major A X. Y is cut into tiles
/// of rows that stay in cache; each tile goes over all lines and finds its part of a line by bisection, so every
/// element is summed in the order of the lines, whoever does it.
template <class Sparse, Scalar W>
void scatter_product(MatrixView<W> y, const SparseLines<Sparse>& a, W scale, ConstMatrixView<W> x, bool sorted)
{
    constexpr Index tile_bytes = Index{1} << 19;
    constexpr Index most_tiles = 64;  // each goes over all lines
    const Index threads = thread_count();
    const Index in_cache = y.rows * std::max<Index>(1, x.cols) * static_cast<Index>(sizeof(W)) / tile_bytes;
    const Index wanted = std::clamp<Index>(std::max(in_cache, threads > 1 ? 2 * threads : 1), 1,
                                           std::clamp<Index>(y.rows, 1, most_tiles));
    const Index tiles = sorted ? wanted : 1;
    const Index height = (y.rows + tiles - 1) / tiles;
    parallel_for(tiles, [&](Index tile) {
        const Index first = tile * height;
        const Index end = std::min(y.rows, first + height);
        for (Index line = 0; line < a.count(); ++line) {
            const auto [begin, stop] = a.range(line);
            const auto* from = a.inner() + begin;
            const auto* to = a.inner() + stop;
            if (tiles > 1) {
                const auto below = [](auto index, Index bound) { return static_cast<Index>(index) < bound; };
                from = std::lower_bound(from, to, first, below);
                to = std::lower_bound(from, to, end, below);
            }
            const W* row = x.data + line * x.row_stride;
            const auto* value = a.values() + (from - a.inner());
            for (; from != to; ++from, ++value) {
                add_row<W>(y.data + static_cast<Index>(*from) * y.row_stride, scale * static_cast<W>(*value), row,
                           x.cols);
            }
        }
    });
}

/// Y += scale A X, or Aᵀ X where `adjoint`, for row-major views, on several threads. `sorted` as SparseLines says.
/// 2 nnz p flops. Every element of Y is summed in the order in which A stores, so the bits are the same for any number
/// of threads.
template <bool adjoint, class Sparse, Scalar W>
void add_sparse_product(MatrixView<W> y, const Sparse& a, W scale, ConstMatrixView<W> x, bool sorted)
{
    const SparseLines<Sparse> lines(a);
    if constexpr (adjoint != bool(Sparse::IsRowMajor)) {
        gather_product<Sparse, W>(y, lines, scale, x);
    } else {
        scatter_product<Sparse, W>(y, lines, scale, x, sorted);
    }
}

}  // namespace wasi::linalg::detail
