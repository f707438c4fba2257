#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <concepts>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/eigen/maps.hpp"
#include "wasi/storage/eigen/pieces.hpp"
#include "wasi/storage/eigen/products.hpp"
#include "wasi/storage/tensor.hpp"

/// Gram matrices in double. A float matrix is converted in pieces that stay in cache; the products of two floats are
/// exact in double, so singular values down to 1e-7 of the largest survive the squaring.
namespace wasi::eigen {

/// sum += A_iᵀ A_j for two blocks of columns of A, a piece of rows at a time.
template <Scalar T>
void add_column_products(MatrixView<double> sum, ConstMatrixView<T> left, ConstMatrixView<T> right, bool same)
{
    const auto widen = [](RowMajor<double>& wide, ConstMatrixView<T> rows) {
        with_map(rows, [&](const auto& map) { wide.topRows(rows.rows) = map.template cast<double>(); });
    };
    constexpr Index piece_rows = 128;
    RowMajor<double> wide_left(std::min(piece_rows, left.rows), left.cols);
    RowMajor<double> wide_right(same ? 0 : wide_left.rows(), right.cols);
    for (Index first = 0; first < left.rows; first += piece_rows) {
        const Index rows = std::min(piece_rows, left.rows - first);
        widen(wide_left, left.row_block(first, rows));
        if (!same) {
            widen(wide_right, right.row_block(first, rows));
        }
        const auto wide = [rows](const RowMajor<double>& block) {
            return ConstMatrixView<double>::row_major(block.data(), rows, block.cols());
        };
        multiply_tile<double>(sum, 1.0, wide(wide_left).transposed(), wide(same ? wide_left : wide_right), 1.0);
    }
}

/// G = beta G + AᵀA, G (n,n) in double, A (m,n). The lower triangle is computed by tiles, threaded over them, or over
/// the rows where there is one tile only, and mirrored. m n² multiply-adds, half of the plain product.
template <Scalar T>
void gram(MatrixView<double> g, double beta, ConstMatrixView<T> a, Memory& memory)
{
    const Index n = a.cols;
    memory.count_flops(static_cast<double>(a.rows) * static_cast<double>(n) * static_cast<double>(n + 1));
    constexpr Index tile = gram_tile;
    const Index tiles = (n + tile - 1) / tile;
    const auto finish = [beta](MatrixView<double> target, ConstMatrixView<double> sum) {
        for (Index i = 0; i < target.rows; ++i) {
            for (Index j = 0; j < target.cols; ++j) {
                target(i, j) = beta == 0.0 ? sum(i, j) : beta * target(i, j) + sum(i, j);
            }
        }
    };
    if (tiles <= 1) {
        const Index pieces = gram_pieces(a.rows, n);
        Tensor<double> partial(memory, Tag{Use::workspace, 0}, Shape{pieces, n, n});
        parallel_for(pieces, [&](Index piece) {
            const Index first = piece * a.rows / pieces;
            const auto sum = partial.template view<3>().slice(piece);
            row_major_map(sum).setZero();
            const auto rows = a.row_block(first, (piece + 1) * a.rows / pieces - first);
            add_column_products<T>(sum, rows, rows, true);
        });
        auto sum = row_major_map(partial.template view<3>().slice(0));
        for (Index piece = 1; piece < pieces; ++piece) {
            sum += row_major_map(partial.template view<3>().slice(piece));
        }
        finish(g, partial.template view<3>().slice(0));
        return;
    }
    parallel_for(tiles * (tiles + 1) / 2, [&](Index index) {
        Index row = 0;  // tiles of the lower triangle, row after row
        while ((row + 1) * (row + 2) / 2 <= index) {
            ++row;
        }
        const Index col = index - row * (row + 1) / 2;
        const Index i = row * tile;
        const Index j = col * tile;
        const Index rows = std::min(tile, n - i);
        const Index cols = std::min(tile, n - j);
        RowMajor<double> zeros = RowMajor<double>::Zero(rows, cols);
        const auto sum = MatrixView<double>::row_major(zeros.data(), rows, cols);
        add_column_products<T>(sum, a.col_block(i, rows), a.col_block(j, cols), row == col);
        finish(g.block(i, j, rows, cols), sum);
        if (row != col) {
            finish(g.block(j, i, cols, rows), sum.transposed());
        }
    });
}

}  // namespace wasi::eigen
