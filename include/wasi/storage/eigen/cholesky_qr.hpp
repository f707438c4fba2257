#pragma once
#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/storage/eigen/gram.hpp"
#include "wasi/storage/eigen/products.hpp"

namespace wasi::eigen {

/// The inverse of the Cholesky factor of a Gram matrix, with columns scaled to 1 first.
struct CholeskyInverse {
    Eigen::VectorXd pivots;  // R_jj of the scaled Gram: the sine of the angle between a column and those before it
    Eigen::VectorXd scale;   // lengths of the columns
    double defect = 0.0;     // ||G - 1||_F
    bool ok = false;
};

/// `inverse` becomes R⁻¹ with RᵀR = G, or RᵀR = G + a tiny shift where G is too close to singular for its own rounding.
template <Scalar T>
[[nodiscard]] CholeskyInverse invert_cholesky(MatrixView<T> inverse, MatrixView<double> gram_matrix)
{
    const SerialScope serial;
    const auto g = row_major_map(gram_matrix);
    const Index n = g.rows();
    CholeskyInverse result;
    result.defect = (g - ColMajor<double>::Identity(n, n)).norm();
    result.scale = g.diagonal().cwiseSqrt();
    if (!std::isfinite(result.defect) || !(result.scale.minCoeff() > 0.0)) {
        return result;
    }
    const auto shrink = result.scale.cwiseInverse().asDiagonal();
    ColMajor<double> scaled = shrink * g * shrink;
    const double rounding = static_cast<double>(n) * static_cast<double>(epsilon<double>);
    Eigen::LLT<ColMajor<double>> cholesky(scaled);
    if (cholesky.info() != Eigen::Success || cholesky.matrixLLT().diagonal().minCoeff() < 32.0 * std::sqrt(rounding)) {
        scaled.diagonal().array() += 16.0 * rounding;
        cholesky.compute(scaled);
    }
    if (cholesky.info() != Eigen::Success) {
        return result;
    }
    result.pivots = cholesky.matrixLLT().diagonal();
    ColMajor<double> wide = ColMajor<double>::Identity(n, n);
    cholesky.matrixU().solveInPlace(wide);
    row_major_map(inverse) = (shrink * wide).template cast<T>();
    result.ok = true;
    return result;
}

/// Q = A R⁻¹ by blocks of columns: the zeros below R⁻¹'s diagonal are half of it.
template <Scalar T>
void multiply_upper(MatrixView<T> q, ConstMatrixView<T> a, ConstMatrixView<T> inverse, Memory& memory)
{
    constexpr Index block = triangle_block;
    for (Index first = 0; first < a.cols; first += block) {
        const Index cols = std::min(block, a.cols - first);
        multiply<T>(q.col_block(first, cols), T(1), a.col_block(0, first + cols),
                    inverse.block(0, first, first + cols, cols), T(0), memory);
    }
}

/// Whether columns of such squared lengths may be worked with as they are: the squares of a Gram matrix's elements are
/// double's, and the inverse lengths T's, with room to spare.
template <Scalar T>
[[nodiscard]] bool ordinary_lengths(const Eigen::VectorXd& squares)
{
    constexpr double low = sizeof(T) < sizeof(double) ? 0x1p-140 : 0x1p-440;
    constexpr double high = sizeof(T) < sizeof(double) ? 0x1p140 : 0x1p440;
    return squares.minCoeff() >= low && squares.maxCoeff() <= high && squares.allFinite();
}

/// Exponents of two that bring each column's largest element to [1/2, 1): false when one is zero or not finite.
template <Scalar T>
[[nodiscard]] bool find_exponents(Eigen::ArrayXi& exponents, ConstMatrixView<T> a)
{
    for (Index j = 0; j < a.cols; ++j) {
        const double size = largest<T>(a.col_block(j, 1));
        if (!(size > 0.0) || !std::isfinite(size)) {
            return false;
        }
        static_cast<void>(std::frexp(size, &exponents(j)));
    }
    return true;
}

/// `to` = A diag(2^-exponents), which rounds nothing.
template <Scalar T>
void scale_columns(MatrixView<T> to, ConstMatrixView<T> a, const Eigen::ArrayXi& exponents)
{
    for (Index j = 0; j < a.cols; ++j) {
        // Two factors: one need not be a number of T.
        const int half = -exponents(j) / 2;
        const auto column = to.col_block(j, 1);
        add_scaled<T>(column, T(0), std::ldexp(T(1), half), a.col_block(j, 1));
        add_scaled<T>(column, T(0), std::ldexp(T(1), -exponents(j) - half), column);
    }
}

/// A (m,n) becomes Q of A = Q R with positive R_jj, by Cholesky factors of Gram matrices: AᵀA = RᵀR, Q = A R⁻¹, and
/// once more, because one pass leaves ||QᵀQ - 1|| ~ cond(A) epsilon (cond(A)² epsilon in double)
/// (CholeskyQR2; Yamamoto, Nakatsukasa, Yanagisawa, Fukaya 2015). Columns are scaled to 1 first, Grams and factors are
/// in double, so a float matrix is safe up to cond 1e7. A Gram too close to singular gets a shift and one pass more
/// (shifted CholeskyQR3; Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa 2020). Returns the number of R_jj above
/// max(m,n) epsilon max R_jj (in float 8 sqrt(n) epsilon where that is less), or -1 and A as it was: a column is zero,
/// dependent on the others to rounding, or not finite; Householder's QR handles those. Columns so long or short that
/// their squares leave double, or their inverse lengths T, are scaled by powers of two first (and m n more workspace):
/// the same bits at every size. 2 m n² multiply-adds in two passes, threaded; workspace m n.
template <Scalar T>
[[nodiscard]] Index cholesky_orthonormalize(MatrixView<T> a, Memory& memory)
{
    const Index n = a.cols;
    if (n == 0) {
        return 0;
    }
    // Sums over rows are in double: of a float matrix its own rounding is all that hides a direction.
    double steps = static_cast<double>(std::max(a.rows, n));
    if constexpr (sizeof(T) < sizeof(double)) {
        steps = std::min(steps, 8.0 * std::sqrt(static_cast<double>(n)));
    }
    const double length = steps * static_cast<double>(epsilon<T>);
    Tensor<T> q = workspace<T>(memory, 0, 0);
    Tensor<T> inverse = workspace<T>(memory, n, n);
    Tensor<double> gram_matrix = workspace<double>(memory, n, n);
    Eigen::VectorXd sines = Eigen::VectorXd::Ones(n);  // R_jj over the length of column j
    Eigen::VectorXd lengths;
    Tensor<T> scaled;  // A, where its columns are not of ordinary length
    Eigen::ArrayXi exponents = Eigen::ArrayXi::Zero(n);
    const auto rank_of = [length](const Eigen::VectorXd& sine, const Eigen::VectorXd& column) {
        const Eigen::ArrayXd diagonal = sine.array() * column.array();
        return static_cast<Index>((diagonal > length * diagonal.maxCoeff()).count());
    };
    constexpr int most_passes = 5;
    for (int pass = 0; pass < most_passes; ++pass) {
        ConstMatrixView<T> from = pass == 0 ? ConstMatrixView<T>(a) : std::as_const(q).matrix();
        gram<T>(gram_matrix.matrix(), 0.0, from, memory);
        if (pass == 0 && !ordinary_lengths<T>(row_major_map(gram_matrix.matrix()).diagonal())) {
            if (!find_exponents<T>(exponents, a)) {
                return -1;
            }
            // In the layout of A, so that what is computed of it has the same bits.
            scaled = a.is_row_major() ? workspace<T>(memory, a.rows, n) : workspace<T>(memory, n, a.rows);
            const auto columns = a.is_row_major() ? scaled.matrix() : scaled.matrix().transposed();
            scale_columns<T>(columns, a, exponents);
            from = columns;
            gram<T>(gram_matrix.matrix(), 0.0, from, memory);
        }
        const CholeskyInverse factor = invert_cholesky<T>(inverse.matrix(), gram_matrix.matrix());
        memory.count_flops(static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n));
        if (!factor.ok) {
            return -1;
        }
        sines.array() *= factor.pivots.array();
        if (pass == 0) {
            // Relative to the longest, which may be beyond double.
            lengths = factor.scale;
            for (Index j = 0; j < n; ++j) {
                lengths(j) = std::ldexp(lengths(j), exponents(j) - exponents.maxCoeff());
            }
        } else {
            sines.array() *= factor.scale.array();
        }
        if (sines.minCoeff() < length) {
            return -1;
        }
        if (pass > 0 && factor.defect < 0.5) {
            multiply_upper<T>(a, from, std::as_const(inverse).matrix(), memory);
            return rank_of(sines, lengths);
        }
        Tensor<T> next = workspace<T>(memory, a.rows, n);
        multiply_upper<T>(next.matrix(), from, std::as_const(inverse).matrix(), memory);
        q = std::move(next);
        if (pass == 0 && factor.defect < 0.1) {  // nearly orthonormal as it came: one pass is enough
            copy<T>(a, std::as_const(q).matrix());
            return rank_of(sines, lengths);
        }
    }
    return -1;
}

}  // namespace wasi::eigen
