#pragma once
#include <cmath>
#include <numbers>

#include "wasi/storage/tensor.hpp"
#include "wasi/xtensor/adapt.hpp"
#include "wasi/xtensor/kernels.hpp"

/// Activations, normalisations and losses over the rows of a matrix as xtensor expressions. Sums along a row run in
/// double.
namespace wasi::xtensor {

/// What rows are summed of.
inline constexpr auto itself = [](const auto& values) -> decltype(auto) { return (values); };
inline constexpr auto product = [](const auto& left, const auto& right) { return left * right; };

/// body(i) for every row, threaded.
template <class Body>
void for_rows(Index rows, Index cols, Body&& body)
{
    eigen::for_row_pieces(rows, cols, [&](Index first, Index count, Index) {
        for (Index i = first; i < first + count; ++i) {
            body(i);
        }
    });
}

template <Scalar T>
void add_to_rows(MatrixView<T> y, std::span<const T> v)
{
    const auto added = line(v);
    for_rows(y.rows, y.cols, [&](Index i) {
        auto target = row(y, i);
        xt::noalias(target) += added;
    });
}

/// Adds up per-piece partial sums, in order.
template <Scalar T>
void add_partial_rows(std::span<T> sums, ConstMatrixView<T> partial)
{
    auto total = line(sums);
    std::fill_n(total.data(), total.size(), T(0));
    for (Index piece = 0; piece < partial.rows; ++piece) {
        xt::noalias(total) += row(partial, piece);
    }
}

template <Scalar T>
void column_sums(std::span<T> sums, ConstMatrixView<T> y, Memory& memory)
{
    const Index height = eigen::rows_per_piece(y.cols);
    Tensor<T> partial = workspace<T>(memory, (y.rows + height - 1) / height, y.cols);
    eigen::for_row_pieces(y.rows, y.cols, [&](Index first, Index count, Index piece) {
        auto total = row(partial.matrix(), piece);
        std::fill_n(total.data(), total.size(), T(0));
        for (Index i = first; i < first + count; ++i) {
            xt::noalias(total) += row(y, i);
        }
    });
    add_partial_rows<T>(sums, partial.matrix());
}

template <Scalar T>
void multiply_elements(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_lines([](auto target, const auto& factor) { xt::noalias(target) *= factor; }, y, x);
}

template <Scalar T>
void scale_columns(MatrixView<T> y, std::span<const T> v)
{
    const auto factor = line(v);
    for_rows(y.rows, y.cols, [&](Index i) {
        auto target = row(y, i);
        xt::noalias(target) *= factor;
    });
}

template <Scalar T>
void divide_by_root(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_lines([](auto target, const auto& square) { xt::noalias(target) /= xt::sqrt(square); }, y, x);
}

/// phi(0) = (2 pi)^-1/2
inline constexpr double normal_density_at_zero = std::numbers::inv_sqrtpi / std::numbers::sqrt2;

/// Phi(x), the standard normal distribution function, as an expression. An expression keeps a reference to a named
/// number, so every number in it is a temporary, which it copies.
template <Scalar T, class Line>
[[nodiscard]] auto normal_distribution(const Line& x)
{
    return T(0.5) * (T(1) + xt::erf(T(1 / std::numbers::sqrt2) * x));
}

template <Scalar T>
void gelu(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_lines([](auto out, const auto& in) { xt::noalias(out) = in * normal_distribution<T>(in); }, y, x);
}

template <Scalar T>
void gelu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x)
{
    const auto times_slope = [](auto out, const auto& upstream, const auto& in) {
        xt::noalias(out) = upstream * (normal_distribution<T>(in) +
                                       in * T(normal_density_at_zero) * xt::exp(T(-0.5) * xt::square(in)));
    };
    for_lines(times_slope, dx, dy, x);
}

template <Scalar T>
void quick_gelu(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_lines([](auto out, const auto& in) { xt::noalias(out) = in / (T(1) + xt::exp(T(-1.702) * in)); }, y, x);
}

template <Scalar T>
void quick_gelu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x)
{
    const auto times_slope = [](auto out, const auto& upstream, const auto& in) {
        xt::noalias(out) =
            upstream * (T(1) + T(1.702) * in / (T(1) + xt::exp(T(1.702) * in))) / (T(1) + xt::exp(T(-1.702) * in));
    };
    for_lines(times_slope, dx, dy, x);
}

template <Scalar T>
void relu(MatrixView<T> y, ConstMatrixView<T> x)
{
    for_lines([](auto out, const auto& in) { xt::noalias(out) = xt::maximum(in, T(0)); }, y, x);
}

template <Scalar T>
void relu_backward(MatrixView<T> dx, ConstMatrixView<T> dy, ConstMatrixView<T> x)
{
    for_lines(
        [](auto out, const auto& upstream, const auto& in) { xt::noalias(out) = xt::where(in > T(0), upstream, T(0)); },
        dx, dy, x);
}

