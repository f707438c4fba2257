#pragma once
#include <utility>

#include "wasi/autograd/tape.hpp"

namespace wasi::autograd {

/// Puts a learned token before the tokens of every sample and adds learned positions: (B,N,D) becomes (B,N+1,D).
/// `token` has D elements, `positions` (N+1) D. Saves nothing. Throws shape_error.
template <Scalar T, class S>
[[nodiscard]] Variable<T> prepend_token(const Context<T, S>& context, const Variable<T>& x, DenseParameter<T>& token,
                                        DenseParameter<T>& positions)
{
    require<shape_error>(x.shape().order() == 3 && token.values.size() == x.shape()[2] &&
                             positions.values.size() == (x.shape()[1] + 1) * x.shape()[2],
                         "prepend_token: x ", shape_text(x.shape()), ", token ", shape_text(token.values.shape()),
                         " and positions ", shape_text(positions.values.shape()), " do not fit");
    const Index batch = x.shape()[0];
    const Index tokens = x.shape()[1];
    const Index dim = x.shape()[2];
    Tensor<T> y = context.make(Shape{batch, tokens + 1, dim});
    const auto place = std::as_const(positions.values).matrix();
    const auto one = ConstMatrixView<T>::row_major(token.values.data(), 1, dim);
    for (Index b = 0; b < batch; ++b) {
        const auto rows = y.template view<3>().slice(b);
        S::copy(rows.row_block(0, 1), one);
        S::copy(rows.row_block(1, tokens), x.value().template view<3>().slice(b));
        S::add_scaled(rows, T(1), T(1), place);
    }
    if (context.tape == nullptr || !(x.wants_gradient() || token.trainable() || positions.trainable())) {
        return Variable<T>(std::move(y));
    }
    std::vector<Parameter*> parameters;
    for (DenseParameter<T>* parameter : {&token, &positions}) {
        if (parameter->trainable()) {
            parameters.push_back(parameter);
        }
    }
    return context.tape->record(
        std::move(y), std::move(parameters), [slot = x.slot(), &token, &positions](SharedTensor<T> dy, auto& pass) {
            const auto upstream = std::as_const(*dy).template view<3>();
            const Index width = upstream.shape[2];
            const Index count = upstream.shape[1];
            if (slot) {
                Tensor<T> dx(pass.memory(), Tag{Use::gradient, 0}, Shape{upstream.shape[0], count - 1, width});
                for (Index b = 0; b < upstream.shape[0]; ++b) {
                    S::copy(dx.template view<3>().slice(b), upstream.slice(b).row_block(1, count - 1));
                }
                pass.add(slot, std::move(dx));
            }
            Tensor<T> sum(pass.memory(), Tag{Use::gradient, 0}, Shape{1, count * width});  // over the batch
            S::column_sums(sum.span(), upstream.rows_by(1), pass.memory());
            const auto rows = ConstMatrixView<T>::row_major(sum.data(), count, width);
            if (token.trainable()) {
                pass.deliver(token, Dense<T>{rows.row_block(0, 1)});
            }
            if (positions.trainable()) {
                pass.deliver(positions, Dense<T>{rows});
            }
        });
}

/// Token `index` of every sample: (B,N,D) becomes (B,D). Saves nothing. Throws shape_error when there is no such token.
template <Scalar T, class S>
[[nodiscard]] Variable<T> select_token(const Context<T, S>& context, const Variable<T>& x, Index index)
{
    require<shape_error>(x.shape().order() == 3 && index >= 0 && index < x.shape()[1], "select_token: token ", index,
                         " of ", shape_text(x.shape()));
    const Index batch = x.shape()[0];
    const Index tokens = x.shape()[1];
    const Index dim = x.shape()[2];
    // One row a sample, (N D) apart: the chosen token is a block of columns.
    const auto column_block = [=](auto view) { return view.rows_by(1).col_block(index * dim, dim); };
    Tensor<T> y = context.make(Shape{batch, dim});
    S::copy(y.matrix(), column_block(x.value().template view<3>()));
    if (context.tape == nullptr || !x.wants_gradient()) {
        return Variable<T>(std::move(y));
    }
    return context.tape->record(std::move(y), {},
                                [slot = x.slot(), batch, tokens, dim, column_block](SharedTensor<T> dy, auto& pass) {
                                    Tensor<T> dx(pass.memory(), Tag{Use::gradient, 0}, Shape{batch, tokens, dim});
                                    S::fill(dx.matrix(), T(0));
                                    S::copy(column_block(dx.template view<3>()), std::as_const(*dy).matrix());
                                    pass.add(slot, std::move(dx));
                                });
}

}  // namespace wasi::autograd
