#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi {

/// A matrix that somebody else owns: element (i, j) is data[i * row_stride + j * col_stride], and one of the two
/// strides is 1. A transpose is free, and so a column-major matrix is a row-major one transposed. Thread safety: a view
/// is a value; the elements behind it follow the rules of their owner.
template <class T>
struct MatrixView {
    T* data = nullptr;
    Index rows = 0;
    Index cols = 0;
    Index row_stride = 0;
    Index col_stride = 1;

    [[nodiscard]] static MatrixView row_major(T* data, Index rows, Index cols) { return {data, rows, cols, cols, 1}; }
    [[nodiscard]] static MatrixView col_major(T* data, Index rows, Index cols) { return {data, rows, cols, 1, rows}; }

    [[nodiscard]] T& operator()(Index i, Index j) const { return data[i * row_stride + j * col_stride]; }
    [[nodiscard]] Index size() const { return rows * cols; }
    [[nodiscard]] std::array<Index, 2> shape() const { return {rows, cols}; }
    /// True when element (i, j) and (i, j + 1) are neighbours, also for the ambiguous one-column case with unit row
    /// stride.
    [[nodiscard]] bool is_row_major() const { return col_stride == 1; }
    [[nodiscard]] bool is_contiguous() const
    {
        return is_row_major() ? (row_stride == cols || rows <= 1) : (col_stride == rows || cols <= 1);
    }

    /// Elements (i, i) as a column.
    [[nodiscard]] MatrixView diagonal() const
    {
        return {data, rows < cols ? rows : cols, 1, row_stride + col_stride, 1};
    }
    [[nodiscard]] MatrixView transposed() const { return {data, cols, rows, col_stride, row_stride}; }
    [[nodiscard]] MatrixView row_block(Index first, Index count) const
    {
        return {data + first * row_stride, count, cols, row_stride, col_stride};
    }
    [[nodiscard]] MatrixView col_block(Index first, Index count) const
    {
        return {data + first * col_stride, rows, count, row_stride, col_stride};
    }
    [[nodiscard]] MatrixView block(Index row, Index col, Index row_count, Index col_count) const
    {
        return row_block(row, row_count).col_block(col, col_count);
    }

    operator MatrixView<const T>() const  // NOLINT(google-explicit-constructor): adding const is always safe
        requires(!std::is_const_v<T>)
    {
        return {data, rows, cols, row_stride, col_stride};
    }
};

template <class T>
using ConstMatrixView = MatrixView<const T>;

/// A contiguous row-major tensor of order N that somebody else owns; the last index runs fastest.
template <class T, std::size_t N>
struct TensorView {
    T* data = nullptr;
    std::array<Index, N> shape{};

    [[nodiscard]] Index size() const { return product(0, N); }

    /// The tensor as a matrix: the first `split` indices are the rows. rows_by(N - 1) is the transposed last-mode
    /// unfolding.
    [[nodiscard]] MatrixView<T> rows_by(std::size_t split) const
    {
        return MatrixView<T>::row_major(data, product(0, split), product(split, N));
    }

    /// The tensor as (left, extent of the mode, right), the form in which every mode looks alike.
    [[nodiscard]] TensorView<T, 3> around(std::size_t mode) const
    {
        return {data, {product(0, mode), shape[mode], product(mode + 1, N)}};
    }

    /// Slice `i` of the first index, seen as a matrix (second index, all later ones).
    [[nodiscard]] MatrixView<T> slice(Index i) const requires(N >= 2)
    {
        const Index rows = shape[1];
        const Index cols = product(2, N);
        return MatrixView<T>::row_major(data + i * rows * cols, rows, cols);
    }

    operator TensorView<const T, N>() const  // NOLINT(google-explicit-constructor): adding const is always safe
        requires(!std::is_const_v<T>)
    {
        return {data, shape};
    }

private:
    [[nodiscard]] Index product(std::size_t first, std::size_t last) const
    {
        Index result = 1;
        for (std::size_t m = first; m < last; ++m) {
            result *= shape[m];
        }
        return result;
    }
};

template <class T, std::size_t N>
using ConstTensorView = TensorView<const T, N>;

/// A contiguous vector as a one-row matrix, for kernels that take matrices.
template <class T>
[[nodiscard]] MatrixView<T> as_row(std::span<T> values)
{
    return MatrixView<T>::row_major(values.data(), 1, static_cast<Index>(values.size()));
}

}  // namespace wasi
