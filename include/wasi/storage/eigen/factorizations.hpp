#pragma once
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <concepts>
#include <functional>
#include <span>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/tensor.hpp"

/// Orthonormal bases, singular values and eigenvalues of small or thin matrices, on Eigen's dense decompositions.
namespace wasi::eigen {

/// The decompositions below run on one column-major, contiguous layout, whatever the caller's is: Eigen compiles a
/// whole decomposition anew for every layout.
template <Scalar T>
[[nodiscard]] Tensor<T> column_major_copy(ConstMatrixView<T> a, Memory& memory)
{
    Tensor<T> result = workspace<T>(memory, a.cols, a.rows);
    copy<T>(result.matrix().transposed(), a);
    return result;
}

/// Q (m, columns) of a Householder QR, into `q`, which holds `first` (a block to rotate, above zeros).
template <Scalar T, class Qr>
void apply_reflections(const Qr& qr, MatrixView<T> q, ConstMatrixView<T> first, Memory& memory)
{
    Tensor<T> booked = workspace<T>(memory, q.cols, q.rows);
    ColMajorMap<T> result(booked.data(), q.rows, q.cols);
    result.setZero();
    copy<T>(booked.matrix().transposed().row_block(0, first.rows), first);
    result.applyOnTheLeft(qr.householderQ());
    copy<T>(q, booked.matrix().transposed());
}

/// A (m,n), m >= n, becomes Q of its Householder QR. Householder columns are orthonormal to rounding whatever A is: a
/// zero or dependent column yields a direction of the complement. Returns the number of diagonal entries of R above
/// max(m,n) epsilon max|R_jj|, an estimate of the rank. About 4 m n² flops; workspace 2 m n.
template <Scalar T>
Index orthonormalize(MatrixView<T> a, Memory& memory)
{
    if (a.cols == 0) {
        return 0;
    }
    const SerialScope serial;
    const auto m = static_cast<double>(a.rows);
    const auto n = static_cast<double>(a.cols);
    memory.count_flops(4.0 * m * n * n - 4.0 / 3.0 * n * n * n);
    Tensor<T> booked = column_major_copy<T>(a, memory);
    ColMajorMap<T> work(booked.data(), a.rows, a.cols);
    // Scaled to 1, so that squares of tiny or huge entries neither vanish nor overflow inside the reflections.
    const T scale = work.cwiseAbs().maxCoeff();
    if (scale > T(0)) {
        work /= scale;
    }
    const Eigen::HouseholderQR<Eigen::Ref<ColMajor<T>>> qr(work);
    const auto diagonal = qr.matrixQR().diagonal().cwiseAbs().eval();
    const T threshold = static_cast<T>(std::max(a.rows, a.cols)) * epsilon<T> * diagonal.maxCoeff();
    const Index rank = (diagonal.array() > threshold).count();
    Tensor<T> identity = workspace<T>(memory, a.cols, a.cols);
    row_major_map(identity.matrix()).setIdentity();
    apply_reflections<T>(qr, a, identity.matrix(), memory);
    return rank;
}

/// SVD of a square matrix T in double: eigenvectors V of TᵀT make the columns of T V nearly orthogonal, and T V = U R
/// leaves a nearly diagonal R. For values that stem from float that is the SVD already: squaring costs half of double's
/// digits, which float does not have. For full double accuracy (`polish`) a few sweeps of Jacobi rotations diagonalise
/// R (the preconditioning idea of Drmač and Veselić 2008, with another preconditioner). Why not Eigen's BDCSVD: in 3.4
/// it returns wrong singular values for clustered spectra (tests/storage/svd_test.cpp), and it takes several times
/// longer to compile. A template although Wide is always double: only what calls it compiles it.
template <bool polish, class Wide>
bool svd_by_gram(const ColMajor<Wide>& triangle, ColMajor<Wide>& u, Eigen::VectorX<Wide>& s, ColMajor<Wide>& v)
{
    const Eigen::SelfAdjointEigenSolver<ColMajor<Wide>> solver(triangle.transpose() * triangle);
    if (solver.info() != Eigen::Success) {
        return false;
    }
    v = solver.eigenvectors().rowwise().reverse();
    const Eigen::HouseholderQR<ColMajor<Wide>> qr(triangle * v);
    u = qr.householderQ();
    if constexpr (polish) {
        const ColMajor<Wide> nearly_diagonal = qr.matrixQR().template triangularView<Eigen::Upper>();
        const Eigen::JacobiSVD<ColMajor<Wide>, Eigen::NoQRPreconditioner> rotations(
            nearly_diagonal, Eigen::ComputeFullU | Eigen::ComputeFullV);
        u *= rotations.matrixU();
        v *= rotations.matrixV();
        s = rotations.singularValues();
        return rotations.info() == Eigen::Success;
    } else {
        s = qr.matrixQR().diagonal();
        for (Index j = 0; j < s.size(); ++j) {
            if (s(j) < Wide(0)) {
                s(j) = -s(j);
                u.col(j) = -u.col(j);
            }
        }
        // Equal values can come out of the QR in an order that differs in the last digit.
        std::sort(s.data(), s.data() + s.size(), std::greater<>());
        return true;
    }
}

/// Thin SVD. Tall matrices go through a QR first, wide ones through the transpose.
template <Scalar T>
bool svd(ConstMatrixView<T> a, MatrixView<T> u, std::span<T> s, MatrixView<T> v, Memory& memory)
{
    if (a.rows < a.cols) {
        return svd<T>(a.transposed(), v, s, u, memory);
    }
    if (a.cols == 0) {
        return true;
    }
    const SerialScope serial;
    const auto m = static_cast<double>(a.rows);
    const auto n = static_cast<double>(a.cols);
    memory.count_flops(6.0 * m * n * n + 20.0 * n * n * n);
    Tensor<T> booked = column_major_copy<T>(a, memory);
    ColMajorMap<T> work(booked.data(), a.rows, a.cols);
    const T scale = work.cwiseAbs().maxCoeff();
    if (scale > T(0)) {
        work /= scale;
    }
    const Eigen::HouseholderQR<Eigen::Ref<ColMajor<T>>> qr(work);
    const ColMajor<T> triangle = qr.matrixQR().topRows(a.cols).template triangularView<Eigen::Upper>();
    ColMajor<double> left;
    ColMajor<double> right;
    Eigen::VectorXd values;
    if (!svd_by_gram<std::same_as<T, double>, double>(triangle.template cast<double>(), left, values, right)) {
        return false;
    }
    const ColMajor<T> small_left = left.template cast<T>();
    const ColMajor<T> small_right = right.template cast<T>();
    copy<T>(v, ConstMatrixView<T>::col_major(small_right.data(), a.cols, a.cols));
    apply_reflections<T>(qr, u, ConstMatrixView<T>::col_major(small_left.data(), a.cols, a.cols), memory);
    std::transform(values.data(), values.data() + a.cols, s.data(),
                   [scale](double value) { return static_cast<T>(value) * scale; });
    return true;
}

/// Eigenvectors of a symmetric matrix in place (columns), eigenvalues descending. About 9 n³ flops.
template <Scalar T>
bool eigh(MatrixView<T> a, std::span<T> w, Memory& memory)
{
    if (a.rows == 0) {
        return true;
    }
    const SerialScope serial;
    const auto n = static_cast<double>(a.rows);
    memory.count_flops(9.0 * n * n * n);
    // A symmetric matrix is its own transpose, so either layout reads as column-major.
    const Eigen::SelfAdjointEigenSolver<ColMajor<T>> solver(col_major_map(a.is_row_major() ? a.transposed() : a));
    if (solver.info() != Eigen::Success) {
        return false;
    }
    for (Index j = 0; j < a.cols; ++j) {
        const Index ascending = a.cols - 1 - j;
        copy<T>(a.col_block(j, 1),
                ConstMatrixView<T>::col_major(solver.eigenvectors().col(ascending).data(), a.rows, 1));
        w[static_cast<std::size_t>(j)] = solver.eigenvalues()(ascending);
    }
    return true;
}

/// B becomes A⁻¹ B by Cholesky. About n³/3 + 2 n² cols(B) flops.
template <Scalar T>
bool solve_spd(MatrixView<T> a, MatrixView<T> b, Memory& memory)
{
    const SerialScope serial;
    const auto n = static_cast<double>(a.rows);
    memory.count_flops(n * n * n / 3.0 + 2.0 * n * n * static_cast<double>(b.cols));
    auto left = col_major_map(a.is_row_major() ? a.transposed() : a);
    const Eigen::LLT<Eigen::Ref<ColMajor<T>, 0, Eigen::OuterStride<>>> cholesky(left);
    if (cholesky.info() != Eigen::Success) {
        return false;
    }
    Tensor<T> booked = column_major_copy<T>(b, memory);
    ColMajorMap<T> solution(booked.data(), b.rows, b.cols);
    cholesky.solveInPlace(solution);
    copy<T>(b, booked.matrix().transposed());
    return true;
}

}  // namespace wasi::eigen
