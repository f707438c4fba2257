#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/tensor.hpp"

// Eigen's vector erf is in its folder unsupported/, which some packages of Eigen leave out.
#if __has_include(<unsupported/Eigen/SpecialFunctions>)
#include <unsupported/Eigen/SpecialFunctions>
#define WASI_EIGEN_HAS_ERF 1
#else
#define WASI_EIGEN_HAS_ERF 0
#endif

/// Activations, normalisations and losses over the rows of a matrix.
namespace wasi::eigen {

template <Scalar T>
void add_to_rows(MatrixView<T> y, std::span<const T> v)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        row_major_map(y.row_block(first, count)).rowwise() += row_vector_map(v);
    });
}

/// Adds up `count` rows of per-piece partial sums, in order.
template <Scalar T>
void add_partial_rows(std::span<T> sum, ConstMatrixView<T> partial)
{
    auto total = row_vector_map(sum);
    total.setZero();
    for (Index piece = 0; piece < partial.rows; ++piece) {
        total += row_major_map(partial.row_block(piece, 1)).row(0);
    }
}

template <Scalar T>
void column_sums(std::span<T> sum, ConstMatrixView<T> y, Memory& memory)
{
    const Index height = rows_per_piece(y.cols);
    Tensor<T> partial = workspace<T>(memory, (y.rows + height - 1) / height, y.cols);
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index piece) {
        row_major_map(partial.matrix().row_block(piece, 1)).row(0) =
            row_major_map(y.row_block(first, count)).colwise().sum();
    });
    add_partial_rows<T>(sum, partial.matrix());
}

template <Scalar T>
void multiply_elements(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        row_major_map(y.row_block(first, count)).array() *= row_major_map(x.row_block(first, count)).array();
    });
}

template <Scalar T>
void scale_columns(MatrixView<T> y, std::span<const T> v)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        row_major_map(y.row_block(first, count)).array().rowwise() *= row_vector_map(v).array();
    });
}

template <Scalar T>
void divide_by_root(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        row_major_map(y.row_block(first, count)).array() /= row_major_map(x.row_block(first, count)).array().sqrt();
    });
}

/// Phi(x), the standard normal distribution function. Eigen's vector erf is good to a few ulp in float; double takes
/// libm's, and so does float without Eigen's folder unsupported/.
template <Scalar T, class Array>
[[nodiscard]] auto normal_distribution(const Array& x)
{
    constexpr T inverse_sqrt2 = T(1) / std::numbers::sqrt2_v<T>;
#if WASI_EIGEN_HAS_ERF
    return T(0.5) * (T(1) + (x * inverse_sqrt2).erf());
#else
    return T(0.5) * (T(1) + (x * inverse_sqrt2).unaryExpr([](T value) { return std::erf(value); }));
#endif
}

template <Scalar T>
void gelu(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        const auto in = row_major_map(x.row_block(first, count)).array();
        row_major_map(y.row_block(first, count)).array() = in * normal_distribution<T>(in);
    });
}

template <Scalar T>
void gelu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x)
{
    constexpr T density_at_zero = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
    for_row_pieces(dx.rows, dx.cols, [&](Index first, Index count, Index) {
        const auto in = row_major_map(x.row_block(first, count)).array();
        const auto out = row_major_map(dy.row_block(first, count)).array();
        row_major_map(dx.row_block(first, count)).array() =
            out * (normal_distribution<T>(in) + in * density_at_zero * (T(-0.5) * in.square()).exp());
    });
}

template <Scalar T>
void quick_gelu(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        const auto in = row_major_map(x.row_block(first, count)).array();
        row_major_map(y.row_block(first, count)).array() = in / (T(1) + (T(-1.702) * in).exp());
    });
}

template <Scalar T>
void quick_gelu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x)
{
    for_row_pieces(dx.rows, dx.cols, [&](Index first, Index count, Index) {
        const auto in = row_major_map(x.row_block(first, count)).array();
        const auto out = row_major_map(dy.row_block(first, count)).array();
        const auto share = (T(1) + (T(-1.702) * in).exp()).inverse();
        row_major_map(dx.row_block(first, count)).array() = out * share * (T(1) + T(1.702) * in * (T(1) - share));
    });
}

template <Scalar T>
void relu(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        row_major_map(y.row_block(first, count)) = row_major_map(x.row_block(first, count)).cwiseMax(T(0));
    });
}

template <Scalar T>
void relu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x)
{
    for_row_pieces(dx.rows, dx.cols, [&](Index first, Index count, Index) {
        row_major_map(dx.row_block(first, count)).array() =
            (row_major_map(x.row_block(first, count)).array() > T(0))
                .select(row_major_map(dy.row_block(first, count)).array(), T(0));
    });
}

template <Scalar T>
void softmax(MatrixView<T> y, T scale)
{
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            auto row = row_major_map(y.row_block(i, 1)).row(0).array();
            const T largest = row.maxCoeff();  // subtracted so that exp cannot overflow
            row = (scale * (row - largest)).exp();
            row *= T(1) / row.sum();
        }
    });
}

