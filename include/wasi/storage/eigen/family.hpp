#pragma once
#include <Eigen/Core>
#include <concepts>
#include <span>
#include <type_traits>
#include <utility>

#include "wasi/storage/eigen.hpp"
#include "wasi/storage/family.hpp"
#include "wasi/storage/view_family.hpp"

namespace wasi {

namespace eigen {

/// The expression that X is or, for a class of a user's derived from one of Eigen's, is made of.
template <class D>
std::type_identity<D> expression_of(const Eigen::EigenBase<D>&);
template <class X>
using ExpressionOf = typename decltype(expression_of(std::declval<const X&>()))::type;

// Version 14 of the formatter breaks concepts.
// clang-format off

/// Expressions that are not sparse and have elements of type float or double. Not only those of MatrixBase: arrays,
/// triangular and self-adjoint views, diagonal matrices and the Q of a QR become dense matrices too.
template <class D>
concept DenseExpression =
    wasi::Scalar<typename D::Scalar> &&
    (std::same_as<typename Eigen::internal::traits<D>::StorageKind, Eigen::Dense> ||
     std::same_as<typename Eigen::internal::traits<D>::StorageKind, Eigen::DiagonalShape>);

template <class D>
concept SaysWhere = (Eigen::internal::traits<D>::Flags & Eigen::DirectAccessBit) != 0 && requires(const D& x) {
    { x.data() } -> std::convertible_to<const typename D::Scalar*>;
    x.innerStride(), x.outerStride(), x.innerSize(), x.outerSize();
};
// clang-format on

/// True when the elements can be pointed at. The bit alone does not say it: Eigen 3.4 sets it for a(seq(0, 18, 2),
/// all), which has no data(), and for array() and transpose() of that, which have one that does not compile.
template <class D>
[[nodiscard]] consteval bool has_elements()
{
    if constexpr (!SaysWhere<D>) {
        return false;
    } else if constexpr (requires(const D& x) { x.nestedExpression(); }) {
        return has_elements<std::remove_cvref_t<decltype(std::declval<const D&>().nestedExpression())>>();
    } else {
        return true;
    }
}

template <class D>
[[nodiscard]] consteval bool is_row_major()
{
    if constexpr (requires { D::IsRowMajor; }) {
        return D::IsRowMajor;
    } else {
        return false;
    }
}

}  // namespace eigen

/// Eigen's matrices, arrays, maps, refs, blocks and expressions, also classes derived from them. What has its elements
/// in memory with one unit stride, lines that do not overlap, is viewed in place; everything else (a product, a sum, a
/// strided or indexed block, a triangular view) is evaluated first, once. Results are Eigen::Matrix of the same order
/// of elements.
template <class X>
requires eigen::DenseExpression<eigen::ExpressionOf<X>>
struct Family<X> {
    using Expression = eigen::ExpressionOf<X>;
    using Scalar = typename Expression::Scalar;
    static constexpr bool row_major = eigen::is_row_major<Expression>();
    using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, row_major ? Eigen::RowMajor : Eigen::ColMajor>;
    using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;
    using Storage = EigenStorage;

    template <class F>
    static decltype(auto) with_view(const Expression& x, F&& f)
    {
        if constexpr (eigen::has_elements<Expression>()) {
            const bool unit = x.innerStride() == 1 || x.innerSize() <= 1;
            if (unit && (x.outerStride() >= x.innerSize() || x.outerSize() <= 1)) {
                return f(row_major ? ConstMatrixView<Scalar>{x.data(), x.rows(), x.cols(), x.outerStride(), 1}
                                   : ConstMatrixView<Scalar>{x.data(), x.rows(), x.cols(), 1, x.outerStride()});
            }
        }
        const Matrix evaluated(x);
        return f(view(evaluated));
    }

    [[nodiscard]] static Matrix make_matrix(Index rows, Index cols) { return Matrix(rows, cols); }
    [[nodiscard]] static Vector make_vector(Index size) { return Vector(size); }
    [[nodiscard]] static MatrixView<Scalar> view(Matrix& m) { return oriented(m.data(), m.rows(), m.cols()); }
    [[nodiscard]] static ConstMatrixView<Scalar> view(const Matrix& m)
    {
        return oriented(m.data(), m.rows(), m.cols());
    }
    [[nodiscard]] static std::span<Scalar> span(Vector& v) { return {v.data(), static_cast<std::size_t>(v.size())}; }

private:
    template <class T>
    [[nodiscard]] static MatrixView<T> oriented(T* data, Index rows, Index cols)
    {
        return row_major ? MatrixView<T>::row_major(data, rows, cols) : MatrixView<T>::col_major(data, rows, cols);
    }
};

}  // namespace wasi
