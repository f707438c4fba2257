#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/core/random.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/maps.hpp"
#include "wasi/storage/eigen/pieces.hpp"

/// Copies, sums and random numbers over whole matrices, cut into blocks of rows whose number depends on the shape
/// alone.
namespace wasi::eigen {

/// body(first_row, row_count, piece) over all rows, threaded.
template <class Body>
void for_row_pieces(Index rows, Index cols, Body&& body)
{
    const Index height = rows_per_piece(cols);
    const Index pieces = (rows + height - 1) / height;
    parallel_for(pieces, [&](Index piece) { body(piece * height, std::min(height, rows - piece * height), piece); });
}

/// The sum over pieces of body(first_row, row_count), added in order.
template <class Body>
[[nodiscard]] double sum_over_pieces(Index rows, Index cols, Body&& body)
{
    const Index height = rows_per_piece(cols);
    std::vector<double> partial(static_cast<std::size_t>((rows + height - 1) / height));
    for_row_pieces(rows, cols, [&](Index first, Index count, Index piece) {
        partial[static_cast<std::size_t>(piece)] = body(first, count);
    });
    double total = 0.0;
    for (const double part : partial) {
        total += part;
    }
    return total;
}

template <Scalar T>
void copy(MatrixView<T> to, ConstMatrixView<T> from)
{
    if (!to.is_row_major()) {
        copy(to.transposed(), from.transposed());
        return;
    }
    for_row_pieces(to.rows, to.cols, [&](Index first, Index count, Index) {
        with_map(from.row_block(first, count),
                 [&](const auto& source) { row_major_map(to.row_block(first, count)) = source; });
    });
}

/// copy between float and double.
template <Scalar To, Scalar From>
void convert(MatrixView<To> to, ConstMatrixView<From> from)
{
    if (!to.is_row_major()) {
        convert<To, From>(to.transposed(), from.transposed());
        return;
    }
    for_row_pieces(to.rows, to.cols, [&](Index first, Index count, Index) {
        with_map(from.row_block(first, count),
                 [&](const auto& source) { row_major_map(to.row_block(first, count)) = source.template cast<To>(); });
    });
}

/// Y = beta Y + alpha X.
template <Scalar T>
void add_scaled(MatrixView<T> y, T beta, T alpha, ConstMatrixView<T> x)
{
    if (!y.is_row_major()) {
        add_scaled(y.transposed(), beta, alpha, x.transposed());
        return;
    }
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        auto target = row_major_map(y.row_block(first, count));
        with_map(x.row_block(first, count), [&](const auto& source) {
            if (beta == T(0)) {
                target = alpha * source;
            } else if (beta == T(1)) {
                target += alpha * source;
            } else {
                target = beta * target + alpha * source;
            }
        });
    });
}

/// Sum of a_i b_i in double. Sixteen running sums: a chain of additions would run at the speed of one, and Eigen's sum
/// of casts is not vectorised.
template <Scalar T>
[[nodiscard]] double dot_of_runs(const T* a, const T* b, Index count)
{
    constexpr Index lanes = 16;
    double sums[lanes] = {};
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (Index lane = 0; lane < lanes; ++lane) {
            sums[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
        }
    }
    double rest = 0.0;
    for (; i < count; ++i) {
        rest += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    }
    for (Index width = lanes / 2; width > 0; width /= 2) {
        for (Index lane = 0; lane < width; ++lane) {
            sums[lane] += sums[lane + width];
        }
    }
    return sums[0] + rest;
}

template <Scalar T>
[[nodiscard]] double dot(ConstMatrixView<T> a, ConstMatrixView<T> b)
{
    if (!a.is_row_major()) {
        return dot(a.transposed(), b.transposed());
    }
    if (!b.is_row_major()) {
        return sum_over_pieces(a.rows, a.cols, [&](Index first, Index count) {
            const auto left = row_major_map(a.row_block(first, count));
            const auto right = col_major_map(b.row_block(first, count));
            return left.template cast<double>().cwiseProduct(right.template cast<double>()).sum();
        });
    }
    const bool in_one_piece = a.is_contiguous() && b.is_contiguous();
    return sum_over_pieces(a.rows, a.cols, [&](Index first, Index count) {
        if (in_one_piece) {
            return dot_of_runs(a.data + first * a.cols, b.data + first * b.cols, count * a.cols);
        }
        double sum = 0.0;
        for (Index i = first; i < first + count; ++i) {
            sum += dot_of_runs(a.data + i * a.row_stride, b.data + i * b.row_stride, a.cols);
        }
        return sum;
    });
}