template <Scalar T>
void softmax_backward(MatrixView<T> dy, ConstMatrixView<T> p, T scale)
{
    for_row_pieces(dy.rows, dy.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            auto gradient = row_major_map(dy.row_block(i, 1)).row(0).array();
            const auto probability = row_major_map(p.row_block(i, 1)).row(0).array();
            const T mean = (gradient * probability).sum();
            gradient = scale * probability * (gradient - mean);
        }
    });
}

/// y = (x - mean) inverse_deviation gain + bias by rows, with the biased variance: inverse_deviation = (var +
/// epsilon)^-1/2.
template <Scalar T>
void layer_norm(MatrixView<T> y, std::span<T> mean, std::span<T> inverse_deviation, ConstMatrixView<T> x,
                std::span<const T> gain, std::span<const T> bias, T small)
{
    const T inverse_cols = T(1) / static_cast<T>(x.cols);
    for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            const auto in = row_major_map(x.row_block(i, 1)).row(0).array();
            auto out = row_major_map(y.row_block(i, 1)).row(0).array();
            const T centre = in.sum() * inverse_cols;
            const T inverse = T(1) / std::sqrt((in - centre).square().sum() * inverse_cols + small);
            mean[static_cast<std::size_t>(i)] = centre;
            inverse_deviation[static_cast<std::size_t>(i)] = inverse;
            out = (in - centre) * inverse * row_vector_map(gain).array() + row_vector_map(bias).array();
        }
    });
}

/// With h = (x - mean) inverse_deviation and g = dy gain:  dx = inverse_deviation (g - mean(g) - h mean(g h)),
/// dgain = sum over rows of dy h, dbias = sum over rows of dy.
template <Scalar T>
void layer_norm_backward(MatrixView<T> dx, std::span<T> dgain, std::span<T> dbias, ConstMatrixView<T> dy,
                         ConstMatrixView<T> x, std::span<const T> mean, std::span<const T> inverse_deviation,
                         std::span<const T> gain, Memory& memory)
{
    const T inverse_cols = T(1) / static_cast<T>(x.cols);
    const Index height = rows_per_piece(x.cols);
    const Index pieces = (x.rows + height - 1) / height;
    Tensor<T> gain_sums = workspace<T>(memory, pieces, x.cols);
    Tensor<T> bias_sums = workspace<T>(memory, pieces, x.cols);
    Tensor<T> normalised_rows = workspace<T>(memory, pieces, x.cols);
    for_row_pieces(x.rows, x.cols, [&](Index first, Index count, Index piece) {
        auto gain_sum = row_major_map(gain_sums.matrix().row_block(piece, 1)).row(0).array();
        auto bias_sum = row_major_map(bias_sums.matrix().row_block(piece, 1)).row(0).array();
        auto normalised = row_major_map(normalised_rows.matrix().row_block(piece, 1)).row(0).array();
        gain_sum.setZero();
        bias_sum.setZero();
        for (Index i = first; i < first + count; ++i) {
            const auto row = static_cast<std::size_t>(i);
            const auto upstream = row_major_map(dy.row_block(i, 1)).row(0).array();
            auto out = row_major_map(dx.row_block(i, 1)).row(0).array();
            normalised = (row_major_map(x.row_block(i, 1)).row(0).array() - mean[row]) * inverse_deviation[row];
            gain_sum += upstream * normalised;
            bias_sum += upstream;
            out = upstream * row_vector_map(gain).array();
            const T mean_out = out.sum() * inverse_cols;
            const T mean_product = (out * normalised).sum() * inverse_cols;
            out = inverse_deviation[row] * (out - mean_out - normalised * mean_product);
        }
    });
    add_partial_rows<T>(dgain, gain_sums.matrix());
    add_partial_rows<T>(dbias, bias_sums.matrix());
}

/// Mean cross entropy of logits x (B, classes) against labels; dx = (softmax(x) - onehot) / B.
template <Scalar T>
[[nodiscard]] double cross_entropy(MatrixView<T> dx, ConstMatrixView<T> x, std::span<const std::int64_t> labels)
{
    const T share = T(1) / static_cast<T>(x.rows);
    double loss = 0.0;
    for (Index i = 0; i < x.rows; ++i) {
        const auto logits = row_major_map(x.row_block(i, 1)).row(0).array();
        auto gradient = row_major_map(dx.row_block(i, 1)).row(0).array();
        const auto label = static_cast<Index>(labels[static_cast<std::size_t>(i)]);
        const T largest = logits.maxCoeff();
        gradient = (logits - largest).exp();
        const T sum = gradient.sum();
        loss += std::log(static_cast<double>(sum)) - static_cast<double>(logits(label) - largest);
        gradient *= share / sum;
        gradient(label) -= share;
    }
    return loss / static_cast<double>(x.rows);
}

}  // namespace wasi::eigen
