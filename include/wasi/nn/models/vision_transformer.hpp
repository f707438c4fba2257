#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/tokens.hpp"
#include "wasi/nn/blocks/encoder_block.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/nn/initialize.hpp"
#include "wasi/nn/model.hpp"
#include "wasi/nn/patches.hpp"

namespace wasi::nn {

/// The shape of a Vision Transformer. ViT-B/32 is {.image = 224, .patch = 32, .dim = 768, .depth = 12, .heads = 12,
/// .mlp = 3072}.
struct VisionTransformerConfig {
    Index image = 32;  ///< height and width of an image, pixels
    Index patch = 4;   ///< height and width of a patch, pixels
    Index dim = 192;   ///< features of a token
    Index depth = 6;   ///< number of blocks
    Index heads = 3;   ///< attention heads; dim / heads features each
    Index mlp = 768;   ///< hidden features of the MLP
    Index classes = 10;

    static constexpr Index channels = 3;
    [[nodiscard]] Index patches() const { return (image / patch) * (image / patch); }
    [[nodiscard]] Index tokens() const { return patches() + 1; }
    /// Extents of a batch of images.
    [[nodiscard]] Shape example(Index batch) const { return {batch, channels, image, image}; }

    /// Throws argument_error naming the first extent that makes no sense.
    void check() const
    {
        const auto positive = [](Index value, const char* name) {
            require<argument_error>(value >= 1 && value <= (Index{1} << 20), "VisionTransformerConfig: ", name, " is ",
                                    value);
        };
        positive(image, "image");
        positive(patch, "patch");
        positive(dim, "dim");
        positive(depth, "depth");
        positive(heads, "heads");
        positive(mlp, "mlp");
        positive(classes, "classes");
        require<argument_error>(depth <= 4096, "VisionTransformerConfig: depth is ", depth);
        require<argument_error>(image % patch == 0, "VisionTransformerConfig: image ", image,
                                " is not a multiple of patch ", patch);
        require<argument_error>(dim % heads == 0, "VisionTransformerConfig: dim ", dim, " is not a multiple of heads ",
                                heads);
    }
};

/// A Vision Transformer (Dosovitskiy et al. 2021) with the semantics and tensor names of torchvision's
/// VisionTransformer: patch embedding, class token, learned positions, pre-norm blocks, erf GELU, layer norm epsilon
/// 1e-6, final norm, head on the class token. Any of its linear layers can hold its weight low rank and save its input
/// compressed; see Linear. A Model. Throws argument_error for a config that makes no sense. Parameters have fixed
/// addresses; the model does not move.
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
          class_token("class_token", memory, Shape{1, 1, config.dim}),
          patch_projection("conv_proj.weight", "conv_proj.bias", memory,
                           Shape{config.dim, VisionTransformerConfig::channels, config.patch, config.patch}, 1),
          positions("encoder.pos_embedding", memory, Shape{1, config.tokens(), config.dim}),
          norm("encoder.ln", memory, config.dim)
    {
        for (Index i = 0; i < config.depth; ++i) {
            blocks.push_back(std::make_unique<Block>("encoder.layers.encoder_layer_" + std::to_string(i), memory,
                                                     config.dim, config.mlp, config.heads,
                                                     static_cast<std::uint16_t>(2 + 4 * i)));
        }
        head = make_head(config.classes);
    }
    VisionTransformer(const VisionTransformer&) = delete;
    VisionTransformer& operator=(const VisionTransformer&) = delete;

    [[nodiscard]] const VisionTransformerConfig& config() const { return config_; }
    [[nodiscard]] Memory& memory() const { return *memory_; }

    /// Tokens (B, N, D) of the images (B,3,H,W) of a source: patches, projection, class token, positions. Patches are
    /// not saved but made again from it in the backward pass: B N 3 p p numbers less, for a copy of the images. Throws
    /// shape_error unless the images fit the config.
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

    /// Logits (B, classes) of tokens (B, N, D). Throws shape_error.
    [[nodiscard]] autograd::Variable<T> encode(const autograd::Context<T, S>& context, autograd::Variable<T> x)
    {
        for (const auto& block : blocks) {
            x = block->forward(context, std::move(x));
        }
        // Only the class token is read: the norm is by token, so the others need none.
        x = autograd::select_token(context, x, 0);
        x = norm.forward(context, x);
        return head->forward(context, x);
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
        f(Place{Role::embedding}, class_token);
        f(Place{Role::embedding}, patch_projection);
        f(Place{Role::embedding}, positions);
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            blocks[i]->visit(static_cast<Index>(i), f);
        }
        f(Place{Role::norm}, norm.gain);
        f(Place{Role::norm}, norm.bias);
        f(Place{Role::head}, *head);
    }

private:
    VisionTransformerConfig config_;
    Memory* memory_;

public:
    KeepOptions keep_embedding;  ///< of it saved_as alone is looked at
    autograd::DenseParameter<T> class_token;
    Linear<T, S> patch_projection;
    autograd::DenseParameter<T> positions;
    std::vector<std::unique_ptr<Block>> blocks;
    LayerNorm<T, S> norm;
    std::unique_ptr<Linear<T, S>> head;

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
        const autograd::Context<T, S> own{context.memory, context.tape, keep_embedding.saved_as};
        patches = patch_projection.forward(own, patches);
        return autograd::prepend_token(own, patches, class_token, positions);
    }

    [[nodiscard]] static const VisionTransformerConfig& checked(const VisionTransformerConfig& config)
    {
        config.check();
        return config;
    }

    [[nodiscard]] std::unique_ptr<Linear<T, S>> make_head(Index classes) const
    {
        return std::make_unique<Linear<T, S>>("heads.head.weight", "heads.head.bias", *memory_,
                                              Shape{classes, config_.dim},
                                              static_cast<std::uint16_t>(2 + 4 * config_.depth));
    }

    void zero_head()
    {
        S::fill(head->weight.dense().matrix(), T(0));
        S::fill(head->bias.values.matrix(), T(0));
    }

    void initialize(RandomKey key)
    {
        S::fill(class_token.values.matrix(), T(0));
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
        zero_head();
    }
};

WASI_COMPILED(WASI_NN_VISION_TRANSFORMER)

}  // namespace wasi::nn
