#pragma once
#include <utility>
#include <vector>

#include "wasi/autograd/tape.hpp"

namespace wasi::autograd {

/// What stands before the patches of every sample, in this order.
template <Scalar T>
struct LeadingTokens {
    std::vector<DenseParameter<T>*> with_position;  ///< one token each: D elements
    DenseParameter<T>* without_position = nullptr;  ///< R tokens: R D elements; nullptr: none
};

/// Puts learned tokens before the tokens of every sample and adds learned positions: (B,N,D) becomes (B,p+R+N,D), where
/// the R tokens without a position get none. `positions` has (p + N) D elements. Saves nothing. Throws shape_error.
template <Scalar T, class S>
[[nodiscard]] Variable<T> prepend_tokens(const Context<T, S>& context, const Variable<T>& x, LeadingTokens<T> tokens,
                                         DenseParameter<T>& positions)
{
    require<shape_error>(x.shape().order() == 3, "prepend_tokens: x ", shape_text(x.shape()), " is not (B,N,D)");
    const Index batch = x.shape()[0];
    const Index count = x.shape()[1];
    const Index dim = x.shape()[2];
    const auto placed = static_cast<Index>(tokens.with_position.size());
    const Index free = tokens.without_position != nullptr ? tokens.without_position->values.size() / dim : 0;
    bool fits = positions.values.size() == (placed + count) * dim &&
                (free == 0 || tokens.without_position->values.size() == free * dim);
    for (const DenseParameter<T>* token : tokens.with_position) {
        fits = fits && token->values.size() == dim;
    }
    require<shape_error>(fits, "prepend_tokens: x ", shape_text(x.shape()), ", ", placed, " token(s) of ", dim,
                         " elements, ", free, " without a position, and positions ",
                         shape_text(positions.values.shape()), " do not fit");
    Tensor<T> y = context.make(Shape{batch, placed + free + count, dim});
    const auto place = ConstMatrixView<T>::row_major(positions.values.data(), placed + count, dim);
    for (Index b = 0; b < batch; ++b) {
        const auto rows = y.template view<3>().slice(b);
        for (Index i = 0; i < placed; ++i) {
            S::copy(rows.row_block(i, 1),
                    ConstMatrixView<T>::row_major(tokens.with_position[static_cast<std::size_t>(i)]->values.data(), 1,
                                                  dim));
        }
        S::copy(rows.row_block(placed + free, count), x.value().template view<3>().slice(b));
        if (free == 0) {
            S::add_scaled(rows, T(1), T(1), place);
        } else {
            S::copy(rows.row_block(placed, free),
                    ConstMatrixView<T>::row_major(tokens.without_position->values.data(), free, dim));
            S::add_scaled(rows.row_block(0, placed), T(1), T(1), place.row_block(0, placed));
            S::add_scaled(rows.row_block(placed + free, count), T(1), T(1), place.row_block(placed, count));
        }
    }
    std::vector<Parameter*> parameters;
    const auto train = [&](DenseParameter<T>* parameter) {
        if (parameter != nullptr && parameter->trainable()) {
            parameters.push_back(parameter);
        }
    };
    for (DenseParameter<T>* token : tokens.with_position) {
        train(token);
    }
    train(tokens.without_position);
    train(&positions);
    if (context.tape == nullptr || !(x.wants_gradient() || !parameters.empty())) {
        return Variable<T>(std::move(y));
    }
    return context.tape->record(
        std::move(y), std::move(parameters),
        [slot = x.slot(), tokens = std::move(tokens), &positions, placed, free](SharedTensor<T> dy, auto& pass) {
            const auto upstream = std::as_const(*dy).template view<3>();
            const Index width = upstream.shape[2];
            const Index all = upstream.shape[1];
            const Index patches = all - placed - free;
            if (slot) {
                Tensor<T> dx(pass.memory(), Tag{Use::gradient, 0}, Shape{upstream.shape[0], patches, width});
                for (Index b = 0; b < upstream.shape[0]; ++b) {
                    S::copy(dx.template view<3>().slice(b), upstream.slice(b).row_block(placed + free, patches));
                }
                pass.add(slot, std::move(dx));
            }
            Tensor<T> sum(pass.memory(), Tag{Use::gradient, 0}, Shape{1, all * width});  // over the batch
            S::column_sums(sum.span(), upstream.rows_by(1), pass.memory());
            const auto rows = ConstMatrixView<T>::row_major(sum.data(), all, width);
            for (Index i = 0; i < placed; ++i) {
                DenseParameter<T>& token = *tokens.with_position[static_cast<std::size_t>(i)];
                if (token.trainable()) {
                    pass.deliver(token, Dense<T>{rows.row_block(i, 1)});
                }
            }
            if (tokens.without_position != nullptr && tokens.without_position->trainable()) {
                pass.deliver(*tokens.without_position, Dense<T>{rows.row_block(placed, free)});
            }
            if (positions.trainable() && free == 0) {
                pass.deliver(positions, Dense<T>{rows});
            } else if (positions.trainable()) {
                Tensor<T> own(pass.memory(), Tag{Use::gradient, 0}, Shape{placed + patches, width});
                S::copy(own.matrix().row_block(0, placed), rows.row_block(0, placed));
                S::copy(own.matrix().row_block(placed, patches), rows.row_block(placed + free, patches));
                pass.deliver(positions, Dense<T>{std::as_const(own).matrix()});
            }
        });
}

/// The same with one token: (B,N,D) becomes (B,N+1,D).
template <Scalar T, class S>
[[nodiscard]] Variable<T> prepend_token(const Context<T, S>& context, const Variable<T>& x, DenseParameter<T>& token,
                                        DenseParameter<T>& positions)
{
    return prepend_tokens(context, x, LeadingTokens<T>{{&token}}, positions);
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
