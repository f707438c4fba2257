#pragma once
#include <Eigen/Core>
#include <span>
#include <type_traits>

#include "wasi/storage/view.hpp"

#if !EIGEN_VERSION_AT_LEAST(3, 4, 0)
#error "wasi needs Eigen 3.4 or 5, and the Eigen on the include path is older."
#endif

/// Views as Eigen maps, without a copy.
namespace wasi::eigen {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

/// A map of a contiguous column-major workspace.
template <class T>
using ColMajorMap = Eigen::Map<ColMajor<T>>;

template <class Matrix, class T>
using MapOf =
    Eigen::Map<std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// A map of a view with unit column stride.
template <class T>
[[nodiscard]] MapOf<RowMajor<std::remove_const_t<T>>, T> row_major_map(MatrixView<T> view)
{
    return {view.data, view.rows, view.cols, Eigen::OuterStride<>(view.row_stride)};
}

/// A map of a view with unit row stride.
template <class T>
[[nodiscard]] MapOf<ColMajor<std::remove_const_t<T>>, T> col_major_map(MatrixView<T> view)
{
    return {view.data, view.rows, view.cols, Eigen::OuterStride<>(view.col_stride)};
}

/// Calls f with the map that fits the view's layout.
template <class T, class F>
decltype(auto) with_map(MatrixView<T> view, F&& f)
{
    if (view.is_row_major()) {
        return f(row_major_map(view));
    }
    return f(col_major_map(view));
}

template <class T>
[[nodiscard]] auto row_vector_map(std::span<T> values)
{
    using Vector = Eigen::Matrix<std::remove_const_t<T>, 1, Eigen::Dynamic>;
    return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Vector, Vector>>(
        values.data(), static_cast<Eigen::Index>(values.size()));
}

}  // namespace wasi::eigen
