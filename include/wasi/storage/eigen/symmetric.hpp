#pragma once
#include <Eigen/Eigenvalues>
#include <vector>

#include "wasi/storage/eigen/reflections.hpp"

namespace wasi::eigen {

/// Eigenvalues and eigenvectors of a symmetric matrix by its tridiagonal form A = Q T Qᵀ (Golub and Van Loan 8.3):
/// Eigen's reduction and its QL iteration, Q by Reflections. Eigen's SelfAdjointEigenSolver::compute does the same and
/// compiles products of its own for Q. The caller scales A to largest element 1, as
/// `compute` does: Eigen's test for a negligible element of T depends on the scale, and with 20 in place of 1 the
/// iteration does not end for two clusters of equal values. The lower triangle of A is read.
template <Scalar T>
class SymmetricEigen {
public:
    explicit SymmetricEigen(const ColMajor<T>& a)
        : tridiagonal_(a), diagonal_(tridiagonal_.diagonal()), beside_(tridiagonal_.subDiagonal())
    {
    }

    [[nodiscard]] const Eigen::VectorX<T>& diagonal() const { return diagonal_; }
    [[nodiscard]] const Eigen::VectorX<T>& beside() const { return beside_; }

    /// All eigenvalues, for `values`; false when the iteration does not converge.
    [[nodiscard]] bool find_values()
    {
        solver_.computeFromTridiagonal(diagonal_, beside_, Eigen::EigenvaluesOnly);
        return solver_.info() == Eigen::Success;
    }
    /// Eigenvectors too, for `take_vectors`.
    [[nodiscard]] bool find_vectors()
    {
        solver_.computeFromTridiagonal(diagonal_, beside_, Eigen::ComputeEigenvectors);
        return solver_.info() == Eigen::Success;
    }
    /// Ascending.
    [[nodiscard]] const Eigen::VectorX<T>& values() const { return solver_.eigenvalues(); }

    /// The eigenvectors, as columns; descending.
    [[nodiscard]] ColMajor<T> vectors_descending() const
    {
        ColMajor<T> result = solver_.eigenvectors().rowwise().reverse();
        turn(reflections(), MatrixView<T>::col_major(result.data(), result.rows(), result.cols()));
        return result;
    }

    /// Q, for `turn`; while this object lives.
    [[nodiscard]] Reflections<T> reflections() const
    {
        const ColMajor<T>& packed = tridiagonal_.packedMatrix();
        const Index n = packed.rows();
        const Eigen::VectorX<T> tau = tridiagonal_.householderCoefficients();
        // Read only: see Reflections::of_packed.
        auto* data = const_cast<T*>(packed.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
        return Reflections<T>::of_packed(MatrixView<T>::col_major(data, n, n).block(n > 0 ? 1 : 0, 0, n - 1, n - 1),
                                         std::vector<T>(tau.data(), tau.data() + tau.size()));
    }
    /// Z (n,p), column-major, vectors of T, becomes Q Z, vectors of A.
    static void turn(const Reflections<T>& q, MatrixView<T> z)
    {
        if (z.rows > 1) {
            q.apply(z.row_block(1, z.rows - 1));
        }
    }

private:
    Eigen::Tridiagonalization<ColMajor<T>> tridiagonal_;
    Eigen::VectorX<T> diagonal_;
    Eigen::VectorX<T> beside_;
    Eigen::SelfAdjointEigenSolver<ColMajor<T>> solver_;
};

}  // namespace wasi::eigen
