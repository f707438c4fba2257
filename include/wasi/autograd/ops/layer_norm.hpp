#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "wasi/autograd/saved.hpp"

namespace wasi::autograd {

/// y = (x - mean) / sqrt(var + epsilon) * gain + bias over the last index, biased variance (Ba, Kiros, Hinton 2016).
/// Saves x (in a transformer: the residual stream, shared with whoever else keeps it) and, by row, mean and inverse
/// deviation. Throws shape_error unless gain and bias have the extent of the last index.
template <Scalar T, class S>
[[nodiscard]] Variable<T> layer_norm(const Context<T, S>& context, const Variable<T>& x, DenseParameter<T>& gain,
                                     DenseParameter<T>& bias, T epsilon, Output output = Output::keep)
{
    const Index features = x.shape().back();
    require<shape_error>(gain.values.size() == features && bias.values.size() == features, "layer_norm: x ",
                         shape_text(x.shape()), ", gain ", shape_text(gain.values.shape()), " and bias ",
                         shape_text(bias.values.shape()), " do not fit");
    const auto normalise = [&gain, &bias, epsilon](Tensor<T>& y, Tensor<T>& statistics, ConstMatrixView<T> in) {
        const auto rows = static_cast<std::size_t>(in.rows);
        S::layer_norm(y.matrix(), statistics.span().first(rows), statistics.span().last(rows), in,
                      std::as_const(gain.values).span(), std::as_const(bias.values).span(), epsilon);
    };
    Tensor<T> y = context.make(x.shape());
    Tensor<T> statistics = workspace<T>(context.memory, 2, x.value().matrix().rows);
    normalise(y, statistics, x.value().matrix());
    if (context.tape == nullptr || !(x.wants_gradient() || gain.trainable() || bias.trainable())) {
        return Variable<T>(std::move(y));
    }
    const auto saved = std::make_shared<Saved<T, S>>(context, x);
    book_saved(statistics);
    std::vector<Parameter*> parameters;
    for (DenseParameter<T>* parameter : {&gain, &bias}) {
        if (parameter->trainable()) {
            parameters.push_back(parameter);
        }
    }
    auto result = context.tape->record(
        std::move(y), std::move(parameters),
        [saved, slot = x.slot(), statistics = std::move(statistics), &gain, &bias](SharedTensor<T> dy, auto& pass) {
            const auto count = static_cast<std::size_t>(statistics.shape()[1]);
            const auto width = static_cast<std::size_t>(saved->shape().back());
            SharedTensor<T> dx = pass.writable(std::move(dy));
            const SharedTensor<T> source = saved->get(pass.memory());
            Tensor<T> gradients(pass.memory(), Tag{Use::gradient, 0}, Shape{2, saved->shape().back()});
            S::layer_norm_backward(dx->matrix(), gradients.span().first(width), gradients.span().last(width),
                                   std::as_const(*dx).matrix(), std::as_const(*source).matrix(),
                                   statistics.span().first(count), statistics.span().last(count),
                                   std::as_const(gain.values).span(), pass.memory());
            pass.add(slot, std::move(dx));
            const auto both = std::as_const(gradients).matrix();
            if (gain.trainable()) {
                pass.deliver(gain, Dense<T>{both.row_block(0, 1)});
            }
            if (bias.trainable()) {
                pass.deliver(bias, Dense<T>{both.row_block(1, 1)});
            }
        });
    if (output == Output::keep) {
        return result;
    }
    return std::move(result).with_recipe([saved, normalise](Memory& memory) {
        const SharedTensor<T> source = saved->get(memory);
        auto again = std::make_shared<Tensor<T>>(memory, Tag{}, source->shape());
        const auto in = std::as_const(*source).matrix();
        Tensor<T> unused = workspace<T>(memory, 2, in.rows);  // mean and inverse deviation once more
        normalise(*again, unused, in);
        return again;
    });
}

}  // namespace wasi::autograd
