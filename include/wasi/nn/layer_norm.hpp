#pragma once
#include <string>
#include <vector>

#include "wasi/autograd/ops/layer_norm.hpp"

namespace wasi::nn {

/// Layer norm over the last index, of `width` features: y = (x - mean) / sqrt(var + epsilon) gain + bias, with gain 1
/// and bias 0 at first. Parameters are NAME.weight and NAME.bias. See autograd::layer_norm.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
struct LayerNorm {
    LayerNorm(const std::string& name, Memory& memory, Index width, double small = 1e-6)
        : gain(name + ".weight", memory, Shape{width}), bias(name + ".bias", memory, Shape{width}), epsilon(small)
    {
        S::fill(gain.values.matrix(), T(1));
        S::fill(bias.values.matrix(), T(0));
    }

    [[nodiscard]] autograd::Variable<T> forward(const autograd::Context<T, S>& context, const autograd::Variable<T>& x,
                                                autograd::Output output = autograd::Output::keep)
    {
        return autograd::layer_norm(context, x, gain, bias, static_cast<T>(epsilon), output);
    }

    autograd::DenseParameter<T> gain;
    autograd::DenseParameter<T> bias;
    double epsilon;
};

}  // namespace wasi::nn
