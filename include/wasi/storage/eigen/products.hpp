#pragma once
#include <Eigen/Core>
#include <algorithm>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/eigen/maps.hpp"
#include "wasi/storage/eigen/pieces.hpp"
#include "wasi/storage/eigen/skinny.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::eigen {

/// C = alpha A B + beta C on one thread, whoever calls: a part of a product, or one so small that it is not cut. Eigen
/// left to itself cuts what is large enough by the number of threads it finds, and then rounding depends on that.
template <Scalar T>
void multiply_tile(MatrixView<T> c, T alpha, ConstMatrixView<T> a, ConstMatrixView<T> b, T beta)
{
    if (is_skinny(c.rows, c.cols, a.cols)) {
        multiply_skinny<T>(c, alpha, a, b, beta);
        return;
    }
    const SerialScope serial;
    auto result = row_major_map(c);
    if (beta == T(0)) {
        result.setZero();
    } else if (beta != T(1)) {
        result *= beta;
    }
    with_map(a, [&](const auto& left) {
        with_map(b, [&](const auto& right) { result.noalias() += alpha * left * right; });
    });
}

/// C = alpha A B + beta C on Eigen's kernels, single-threaded inside tiles, threaded over them.
template <Scalar T>
void multiply(MatrixView<T> c, T alpha, ConstMatrixView<T> a, ConstMatrixView<T> b, T beta, Memory& memory)
{
    if (!c.is_row_major()) {  // Cᵀ = Bᵀ Aᵀ: half the instantiations of Eigen's kernels
        multiply(c.transposed(), alpha, b.transposed(), a.transposed(), beta, memory);
        return;
    }
    const Index m = c.rows;
    const Index n = c.cols;
    const Index k = a.cols;
    memory.count_flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
    const ProductTiles tiles = product_tiles(m, n, k);
    if (tiles.depth_chunks > 1) {
        Tensor<T> partial(memory, Tag{Use::workspace, 0}, Shape{tiles.depth_chunks, m, n});
        const Index chunk = (k + tiles.depth_chunks - 1) / tiles.depth_chunks;
        parallel_for(tiles.depth_chunks, [&](Index i) {
            const Index first = std::min(i * chunk, k);
            const Index count = std::min(chunk, k - first);
            multiply_tile<T>(partial.template view<3>().slice(i), alpha, a.col_block(first, count),
                             b.row_block(first, count), T(0));
        });
        auto result = row_major_map(c);
        if (beta == T(0)) {
            result.setZero();
        } else if (beta != T(1)) {
            result *= beta;
        }
        for (Index i = 0; i < tiles.depth_chunks; ++i) {
            result += row_major_map(partial.template view<3>().slice(i));
        }
        return;
    }
    const Index row_tiles = (m + tiles.tile_rows - 1) / tiles.tile_rows;
    const Index col_tiles = (n + tiles.tile_cols - 1) / tiles.tile_cols;
    parallel_for(row_tiles * col_tiles, [&](Index tile) {
        const Index i = tile / col_tiles * tiles.tile_rows;
        const Index j = tile % col_tiles * tiles.tile_cols;
        const Index rows = std::min(tiles.tile_rows, m - i);
        const Index cols = std::min(tiles.tile_cols, n - j);
        multiply_tile<T>(c.block(i, j, rows, cols), alpha, a.row_block(i, rows), b.col_block(j, cols), beta);
    });
}

}  // namespace wasi::eigen
