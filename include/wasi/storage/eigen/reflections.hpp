#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/storage/eigen/products.hpp"

/// Householder's QR by blocks of columns: Golub and Van Loan 5.1 and 5.2, blocks as 1 - V T Vᵀ (Schreiber, Van Loan
/// 1989). Why not Eigen's: it compiles a dozen products that no other code uses, a third of what an SVD took to
/// compile; this one runs on multiply_tile.
namespace wasi::eigen {

/// The orthogonal matrix Q = H_0 H_1 ... of reflections H_j = 1 - tau_j v_j v_jᵀ, held as Eigen and LAPACK hold them:
/// v_j is zero above row j, one there, and below it what a column-major matrix (m,n), m >= n, has below its diagonal.
/// That matrix must outlive this.
template <Scalar T>
class Reflections {
public:
    /// The QR of A in place: R on the diagonal and above it.
    [[nodiscard]] static Reflections of_qr(MatrixView<T> a)
    {
        Reflections result(a, std::vector<T>(static_cast<std::size_t>(a.cols)));
        for (Index first = 0; first < a.cols; first += block) {
            const Index count = std::min(block, a.cols - first);
            result.reflect_panel(first, count);
            result.make_triangle(first, count);
            const Index rest = a.cols - first - count;
            if (rest > 0) {
                result.apply_block(first, count, a.block(first, first + count, a.rows - first, rest), true);
            }
        }
        return result;
    }

    /// Reflections that somebody else made.
    [[nodiscard]] static Reflections of_packed(MatrixView<T> a, std::vector<T> tau)
    {
        Reflections result(a, std::move(tau));
        for (Index first = 0; first < a.cols; first += block) {
            result.make_triangle(first, std::min(block, a.cols - first));
        }
        return result;
    }

    /// Z (m,p), column-major, becomes Q Z.
    void apply(MatrixView<T> z) const
    {
        for (Index last = a_.cols; last > 0; last = (last - 1) / block * block) {
            const Index first = (last - 1) / block * block;
            apply_block(first, std::min(block, a_.cols - first), z.row_block(first, a_.rows - first), false);
        }
    }

private:
    using Column = Eigen::Map<Eigen::VectorX<T>>;
    static constexpr Index block = 32;

    Reflections(MatrixView<T> a, std::vector<T> tau) : a_(a), tau_(std::move(tau)), triangles_(block, a.cols) {}

    [[nodiscard]] T& tau(Index j) { return tau_[static_cast<std::size_t>(j)]; }
    [[nodiscard]] Column below(Index j, Index col) const
    {
        return {a_.data + col * a_.col_stride + j + 1, a_.rows - j - 1};
    }

    /// Columns [first, first + count) become zero below the diagonal, one after another.
    void reflect_panel(Index first, Index count)
    {
        for (Index j = first; j < first + count; ++j) {
            Column v = below(j, j);
            const T head = a_(j, j);
            const T tail = v.squaredNorm();
            if (!(tail > std::numeric_limits<T>::min())) {
                v.setZero();
                tau(j) = T(0);
                continue;
            }
            const T length = std::sqrt(head * head + tail);
            const T beta = head >= T(0) ? -length : length;
            v /= head - beta;
            tau(j) = (beta - head) / beta;
            a_(j, j) = beta;
            for (Index col = j + 1; col < first + count; ++col) {
                Column x = below(j, col);
                const T share = tau(j) * (a_(j, col) + v.dot(x));
                a_(j, col) -= share;
                x -= share * v;
            }
        }
    }

    /// V of a block, (m - first, count), with its ones and zeros.
    [[nodiscard]] ColMajor<T> vectors(Index first, Index count) const
    {
        ColMajor<T> result(a_.rows - first, count);
        for (Index j = 0; j < count; ++j) {
            T* column = result.data() + j * result.rows();
            std::fill_n(column, j, T(0));
            column[j] = T(1);
            const Column tail = below(first + j, first + j);
            std::copy_n(tail.data(), tail.size(), column + j + 1);
        }
        return result;
    }

    /// The T of a block, upper triangular, so that its reflections together are 1 - V T Vᵀ.
    void make_triangle(Index first, Index count)
    {
        const ColMajor<T> v = vectors(first, count);
        const auto view = ConstMatrixView<T>::col_major(v.data(), v.rows(), count);
        RowMajor<T> products(count, count);
        multiply_tile<T>(MatrixView<T>::row_major(products.data(), count, count), T(1), view.transposed(), view, T(0));
        for (Index j = 0; j < count; ++j) {
            for (Index i = 0; i < count; ++i) {
                T sum = T(0);
                for (Index l = i; l < j; ++l) {
                    sum += triangles_(i, first + l) * products(l, j);
                }
                triangles_(i, first + j) = i < j ? -tau(first + j) * sum : i == j ? tau(first + j) : T(0);
            }
        }
    }

    /// C (m - first, p), column-major, becomes (1 - V T Vᵀ) C, or with the transpose of T.
    void apply_block(Index first, Index count, MatrixView<T> c, bool transposed) const
    {
        const ColMajor<T> v = vectors(first, count);
        const auto view = ConstMatrixView<T>::col_major(v.data(), v.rows(), count);
        const auto t =
            ConstMatrixView<T>::col_major(triangles_.data() + first * block, block, count).row_block(0, count);
        RowMajor<T> products(count, c.cols);
        RowMajor<T> turned(count, c.cols);
        const auto w = MatrixView<T>::row_major(products.data(), count, c.cols);
        const auto tw = MatrixView<T>::row_major(turned.data(), count, c.cols);
        multiply_tile<T>(w, T(1), view.transposed(), c, T(0));
        multiply_tile<T>(tw, T(1), transposed ? t.transposed() : t, w, T(0));
        multiply_tile<T>(c.transposed(), T(-1), ConstMatrixView<T>(tw).transposed(), view.transposed(), T(1));
    }

    MatrixView<T> a_;
    std::vector<T> tau_;
    ColMajor<T> triangles_;  // (block, n), the T of each block
};

/// A B on one thread.
template <Scalar T>
[[nodiscard]] ColMajor<T> product(ConstMatrixView<T> a, ConstMatrixView<T> b)
{
    ColMajor<T> result(a.rows, b.cols);
    const auto view = MatrixView<T>::col_major(result.data(), a.rows, b.cols);
    multiply_tile<T>(view.transposed(), T(1), b.transposed(), a.transposed(), T(0));
    return result;
}

template <class T>
[[nodiscard]] ConstMatrixView<T> view_of(const ColMajor<T>& a)
{
    return ConstMatrixView<T>::col_major(a.data(), a.rows(), a.cols());
}

}  // namespace wasi::eigen
