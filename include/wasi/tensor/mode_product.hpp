#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/family.hpp"
#include "wasi/storage/tensor_family.hpp"
#include "wasi/tensor/compiled.hpp"
#include "wasi/tensor/refusal.hpp"

/// Mode products and unfoldings of row-major tensors. Around mode m a tensor is (left, n, right); left = 1 and right =
/// 1 are plain matrices, so the first and the last mode cost one matrix product without any copy.
namespace wasi::tensor {

/// Shape of `x` with the extent of one mode replaced.
template <class T, std::size_t N>
[[nodiscard]] std::array<Index, N> with_extent(TensorView<T, N> x, std::size_t mode, Index extent)
{
    auto shape = x.shape;
    shape[mode] = extent;
    return shape;
}

/// An uninitialised workspace tensor of the given shape.
template <Scalar T, std::size_t N>
[[nodiscard]] Tensor<T> make_tensor(Memory& memory, const std::array<Index, N>& shape, Tag tag = {})
{
    static_assert(N >= 1 && N <= Shape::max_order);
    return Tensor<T>(memory, tag, Shape(std::span(shape)));
}

/// Y = X x_m M, that is y[.., i, ..] = sum_j m(i,j) x[.., j, ..], M (p,q), q the extent of mode m (Kolda, Bader
/// 2009, 2.5). Contraction with a basis U (n,r) is mode_product(.., U.transposed()); expansion is mode_product(.., U).
/// Throws shape_error. 2 p |X| flops, no workspace; threaded over slices for inner modes.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void mode_product(TensorView<T, N> y, ConstTensorView<T, N> x, ConstMatrixView<T> m, std::size_t mode, Memory& memory)
{
    require<shape_error>(mode < N, "mode_product: mode ", mode, " of a tensor of order ", N);
    require<shape_error>(m.cols == x.shape[mode] && y.shape == with_extent(x, mode, m.rows), "mode_product: X ",
                         shape_text(x.shape), ", M ", shape_text(m.shape()), " and Y ", shape_text(y.shape),
                         " do not fit in mode ", mode);
    const auto from = x.around(mode);
    const auto to = y.around(mode);
    if (from.shape[2] == 1) {
        S::multiply(to.rows_by(1), T(1), from.rows_by(1), m.transposed(), T(0), memory);
    } else if (from.shape[0] == 1) {
        S::multiply(to.slice(0), T(1), m, from.slice(0), T(0), memory);
    } else {
        parallel_for(from.shape[0], [&](Index i) { S::multiply(to.slice(i), T(1), m, from.slice(i), T(0), memory); });
    }
}

/// mode_product into a new workspace tensor.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> mode_product(ConstTensorView<T, N> x, ConstMatrixView<T> m, std::size_t mode, Memory& memory)
{
    require<shape_error>(mode < N, "mode_product: mode ", mode, " of a tensor of order ", N);
    Tensor<T> y = make_tensor<T>(memory, with_extent(x, mode, m.rows));
    mode_product<S, T, N>(y.template view<N>(), x, m, mode, memory);
    return y;
}

/// X x_m M_m for every mode that has a matrix, in the order that costs least: the mode with the largest 1/p - 1/q
/// first, M_m (p,q), since exchanging two neighbours in any other order saves work. Into a new workspace tensor.
/// Throws shape_error, also when there is no matrix at all.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> mode_products(ConstTensorView<T, N> x,
                                      const std::array<std::optional<ConstMatrixView<T>>, N>& matrices, Memory& memory)
{
    std::vector<std::size_t> order;
    for (std::size_t m = 0; m < N; ++m) {
        if (matrices[m].has_value()) {
            order.push_back(m);
        }
    }
    require<shape_error>(!order.empty(), "mode_products: no matrix");
    const auto gain = [&](std::size_t m) {
        return 1.0 / std::max(1.0, static_cast<double>(matrices[m]->rows)) -
               1.0 / std::max(1.0, static_cast<double>(matrices[m]->cols));
    };
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return gain(a) > gain(b); });
    Tensor<T> result = mode_product<S, T, N>(x, *matrices[order[0]], order[0], memory);
    for (std::size_t step = 1; step < order.size(); ++step) {
        result = mode_product<S, T, N>(std::as_const(result).template view<N>(), *matrices[order[step]], order[step],
                                       memory);
    }
    return result;
}

