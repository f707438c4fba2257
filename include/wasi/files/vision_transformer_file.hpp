#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "wasi/files/load_checkpoint.hpp"

/// Vision Transformers in files, with torchvision's tensor names. Needs the target wasi::io.
namespace wasi::files {

/// The configuration of a checkpoint's header. Throws what facts_of does.
[[nodiscard]] inline nn::VisionTransformerConfig config_from_file(const std::filesystem::path& path,
                                                                  const LoadOptions& options = {})
{
    Checkpoint file(path);
    return facts_of(NamedCheckpoint(file.header()), options).config;
}

/// load_checkpoint without its report.
template <Scalar T, class S>
[[nodiscard]] std::unique_ptr<nn::VisionTransformer<T, S>> load_model(
    const std::filesystem::path& path, Memory& memory, const LoadOptions& options = {},
    const std::type_identity_t<WeightVisitor<T, S>>& after_weight = {})
{
    return load_checkpoint<T, S>(path, memory, options, after_weight).model;
}

/// What of a configuration no tensor's name or shape tells.
[[nodiscard]] inline std::map<std::string, std::string> config_metadata(const nn::VisionTransformerConfig& config)
{
    std::map<std::string, std::string> result{
        {"heads", message(config.heads)}, {"patch", message(config.patch)}, {"image", message(config.image)}};
    const nn::VisionTransformerConfig usual;
    if (config.epsilon != usual.epsilon) {
        result["epsilon"] = detail::number_text(config.epsilon);
    }
    if (config.gelu != usual.gelu) {
        result["gelu"] = to_string(config.gelu);
    }
    if (config.pooling != usual.pooling) {
        result["pooling"] = to_string(config.pooling);
    }
    return result;
}

/// Writes a model, whole or not at all, with heads, patch and image in the metadata, and what else of it is not
/// torchvision's. Throws what write_model does.
template <Scalar T, class S>
void save_model(nn::VisionTransformer<T, S>& model, const std::filesystem::path& path,
                std::map<std::string, std::string> metadata = {}, std::optional<io::Dtype> stored_as = std::nullopt)
{
    for (auto& [key, value] : config_metadata(model.config())) {
        metadata[key] = value;
    }
    write_model(model, path, std::move(metadata), stored_as);
}

}  // namespace wasi::files
