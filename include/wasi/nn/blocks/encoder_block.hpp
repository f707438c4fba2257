#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/attention.hpp"
#include "wasi/autograd/ops/elementwise.hpp"
#include "wasi/autograd/ops/scale_columns.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/nn/keep_options.hpp"
#include "wasi/nn/layer_norm.hpp"
#include "wasi/nn/linear.hpp"
#include "wasi/nn/place.hpp"

namespace wasi::nn {

/// The activation of an MLP: x Phi(x) with erf, or x / (1 + exp(-1.702 x)) as OpenAI's CLIP has it.
enum class Gelu : std::uint8_t { erf, quick };

[[nodiscard]] constexpr std::string_view to_string(Gelu gelu) noexcept
{
    return gelu == Gelu::erf ? "erf" : "quick";
}

struct BlockShape {
    Index dim;
    Index mlp;
    Index heads;
    double epsilon = 1e-6;  ///< of both norms
    Gelu gelu = Gelu::erf;
    bool layer_scale = false;  ///< the output of each branch times D trained factors
};

/// One pre-norm transformer block of tokens (B,N,D), with H heads and M hidden features:
///     x <- x + out_proj(attention(in_proj(ln_1(x)))),  x <- x + fc2(gelu(fc1(ln_2(x)))).
/// Four linear layers: in_proj (3D,D) makes queries, keys and values from one saved input; out_proj (D,D); fc1 (M,D);
/// fc2 (D,M). With layer scale the output of each branch is multiplied by D factors before it is added.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class EncoderBlock {
public:
    using Variable = autograd::Variable<T>;
    using Context = autograd::Context<T, S>;

    /// Names are torchvision's; the four linear layers are booked as layers first_layer .. first_layer + 3.
    EncoderBlock(const std::string& name, Memory& memory, const BlockShape& shape, std::uint16_t first_layer)
        : norm1(name + ".ln_1", memory, shape.dim, shape.epsilon),
          in_proj(name + ".self_attention.in_proj_weight", name + ".self_attention.in_proj_bias", memory,
                  Shape{3 * shape.dim, shape.dim}, first_layer),
          out_proj(name + ".self_attention.out_proj.weight", name + ".self_attention.out_proj.bias", memory,
                   Shape{shape.dim, shape.dim}, static_cast<std::uint16_t>(first_layer + 1)),
          norm2(name + ".ln_2", memory, shape.dim, shape.epsilon),
          fc1(name + ".mlp.0.weight", name + ".mlp.0.bias", memory, Shape{shape.mlp, shape.dim},
              static_cast<std::uint16_t>(first_layer + 2)),
          fc2(name + ".mlp.3.weight", name + ".mlp.3.bias", memory, Shape{shape.dim, shape.mlp},
              static_cast<std::uint16_t>(first_layer + 3)),
          heads_(shape.heads),
          gelu_(shape.gelu)
    {
        if (shape.layer_scale) {
            scale1.emplace(name + ".layer_scale_1", memory, Shape{shape.dim});
            scale2.emplace(name + ".layer_scale_2", memory, Shape{shape.dim});
            S::fill(scale1->values.matrix(), T(1));
            S::fill(scale2->values.matrix(), T(1));
        }
    }

    /// (B,N,D) of x (B,N,D), as `keep` says. Throws shape_error.
    [[nodiscard]] Variable forward(const Context& context, Variable x)
    {
        const Context own{context.memory, context.tape, keep.saved_as, keep.rounding};
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
        if (scale1) {
            f(Place{Role::norm, block}, *scale1);
        }
        f(Place{Role::norm, block}, norm2.gain);
        f(Place{Role::norm, block}, norm2.bias);
        f(Place{Role::mlp, block}, fc1);
        f(Place{Role::mlp, block}, fc2);
        if (scale2) {
            f(Place{Role::norm, block}, *scale2);
        }
    }

    LayerNorm<T, S> norm1;
    Linear<T, S> in_proj;
    Linear<T, S> out_proj;
    LayerNorm<T, S> norm2;
    Linear<T, S> fc1;
    Linear<T, S> fc2;
    std::optional<autograd::DenseParameter<T>> scale1;  ///< of the branch of attention, where there is layer scale
    std::optional<autograd::DenseParameter<T>> scale2;  ///< of the MLP
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
        return scaled(context, out_proj, y, scale1, wanted);              // (B,N,D)
    }

    [[nodiscard]] Variable perceive(const Context& context, const Variable& x, autograd::Wanted wanted)
    {
        auto y = norm2.forward(context, x, keep.norm_output);                   // (B,N,D)
        y = fc1.forward(context, y, autograd::Wanted::value, keep.gelu_input);  // (B,N,M)
        y = gelu_ == Gelu::erf ? autograd::gelu(context, std::move(y), keep.gelu_output)
                               : autograd::quick_gelu(context, std::move(y), keep.gelu_output);  // (B,N,M)
        return scaled(context, fc2, y, scale2, wanted);                                          // (B,N,D)
    }

    /// The last layer of a branch and its factors, which need its value where it has any.
    [[nodiscard]] static Variable scaled(const Context& context, Linear<T, S>& layer, const Variable& x,
                                         std::optional<autograd::DenseParameter<T>>& scale, autograd::Wanted wanted)
    {
        if (!scale) {
            return layer.forward(context, x, wanted);
        }
        return autograd::scale_columns(context, layer.forward(context, x), *scale);
    }

    [[nodiscard]] std::vector<autograd::Parameter*> parameters(bool of_attention, bool of_mlp)
    {
        std::vector<autograd::Parameter*> result;
        const auto append = [&](LayerNorm<T, S>& norm, Linear<T, S>& first, Linear<T, S>& second, auto& scale) {
            result.insert(result.end(), {&norm.gain, &norm.bias});
            if (scale) {
                result.push_back(&*scale);
            }
            for (Linear<T, S>* layer : {&first, &second}) {
                const auto trained = layer->trained_parameters();
                result.insert(result.end(), trained.begin(), trained.end());
            }
        };
        if (of_attention) {
            append(norm1, in_proj, out_proj, scale1);
        }
        if (of_mlp) {
            append(norm2, fc1, fc2, scale2);
        }
        return result;
    }

    Index heads_;
    Gelu gelu_;
};

WASI_COMPILED(WASI_NN_ENCODER_BLOCK)

}  // namespace wasi::nn