template <Scalar T>
void softmax(MatrixView<T> y, T scale)
{
    for_rows(y.rows, y.cols, [&](Index i) {
        auto values = row(y, i);
        const T top = largest_of<T>(row_span(y, i));  // subtracted so that exp cannot overflow
        xt::noalias(values) = xt::exp(scale * (values - top));
        xt::noalias(values) *= static_cast<T>(1.0 / total_of(itself, row_span(y, i)));
    });
}

template <Scalar T>
void softmax_backward(MatrixView<T> dy, ConstMatrixView<T> p, T scale)
{
    for_rows(dy.rows, dy.cols, [&](Index i) {
        auto gradient = row(dy, i);
        const auto probability = row(p, i);
        const T mean = static_cast<T>(total_of(product, row_span(dy, i), row_span(p, i)));
        xt::noalias(gradient) = scale * probability * (gradient - mean);
    });
}

template <Scalar T>
void layer_norm(MatrixView<T> y, std::span<T> mean, std::span<T> inverse_deviation, ConstMatrixView<T> x,
                std::span<const T> gain, std::span<const T> bias, T small)
{
    const double inverse_cols = 1.0 / static_cast<double>(x.cols);
    const auto scale = line(gain);
    const auto shift = line(bias);
    for_rows(y.rows, y.cols, [&](Index i) {
        const auto in = row(x, i);
        auto out = row(y, i);
        const T centre = static_cast<T>(total_of(itself, row_span(x, i)) * inverse_cols);
        const auto squared_distance = [&](const auto& values) { return xt::square(values - centre); };
        const double variance = total_of(squared_distance, row_span(x, i)) * inverse_cols;
        const T inverse = static_cast<T>(1.0 / std::sqrt(variance + static_cast<double>(small)));
        mean[static_cast<std::size_t>(i)] = centre;
        inverse_deviation[static_cast<std::size_t>(i)] = inverse;
        xt::noalias(out) = (in - centre) * inverse * scale + shift;
    });
}

template <Scalar T>
void layer_norm_backward(MatrixView<T> dx, std::span<T> dgain, std::span<T> dbias, ConstMatrixView<T> dy,
                         ConstMatrixView<T> x, std::span<const T> mean, std::span<const T> inverse_deviation,
                         std::span<const T> gain, Memory& memory)
{
    const double inverse_cols = 1.0 / static_cast<double>(x.cols);
    const Index height = eigen::rows_per_piece(x.cols);
    const Index pieces = (x.rows + height - 1) / height;
    Tensor<T> gain_sums = workspace<T>(memory, pieces, x.cols);
    Tensor<T> bias_sums = workspace<T>(memory, pieces, x.cols);
    Tensor<T> normalised_rows = workspace<T>(memory, pieces, x.cols);
    const auto scale = line(gain);
    eigen::for_row_pieces(x.rows, x.cols, [&](Index first, Index count, Index piece) {
        auto gain_sum = row(gain_sums.matrix(), piece);
        auto bias_sum = row(bias_sums.matrix(), piece);
        auto normalised = row(normalised_rows.matrix(), piece);
        std::fill_n(gain_sum.data(), gain_sum.size(), T(0));
        std::fill_n(bias_sum.data(), bias_sum.size(), T(0));
        for (Index i = first; i < first + count; ++i) {
            const auto at = static_cast<std::size_t>(i);
            const auto upstream = row(dy, i);
            auto out = row(dx, i);
            xt::noalias(normalised) = (row(x, i) - mean[at]) * inverse_deviation[at];
            xt::noalias(gain_sum) += upstream * normalised;
            xt::noalias(bias_sum) += upstream;
            xt::noalias(out) = upstream * scale;
            const T mean_out = static_cast<T>(total_of(itself, row_span(dx, i)) * inverse_cols);
            const T mean_product = static_cast<T>(
                total_of(product, row_span(dx, i), row_span(normalised_rows.matrix(), piece)) * inverse_cols);
            xt::noalias(out) = inverse_deviation[at] * (out - mean_out - normalised * mean_product);
        }
    });
    add_partial_rows<T>(dgain, gain_sums.matrix());
    add_partial_rows<T>(dbias, bias_sums.matrix());
}

template <Scalar T>
double cross_entropy(MatrixView<T> dx, ConstMatrixView<T> x, std::span<const std::int64_t> labels)
{
    const T share = T(1) / static_cast<T>(x.rows);
    double loss = 0.0;
    for (Index i = 0; i < x.rows; ++i) {
        const auto logits = row(x, i);
        auto gradient = row(dx, i);
        const auto label = static_cast<std::size_t>(labels[static_cast<std::size_t>(i)]);
        const T top = largest_of<T>(row_span(x, i));
        loss -= static_cast<double>(logits(label) - top);
        xt::noalias(gradient) = xt::exp(logits - top);
        const double total = total_of(itself, row_span(dx, i));
        loss += std::log(total);
        xt::noalias(gradient) *= static_cast<T>(static_cast<double>(share) / total);
        gradient(label) -= share;
    }
    return loss / static_cast<double>(x.rows);
}

}  // namespace wasi::xtensor
