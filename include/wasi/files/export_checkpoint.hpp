#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "wasi/files/export_config.hpp"
#include "wasi/files/export_tensors.hpp"
#include "wasi/files/vision_transformer_file.hpp"
#include "wasi/io/atomic_file.hpp"

/// Vision Transformers written for other programs. Needs the target wasi::io.
namespace wasi::files {

/// For whom: torchvision, timm, or Hugging Face's transformers, there as the family that the model is of.
enum class ExportAs : std::uint8_t { torchvision, timm, huggingface };

struct ExportOptions {
    ExportAs as = ExportAs::torchvision;
    bool dense = false;                      ///< multiply products out; else only this library reads what has them
    io::Dtype stored_as = io::Dtype::f32;    ///< F32, F16 or BF16
    data::Preprocessing preprocessing = {};  ///< of pictures, for those who read it
    std::vector<std::string> classes = {};   ///< their names, for those who read them
};

namespace detail {

inline void refuse(bool wrong, std::string_view whom, std::string_view what)
{
    require<argument_error>(!wrong, "export for ", whom, ": ", what);
}

/// The family in which transformers has such a model. Throws argument_error where it has none.
[[nodiscard]] inline std::string_view huggingface_family(const nn::VisionTransformerConfig& config)
{
    using nn::Pooling;
    constexpr std::string_view whom = "Hugging Face";
    refuse(config.pooling == Pooling::mean || config.pooling == Pooling::mean_before_norm, whom,
           "the model reads the mean of its patches, for which transformers has no class; timm has one");
    const bool scaled = config.registers > 0 || config.pooling == Pooling::class_and_mean || config.layer_scale;
    const std::string_view family = config.pre_norm             ? "clip"
                                    : scaled                    ? "dinov2"
                                    : config.distillation_token ? "deit"
                                                                : "vit";
    refuse(config.distillation_token && family != "deit", whom,
           "a distillation token together with a norm before the blocks, registers or layer scale");
    refuse(family == "clip" && (config.registers > 0 || config.pooling != Pooling::class_token), whom,
           "a norm before the blocks together with registers or another pooling than the class token's");
    return family;
}

inline void check_timm(const nn::VisionTransformerConfig& config)
{
    using nn::Pooling;
    constexpr std::string_view whom = "timm";
    refuse(config.pooling == Pooling::class_and_mean, whom,
           "the head reads the class token and the mean of the patches, for which timm has no model; Hugging Face has "
           "one");
    refuse(config.distillation_token && (config.pooling != Pooling::class_and_distillation || config.registers > 0 ||
                                         config.pre_norm || config.layer_scale || config.gelu == nn::Gelu::quick),
           whom, "a distillation token in a model that is not DeiT's");
    refuse(config.distillation_token && !config.head, whom, "a distilled model without heads");
}

inline void check_torchvision(const nn::VisionTransformerConfig& config)
{
    const bool same = config.gelu == nn::Gelu::erf && config.class_token && !config.distillation_token &&
                      config.registers == 0 && !config.pre_norm && config.pooling == nn::Pooling::class_token;
    refuse(
        !same, "torchvision",
        "the model has tokens, a norm, a pooling or an activation that torchvision's has not; its own family has them");
    refuse(!config.head, "torchvision", "the model has no head");
}

[[nodiscard]] inline std::string export_prefix(const nn::VisionTransformerConfig& config, std::string_view family)
{
    if (!config.head && family != "clip") {
        return {};
    }
    return family == "clip"                             ? "vision_model."
           : family == "dinov2" && config.registers > 0 ? "dinov2_with_registers."
                                                        : std::string(family) + ".";
}

}  // namespace detail

/// Writes a model into a folder, made if it is not there, as the package of that name loads it: model.safetensors, for
/// timm and Hugging Face config.json, for the latter preprocessor_config.json. The whole is written layer by layer.
/// What a family stores otherwise goes the way back: two heads of a distilled model, ones for a layer scale that was
/// folded, the bias of patches in the positions of CLIP. Layer scale of a family without is multiplied in. Returns
/// sentences on what the reader has to know. Throws argument_error for a model that the package has not, or whose
/// weights are products and may not be multiplied out; io_error when a file cannot be written.
template <Scalar T, class S>
[[nodiscard]] std::vector<std::string> export_checkpoint(nn::VisionTransformer<T, S>& model,
                                                         const std::filesystem::path& folder,
                                                         const ExportOptions& options = {})
{
    const auto& config = model.config();
    const data::Preprocessing pictures = data::for_image(options.preprocessing, config.image);
    std::vector<std::string> notes;
    std::string products;
    nn::visit_layers(model, [&](nn::Place, nn::Linear<T, S>& layer) {
        const bool product = layer.weight.template held_as<nn::DenseOptions>() == nullptr;
        products = products.empty() && product ? layer.weight.name() : products;
    });
    std::string_view family = "torchvision";
    if (options.as == ExportAs::torchvision) {
        detail::check_torchvision(config);
        if (config.epsilon != 1e-6) {
            notes.push_back(message("layer norms have epsilon ", config.epsilon,
                                    ": give torchvision's model norm_layer=partial(LayerNorm, eps=", config.epsilon,
                                    ")"));
        }
    } else if (options.as == ExportAs::timm) {
        family = "timm";
        detail::check_timm(config);
        if (std::abs(config.epsilon / (config.epsilon > 3e-6 ? 1e-5 : 1e-6) - 1.0) > 1e-3) {
            notes.push_back(message("layer norms have epsilon ", config.epsilon, ", timm's ",
                                    config.epsilon > 3e-6 ? 1e-5 : 1e-6, ": results differ by as much"));
        }
    } else {
        family = detail::huggingface_family(config);
        if (family == "clip" && model.head) {
            const auto bias = std::as_const(model.head->bias.values).span();
            detail::refuse(std::any_of(bias.begin(), bias.end(), [](T value) { return value != T(0); }), "Hugging Face",
                           "the head has a bias, which CLIP's projection has not; timm's CLIP has one");
        }
    }
    if (!products.empty() && !options.dense) {
        detail::refuse(
            options.as != ExportAs::torchvision, family == "timm" ? "timm" : "Hugging Face",
            message(products, " is held as factors, which no other package reads: dense multiplies them out"));
        notes.push_back(message("weights that are factors stay factors, which this library alone reads (", products,
                                " is the first); dense multiplies them out"));
    }
    std::error_code failure;
    for (const char* other : {"config.json", "preprocessor_config.json"}) {
        const bool written = options.as == ExportAs::huggingface ||
                             (options.as == ExportAs::timm && std::string_view(other) == "config.json");
        require<io_error>(written || !std::filesystem::exists(folder / other, failure), (folder / other).string(),
                          ": is there already and would be read with what is exported: take another folder");
    }
    std::filesystem::create_directories(folder, failure);
    require<io_error>(!failure, folder.string(), ": cannot be made a folder: ", failure.message());
    std::map<std::string, std::string> metadata{{"format", "pt"}};
    if (options.as == ExportAs::torchvision) {
        metadata = config_metadata(config);
        metadata["format"] = "pt";
        metadata["preprocessing"] = data::to_text(pictures);
        if (std::ssize(options.classes) == config.classes) {
            metadata["classes"] = class_names_text(options.classes);
        }
    }
    const auto path = folder / "model.safetensors";
    if (!products.empty() && !options.dense) {
        save_model(model, path, std::move(metadata), options.stored_as);
        return notes;
    }
    detail::ExportTensors<T, S> tensors(
        model, family_named(family), options.as == ExportAs::huggingface ? detail::export_prefix(config, family) : "",
        options.stored_as);
    io::write_safetensors(path, tensors.take(), metadata);
    if (options.as == ExportAs::timm) {
        io::write_file_atomically(folder / "config.json", detail::timm_config(config, pictures).dump(2) + "\n");
    } else if (options.as == ExportAs::huggingface) {
        auto json = detail::huggingface_config(config, family, options.classes);
        json["dtype"] = options.stored_as == io::Dtype::f16    ? "float16"
                        : options.stored_as == io::Dtype::bf16 ? "bfloat16"
                                                               : "float32";
        io::write_file_atomically(folder / "config.json", json.dump(2) + "\n");
        io::write_file_atomically(folder / "preprocessor_config.json",
                                  detail::huggingface_preprocessor(pictures, family).dump(2) + "\n");
    }
    return notes;
}

}  // namespace wasi::files
