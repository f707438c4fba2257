#pragma once
#include <string>
#include <vector>

#include "wasi/autograd/ops/layer_norm.hpp"

namespace wasi::nn {

/// Gain and bias of a layer norm over `width` features; starts as the identity.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
struct LayerNorm {
    LayerNorm(const std::string& name, Memory& memory, Index width)
        : gain(name + ".weight", memory, Shape{width}), bias(name + ".bias", memory, Shape{width})
    {
        gain.values.fill(T(1));
        bias.values.fill(T(0));
    }

    [[nodiscard]] autograd::Variable<T> forward(const autograd::Context<T, S>& context, const autograd::Variable<T>& x,
                                                autograd::Output output = autograd::Output::keep)
    {
        return autograd::layer_norm(context, x, gain, bias, T(1e-6), output);
    }

    autograd::DenseParameter<T> gain;
    autograd::DenseParameter<T> bias;
};

}  // namespace wasi::nn
