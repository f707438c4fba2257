#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "wasi/nn/blocks/encoder_block.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::nn {

/// What of the tokens the head reads.
enum class Pooling : std::uint8_t {
    class_token,             ///< the normalised class token, D features
    class_and_distillation,  ///< the normalised class and distillation tokens side by side, 2 D: the average of two
                             ///< heads is one head on both, each half with half of the weights
    class_and_mean,    ///< the normalised class token and the mean of the normalised patches, 2 D
    mean,              ///< the mean of the normalised patches, D
    mean_before_norm,  ///< the mean of the patches, normalised after, D
};

inline constexpr std::array<std::string_view, 5> pooling_names{"class_token", "class_and_distillation",
                                                               "class_and_mean", "mean", "mean_before_norm"};
[[nodiscard]] constexpr std::string_view to_string(Pooling pooling) noexcept
{
    return pooling_names[static_cast<std::size_t>(pooling)];
}

/// The shape of a Vision Transformer. ViT-B/32 is {.image = 224, .patch = 32, .dim = 768, .depth = 12, .heads = 12,
/// .mlp = 3072}; what stands below `classes` is torchvision's unless it is said otherwise.
struct VisionTransformerConfig {
    Index image = 32;                 ///< height and width of an image, pixels
    Index patch = 4;                  ///< height and width of a patch, pixels
    Index dim = 192;                  ///< features of a token
    Index depth = 6;                  ///< number of blocks
    Index heads = 3;                  ///< attention heads; dim / heads features each
    Index mlp = 768;                  ///< hidden features of the MLP
    Index classes = 10;               ///< outputs; features() of a model without a head
    double epsilon = 1e-6;            ///< of the layer norms
    Gelu gelu = Gelu::erf;            ///< of the MLPs
    bool class_token = true;          ///< a learned token before the patches, with a position
    bool distillation_token = false;  ///< a second one behind it, with a position (DeiT)
    Index registers = 0;              ///< learned tokens behind those, without positions
    bool pre_norm = false;            ///< a layer norm before the first block (CLIP)
    bool layer_scale = false;         ///< D trained factors on the output of each branch of a block
    Pooling pooling = Pooling::class_token;
    bool head = true;  ///< else the result is what a head would read

    static constexpr Index channels = 3;
    [[nodiscard]] Index patches() const { return (image / patch) * (image / patch); }
    /// Tokens before the patches that have a position.
    [[nodiscard]] Index placed_tokens() const { return (class_token ? 1 : 0) + (distillation_token ? 1 : 0); }
    [[nodiscard]] Index tokens() const { return placed_tokens() + registers + patches(); }
    /// Rows of the learned positions.
    [[nodiscard]] Index position_rows() const { return placed_tokens() + patches(); }
    /// What the head reads of an image.
    [[nodiscard]] Index features() const
    {
        return pooling == Pooling::class_and_mean || pooling == Pooling::class_and_distillation ? 2 * dim : dim;
    }
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
        require<argument_error>(epsilon > 0.0 && epsilon <= 1.0, "VisionTransformerConfig: epsilon is ", epsilon);
        require<argument_error>(registers >= 0 && registers <= 4096, "VisionTransformerConfig: registers is ",
                                registers);
        const bool needs_class = pooling != Pooling::mean && pooling != Pooling::mean_before_norm;
        require<argument_error>(class_token || !(needs_class || distillation_token),
                                "VisionTransformerConfig: pooling ", to_string(pooling),
                                distillation_token ? " and a distillation token" : "", " without a class token");
        require<argument_error>(distillation_token || pooling != Pooling::class_and_distillation,
                                "VisionTransformerConfig: pooling class_and_distillation without a distillation token");
        require<argument_error>(head || classes == features(), "VisionTransformerConfig: without a head classes is ",
                                features(), ", the features, not ", classes);
    }
};

}  // namespace wasi::nn
