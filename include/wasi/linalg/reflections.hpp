#pragma once
#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <span>
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

/// Householder reflections on lines of numbers that lie one after another, for algorithms that choose each one by what
/// the last has left.
namespace wasi::linalg::detail {

/// Sum of a_i b_i with as many running sums as vector registers like.
template <Scalar T>
[[nodiscard]] T dot_of_lines(const T* a, const T* b, Index count)
{
    constexpr Index lanes = 16;
    T sums[lanes] = {};
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (Index lane = 0; lane < lanes; ++lane) {
            sums[lane] += a[i + lane] * b[i + lane];
        }
    }
    T rest = T(0);
    for (; i < count; ++i) {
        rest += a[i] * b[i];
    }
    for (Index width = lanes / 2; width > 0; width /= 2) {
        for (Index lane = 0; lane < width; ++lane) {
            sums[lane] += sums[lane + width];
        }
    }
    return sums[0] + rest;
}

/// ||a||² in double.
template <Scalar T>
[[nodiscard]] double square_of_line(const T* a, Index count)
{
    constexpr Index lanes = 8;
    double sums[lanes] = {};
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (Index lane = 0; lane < lanes; ++lane) {
            const auto value = static_cast<double>(a[i + lane]);
            sums[lane] += value * value;
        }
    }
    double rest = 0.0;
    for (; i < count; ++i) {
        rest += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    }
    return std::accumulate(std::begin(sums), std::end(sums), rest);
}

/// x (count) becomes v of the reflection 1 - tau v vᵀ that turns x into (beta, 0, ..), v_0 = 1. Returns tau and
/// beta.
template <Scalar T>
[[nodiscard]] std::pair<T, T> make_reflection(T* x, Index count)
{
    const auto alpha = static_cast<double>(x[0]);
    const double tail = square_of_line(x + 1, count - 1);
    x[0] = T(1);
    if (!(tail > 0.0)) {
        std::fill(x + 1, x + count, T(0));
        return {T(0), static_cast<T>(alpha)};
    }
    const double length = std::sqrt(alpha * alpha + tail);
    const double beta = alpha > 0.0 ? -length : length;
    const double shrink = 1.0 / (alpha - beta);  // in double: what is left of a float column may be tiny
    for (Index i = 1; i < count; ++i) {
        x[i] = static_cast<T>(static_cast<double>(x[i]) * shrink);
    }
    return {static_cast<T>((beta - alpha) / beta), static_cast<T>(beta)};
}

/// X <- (1 - V T Vᵀ) applied to the rows of X (c, height), whose columns start at row `first` of A (compact WY
/// form: Schreiber, Van Loan 1989).
template <class S, Scalar T>
void apply_reflections(MatrixView<T> x, ConstMatrixView<T> lines, std::span<const T> taus, Memory& memory)
{
    const Index width = lines.rows;
    const Index height = lines.cols;
    Tensor<T> booked = workspace<T>(memory, width, height);
    Tensor<T> overlap = workspace<T>(memory, width, width);
    Tensor<T> triangle = workspace<T>(memory, width, width);
    S::fill(booked.matrix(), T(0));
    S::fill(triangle.matrix(), T(0));
    for (Index i = 0; i < width; ++i) {
        T* const v = booked.data() + i * height;
        v[i] = T(1);
        std::copy_n(&lines(i, i) + 1, height - i - 1, v + i + 1);
    }
    const ConstMatrixView<T> v = std::as_const(booked).matrix();
    S::multiply(overlap.matrix(), T(1), v, v.transposed(), T(0), memory);
    const auto t = triangle.matrix();
    for (Index i = 0; i < width; ++i) {
        const T tau = taus[static_cast<std::size_t>(i)];
        for (Index row = 0; row < i; ++row) {
            T sum = T(0);
            for (Index p = row; p < i; ++p) {
                sum += t(row, p) * overlap.matrix()(p, i);
            }
            t(row, i) = -tau * sum;
        }
        t(i, i) = tau;
    }
    Tensor<T> inner = workspace<T>(memory, x.rows, width);
    Tensor<T> turned = workspace<T>(memory, x.rows, width);
    S::multiply(inner.matrix(), T(1), ConstMatrixView<T>(x), v.transposed(), T(0), memory);
    S::multiply(turned.matrix(), T(1), std::as_const(inner).matrix(), ConstMatrixView<T>(t.transposed()), T(0), memory);
    S::multiply(x, T(-1), std::as_const(turned).matrix(), v, T(1), memory);
}

}  // namespace wasi::linalg::detail
