#pragma once
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/pool_tokens.hpp"
#include "wasi/autograd/ops/tokens.hpp"
#include "wasi/nn/blocks/encoder_block.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/nn/initialize.hpp"
#include "wasi/nn/model.hpp"
#include "wasi/nn/models/vision_transformer_config.hpp"
#include "wasi/nn/patches.hpp"

namespace wasi::nn {

/// A Vision Transformer (Dosovitskiy et al. 2021) with the semantics and tensor names of torchvision's
/// VisionTransformer: patch embedding, class token, learned positions, pre-norm blocks, erf GELU, layer norm epsilon
/// 1e-6, final norm, head on the class token. The config has what other families do otherwise. Any of its linear layers
/// can hold its weight low rank and save its input compressed; see Linear. A Model. Throws argument_error for a config
/// that makes no sense. Parameters have fixed addresses; the model does not move.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class VisionTransformer {
public:
    using Value = T;
    using Storage = S;
    using Config = VisionTransformerConfig;
    template <class Other>
    using On = VisionTransformer<T, Other>;
    using Block = EncoderBlock<T, S>;

    /// Starts from torchvision's distributions, drawn with `key`.
    VisionTransformer(const VisionTransformerConfig& config, Memory& memory, RandomKey key)
        : VisionTransformer(config, memory)
    {
        initialize(key);
    }

    /// With values not set and linear weights holding nothing, for whoever fills them next.
    VisionTransformer(const VisionTransformerConfig& config, Memory& memory)
        : config_(checked(config)),
          memory_(&memory),
          patch_projection("conv_proj.weight", "conv_proj.bias", memory,
                           Shape{config.dim, VisionTransformerConfig::channels, config.patch, config.patch}, 1),
          positions("encoder.pos_embedding", memory, Shape{1, config.position_rows(), config.dim}),
          norm("encoder.ln", memory, config.dim, config.epsilon)
    {
        if (config.class_token) {
            class_token.emplace("class_token", memory, Shape{1, 1, config.dim});
        }
        if (config.distillation_token) {
            distillation_token.emplace("distillation_token", memory, Shape{1, 1, config.dim});
        }
        if (config.registers > 0) {
            register_tokens.emplace("register_tokens", memory, Shape{1, config.registers, config.dim});
        }
        if (config.pre_norm) {
            pre_norm.emplace("encoder.ln_pre", memory, config.dim, config.epsilon);
        }
        const BlockShape shape{config.dim, config.mlp, config.heads, config.epsilon, config.gelu, config.layer_scale};
        for (Index i = 0; i < config.depth; ++i) {
            blocks.push_back(std::make_unique<Block>("encoder.layers.encoder_layer_" + std::to_string(i), memory, shape,
                                                     static_cast<std::uint16_t>(2 + 4 * i)));
        }
        if (config.head) {
            head = make_head(config.classes);
        }
    }
    VisionTransformer(const VisionTransformer&) = delete;
    VisionTransformer& operator=(const VisionTransformer&) = delete;

    [[nodiscard]] const VisionTransformerConfig& config() const { return config_; }
    [[nodiscard]] Memory& memory() const { return *memory_; }

    /// Tokens (B, N, D) of the images (B,3,H,W) of a source: patches, projection, learned tokens, positions. Patches
    /// are not saved but made again from it in the backward pass: B N 3 p p numbers less, for a copy of the images.
    /// Throws shape_error unless the images fit the config.
    [[nodiscard]] autograd::Variable<T> embed(const autograd::Context<T, S>& context, const Source<T>& source)
    {
        const auto make_patches = [this, source](Memory& memory) {
            const Tensor<T> images = source(memory);
            return std::make_shared<Tensor<T>>(patches_of(images.template view<4>(), memory));
        };
        autograd::Variable<T> patches(make_patches(context.memory), nullptr);
        return embed_patches(context, std::move(patches).with_recipe(make_patches));
    }

