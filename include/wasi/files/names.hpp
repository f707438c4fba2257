#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "wasi/data/preprocessing.hpp"
#include "wasi/files/resample_positions.hpp"
#include "wasi/io/safetensors_types.hpp"
#include "wasi/nn/models/vision_transformer_config.hpp"

/// What the families of Vision Transformers call their tensors. A table: who reads or writes a checkpoint goes by it,
/// and no code is for one family alone.
namespace wasi::files {

/// A part of a Vision Transformer. Those from `patches` to `second_head` but positions and scales have a NAME.weight
/// and a NAME.bias; the others are one tensor.
enum class Part : std::uint8_t {
    class_token,
    distillation_token,
    registers,
    patches,
    positions,
    pre_norm,
    norm1,
    attention,  ///< queries, keys and values in one matrix (3D,D)
    query,
    key,
    value,
    projection,
    scale1,
    norm2,
    fc1,
    fc2,
    scale2,
    norm,
    head,
    second_head,  ///< of the distillation token; the result is the average of both
};
inline constexpr std::size_t part_count = 20;

[[nodiscard]] constexpr bool is_one_tensor(Part part) noexcept
{
    return part <= Part::registers || part == Part::positions || part == Part::scale1 || part == Part::scale2;
}
[[nodiscard]] constexpr bool is_in_block(Part part) noexcept
{
    return part >= Part::norm1 && part <= Part::scale2;
}

/// One family. Names may be several, "new|old": the first that a file has counts, and the first is written. A name that
/// ends with "_" takes "weight" and "bias" without a dot.
struct Family {
    std::string_view name;      ///< one word
    std::string_view title;     ///< for people
    std::string_view prefixes;  ///< each is cut off the names that begin with it
    std::string_view mark;      ///< a tensor that it has beside its patches, and others of the same patches have not
    std::string_view block;     ///< before the names in block number *
    std::array<std::string_view, part_count> names;  ///< by Part; empty: it has none
    std::string_view ignored;                        ///< tensors that no inference reads, * for anything
    double epsilon;
    nn::Gelu gelu;
    PositionResampling resampling;
    data::Preprocessing preprocessing;  ///< where no file says it
};

inline constexpr std::array<double, 3> halves{0.5, 0.5, 0.5};
inline constexpr data::Preprocessing torchvision_preprocessing{};
inline constexpr data::Preprocessing deit_preprocessing{
    .resize = 256, .crop = 224, .interpolation = data::Interpolation::bicubic};
inline constexpr data::Preprocessing augreg_preprocessing{
    .mean = halves, .std = halves, .resize = 248, .crop = 224, .interpolation = data::Interpolation::bicubic};
inline constexpr data::Preprocessing vit_preprocessing{.mean = halves,
                                                       .std = halves,
                                                       .resize = 224,
                                                       .crop = 224,
                                                       .interpolation = data::Interpolation::bilinear,
                                                       .stretch = true};
inline constexpr data::Preprocessing clip_preprocessing{.mean = {0.48145466, 0.4578275, 0.40821073},
                                                        .std = {0.26862954, 0.26130258, 0.27577711},
                                                        .resize = 224,
                                                        .crop = 224,
                                                        .interpolation = data::Interpolation::bicubic};

// clang-format off

/// Families of the same patches stand in the order in which they are tried. The first is this library's own: it has what
/// torchvision's models have not, so that a model file can say all that a model can be.
inline constexpr std::array<Family, 7> families{{
    {"torchvision", "torchvision", "", "", "encoder.layers.encoder_layer_*.",
     {"class_token", "distillation_token", "register_tokens", "conv_proj", "encoder.pos_embedding", "encoder.ln_pre",
      "ln_1", "self_attention.in_proj_", "", "", "", "self_attention.out_proj", "layer_scale_1",
      "ln_2", "mlp.0|mlp.linear_1", "mlp.3|mlp.linear_2", "layer_scale_2", "encoder.ln", "heads.head|heads", ""},
     "", 1e-6, nn::Gelu::erf, PositionResampling::corners, torchvision_preprocessing},
    {"timm", "timm", "visual.trunk.", "", "blocks.*.",
     {"cls_token", "dist_token", "reg_token|register_tokens", "patch_embed.proj", "pos_embed", "norm_pre",
      "norm1", "attn.qkv", "", "", "", "attn.proj", "ls1.gamma|gamma_1",
      "norm2", "mlp.fc1", "mlp.fc2", "ls2.gamma|gamma_2", "norm|fc_norm", "head", "head_dist"},
     "mask_token|text.*|logit_scale|logit_bias", 1e-6, nn::Gelu::erf, PositionResampling::antialiased, augreg_preprocessing},
    {"dinov2", "Hugging Face DINOv2", "dinov2.|dinov2_with_registers.", "encoder.layer.0.layer_scale1.lambda1", "encoder.layer.*.",
     {"embeddings.cls_token", "", "embeddings.register_tokens", "embeddings.patch_embeddings.projection",
      "embeddings.position_embeddings", "",
      "norm1", "", "attention.attention.query|attention.q_proj", "attention.attention.key|attention.k_proj",
      "attention.attention.value|attention.v_proj", "attention.output.dense|attention.o_proj", "layer_scale1.lambda1",
      "norm2", "mlp.fc1", "mlp.fc2", "layer_scale2.lambda1", "layernorm", "classifier", ""},
     "embeddings.mask_token", 1e-6, nn::Gelu::erf, PositionResampling::half_pixel, deit_preprocessing},
    {"deit", "Hugging Face DeiT", "deit.", "embeddings.distillation_token", "encoder.layer.*.|layers.*.",
     {"embeddings.cls_token", "embeddings.distillation_token", "", "embeddings.patch_embeddings.projection",
      "embeddings.position_embeddings", "",
      "layernorm_before", "", "attention.attention.query|attention.q_proj", "attention.attention.key|attention.k_proj",
      "attention.attention.value|attention.v_proj", "attention.output.dense|attention.o_proj", "",
      "layernorm_after", "intermediate.dense|mlp.fc1", "output.dense|mlp.fc2", "", "layernorm", "classifier|cls_classifier",
      "distillation_classifier"},
     "pooler.dense.*|embeddings.mask_token", 1e-12, nn::Gelu::erf, PositionResampling::half_pixel, deit_preprocessing},
    {"vit", "Hugging Face ViT", "vit.", "", "encoder.layer.*.|layers.*.",
     {"embeddings.cls_token", "", "", "embeddings.patch_embeddings.projection", "embeddings.position_embeddings", "",
      "layernorm_before", "", "attention.attention.query|attention.q_proj", "attention.attention.key|attention.k_proj",
      "attention.attention.value|attention.v_proj", "attention.output.dense|attention.o_proj", "",
      "layernorm_after", "intermediate.dense|mlp.fc1", "output.dense|mlp.fc2", "", "layernorm", "classifier", ""},
     "pooler.dense.*|embeddings.mask_token", 1e-12, nn::Gelu::erf, PositionResampling::half_pixel, vit_preprocessing},
    {"clip", "Hugging Face CLIP (vision)", "vision_model.", "", "encoder.layers.*.",
     {"embeddings.class_embedding", "", "", "embeddings.patch_embedding", "embeddings.position_embedding.weight", "pre_layrnorm",
      "layer_norm1", "", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "",
      "layer_norm2", "mlp.fc1", "mlp.fc2", "", "post_layernorm", "visual_projection", ""},
     "embeddings.position_ids|text_model.*|text_projection.weight|logit_scale", 1e-5, nn::Gelu::quick,
     PositionResampling::half_pixel, clip_preprocessing},
    {"openai_clip", "OpenAI CLIP (vision)", "", "", "visual.transformer.resblocks.*.",
     {"visual.class_embedding", "", "", "visual.conv1", "visual.positional_embedding", "visual.ln_pre",
      "ln_1", "attn.in_proj_", "", "", "", "attn.out_proj", "",
      "ln_2", "mlp.c_fc", "mlp.c_proj", "", "visual.ln_post", "visual.proj", ""},
     "transformer.*|positional_embedding|text_projection|token_embedding.*|ln_final.*|logit_scale|input_resolution|context_length|vocab_size", 1e-5,
     nn::Gelu::quick, PositionResampling::half_pixel, clip_preprocessing},
}};

/// Tensors of models that are not read, and why.
struct Refusal {
    std::string_view tensor;  ///< * for anything
    std::string_view reason;
};
inline constexpr std::array<Refusal, 13> refusals{{
    {"*rope_embed*", "a model with rotary positions (DINOv3), which this Vision Transformer has not"},
    {"*storage_tokens", "DINOv3, whose rotary positions this Vision Transformer has not"},
    {"*qkv.bias_mask", "DINOv3, whose rotary positions this Vision Transformer has not"},
    {"embeddings.patch_embeddings.weight", "DINOv3, whose rotary positions this Vision Transformer has not"},
    {"*cpb_mlp*", "Swin V2, which is not supported"},
    {"*relative_position_bias_table", "a Swin or another model with relative positions, which is not supported"},
    {"*mlp.w12.*", "a model with SwiGLU MLPs (DINOv2 giant), which are not supported"},
    {"*mlp.weights_in.*", "a model with SwiGLU MLPs (DINOv2 giant), which are not supported"},
    {"*mlp.fc1_g.*", "a model with SwiGLU MLPs, which are not supported"},
    {"*q_norm.*", "a model that normalises queries and keys, which is not supported"},
    {"*attn_pool.*", "a model with a pooling by attention (SigLIP), which is not supported"},
    {"heads.pre_logits.*", "a torchvision model with a layer before its head (pre_logits), which is not supported"},
    {"patch_embed.backbone.*", "a hybrid of convolutions and a Vision Transformer, which is not supported"},
}};

/// What training frameworks put before every name.
inline constexpr std::string_view wrapper_prefixes = "module.|_orig_mod.|model.";

/// Heads of published models by width, where neither an option nor a file tells: ViT Ti to H, DeiT, DINOv2 S to g, CLIP.
struct PublishedHeads {
    Index dim;
    Index heads;
};
inline constexpr std::array<PublishedHeads, 9> published_heads{
    {{192, 3}, {384, 6}, {768, 12}, {1024, 16}, {1152, 16}, {1280, 16}, {1408, 16}, {1536, 24}, {1664, 16}}};

// clang-format on

namespace detail {

/// f(entry) for each of "a|b|c", until it is true. Whether it was.
template <class F>
bool any_of_list(std::string_view list, const F& f)
{
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = list.find('|', begin) == std::string_view::npos ? list.size() : list.find('|', begin);
        if (end > begin && f(list.substr(begin, end - begin))) {
            return true;
        }
        begin = end + 1;
    }
    return false;
}

/// Whether the text is the pattern, in which * stands for anything.
[[nodiscard]] inline bool matches(std::string_view pattern, std::string_view text)
{
    const std::size_t star = pattern.find('*');
    if (star == std::string_view::npos) {
        return pattern == text;
    }
    if (!text.starts_with(pattern.substr(0, star))) {
        return false;
    }
    const std::string_view rest = pattern.substr(star + 1);
    for (std::size_t at = star; at <= text.size(); ++at) {
        if (matches(rest, text.substr(at))) {
            return true;
        }
    }
    return false;
}

[[nodiscard]] inline std::string with_block(std::string_view pattern, Index block)
{
    const std::size_t star = pattern.find('*');
    return std::string(pattern.substr(0, star)) + std::to_string(block) + std::string(pattern.substr(star + 1));
}

/// A text from a file, fit for a one-line message: control and non-ASCII bytes as \xNN, cut at 80 characters.
[[nodiscard]] inline std::string printable(std::string_view text)
{
    std::string quoted = io::detail::quote(text);
    std::erase(quoted, '\'');
    return quoted;
}

/// "norm1" and "weight" as one name.
[[nodiscard]] inline std::string with_suffix(std::string_view name, std::string_view suffix)
{
    return std::string(name) + (name.ends_with('_') || suffix.empty() ? "" : ".") + std::string(suffix);
}

[[nodiscard]] constexpr std::string_view first_of(std::string_view list)
{
    return list.substr(0, list.find('|'));
}
[[nodiscard]] constexpr std::string_view last_of(std::string_view list)
{
    return list.substr(list.rfind('|') + 1);
}

}  // namespace detail

/// The name of a tensor as a family writes it; `suffix`: weight or bias, of parts that have both. Empty: it has none.
[[nodiscard]] inline std::string name_in(const Family& family, Part part, Index block, std::string_view suffix)
{
    const std::string_view name = detail::first_of(family.names[static_cast<std::size_t>(part)]);
    if (name.empty()) {
        return {};
    }
    return (is_in_block(part) ? detail::with_block(detail::first_of(family.block), block) : std::string()) +
           detail::with_suffix(name, is_one_tensor(part) ? "" : suffix);
}

/// The family of this name. Throws argument_error where there is none.
[[nodiscard]] inline const Family& family_named(std::string_view name)
{
    for (const Family& family : families) {
        if (family.name == name) {
            return family;
        }
    }
    throw argument_error(message("there is no family of checkpoints called '", name, "'"));
}

}  // namespace wasi::files
