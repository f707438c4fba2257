#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "wasi/storage/view_family.hpp"
#include "wasi/xtensor/headers.hpp"
#include "wasi/xtensor/storage.hpp"

namespace wasi {

namespace xtensor {

/// xtensor's containers, adaptors, views and expressions of numbers that the library computes with.
template <class X>
concept Expression = xt::is_xexpression<X>::value && Scalar<std::remove_cv_t<typename X::value_type>>;

/// How many extents a shape of this type has; SIZE_MAX when only the object knows.
template <class Shape>
inline constexpr std::size_t extents_in = SIZE_MAX;
template <class I, std::size_t N>
inline constexpr std::size_t extents_in<std::array<I, N>> = N;

/// The order of an expression when its type says it, SIZE_MAX when only the object knows (xt::xarray).
template <class X>
inline constexpr std::size_t static_order =
    xt::get_rank<X>::value != SIZE_MAX ? xt::get_rank<X>::value : extents_in<typename X::shape_type>;

/// The layout of results: column-major for column-major input, else row-major.
template <class X>
inline constexpr xt::layout_type result_layout =
    X::static_layout == xt::layout_type::column_major ? xt::layout_type::column_major : xt::layout_type::row_major;

/// Elements in memory, at an offset and with strides.
template <class X>
concept Stored = requires(const X& x)
{
    {
        x.data()
        } -> std::convertible_to<const typename X::value_type*>;
    x.data_offset();
    x.strides();
};

/// The stride of an extent; xtensor says 0 for an extent of 1.
template <class X>
[[nodiscard]] Index stride_of(const X& x, std::size_t mode)
{
    return static_cast<Index>(x.strides()[mode]);
}

/// A view in place of what has one unit stride and lines that do not overlap; no data pointer for anything else.
template <Stored X>
[[nodiscard]] ConstMatrixView<std::remove_cv_t<typename X::value_type>> matrix_view(const X& x)
{
    const auto rows = static_cast<Index>(x.shape()[0]);
    const auto cols = static_cast<Index>(x.shape()[1]);
    const Index row_stride = rows > 1 ? stride_of(x, 0) : cols;
    const Index col_stride = cols > 1 ? stride_of(x, 1) : rows;
    const auto* const first = x.data() + x.data_offset();
    if ((cols <= 1 || col_stride == 1) && row_stride >= cols) {
        return {first, rows, cols, row_stride, 1};
    }
    if ((rows <= 1 || row_stride == 1) && col_stride >= rows) {
        return {first, rows, cols, 1, col_stride};
    }
    return {};
}

}  // namespace xtensor

/// xt::xtensor, xt::xarray, adaptors, views and expressions of order 2. What has its elements in memory with one unit
/// stride is viewed in place; everything else (a sum, a transpose in a dynamic layout with other strides, a strided
/// view) is evaluated first. Results are xt::xtensor of the same layout, vectors xt::xtensor of order 1. An xt::xarray
/// of another order throws shape_error; an xt::xtensor of another order has no Family. Example: examples/xtensor.cpp
template <class X>
requires xtensor::Expression<X> &&
    (xtensor::static_order<X> == 2 || xtensor::static_order<X> == SIZE_MAX) struct Family<X> {
    using Scalar = std::remove_cv_t<typename X::value_type>;
    static constexpr xt::layout_type layout = xtensor::result_layout<X>;
    using Matrix = xt::xtensor<Scalar, 2, layout>;
    using Vector = xt::xtensor<Scalar, 1>;
    using Storage = XtensorStorage;

    template <class F>
    static decltype(auto) with_view(const X& x, F&& f)
    {
        require<shape_error>(x.dimension() == 2, "a matrix is wanted, not an array of shape ", shape_text(x.shape()));
        if constexpr (xtensor::Stored<X>) {
            if (const auto in_place = xtensor::matrix_view(x); in_place.data != nullptr) {
                return f(in_place);
            }
        }
        const Matrix evaluated = x;
        return f(view(evaluated));
    }

    [[nodiscard]] static Matrix make_matrix(Index rows, Index cols)
    {
        return Matrix::from_shape({static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)});
    }
    [[nodiscard]] static Vector make_vector(Index size) { return Vector::from_shape({static_cast<std::size_t>(size)}); }
    [[nodiscard]] static MatrixView<Scalar> view(Matrix& m) { return oriented(m.data(), m.shape()); }
    [[nodiscard]] static ConstMatrixView<Scalar> view(const Matrix& m) { return oriented(m.data(), m.shape()); }
    [[nodiscard]] static std::span<Scalar> span(Vector& v) { return {v.data(), v.size()}; }

private:
    template <class T, class Extents>
    [[nodiscard]] static MatrixView<T> oriented(T* data, const Extents& shape)
    {
        const auto rows = static_cast<Index>(shape[0]);
        const auto cols = static_cast<Index>(shape[1]);
        return layout == xt::layout_type::column_major ? MatrixView<T>::col_major(data, rows, cols)
                                                       : MatrixView<T>::row_major(data, rows, cols);
    }
};

}  // namespace wasi
