#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/view.hpp"
#include "wasi/xtensor/headers.hpp"

/// Views as xtensor adaptors, without a copy. All of them are lines, adaptors of order 1: xtensor runs a plain loop
/// over those, where it steps index by index through a matrix whose rows are further apart than they are long.
namespace wasi::xtensor {

/// Elements one after the other.
template <class T>
[[nodiscard]] auto line(T* first, Index count)
{
    const std::array<std::size_t, 1> shape{static_cast<std::size_t>(count)};
    return xt::adapt<xt::layout_type::row_major>(std::move(first), shape[0], xt::no_ownership(), shape);
}

template <class T>
[[nodiscard]] auto line(std::span<T> values)
{
    return line(values.data(), static_cast<Index>(values.size()));
}

/// Row i of a view of either layout, its elements apart.
template <class T>
[[nodiscard]] auto strided_row(MatrixView<T> view, Index i)
{
    T* first = view.data + i * view.row_stride;
    const std::array<std::size_t, 1> shape{static_cast<std::size_t>(view.cols)};
    const std::array<std::ptrdiff_t, 1> strides{view.col_stride};
    // xtensor wants the number of elements here, not the extent in memory.
    return xt::adapt(std::move(first), shape[0], xt::no_ownership(), shape, strides);
}

/// Row i of a row-major view.
template <class T>
[[nodiscard]] auto row(MatrixView<T> view, Index i)
{
    return line(view.data + i * view.row_stride, view.cols);
}

/// body(lines of the same elements of every view), threaded; views are row-major and of one shape. Where all of them
/// are contiguous a line is a whole piece of work, else it is a row.
template <class Body, class T, class... Others>
void for_lines(Body&& body, MatrixView<T> first, MatrixView<Others>... others)
{
    const Index cols = first.cols;
    const bool contiguous = first.is_contiguous() && (others.is_contiguous() && ...);
    eigen::for_row_pieces(first.rows, cols, [&](Index begin, Index count, Index) {
        if (contiguous) {
            body(line(first.data + begin * cols, count * cols), line(others.data + begin * cols, count * cols)...);
            return;
        }
        for (Index i = begin; i < begin + count; ++i) {
            body(row(first, i), row(others, i)...);
        }
    });
}

/// The elements of row i of a row-major view.
template <class T>
[[nodiscard]] std::span<T> row_span(MatrixView<T> view, Index i)
{
    return {view.data + i * view.row_stride, static_cast<std::size_t>(view.cols)};
}

/// How many running sums a reduction keeps: one alone would wait for each addition to end.
inline constexpr std::size_t lane_count = 64;

/// The sum of f(lines of the same elements of every row) in double, in an order that depends on the length alone. f
/// returns an expression.
template <class F, class... T>
[[nodiscard]] double total_of(F&& f, std::span<T>... rows)
{
    const std::size_t size = std::min({rows.size()...});
    std::array<double, lane_count> sums{};
    auto lanes = line(std::span<double>(sums));
    std::size_t first = 0;
    for (; first + lane_count <= size; first += lane_count) {
        [&](const auto&... lines) { xt::noalias(lanes) += f(lines...); }(line(rows.subspan(first, lane_count))...);
    }
    double total = 0.0;
    for (const double sum : sums) {
        total += sum;
    }
    if (first < size) {
        total += [&](const auto&... lines) {
            return xt::sum<double>(f(lines...), xt::evaluation_strategy::immediate)();
        }(line(rows.subspan(first))...);
    }
    return total;
}

/// total_of over whole row-major views of one shape, threaded.
template <class F, class T, class... Others>
[[nodiscard]] double total_over_lines(F&& f, MatrixView<T> first, MatrixView<Others>... others)
{
    const Index cols = first.cols;
    const bool contiguous = first.is_contiguous() && (others.is_contiguous() && ...);
    return eigen::sum_over_pieces(first.rows, cols, [&](Index begin, Index count) {
        if (contiguous) {
            const auto size = static_cast<std::size_t>(count * cols);
            return total_of(f, std::span(first.data + begin * cols, size),
                            std::span(others.data + begin * cols, size)...);
        }
        double total = 0.0;
        for (Index i = begin; i < begin + count; ++i) {
            total += total_of(f, row_span(first, i), row_span(others, i)...);
        }
        return total;
    });
}

/// The largest element of a row.
template <class T>
[[nodiscard]] T largest_of(std::span<const T> row)
{
    if (row.size() < lane_count) {
        return xt::amax(line(row), xt::evaluation_strategy::immediate)();
    }
    std::array<T, lane_count> largest{};
    std::copy_n(row.begin(), lane_count, largest.begin());
    auto lanes = line(std::span<T>(largest));
    // The last step may look at some elements again.
    for (std::size_t first = lane_count; first < row.size(); first += lane_count) {
        const auto next = line(row.subspan(std::min(first, row.size() - lane_count), lane_count));
        xt::noalias(lanes) = xt::maximum(lanes, next);
    }
    return xt::amax(lanes, xt::evaluation_strategy::immediate)();
}

}  // namespace wasi::xtensor
