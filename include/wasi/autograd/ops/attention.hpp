#pragma once
#include <cmath>
#include <utility>

#include "wasi/autograd/tape.hpp"
#include "wasi/core/parallel.hpp"

namespace wasi::autograd {

/// Multi-head self-attention of packed queries, keys and values (B, N, 3D), q first, heads of width d = D/H side by
/// side: for each sample and head, P = softmax(Q Kᵀ / sqrt(d)), Y = P V (Vaswani et al. 2017). Result (B,N,D). Saves
/// the packed input and the probabilities (B,H,N,N). Threaded over samples and heads: the products are too small to be
/// cut. Throws shape_error unless the last extent is 3 H d. 4 B N² D flops forward, 10 B N² D backward.
template <Scalar T, class S>
[[nodiscard]] Variable<T> attention(const Context<T, S>& context, const Variable<T>& packed, Index heads)
{
    require<shape_error>(packed.shape().order() == 3 && heads >= 1 && packed.shape()[2] % (3 * heads) == 0,
                         "attention: packed input ", shape_text(packed.shape()),
                         " does not split into queries, keys and values of ", heads, " heads");
    const Index batch = packed.shape()[0];
    const Index tokens = packed.shape()[1];
    const Index dim = packed.shape()[2] / 3;
    const Index width = dim / heads;
    const T scale = T(1) / std::sqrt(static_cast<T>(width));
    Tensor<T> y = context.make(Shape{batch, tokens, dim});
    Tensor<T> probabilities = context.make(Shape{batch, heads, tokens, tokens});
    // part 0, 1, 2 = queries, keys, values of one sample and head
    const auto part = [=](auto rows, Index head, Index which) {
        return rows.col_block(which * dim + head * width, width);
    };
    const auto square = [=](auto* data, Index piece) {
        return MatrixView<std::remove_pointer_t<decltype(data)>>::row_major(data + piece * tokens * tokens, tokens,
                                                                            tokens);
    };
    const auto in = packed.value().template view<3>();
    parallel_for(batch * heads, [&](Index piece) {
        const Index sample = piece / heads;
        const Index head = piece % heads;
        const auto rows = in.slice(sample);
        const auto p = square(probabilities.data(), piece);
        S::multiply(p, T(1), part(rows, head, 0), part(rows, head, 1).transposed(), T(0), context.memory);
        S::softmax(p, scale);
        S::multiply(y.template view<3>().slice(sample).col_block(head * width, width), T(1), p, part(rows, head, 2),
                    T(0), context.memory);
    });
    if (context.tape == nullptr || !packed.wants_gradient()) {
        return Variable<T>(std::move(y));
    }
    book_saved(*packed.shared());
    book_saved(probabilities);
    return context.tape->record(
        std::move(y), {},
        [saved = packed.shared(), slot = packed.slot(), probabilities = std::move(probabilities), heads, part, square,
         scale](SharedTensor<T> dy, auto& pass) {
            const auto source = std::as_const(*saved).template view<3>();
            const Index count = source.shape[1];
            const Index columns = source.shape[2] / 3 / heads;
            Tensor<T> dpacked(pass.memory(), Tag{Use::gradient, 0}, saved->shape());
            const auto upstream = std::as_const(*dy).template view<3>();
            Tensor<T> dscores = Tensor<T>(pass.memory(), {}, Shape{source.shape[0] * heads, count, count});
            parallel_for(source.shape[0] * heads, [&](Index piece) {
                const Index sample = piece / heads;
                const Index head = piece % heads;
                const auto rows = source.slice(sample);
                const auto drows = dpacked.template view<3>().slice(sample);
                const auto dout = upstream.slice(sample).col_block(head * columns, columns);
                const auto p = square(probabilities.data(), piece);
                const auto ds = square(dscores.data(), piece);
                S::multiply(part(drows, head, 2), T(1), p.transposed(), dout, T(0), pass.memory());  // dV = Pᵀ dY
                S::multiply(ds, T(1), dout, part(rows, head, 2).transposed(), T(0), pass.memory());  // dP = dY Vᵀ
                S::softmax_backward(ds, p, scale);
                S::multiply(part(drows, head, 0), T(1), ds, part(rows, head, 1), T(0), pass.memory());  // dQ = dS K
                S::multiply(part(drows, head, 1), T(1), ds.transposed(), part(rows, head, 0), T(0),
                            pass.memory());  // dK = dSᵀ Q
            });
            pass.add(slot, std::move(dpacked));
        });
}

}  // namespace wasi::autograd
