#pragma once
#include <algorithm>
#include <array>
#include <cmath>

#include "support/spectra.hpp"
#include "support/tensors.hpp"

/// True errors of Tucker forms, in double, and tensors whose unfoldings have given singular values.
namespace wasi_tests {

/// X x_m M in double, by loops.
template <class M, std::size_t N>
[[nodiscard]] PlainTensor<double, N> expanded(const PlainTensor<double, N>& x, MatrixView<M> matrix, std::size_t mode)
{
    auto shape = x.shape;
    shape[mode] = matrix.rows;
    PlainTensor<double, N> y(shape);
    const auto from = x.view().around(mode);
    const auto to = y.view().around(mode);
    for (Index l = 0; l < from.shape[0]; ++l) {
        for (Index i = 0; i < matrix.rows; ++i) {
            for (Index j = 0; j < matrix.cols; ++j) {
                const auto factor = static_cast<double>(matrix(i, j));
                for (Index r = 0; r < from.shape[2]; ++r) {
                    to.slice(l)(i, r) += factor * from.slice(l)(j, r);
                }
            }
        }
    }
    return y;
}

template <class T, std::size_t N>
[[nodiscard]] PlainTensor<double, N> in_double(wasi::TensorView<T, N> x)
{
    PlainTensor<double, N> result(x.shape);
    std::transform(x.data, x.data + x.size(), result.elements.begin(),
                   [](T value) { return static_cast<double>(value); });
    return result;
}

/// The tensor that a form stands for, in double. A mode without a basis stays as it is.
template <class T, std::size_t N>
[[nodiscard]] PlainTensor<double, N> full(const wasi::tensor::TuckerView<T, N>& form)
{
    auto sum = in_double(form.core);
    for (std::size_t m = 0; m < N; ++m) {
        if (form.has_basis(m)) {
            sum = expanded(sum, form.bases[m], m);
        }
    }
    return sum;
}

template <std::size_t N>
[[nodiscard]] double norm(const PlainTensor<double, N>& x)
{
    long double sum = 0.0L;
    for (const double value : x.elements) {
        sum += static_cast<long double>(value) * static_cast<long double>(value);
    }
    return static_cast<double>(std::sqrt(sum));
}

/// ||A - B||.
template <std::size_t N>
[[nodiscard]] double gap(const PlainTensor<double, N>& a, const PlainTensor<double, N>& b)
{
    auto difference = a;
    for (std::size_t i = 0; i < a.elements.size(); ++i) {
        difference.elements[i] -= b.elements[i];
    }
    return norm(difference);
}

/// ||X - X~|| / ||X||.
template <class T, std::size_t N>
[[nodiscard]] double true_error(const PlainTensor<T, N>& x, const wasi::tensor::Tucker<T, N>& form)
{
    const auto wide = in_double(x.view());
    return gap(wide, full(form.view())) / norm(wide);
}

/// sum_j values[j] u_j o v_j o ..., with orthonormal u, v, ...: every unfolding has these singular values.
template <class T, std::size_t N>
[[nodiscard]] PlainTensor<T, N> tensor_with_values(const std::array<Index, N>& shape, const Values& values,
                                                   std::uint64_t seed)
{
    const auto count = static_cast<Index>(values.size());
    std::array<Index, N> core_shape{};
    core_shape.fill(count);
    PlainTensor<double, N> grown(core_shape);
    for (Index j = 0; j < count; ++j) {
        std::array<Index, N> at{};
        at.fill(j);
        grown.elements[static_cast<std::size_t>(position_of(core_shape, at))] = values[static_cast<std::size_t>(j)];
    }
    for (std::size_t m = 0; m < N; ++m) {
        grown = expanded(grown, random_orthonormal(shape[m], count, seed + m).view(), m);
    }
    PlainTensor<T, N> x(shape);
    std::transform(grown.elements.begin(), grown.elements.end(), x.elements.begin(),
                   [](double value) { return static_cast<T>(value); });
    return x;
}

}  // namespace wasi_tests
