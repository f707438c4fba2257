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

/// A (m,n) becomes Q of A = Q R with positive R_jj, by Cholesky factors of Gram matrices: AᵀA = RᵀR, Q = A R⁻¹, and
/// once more, because one pass leaves ||QᵀQ - 1|| ~ cond(A) epsilon (cond(A)² epsilon in double)
/// (CholeskyQR2; Yamamoto, Nakatsukasa, Yanagisawa, Fukaya 2015). Columns are scaled to 1 first, Grams and factors are
/// in double, so a float matrix is safe up to cond 1e7. A Gram too close to singular gets a shift and one pass more
/// (shifted CholeskyQR3; Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa 2020). Returns the number of R_jj above
/// max(m,n) epsilon max R_jj, or -1 and A as it was: a column is zero, dependent on the others to rounding, or not
/// finite; Householder's QR handles those. 2 m n² multiply-adds in two passes, threaded; workspace m n.
template <Scalar T>
[[nodiscard]] Index cholesky_orthonormalize(MatrixView<T> a, Memory& memory)
{
    const Index n = a.cols;
    if (n == 0) {
        return 0;
    }
    const auto length = static_cast<double>(std::max(a.rows, n)) * static_cast<double>(epsilon<T>);
    Tensor<T> q = workspace<T>(memory, 0, 0);
    Tensor<T> inverse = workspace<T>(memory, n, n);
    Tensor<double> gram_matrix = workspace<double>(memory, n, n);
    Eigen::VectorXd sines = Eigen::VectorXd::Ones(n);  // R_jj over the length of column j
    Eigen::VectorXd lengths;
    const auto rank_of = [length](const Eigen::VectorXd& sine, const Eigen::VectorXd& column) {
        const Eigen::ArrayXd diagonal = sine.array() * column.array();
        return static_cast<Index>((diagonal > length * diagonal.maxCoeff()).count());
    };
    constexpr int most_passes = 5;
    for (int pass = 0; pass < most_passes; ++pass) {
        const ConstMatrixView<T> from = pass == 0 ? ConstMatrixView<T>(a) : std::as_const(q).matrix();
        gram<T>(gram_matrix.matrix(), 0.0, from, memory);
        const CholeskyInverse factor = invert_cholesky<T>(inverse.matrix(), gram_matrix.matrix());
        memory.count_flops(static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n));
        if (!factor.ok) {
            return -1;
        }
        sines.array() *= factor.pivots.array();
        if (pass == 0) {
            lengths = factor.scale;
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