    /// The same of images that are at hand now and perhaps not later: their patches are saved for the projection.
    [[nodiscard]] autograd::Variable<T> embed(const autograd::Context<T, S>& context, ConstTensorView<T, 4> images)
    {
        return embed_patches(context, autograd::Variable<T>(patches_of(images, context.memory)));
    }

    /// Logits (B, classes) of tokens (B, N, D); without a head the features that it would read. Throws shape_error.
    [[nodiscard]] autograd::Variable<T> encode(const autograd::Context<T, S>& context, autograd::Variable<T> x)
    {
        for (Index i = 0; i < stages(); ++i) {
            x = stage(context, i, std::move(x));
        }
        x = features(context, std::move(x));
        return head ? head->forward(context, x) : x;
    }

    /// The same in pieces: see StagedModel.
    [[nodiscard]] Index stages() const { return std::ssize(blocks); }
    [[nodiscard]] autograd::Variable<T> stage(const autograd::Context<T, S>& context, Index i, autograd::Variable<T> x)
    {
        return blocks[static_cast<std::size_t>(i)]->forward(context, std::move(x));
    }
    /// (B, features) of (B, N, D), what the head reads. Where tokens are read one by one only those are normalised: the
    /// norm is by token.
    [[nodiscard]] autograd::Variable<T> features(const autograd::Context<T, S>& context, autograd::Variable<T> x)
    {
        const Index first_patch = config_.placed_tokens() + config_.registers;
        switch (config_.pooling) {
            case Pooling::class_token:
                return norm.forward(context, autograd::select_token(context, x, 0));
            case Pooling::mean_before_norm:
                return norm.forward(context, autograd::pool_tokens(context, x, {0, first_patch}));
            case Pooling::mean:
                return autograd::pool_tokens(context, norm.forward(context, x), {0, first_patch});
            case Pooling::class_and_mean:
                return autograd::pool_tokens(context, norm.forward(context, x), {1, first_patch});
            case Pooling::class_and_distillation:
                break;
        }
        return autograd::pool_tokens(context, norm.forward(context, x), {2, -1});
    }

    /// Logits (B, classes) of images (B,3,H,W), from a source that may be asked twice or at hand now. Throws
    /// shape_error unless the images fit the config.
    [[nodiscard]] autograd::Variable<T> forward(const autograd::Context<T, S>& context, const Source<T>& source)
    {
        return encode(context, embed(context, source));
    }
    [[nodiscard]] autograd::Variable<T> forward(const autograd::Context<T, S>& context, ConstTensorView<T, 4> images)
    {
        return encode(context, embed(context, images));
    }

    /// A new head for another number of classes, at zero, where torchvision starts its own. Throws argument_error.
    void replace_head(Index classes)
    {
        auto config = config_;
        config.classes = classes;
        config.head = true;
        config.check();
        config_ = config;
        head = make_head(classes);
        zero_head();
    }

    /// Each part in torchvision's order: see nn::Model.
    template <class F>
    void visit(F&& f)
    {
        f(Place{Role::embedding}, keep_embedding);
        for (auto* tokens : {&class_token, &distillation_token, &register_tokens}) {
            if (tokens->has_value()) {
                f(Place{Role::embedding}, **tokens);
            }
        }
        f(Place{Role::embedding}, patch_projection);
        f(Place{Role::embedding}, positions);
        if (pre_norm) {
            f(Place{Role::norm}, pre_norm->gain);
            f(Place{Role::norm}, pre_norm->bias);
        }
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            blocks[i]->visit(static_cast<Index>(i), f);
        }
        f(Place{Role::norm}, norm.gain);
        f(Place{Role::norm}, norm.bias);
        if (head) {
            f(Place{Role::head}, *head);
        }
    }

private:
    VisionTransformerConfig config_;
    Memory* memory_;

