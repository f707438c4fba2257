#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/matrices.hpp"
#include "support/spectra.hpp"
#include "wasi/storage/tensor.hpp"
#include "wasi/storage/view.hpp"
#include "wasi/tensor/tucker.hpp"

/// Tensors and their mode products, element by element: what wasi::tensor is compared with.
namespace wasi_tests {

/// A row-major tensor of order N as a plain list.
template <class T, std::size_t N>
struct PlainTensor {
    std::array<Index, N> shape{};
    std::vector<T> elements;

    explicit PlainTensor(const std::array<Index, N>& extents) : shape(extents)
    {
        elements.assign(static_cast<std::size_t>(view().size()), T(0));
    }
    [[nodiscard]] wasi::ConstTensorView<T, N> view() const { return {elements.data(), shape}; }
    [[nodiscard]] wasi::TensorView<T, N> view() { return {elements.data(), shape}; }
};

/// The index of element number `position`, the last index running fastest.
template <std::size_t N>
[[nodiscard]] std::array<Index, N> index_at(const std::array<Index, N>& shape, Index position)
{
    std::array<Index, N> index{};
    for (std::size_t m = N; m-- > 0;) {
        index[m] = position % shape[m];
        position /= shape[m];
    }
    return index;
}

template <std::size_t N>
[[nodiscard]] Index position_of(const std::array<Index, N>& shape, const std::array<Index, N>& index)
{
    Index position = 0;
    for (std::size_t m = 0; m < N; ++m) {
        position = position * shape[m] + index[m];
    }
    return position;
}

/// X x_m M in double: y[.., i, ..] = sum_j m(i,j) x[.., j, ..].
template <class X, class M, std::size_t N>
[[nodiscard]] PlainTensor<double, N> mode_product_by_loops(wasi::TensorView<X, N> x, MatrixView<M> matrix,
                                                           std::size_t mode)
{
    auto shape = x.shape;
    shape[mode] = matrix.rows;
    PlainTensor<double, N> y(shape);
    for (Index at = 0; at < y.view().size(); ++at) {
        auto index = index_at(shape, at);
        const Index i = index[mode];
        double sum = 0.0;
        for (Index j = 0; j < matrix.cols; ++j) {
            index[mode] = j;
            sum += static_cast<double>(matrix(i, j)) * static_cast<double>(x.data[position_of(x.shape, index)]);
        }
        y.elements[static_cast<std::size_t>(at)] = sum;
    }
    return y;
}

/// X_(m) in double, the other indices in their order, the last fastest.
template <class X, std::size_t N>
[[nodiscard]] Matrix<double> unfold_by_loops(wasi::TensorView<X, N> x, std::size_t mode)
{
    Matrix<double> result(x.shape[mode], x.size() / x.shape[mode]);
    for (Index at = 0; at < x.size(); ++at) {
        const auto index = index_at(x.shape, at);
        Index column = 0;
        for (std::size_t m = 0; m < N; ++m) {
            column = m == mode ? column : column * x.shape[m] + index[m];
        }
        result(index[mode], column) = static_cast<double>(x.data[at]);
    }
    return result;
}

/// Independent normal elements with some decay along every mode, so that truncations differ.
template <class T, std::size_t N>
[[nodiscard]] PlainTensor<T, N> random_tensor(const std::array<Index, N>& shape, std::uint64_t seed, double decay = 0.3)
{
    PlainTensor<T, N> x(shape);
    for (Index at = 0; at < x.view().size(); ++at) {
        double scale = 1.0;
        for (const Index i : index_at(shape, at)) {
            scale *= std::exp(-decay * static_cast<double>(i));
        }
        x.elements[static_cast<std::size_t>(at)] =
            static_cast<T>(scale * wasi::RandomKey(seed).normal(static_cast<std::uint64_t>(at)));
    }
    // Turned, so that the bases are not unit vectors.
    for (std::size_t m = 0; m < N; ++m) {
        const auto turned = mode_product_by_loops(x.view(), random_orthonormal(shape[m], shape[m], seed + m).view(), m);
        for (std::size_t i = 0; i < x.elements.size(); ++i) {
            x.elements[i] = static_cast<T>(turned.elements[i]);
        }
    }
    return x;
}

template <class X, std::size_t N>
[[nodiscard]] double squares(wasi::TensorView<X, N> x)
{
    const double norm = frobenius_norm(x.rows_by(N - 1));
    return norm * norm;
}

/// ||X - S x_1 U_1 ... x_N U_N||², in double.
template <wasi::Scalar T, std::size_t N>
[[nodiscard]] double squared_error(wasi::ConstTensorView<T, N> x, const wasi::tensor::Tucker<T, N>& tucker)
{
    PlainTensor<double, N> sum(tucker.ranks());
    for (std::size_t i = 0; i < sum.elements.size(); ++i) {
        sum.elements[i] = static_cast<double>(tucker.core.data()[i]);
    }
    for (std::size_t m = 0; m < N; ++m) {
        sum = mode_product_by_loops(sum.view(), tucker.bases[m].matrix(), m);
    }
    double error = 0.0;
    for (std::size_t i = 0; i < sum.elements.size(); ++i) {
        const double difference = sum.elements[i] - static_cast<double>(x.data[i]);
        error += difference * difference;
    }
    return error;
}

/// The largest defect of the bases' orthonormality.
template <wasi::Scalar T, std::size_t N>
[[nodiscard]] double basis_defect(const wasi::tensor::Tucker<T, N>& tucker)
{
    double largest = 0.0;
    for (const auto& basis : tucker.bases) {
        largest = std::max(largest, orthonormality_defect(basis.matrix()));
    }
    return largest;
}

}  // namespace wasi_tests
