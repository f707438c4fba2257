#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "wasi/storage/eigen/maps.hpp"

/// Products A B with few columns in B, as the subspaces of activations need: the time is that of reading A. Eigen's
/// general product first copies A into packets, which costs more than the arithmetic then.
namespace wasi::eigen {

/// Columns that are handled together: one AVX register of floats.
inline constexpr Index lane_count = 8;

template <Scalar T>
using Lanes = Eigen::Array<T, lane_count, 1>;

/// Where this is faster than Eigen's product: up to 8 columns (1.3 to 4 times, 0.9 times from 9 on), and enough rows
/// and depth to pay for the preparation.
[[nodiscard]] inline bool is_skinny(Index m, Index n, Index k)
{
    return n <= lane_count && m >= 16 && k >= 16;
}

/// Rows of `b` (k, n), columns [first, first + 8) of them, one after another and zero beyond the last column.
template <Scalar T>
[[nodiscard]] std::vector<Lanes<T>, Eigen::aligned_allocator<Lanes<T>>> lanes_of(ConstMatrixView<T> b, Index first)
{
    std::vector<Lanes<T>, Eigen::aligned_allocator<Lanes<T>>> result(static_cast<std::size_t>(b.rows));
    const Index columns = std::min(lane_count, b.cols - first);
    for (Index p = 0; p < b.rows; ++p) {
        Lanes<T> lanes = Lanes<T>::Zero();
        for (Index j = 0; j < columns; ++j) {
            lanes(j) = b(p, first + j);
        }
        result[static_cast<std::size_t>(p)] = lanes;
    }
    return result;
}

/// Rows [row, row + rows) of C, columns from `first`, become beta C + alpha sum.
template <Scalar T>
void put_lanes(MatrixView<T> c, Index row, Index first, T alpha, T beta, const Lanes<T>& sum)
{
    const Index columns = std::min(lane_count, c.cols - first);
    T* target = c.data + row * c.row_stride + first;
    for (Index j = 0; j < columns; ++j) {
        target[j] = beta == T(0) ? alpha * sum(j) : beta * target[j] + alpha * sum(j);
    }
}

/// C = alpha A B + beta C, A row-major: four rows of A against the rows of B, the sums in registers.
template <Scalar T>
void multiply_skinny_rows(MatrixView<T> c, T alpha, ConstMatrixView<T> a, ConstMatrixView<T> b, T beta)
{
    for (Index first = 0; first < b.cols; first += lane_count) {
        const auto right = lanes_of<T>(b, first);
        const Lanes<T>* lanes = right.data();
        Index i = 0;
        for (; i + 4 <= a.rows; i += 4) {
            const T* row0 = a.data + i * a.row_stride;
            const T* row1 = row0 + a.row_stride;
            const T* row2 = row1 + a.row_stride;
            const T* row3 = row2 + a.row_stride;
            Lanes<T> sum0 = Lanes<T>::Zero();
            Lanes<T> sum1 = Lanes<T>::Zero();
            Lanes<T> sum2 = Lanes<T>::Zero();
            Lanes<T> sum3 = Lanes<T>::Zero();
            for (Index p = 0; p < a.cols; ++p) {
                sum0 += row0[p] * lanes[p];
                sum1 += row1[p] * lanes[p];
                sum2 += row2[p] * lanes[p];
                sum3 += row3[p] * lanes[p];
            }
            put_lanes<T>(c, i, first, alpha, beta, sum0);
            put_lanes<T>(c, i + 1, first, alpha, beta, sum1);
            put_lanes<T>(c, i + 2, first, alpha, beta, sum2);
            put_lanes<T>(c, i + 3, first, alpha, beta, sum3);
        }
        for (; i < a.rows; ++i) {
            const T* row = a.data + i * a.row_stride;
            Lanes<T> sum = Lanes<T>::Zero();
            for (Index p = 0; p < a.cols; ++p) {
                sum += row[p] * lanes[p];
            }
            put_lanes<T>(c, i, first, alpha, beta, sum);
        }
    }
}

/// C = alpha A B + beta C, A column-major: four columns of A at a time, the sums (m, 8) in the first cache.
template <Scalar T>
void multiply_skinny_columns(MatrixView<T> c, T alpha, ConstMatrixView<T> a, ConstMatrixView<T> b, T beta)
{
    std::vector<Lanes<T>, Eigen::aligned_allocator<Lanes<T>>> sums(static_cast<std::size_t>(a.rows));
    for (Index first = 0; first < b.cols; first += lane_count) {
        const auto right = lanes_of<T>(b, first);
        std::fill(sums.begin(), sums.end(), Lanes<T>::Zero());
        Lanes<T>* sum = sums.data();
        Index p = 0;
        for (; p + 4 <= a.cols; p += 4) {
            const T* column0 = a.data + p * a.col_stride;
            const T* column1 = column0 + a.col_stride;
            const T* column2 = column1 + a.col_stride;
            const T* column3 = column2 + a.col_stride;
            const auto at = static_cast<std::size_t>(p);
            // Copies, so that they stay in registers: for all the compiler knows, `sum` may overlap `right`.
            // NOLINTBEGIN(performance-unnecessary-copy-initialization)
            const Lanes<T> lanes0 = right[at];
            const Lanes<T> lanes1 = right[at + 1];
            const Lanes<T> lanes2 = right[at + 2];
            const Lanes<T> lanes3 = right[at + 3];
            // NOLINTEND(performance-unnecessary-copy-initialization)
            for (Index i = 0; i < a.rows; ++i) {
                Lanes<T> total = sum[i] + column0[i] * lanes0;
                total += column1[i] * lanes1;
                total += column2[i] * lanes2;
                total += column3[i] * lanes3;
                sum[i] = total;
            }
        }
        for (; p < a.cols; ++p) {
            const T* column = a.data + p * a.col_stride;
            // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): as above
            const Lanes<T> lanes = right[static_cast<std::size_t>(p)];
            for (Index i = 0; i < a.rows; ++i) {
                sum[i] += column[i] * lanes;
            }
        }
        for (Index i = 0; i < a.rows; ++i) {
            put_lanes<T>(c, i, first, alpha, beta, sum[i]);
        }
    }
}

/// C = alpha A B + beta C for a row-major C, a B with few columns and an A of either layout. 2 m k ceil(n / 8) 8 flops.
template <Scalar T>
void multiply_skinny(MatrixView<T> c, T alpha, ConstMatrixView<T> a, ConstMatrixView<T> b, T beta)
{
    if (a.is_row_major()) {
        multiply_skinny_rows<T>(c, alpha, a, b, beta);
    } else {
        multiply_skinny_columns<T>(c, alpha, a, b, beta);
    }
}

}  // namespace wasi::eigen
