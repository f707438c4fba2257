#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "wasi/files/model_file.hpp"
#include "wasi/nn/models/vision_transformer.hpp"

/// Vision Transformers in files, with torchvision's tensor names. Needs the target wasi::io.
namespace wasi::files {

struct LoadOptions {
    /// Attention heads; no tensor shape tells them. Else the file's metadata, else dim / 64 as in ViT-B and ViT-L.
    std::optional<Index> heads = {};
};

namespace detail {

/// Extent `mode` of a tensor of the given order; io_error when the file has it otherwise.
[[nodiscard]] inline Index extent(const io::SafetensorsFile& file, const std::filesystem::path& path,
                                  const std::string& name, std::size_t order, std::size_t mode)
{
    require<io_error>(file.contains(name), path.string(), ": there is no tensor ", name,
                      ", so this is not a Vision Transformer in torchvision's names");
    const auto& shape = file.info(name).shape;
    require<io_error>(shape.size() == order, path.string(), ": tensor ", name, " has shape ", shape_text(shape),
                      ", an order of ", order, " is expected");
    return shape[mode];
}

/// Outputs of a weight that may be held as factors.
[[nodiscard]] inline Index weight_outputs(const io::SafetensorsFile& file, const std::filesystem::path& path,
                                          const std::string& name)
{
    const std::string left = name + std::string(nn::left_suffix);
    return extent(file, path, file.contains(left) ? left : name, 2, 0);
}

[[nodiscard]] inline Index metadata_number(const io::SafetensorsFile& file, const std::filesystem::path& path,
                                           const std::string& key)
{
    const std::string& text = file.metadata().at(key);
    std::size_t used = 0;
    long long value = 0;
    try {
        value = std::stoll(text, &used);
    } catch (const std::logic_error&) {
        used = 0;
    }
    require<io_error>(used == text.size() && value >= 1 && value <= (1 << 20), path.string(), ": metadata ", key,
                      " is '", text, "', a positive number is expected");
    return static_cast<Index>(value);
}

}  // namespace detail

/// The configuration that the tensor shapes of a file imply. Throws io_error or argument_error when they imply none.
[[nodiscard]] inline nn::VisionTransformerConfig config_from_file(const io::SafetensorsFile& file,
                                                                  const std::filesystem::path& path,
                                                                  const LoadOptions& options)
{
    nn::VisionTransformerConfig config;
    config.dim = detail::extent(file, path, "class_token", 3, 2);
    config.patch = detail::extent(file, path, "conv_proj.weight", 4, 3);
    config.classes = detail::extent(file, path, "heads.head.weight", 2, 0);
    const Index patches = detail::extent(file, path, "encoder.pos_embedding", 3, 1) - 1;
    const auto across = static_cast<Index>(std::llround(std::sqrt(static_cast<double>(std::max<Index>(patches, 0)))));
    require<io_error>(patches >= 1 && across * across == patches, path.string(), ": encoder.pos_embedding is for ",
                      patches, " patches, which is not a square");
    config.image = across * config.patch;
    config.depth = 0;
    while (file.contains("encoder.layers.encoder_layer_" + std::to_string(config.depth) + ".ln_1.weight")) {
        ++config.depth;
    }
    require<io_error>(config.depth >= 1, path.string(), ": there is no encoder.layers.encoder_layer_0");
    config.mlp = detail::weight_outputs(file, path, "encoder.layers.encoder_layer_0.mlp.0.weight");
    if (options.heads) {
        config.heads = *options.heads;
    } else if (file.metadata().contains("heads")) {
        config.heads = detail::metadata_number(file, path, "heads");
    } else {
        config.heads = std::max<Index>(1, config.dim / 64);
    }
    config.check();
    return config;
}

/// Loads a model: its shape by config_from_file, its weights by read_model. Throws what they do.
template <Scalar T, class S>
[[nodiscard]] std::unique_ptr<nn::VisionTransformer<T, S>> load_model(
    const std::filesystem::path& path, Memory& memory, const LoadOptions& options = {},
    const std::type_identity_t<WeightVisitor<T, S>>& after_weight = {})
{
    const io::SafetensorsFile file(path);
    auto model = std::make_unique<nn::VisionTransformer<T, S>>(config_from_file(file, path, options), memory);
    read_model(*model, file, path, after_weight);
    return model;
}

/// What of a configuration no tensor's shape tells.
[[nodiscard]] inline std::map<std::string, std::string> config_metadata(const nn::VisionTransformerConfig& config)
{
    return {{"heads", message(config.heads)}, {"patch", message(config.patch)}, {"image", message(config.image)}};
}

/// Writes a model, whole or not at all, with heads, patch and image in the metadata. Throws what write_model does.
template <Scalar T, class S>
void save_model(nn::VisionTransformer<T, S>& model, const std::filesystem::path& path,
                std::map<std::string, std::string> metadata = {})
{
    for (auto& [key, value] : config_metadata(model.config())) {
        metadata[key] = value;
    }
    write_model(model, path, std::move(metadata));
}

}  // namespace wasi::files
