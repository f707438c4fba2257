#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <span>

#include "wasi/core/error.hpp"
#include "wasi/storage/view.hpp"

namespace wasi {

namespace detail {

/// True for extents that are not negative and whose product is `size`, also where the product would overflow.
template <std::size_t N>
[[nodiscard]] constexpr bool holds(std::size_t size, const std::array<Index, N>& shape)
{
    bool empty = false;
    for (const Index extent : shape) {
        if (extent < 0) {
            return false;
        }
        empty = empty || extent == 0;
    }
    if (empty) {
        return size == 0;
    }
    std::size_t elements = 1;
    for (const Index extent : shape) {
        if (elements > size / static_cast<std::size_t>(extent)) {
            return false;
        }
        elements *= static_cast<std::size_t>(extent);
    }
    return elements == size;
}

}  // namespace detail

/// A span and its shape: the numbers of a std::vector, a std::array or any memory as a row-major matrix (rows, cols),
/// without a copy. For column-major numbers say matrix_view(values, cols, rows).transposed(). The view is valid as long
/// as the memory is. Throws shape_error unless there are exactly rows * cols numbers.
template <class T, std::size_t E>
[[nodiscard]] MatrixView<T> matrix_view(std::span<T, E> values, Index rows, Index cols)
{
    require<shape_error>(detail::holds<2>(values.size(), {rows, cols}), "matrix_view: ", values.size(),
                         " numbers are not a matrix (", rows, ", ", cols, ")");
    return MatrixView<T>::row_major(values.data(), rows, cols);
}

/// The same for what converts to a span. A temporary is not taken: its memory would be gone.
template <class Range>
[[nodiscard]] auto matrix_view(Range& values, Index rows, Index cols) -> decltype(matrix_view(std::span(values), 0, 0))
{
    return matrix_view(std::span(values), rows, cols);
}

/// A span and its shape as a row-major tensor, the last index fastest: tensor_view(values, 8, 16, 32). Throws
/// shape_error unless there are exactly as many numbers as the extents multiply to.
template <class T, std::size_t E, std::convertible_to<Index>... Extents>
requires(sizeof...(Extents) >= 1)
    [[nodiscard]] TensorView<T, sizeof...(Extents)> tensor_view(std::span<T, E> values, Extents... extents)
{
    const std::array<Index, sizeof...(Extents)> shape{static_cast<Index>(extents)...};
    require<shape_error>(detail::holds(values.size(), shape), "tensor_view: ", values.size(),
                         " numbers are not a tensor ", shape_text(shape));
    return {values.data(), shape};
}

/// The same for what converts to a span. A temporary is not taken.
template <class Range, std::convertible_to<Index>... Extents>
[[nodiscard]] auto tensor_view(Range& values, Extents... extents)
    -> decltype(tensor_view(std::span(values), extents...))
{
    return tensor_view(std::span(values), extents...);
}

}  // namespace wasi
