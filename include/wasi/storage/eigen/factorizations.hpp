#pragma once
#include <Eigen/Cholesky>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <functional>
#include <span>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/eigen/reflections.hpp"
#include "wasi/storage/eigen/symmetric.hpp"
#include "wasi/storage/scale.hpp"
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
template <Scalar T>
void apply_reflections(const Reflections<T>& qr, MatrixView<T> q, ConstMatrixView<T> first, Memory& memory)
{
    Tensor<T> booked = workspace<T>(memory, q.cols, q.rows);
    const auto result = booked.matrix().transposed();
    ColMajorMap<T>(booked.data(), q.rows, q.cols).setZero();
    copy<T>(result.row_block(0, first.rows), first);
    qr.apply(result);
    copy<T>(q, result);
}

/// A (m,n), m >= n, becomes Q of its Householder QR. Householder columns are orthonormal to rounding whatever A is: a
/// zero or dependent column yields a direction of the complement. Returns the number of diagonal entries of R above
/// max(m,n) epsilon max|R_jj| (in float 8 sqrt(m) epsilon where that is less: rounding of long sums grows no faster),
/// an estimate of the rank. About 4 m n² flops; workspace 2 m n.
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
    const auto qr = Reflections<T>::of_qr(booked.matrix().transposed());
    T largest_of_r = T(0);
    for (Index j = 0; j < a.cols; ++j) {
        largest_of_r = std::max(largest_of_r, std::abs(work(j, j)));
    }
    double steps = std::max(m, n);
    if constexpr (sizeof(T) < sizeof(double)) {
        steps = std::min(steps, 8.0 * std::sqrt(m));
    }
    const T threshold = static_cast<T>(steps) * epsilon<T> * largest_of_r;
    Index rank = 0;
    for (Index j = 0; j < a.cols; ++j) {
        rank += std::abs(work(j, j)) > threshold ? 1 : 0;
    }
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
    const Index n = triangle.rows();
    ColMajor<Wide> square = product<Wide>(view_of(triangle).transposed(), view_of(triangle));
    const Wide unit = square.cwiseAbs().maxCoeff();
    if (unit > Wide(0)) {
        square /= unit;
    }
    SymmetricEigen<Wide> solver(square);
    if (!solver.find_vectors()) {
        return false;
    }
    v = solver.vectors_descending();
    ColMajor<Wide> turned = product<Wide>(view_of(triangle), view_of(v));
    const auto qr = Reflections<Wide>::of_qr(MatrixView<Wide>::col_major(turned.data(), n, n));
    u = ColMajor<Wide>::Identity(n, n);
    qr.apply(MatrixView<Wide>::col_major(u.data(), n, n));
    if constexpr (polish) {
        const ColMajor<Wide> nearly_diagonal = turned.template triangularView<Eigen::Upper>();
        const Eigen::JacobiSVD<ColMajor<Wide>, Eigen::NoQRPreconditioner> rotations(
            nearly_diagonal, Eigen::ComputeFullU | Eigen::ComputeFullV);
        u = product<Wide>(view_of(u), view_of<Wide>(rotations.matrixU()));
        v = product<Wide>(view_of(v), view_of<Wide>(rotations.matrixV()));
        s = rotations.singularValues();
        return rotations.info() == Eigen::Success;
    } else {
        s = turned.diagonal();
        for (Index j = 0; j < n; ++j) {
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
    const auto qr = Reflections<T>::of_qr(booked.matrix().transposed());
    ColMajor<double> triangle = ColMajor<double>::Zero(a.cols, a.cols);
    for (Index j = 0; j < a.cols; ++j) {
        for (Index i = 0; i <= j; ++i) {
            triangle(i, j) = static_cast<double>(work(i, j));
        }
    }
    ColMajor<double> left;
    ColMajor<double> right;
    Eigen::VectorXd values;
    if (!svd_by_gram<std::same_as<T, double>, double>(triangle, left, values, right)) {
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
    ColMajor<T> scaled = col_major_map(a.is_row_major() ? a.transposed() : a);
    const T magnitude = scaled.cwiseAbs().maxCoeff();
    const T unit = magnitude > T(0) ? magnitude : T(1);
    scaled /= unit;
    SymmetricEigen<T> solver(scaled);
    if (!solver.find_vectors()) {
        return false;
    }
    const ColMajor<T> vectors = solver.vectors_descending();
    copy<T>(a, view_of(vectors));
    for (Index j = 0; j < a.cols; ++j) {
        w[static_cast<std::size_t>(j)] = solver.values()(a.cols - 1 - j) * unit;
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

/// A becomes the lower triangular F of A = F Fᵀ. About n³/3 flops.
template <Scalar T>
bool cholesky(MatrixView<T> a, Memory& memory)
{
    const SerialScope serial;
    const auto n = static_cast<double>(a.rows);
    memory.count_flops(n * n * n / 3.0);
    // A is symmetric: in memory by rows its lower triangle is the upper one of the map.
    auto map = col_major_map(a.is_row_major() ? a.transposed() : a);
    const bool upper = a.is_row_major();
    bool done = false;
    if (upper) {
        done = Eigen::LLT<Eigen::Ref<ColMajor<T>, 0, Eigen::OuterStride<>>, Eigen::Upper>(map).info() == Eigen::Success;
        map.template triangularView<Eigen::StrictlyLower>().setZero();
    } else {
        done = Eigen::LLT<Eigen::Ref<ColMajor<T>, 0, Eigen::OuterStride<>>>(map).info() == Eigen::Success;
        map.template triangularView<Eigen::StrictlyUpper>().setZero();
    }
    return done;
}

}  // namespace wasi::eigen
