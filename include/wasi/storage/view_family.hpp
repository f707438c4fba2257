#pragma once
#include <span>
#include <type_traits>

#include "wasi/storage/family.hpp"
#include "wasi/storage/span_view.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi {

struct EigenStorage;  // wasi/storage/eigen.hpp

/// The library's own matrices at its edge: MatrixView and ConstMatrixView of either layout, and what matrix_view makes
/// of a span. Always in place; throws shape_error for strides that a MatrixView may not have. Results are Tensors of
/// order 2 (vectors: of order 1) in plain memory, not booked; to have them booked in a ledger call the engine's
/// overload, f<S, T>(view, options, ..., memory).
template <class T>
requires wasi::Scalar<std::remove_const_t<T>>
struct Family<MatrixView<T>> {
    using Scalar = std::remove_const_t<T>;
    using Matrix = Tensor<Scalar>;
    using Vector = Tensor<Scalar>;
    using Storage = EigenStorage;

    template <class F>
    static decltype(auto) with_view(const MatrixView<T>& x, F&& f)
    {
        const bool rows_apart = x.col_stride == 1 && (x.rows <= 1 || x.row_stride >= x.cols);
        const bool cols_apart = x.row_stride == 1 && (x.cols <= 1 || x.col_stride >= x.rows);
        require<shape_error>(rows_apart || cols_apart, "a view ", shape_text(x.shape()), " with the strides ",
                             shape_text({x.row_stride, x.col_stride}),
                             ": one must be 1, the other at least the extent it steps over");
        return f(ConstMatrixView<Scalar>(x));
    }
    [[nodiscard]] static Matrix make_matrix(Index rows, Index cols)
    {
        return workspace<Scalar>(plain_memory(), rows, cols);
    }
    [[nodiscard]] static Vector make_vector(Index size) { return {plain_memory(), Tag{}, Shape{size}}; }
    [[nodiscard]] static MatrixView<Scalar> view(Matrix& m) { return m.matrix(); }
    [[nodiscard]] static MatrixView<T> view(const MatrixView<T>& m) { return m; }
    [[nodiscard]] static ConstMatrixView<Scalar> view(const Matrix& m) { return m.matrix(); }
    [[nodiscard]] static std::span<Scalar> span(Vector& v) { return v.span(); }
};

/// A Tensor of order 2 as a user's matrix, the same results. Throws shape_error for another order.
template <wasi::Scalar T>
struct Family<Tensor<T>> : Family<MatrixView<T>> {
    template <class F>
    static decltype(auto) with_view(const Tensor<T>& x, F&& f)
    {
        require<shape_error>(x.shape().order() == 2, "a matrix is wanted, not a tensor of shape ",
                             shape_text(x.shape()));
        return f(x.matrix());
    }
};

}  // namespace wasi
