#pragma once
#include <string>
#include <utility>

#include "wasi/autograd/ops/attention.hpp"
#include "wasi/autograd/ops/elementwise.hpp"
#include "wasi/autograd/ops/layer_norm.hpp"
#include "wasi/nn/linear.hpp"

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

    [[nodiscard]] autograd::Variable<T> forward(const autograd::Context<T, S>& context, const autograd::Variable<T>& x)
    {
        return autograd::layer_norm(context, x, gain, bias, T(1e-6));
    }

    autograd::DenseParameter<T> gain;
    autograd::DenseParameter<T> bias;
};

/// One pre-norm transformer block:  x <- x + out_proj(attention(in_proj(ln_1(x)))),  x <- x + fc2(gelu(fc1(ln_2(x)))).
/// Four linear layers: in_proj (3D,D) makes queries, keys and values from one saved input; out_proj (D,D); fc1 (M,D);
/// fc2 (D,M).
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class EncoderBlock {
public:
    /// Names are torchvision's; the four linear layers are booked as layers first_layer .. first_layer + 3.
    EncoderBlock(const std::string& name, Memory& memory, Index dim, Index mlp, Index heads, std::uint16_t first_layer)
        : norm1(name + ".ln_1", memory, dim),
          in_proj(name + ".self_attention.in_proj_weight", name + ".self_attention.in_proj_bias", memory,
                  Shape{3 * dim, dim}, first_layer),
          out_proj(name + ".self_attention.out_proj.weight", name + ".self_attention.out_proj.bias", memory,
                   Shape{dim, dim}, static_cast<std::uint16_t>(first_layer + 1)),
          norm2(name + ".ln_2", memory, dim),
          fc1(name + ".mlp.0.weight", name + ".mlp.0.bias", memory, Shape{mlp, dim},
              static_cast<std::uint16_t>(first_layer + 2)),
          fc2(name + ".mlp.3.weight", name + ".mlp.3.bias", memory, Shape{dim, mlp},
              static_cast<std::uint16_t>(first_layer + 3)),
          heads_(heads)
    {
    }

    [[nodiscard]] autograd::Variable<T> forward(const autograd::Context<T, S>& context, autograd::Variable<T> x)
    {
        // Handles are handed over, so that what no node has saved is freed at once.
        x = autograd::add(context, x, attend(context, x));
        return autograd::add(context, x, perceive(context, x));
    }

    LayerNorm<T, S> norm1;
    Linear<T, S> in_proj;
    Linear<T, S> out_proj;
    LayerNorm<T, S> norm2;
    Linear<T, S> fc1;
    Linear<T, S> fc2;

private:
    [[nodiscard]] autograd::Variable<T> attend(const autograd::Context<T, S>& context, const autograd::Variable<T>& x)
    {
        auto y = norm1.forward(context, x);
        y = in_proj.forward(context, y);
        y = autograd::attention(context, y, heads_);
        return out_proj.forward(context, y);
    }

    [[nodiscard]] autograd::Variable<T> perceive(const autograd::Context<T, S>& context, const autograd::Variable<T>& x)
    {
        auto y = norm2.forward(context, x);
        y = fc1.forward(context, y);
        y = autograd::gelu(context, y);
        return fc2.forward(context, y);
    }

    Index heads_;
};

}  // namespace wasi::nn
