#pragma once
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/attention.hpp"
#include "wasi/autograd/ops/elementwise.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/nn/keep_options.hpp"
#include "wasi/nn/layer_norm.hpp"
#include "wasi/nn/linear.hpp"
#include "wasi/nn/place.hpp"

namespace wasi::nn {

/// One pre-norm transformer block of tokens (B,N,D), with H heads and M hidden features:
///     x <- x + out_proj(attention(in_proj(ln_1(x)))),  x <- x + fc2(gelu(fc1(ln_2(x)))).
/// Four linear layers: in_proj (3D,D) makes queries, keys and values from one saved input; out_proj (D,D); fc1 (M,D);
/// fc2 (D,M).
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class EncoderBlock {
public:
    using Variable = autograd::Variable<T>;
    using Context = autograd::Context<T, S>;

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

    /// (B,N,D) of x (B,N,D), as `keep` says. Throws shape_error.
    [[nodiscard]] Variable forward(const Context& context, Variable x)
    {
        const Context own{context.memory, context.tape, keep.saved_as};
        if (keep.recompute == Recompute::block) {
            return autograd::recomputed(own, x, parameters(true, true),
                                        [this](const Context& inner, Variable in, autograd::Wanted wanted) {
                                            return whole(inner, std::move(in), wanted);
                                        });
        }
        return whole(own, std::move(x), autograd::Wanted::value);
    }

    /// Each part in torchvision's order: see nn::Model.
    template <class F>
    void visit(Index block, F&& f)
    {
        f(Place{Role::norm, block}, keep);
        f(Place{Role::norm, block}, norm1.gain);
        f(Place{Role::norm, block}, norm1.bias);
        f(Place{Role::attention, block}, in_proj);
        f(Place{Role::attention, block}, out_proj);
        f(Place{Role::norm, block}, norm2.gain);
        f(Place{Role::norm, block}, norm2.bias);
        f(Place{Role::mlp, block}, fc1);
        f(Place{Role::mlp, block}, fc2);
    }

    LayerNorm<T, S> norm1;
    Linear<T, S> in_proj;
    Linear<T, S> out_proj;
    LayerNorm<T, S> norm2;
    Linear<T, S> fc1;
    Linear<T, S> fc2;
    KeepOptions keep;

private:
    // Handles are handed over, so that what no node has saved is freed at once.
    [[nodiscard]] Variable whole(const Context& context, Variable x, autograd::Wanted wanted)
    {
        auto branch = keep.recompute == Recompute::attention || keep.recompute == Recompute::halves
                          ? autograd::recomputed(context, x, parameters(true, false),
                                                 [this](const Context& inner, const Variable& in,
                                                        autograd::Wanted last) { return attend(inner, in, last); })
                          : attend(context, x, autograd::Wanted::value);
        x = autograd::add(context, std::move(x), std::move(branch));
        branch = keep.recompute == Recompute::mlp || keep.recompute == Recompute::halves
                     ? autograd::recomputed(context, x, parameters(false, true),
                                            [this](const Context& inner, const Variable& in, autograd::Wanted last) {
                                                return perceive(inner, in, last);
                                            })
                     : perceive(context, x, wanted);
        return autograd::add(context, std::move(x), std::move(branch));
    }

    [[nodiscard]] Variable attend(const Context& context, const Variable& x, autograd::Wanted wanted)
    {
        auto y = norm1.forward(context, x, keep.norm_output);             // (B,N,D)
        y = in_proj.forward(context, y);                                  // (B,N,3D): q, k, v
        y = autograd::attention(context, y, heads_, keep.probabilities);  // (B,N,D)
        return out_proj.forward(context, y, wanted);                      // (B,N,D)
    }

    [[nodiscard]] Variable perceive(const Context& context, const Variable& x, autograd::Wanted wanted)
    {
        auto y = norm2.forward(context, x, keep.norm_output);                   // (B,N,D)
        y = fc1.forward(context, y, autograd::Wanted::value, keep.gelu_input);  // (B,N,M)
        y = autograd::gelu(context, std::move(y), keep.gelu_output);            // (B,N,M)
        return fc2.forward(context, y, wanted);                                 // (B,N,D)
    }

    [[nodiscard]] std::vector<autograd::Parameter*> parameters(bool of_attention, bool of_mlp)
    {
        std::vector<autograd::Parameter*> result;
        const auto append = [&](LayerNorm<T, S>& norm, Linear<T, S>& first, Linear<T, S>& second) {
            result.insert(result.end(), {&norm.gain, &norm.bias});
            for (Linear<T, S>* layer : {&first, &second}) {
                const auto trained = layer->trained_parameters();
                result.insert(result.end(), trained.begin(), trained.end());
            }
        };
        if (of_attention) {
            append(norm1, in_proj, out_proj);
        }
        if (of_mlp) {
            append(norm2, fc1, fc2);
        }
        return result;
    }

    Index heads_;
};

WASI_COMPILED(WASI_NN_ENCODER_BLOCK)

}  // namespace wasi::nn