public:
    KeepOptions keep_embedding;  ///< of it saved_as and rounding alone are looked at
    std::optional<autograd::DenseParameter<T>> class_token;
    std::optional<autograd::DenseParameter<T>> distillation_token;
    std::optional<autograd::DenseParameter<T>> register_tokens;
    Linear<T, S> patch_projection;
    autograd::DenseParameter<T> positions;
    std::optional<LayerNorm<T, S>> pre_norm;
    std::vector<std::unique_ptr<Block>> blocks;
    LayerNorm<T, S> norm;
    std::unique_ptr<Linear<T, S>> head;  ///< nullptr of a model without one

private:
    [[nodiscard]] Tensor<T> patches_of(ConstTensorView<T, 4> images, Memory& memory) const
    {
        require<shape_error>(images.shape[1] == VisionTransformerConfig::channels && images.shape[2] == config_.image &&
                                 images.shape[3] == config_.image && images.shape[0] >= 1,
                             "VisionTransformer: images ", shape_text(images.shape), " for a model of (B, 3, ",
                             config_.image, ", ", config_.image, ")");
        return extract_patches<S, T>(images, config_.patch, memory);
    }

    [[nodiscard]] autograd::Variable<T> embed_patches(const autograd::Context<T, S>& context,
                                                      autograd::Variable<T> patches)
    {
        const autograd::Context<T, S> own{context.memory, context.tape, keep_embedding.saved_as,
                                          keep_embedding.rounding};
        patches = patch_projection.forward(own, patches);
        autograd::LeadingTokens<T> tokens;
        for (auto* token : {&class_token, &distillation_token}) {
            if (token->has_value()) {
                tokens.with_position.push_back(&**token);
            }
        }
        tokens.without_position = register_tokens ? &*register_tokens : nullptr;
        patches = autograd::prepend_tokens(own, patches, std::move(tokens), positions);
        return pre_norm ? pre_norm->forward(own, patches) : patches;
    }

    [[nodiscard]] static const VisionTransformerConfig& checked(const VisionTransformerConfig& config)
    {
        config.check();
        return config;
    }

    [[nodiscard]] std::unique_ptr<Linear<T, S>> make_head(Index classes) const
    {
        return std::make_unique<Linear<T, S>>("heads.head.weight", "heads.head.bias", *memory_,
                                              Shape{classes, config_.features()},
                                              static_cast<std::uint16_t>(2 + 4 * config_.depth));
    }

    void zero_head()
    {
        S::fill(head->weight.dense().matrix(), T(0));
        S::fill(head->bias.values.matrix(), T(0));
    }

    void initialize(RandomKey key)
    {
        for (auto* tokens : {&class_token, &distillation_token}) {
            if (tokens->has_value()) {
                S::fill((*tokens)->values.matrix(), T(0));
            }
        }
        if (register_tokens) {
            fill_normal(register_tokens->values, 0.02, key.derive(0));
        }
        const double patch_inputs = static_cast<double>(patch_projection.weight.inputs());
        fill_normal(patch_projection.weight.dense(), std::sqrt(1.0 / patch_inputs), key.derive(1), 2.0);
        S::fill(patch_projection.bias.values.matrix(), T(0));
        fill_normal(positions.values, 0.02, key.derive(2));
        std::uint64_t name = 3;
        for (const auto& block : blocks) {
            for (Linear<T, S>* linear : {&block->in_proj, &block->out_proj, &block->fc1, &block->fc2}) {
                const bool is_mlp = linear == &block->fc1 || linear == &block->fc2;
                // out_proj has torch.nn.Linear's own default, uniform within 1 / sqrt(fan_in).
                const double bound = linear == &block->out_proj
                                         ? 1.0 / std::sqrt(static_cast<double>(config_.dim))
                                         : xavier_bound(linear->weight.inputs(), linear->weight.outputs());
                fill_uniform(linear->weight.dense(), bound, key.derive(name++));
                if (is_mlp) {
                    fill_normal(linear->bias.values, 1e-6, key.derive(name++));
                } else {
                    S::fill(linear->bias.values.matrix(), T(0));
                }
            }
        }
        if (head) {
            zero_head();
        }
    }
};

WASI_COMPILED(WASI_NN_VISION_TRANSFORMER)

}  // namespace wasi::nn
