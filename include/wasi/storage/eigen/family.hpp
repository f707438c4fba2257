#pragma once
#include <Eigen/Core>
#include <concepts>
#include <span>

#include "wasi/storage/eigen.hpp"
#include "wasi/storage/family.hpp"

namespace wasi {

/// Eigen's matrices, maps, refs, blocks and expressions. What has its elements in memory with one unit stride is viewed
/// in place; everything else (a product, a sum, a strided block) is evaluated first.
template <class X>
requires std::derived_from<X, Eigen::MatrixBase<X>> && wasi::Scalar<typename X::Scalar>
struct Family<X> {
    using Scalar = typename X::Scalar;
    using Matrix =
        Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, X::IsRowMajor ? Eigen::RowMajor : Eigen::ColMajor>;
    using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;
    using Storage = EigenStorage;

    template <class F>
    static decltype(auto) with_view(const X& x, F&& f)
    {
        if constexpr ((X::Flags & Eigen::DirectAccessBit) != 0) {
            if (x.innerStride() == 1 || x.innerSize() <= 1) {
                return f(X::IsRowMajor ? ConstMatrixView<Scalar>{x.data(), x.rows(), x.cols(), x.outerStride(), 1}
                                       : ConstMatrixView<Scalar>{x.data(), x.rows(), x.cols(), 1, x.outerStride()});
            }
        }
        const Matrix evaluated = x;
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
        return X::IsRowMajor ? MatrixView<T>::row_major(data, rows, cols) : MatrixView<T>::col_major(data, rows, cols);
    }
};

}  // namespace wasi
