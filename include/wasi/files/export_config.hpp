#pragma once
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/data/preprocessing.hpp"
#include "wasi/nn/models/vision_transformer_config.hpp"

/// The JSON files that timm and transformers want beside the tensors. Needs the target wasi::io.
namespace wasi::files::detail {

using Json = nlohmann::ordered_json;

/// A ratio r with int(dim r) = mlp, which is how the packages find the MLP's width again.
[[nodiscard]] inline Json mlp_ratio(const nn::VisionTransformerConfig& config)
{
    if (config.mlp % config.dim == 0) {
        return config.mlp / config.dim;
    }
    double ratio = static_cast<double>(config.mlp) / static_cast<double>(config.dim);
    if (static_cast<Index>(static_cast<double>(config.dim) * ratio) < config.mlp) {
        ratio = std::nextafter(ratio, std::numeric_limits<double>::infinity());
    }
    return ratio;
}

/// transformers' config.json. `classes`: their names, or nothing.
[[nodiscard]] inline Json huggingface_config(const nn::VisionTransformerConfig& config, std::string_view family,
                                             const std::vector<std::string>& classes)
{
    const bool clip = family == "clip";
    const bool dinov2 = family == "dinov2";
    const bool registers = dinov2 && config.registers > 0;
    const std::string name = clip               ? "CLIPVision"
                             : dinov2           ? registers ? "Dinov2WithRegisters" : "Dinov2"
                             : family == "deit" ? "DeiT"
                                                : "ViT";
    const bool teacher = config.pooling == nn::Pooling::class_and_distillation;
    Json json;
    json["architectures"] = {name + (clip           ? config.head ? "ModelWithProjection" : "Model"
                                     : !config.head ? "Model"
                                     : teacher      ? "ForImageClassificationWithTeacher"
                                                    : "ForImageClassification")};
    json["model_type"] = clip ? "clip_vision_model" : registers ? "dinov2_with_registers" : std::string(family);
    json["hidden_size"] = config.dim;
    json["num_hidden_layers"] = config.depth;
    json["num_attention_heads"] = config.heads;
    if (dinov2) {
        json["mlp_ratio"] = mlp_ratio(config);
    } else {
        json["intermediate_size"] = config.mlp;
    }
    json["hidden_act"] = config.gelu == nn::Gelu::erf ? "gelu" : "quick_gelu";
    json["layer_norm_eps"] = config.epsilon;
    json["image_size"] = config.image;
    json["patch_size"] = config.patch;
    json["num_channels"] = nn::VisionTransformerConfig::channels;
    if (!clip) {
        json["qkv_bias"] = true;
    }
    if (registers) {
        json["num_register_tokens"] = config.registers;
    }
    if (clip && config.head) {
        json["projection_dim"] = config.classes;
    } else if (config.head) {
        for (Index i = 0; i < config.classes; ++i) {
            const std::string number = std::to_string(i);
            const std::string label =
                std::ssize(classes) == config.classes ? classes[static_cast<std::size_t>(i)] : "LABEL_" + number;
            json["id2label"][number] = label;
            json["label2id"][label] = i;
        }
    }
    return json;
}

/// transformers' preprocessor_config.json.
[[nodiscard]] inline Json huggingface_preprocessor(const data::Preprocessing& pictures, std::string_view family)
{
    const bool crops = !pictures.stretch && pictures.crop > 0;
    Json json;
    json["image_processor_type"] = family == "clip"     ? "CLIPImageProcessor"
                                   : family == "dinov2" ? "BitImageProcessor"
                                   : family == "deit"   ? "DeiTImageProcessor"
                                                        : "ViTImageProcessor";
    json["do_resize"] = pictures.resize > 0;
    if (pictures.resize > 0) {
        json["size"] = crops ? Json{{"shortest_edge", pictures.resize}}
                             : Json{{"height", pictures.resize}, {"width", pictures.resize}};
    }
    json["resample"] = pictures.interpolation == data::Interpolation::bicubic ? 3 : 2;
    json["do_center_crop"] = crops;
    if (crops) {
        json["crop_size"] = {{"height", pictures.crop}, {"width", pictures.crop}};
    }
    json["do_rescale"] = true;
    json["rescale_factor"] = 1.0 / 255.0;
    json["do_normalize"] = true;
    json["image_mean"] = pictures.mean;
    json["image_std"] = pictures.std;
    return json;
}

/// timm's config.json. An architecture stands for what no argument says, the epsilon of norms and the kind of GELU; the
/// arguments for all else.
[[nodiscard]] inline Json timm_config(const nn::VisionTransformerConfig& config, const data::Preprocessing& pictures)
{
    using nn::Pooling;
    const bool quick = config.gelu == nn::Gelu::quick;
    const bool coarse = config.epsilon > 3e-6;
    const bool average = config.pooling == Pooling::mean || config.pooling == Pooling::mean_before_norm;
    Json json;
    json["architecture"] = config.distillation_token ? "deit_base_distilled_patch16_224"
                           : quick                   ? "vit_base_patch16_clip_quickgelu_224"
                           : coarse                  ? "vit_base_patch16_clip_224"
                                                     : "vit_base_patch16_224";
    json["num_classes"] = config.head ? config.classes : 0;
    json["num_features"] = config.dim;
    json["global_pool"] = average ? "avg" : "token";
    Json& args = json["model_args"];
    args["img_size"] = config.image;
    args["patch_size"] = config.patch;
    args["embed_dim"] = config.dim;
    args["depth"] = config.depth;
    args["num_heads"] = config.heads;
    args["mlp_ratio"] = mlp_ratio(config);
    if (!config.distillation_token) {
        args["pre_norm"] = config.pre_norm;
        args["class_token"] = config.class_token;
        args["global_pool"] = json["global_pool"];
        args["fc_norm"] = config.pooling == Pooling::mean_before_norm;
    }
    if (config.registers > 0) {
        args["reg_tokens"] = config.registers;
        args["no_embed_class"] = true;
    }
    if (config.layer_scale) {
        args["init_values"] = 1.0;
    }
    Json& pretrained = json["pretrained_cfg"];
    pretrained["custom_load"] = false;
    pretrained["input_size"] = {nn::VisionTransformerConfig::channels, config.image, config.image};
    pretrained["fixed_input_size"] = true;
    pretrained["interpolation"] = to_string(pictures.interpolation);
    pretrained["crop_pct"] = pictures.resize > 0 && pictures.crop > 0 && pictures.crop <= pictures.resize
                                 ? static_cast<double>(pictures.crop) / static_cast<double>(pictures.resize)
                                 : 1.0;
    pretrained["crop_mode"] = pictures.stretch ? "squash" : "center";
    pretrained["mean"] = pictures.mean;
    pretrained["std"] = pictures.std;
    pretrained["num_classes"] = json["num_classes"];
    pretrained["first_conv"] = "patch_embed.proj";
    if (config.distillation_token) {
        pretrained["classifier"] = {"head", "head_dist"};
    } else {
        pretrained["classifier"] = "head";
    }
    return json;
}

}  // namespace wasi::files::detail