/// The unfolding X_(m), (n_m, product of the others), the others in their order with the last fastest. One copy.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> unfold(ConstTensorView<T, N> x, std::size_t mode, Memory& memory)
{
    require<shape_error>(mode < N, "unfold: mode ", mode, " of a tensor of order ", N);
    const auto parts = x.around(mode);
    const Index right = parts.shape[2];
    Tensor<T> result = workspace<T>(memory, parts.shape[1], parts.shape[0] * right);
    for (Index i = 0; i < parts.shape[0]; ++i) {
        S::copy(result.matrix().col_block(i * right, right), parts.slice(i));
    }
    return result;
}

/// The Gram matrix G = X_(m) X_(m)ᵀ, (n,n), without the unfolding. 2 n |X| flops.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> mode_gram(ConstTensorView<T, N> x, std::size_t mode, Memory& memory)
{
    require<shape_error>(mode < N, "mode_gram: mode ", mode, " of a tensor of order ", N);
    const auto parts = x.around(mode);
    const Index n = parts.shape[1];
    Tensor<T> gram = workspace<T>(memory, n, n);
    if (parts.shape[2] == 1) {
        const auto rows = parts.rows_by(1);
        S::multiply(gram.matrix(), T(1), rows.transposed(), rows, T(0), memory);
        return gram;
    }
    if (parts.shape[0] == 1) {
        S::multiply(gram.matrix(), T(1), parts.slice(0), parts.slice(0).transposed(), T(0), memory);
        return gram;
    }
    // Eight partial sums over the left index, added in order: threads without a change of rounding.
    const Index pieces = std::min<Index>(8, parts.shape[0]);
    Tensor<T> partial(memory, Tag{Use::workspace, 0}, Shape{pieces, n, n});
    parallel_for(pieces, [&](Index piece) {
        const auto sum = partial.template view<3>().slice(piece);
        const Index first = piece * parts.shape[0] / pieces;
        const Index last = (piece + 1) * parts.shape[0] / pieces;
        for (Index i = first; i < last; ++i) {
            S::multiply(sum, T(1), parts.slice(i), parts.slice(i).transposed(), i == first ? T(0) : T(1), memory);
        }
    });
    for (Index piece = 0; piece < pieces; ++piece) {
        S::add_scaled(gram.matrix(), piece == 0 ? T(0) : T(1), T(1), partial.template view<3>().slice(piece));
    }
    return gram;
}

/// What is no tensor of float or double is refused when compiling, with one sentence.
Tensor<double> mode_product(wasi::detail::NotATensor x, wasi::detail::Anything m, std::size_t mode,
                            Memory& memory = plain_memory());
Tensor<double> unfold(wasi::detail::NotATensor x, std::size_t mode, Memory& memory = plain_memory());

/// mode_product for users' tensors and matrices: Y is of the kind of X. Throws shape_error.
template <TensorLike X, MatrixLike M>
requires std::same_as < typename TensorFamily<X>::Scalar,
typename Family<M>::Scalar >
    [[nodiscard]] auto mode_product(const X& x, const M& m, std::size_t mode, Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using T = typename F::Scalar;
    constexpr std::size_t order = F::order;
    require<shape_error>(mode < order, "mode_product: mode ", mode, " of a tensor of order ", order);
    return F::with_view(x, [&](ConstTensorView<T, order> from) {
        return Family<M>::with_view(m, [&](ConstMatrixView<T> matrix) {
            const std::size_t at = view_mode<X>(mode);
            auto result = F::make(view_order<X>(with_extent(from, at, matrix.rows)));
            mode_product<typename F::Storage, T, order>(F::view(result), from, matrix, at, memory);
            return result;
        });
    });
}

/// The unfolding X_(m) of a user's tensor as a matrix, one column for each fibre. Columns come in the order in which
/// the fibres lie in memory: the last index fastest for row-major tensors, the first for column-major ones. Throws
/// shape_error.
template <TensorLike X>
[[nodiscard]] auto unfold(const X& x, std::size_t mode, Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using T = typename F::Scalar;
    constexpr std::size_t order = F::order;
    require<shape_error>(mode < order, "unfold: mode ", mode, " of a tensor of order ", order);
    return F::with_view(x, [&](ConstTensorView<T, order> from) {
        const Tensor<T> unfolded = unfold<typename F::Storage, T, order>(from, view_mode<X>(mode), memory);
        using M = Family<typename F::Matrix>;
        auto result = M::make_matrix(unfolded.shape()[0], unfolded.shape()[1]);
        F::Storage::copy(M::view(result), unfolded.matrix());
        return result;
    });
}

WASI_COMPILED(WASI_TENSOR_MODE_PRODUCT)

}  // namespace wasi::tensor