template <Scalar T>
[[nodiscard]] bool all_finite(ConstMatrixView<T> a)
{
    if (!a.is_row_major()) {
        return all_finite(a.transposed());
    }
    // x - x is zero for every finite x and NaN for the others, and NaN survives the sum.
    return sum_over_pieces(a.rows, a.cols, [&](Index first, Index count) {
               const auto block = row_major_map(a.row_block(first, count)).array();
               return static_cast<double>((block - block).sum());
           }) == 0.0;
}

/// The largest |a_ij|; infinity where an element is NaN or infinite.
template <Scalar T>
[[nodiscard]] double largest(ConstMatrixView<T> a)
{
    if (!a.is_row_major()) {
        return largest(a.transposed());
    }
    if (a.size() == 0) {
        return 0.0;
    }
    const Index height = rows_per_piece(a.cols);
    std::vector<double> partial(static_cast<std::size_t>((a.rows + height - 1) / height));
    for_row_pieces(a.rows, a.cols, [&](Index first, Index count, Index piece) {
        const auto block = row_major_map(a.row_block(first, count)).array();
        // A maximum may pass over a NaN; x - x is zero for every finite x and NaN for the others.
        const bool finite = static_cast<double>((block - block).sum()) == 0.0;
        partial[static_cast<std::size_t>(piece)] =
            finite ? static_cast<double>(block.abs().maxCoeff()) : std::numeric_limits<double>::infinity();
    });
    return *std::max_element(partial.begin(), partial.end());
}

template <Scalar T>
void fill(MatrixView<T> y, T value)
{
    const MatrixView<T> rows = y.is_row_major() ? y : y.transposed();
    for_row_pieces(rows.rows, rows.cols, [&](Index first, Index count, Index) {
        row_major_map(rows.row_block(first, count)).setConstant(value);
    });
}

template <Scalar T>
void add_constant(MatrixView<T> y, T value)
{
    const MatrixView<T> rows = y.is_row_major() ? y : y.transposed();
    for_row_pieces(rows.rows, rows.cols, [&](Index first, Index count, Index) {
        row_major_map(rows.row_block(first, count)).array() += value;
    });
}

/// Element (i, j) = key.normal(i cols + j), whatever the layout.
template <Scalar T>
void fill_normal(MatrixView<T> a, RandomKey key)
{
    for_row_pieces(a.rows, a.cols, [&](Index first, Index count, Index) {
        const Index begin = first * a.cols;
        const Index end = (first + count) * a.cols;
        // Numbers come in pairs; a piece may begin or end inside one.
        for (Index pair = begin / 2; 2 * pair < end; ++pair) {
            const auto [even, odd] = key.normal_pair(static_cast<std::uint64_t>(pair));
            const Index at = 2 * pair;
            if (at >= begin) {
                a(at / a.cols, at % a.cols) = static_cast<T>(even);
            }
            if (at + 1 < end) {
                a((at + 1) / a.cols, (at + 1) % a.cols) = static_cast<T>(odd);
            }
        }
    });
}

template <Scalar T>
void adamw_step(MatrixView<T> w, MatrixView<T> m, MatrixView<T> v, ConstMatrixView<T> g, const AdamWStep<T>& step)
{
    const auto keep1 = static_cast<T>(step.beta1);
    const auto take1 = static_cast<T>(1.0 - step.beta1);
    const auto keep2 = static_cast<T>(step.beta2);
    const auto take2 = static_cast<T>(1.0 - step.beta2);
    for_row_pieces(w.rows, w.cols, [&](Index first, Index count, Index) {
        const auto gradient = row_major_map(g.row_block(first, count)).array();
        auto mean = row_major_map(m.row_block(first, count)).array();
        auto square = row_major_map(v.row_block(first, count)).array();
        auto values = row_major_map(w.row_block(first, count)).array();
        mean = keep1 * mean + (take1 * step.scale) * gradient;
        square = keep2 * square + take2 * (step.scale * gradient).square();
        // 1 - shrink would round a small shrink away.
        values -= step.shrink * values +
                  step.corrected_rate * mean / (square.sqrt() * step.second_correction + step.epsilon);
    });
}

}  // namespace wasi::eigen
