#pragma once
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi/io/safetensors.hpp"
#include "wasi/nn/vision_transformer.hpp"

/// A Vision Transformer in a safetensors file: torchvision's tensor names, a low-rank weight as NAME.left (O,K) and
/// NAME.right (K,I) in place of NAME. Metadata: heads and patch, free_factors if any weight is held so (the names of
/// those weights, by commas; of all others L must be orthonormal), plus whatever the writer adds. Needs the target
/// wasi::io.
namespace wasi::train {

/// What is to be done with a weight that was just read, of a model with so many blocks.
template <Scalar T, class S>
using WeightVisitor = std::function<void(nn::LinearWeight<T, S>& weight, Index depth)>;

struct LoadOptions {
    /// Attention heads; no tensor shape tells them. Else the file's metadata, else dim / 64 as in ViT-B and ViT-L.
    std::optional<Index> heads = {};
};

namespace detail {

inline constexpr std::string_view left_suffix = ".left";
inline constexpr std::string_view right_suffix = ".right";
inline constexpr const char* free_factors_key = "free_factors";  // metadata

/// The weights whose factors are free, by the file's metadata. Throws io_error for a name without factors.
[[nodiscard]] inline std::set<std::string> free_factor_names(const io::SafetensorsFile& file,
                                                             const std::filesystem::path& path)
{
    std::set<std::string> names;
    const auto found = file.metadata().find(free_factors_key);
    if (found == file.metadata().end()) {
        return names;
    }
    for (std::size_t begin = 0; begin <= found->second.size();) {
        const std::size_t end = std::min(found->second.find(',', begin), found->second.size());
        const std::string name = found->second.substr(begin, end - begin);
        require<io_error>(file.contains(name + std::string(left_suffix)), path.string(), ": metadata ",
                          free_factors_key, " names '", name, "', of which there are no factors");
        names.insert(name);
        begin = end + 1;
    }
    return names;
}

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
    const std::string left = name + std::string(left_suffix);
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

/// Reads one tensor after checking its shape, and that every value is finite.
template <class S, Scalar T>
void read_tensor(const io::SafetensorsFile& file, const std::filesystem::path& path, const std::string& name,
                 Tensor<T>& target)
{
    require<io_error>(file.contains(name), path.string(), ": tensor ", name, " is missing");
    const auto& shape = file.info(name).shape;
    require<shape_error>(std::equal(shape.begin(), shape.end(), target.shape().begin(), target.shape().end()),
                         path.string(), ": tensor ", name, " has shape ", shape_text(shape), ", the model needs ",
                         shape_text(target.shape()));
    file.read(name, target.span());
    require<argument_error>(S::all_finite(std::as_const(target).matrix()), path.string(), ": tensor ", name, " ",
                            shape_text(shape), " holds NaN or infinity");
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

/// Loads a model. Weights that the file holds as factors are held so; a dense copy of them never exists. `after_weight`
/// is called with every linear weight as soon as it is read, e.g. to factorize it: of a model that is to be low rank no
/// more than one weight is dense at a time. Throws io_error for missing or extra tensors and everything SafetensorsFile
/// refuses, shape_error for a wrong shape, argument_error for NaN or infinity and for heads that do not divide dim.
template <Scalar T, class S>
[[nodiscard]] std::unique_ptr<nn::VisionTransformer<T, S>> load_model(
    const std::filesystem::path& path, Memory& memory, const LoadOptions& options = {},
    const std::type_identity_t<WeightVisitor<T, S>>& after_weight = {})
{
    const io::SafetensorsFile file(path);
    auto model = std::make_unique<nn::VisionTransformer<T, S>>(config_from_file(file, path, options), memory);
    const std::set<std::string> free_factors = detail::free_factor_names(file, path);
    std::set<std::string> expected;
    const auto read = [&](const std::string& name, Tensor<T>& target) {
        detail::read_tensor<S>(file, path, name, target);
        expected.insert(name);
    };
    const auto read_weight = [&](nn::LinearWeight<T, S>& parameter) {
        const std::string left = parameter.name() + std::string(detail::left_suffix);
        const std::string right = parameter.name() + std::string(detail::right_suffix);
        if (!file.contains(left)) {
            read(parameter.name(), parameter.dense());
            return;
        }
        const Index rank = detail::extent(file, path, left, 2, 1);
        require<io_error>(rank >= 1 && rank <= std::min(parameter.outputs(), parameter.inputs()), path.string(),
                          ": tensor ", left, " has rank ", rank, ", the weight is (", parameter.outputs(), ", ",
                          parameter.inputs(), ")");
        Tensor<T> l(memory, parameter.tag(), Shape{parameter.outputs(), rank});
        Tensor<T> r(memory, parameter.tag(), Shape{rank, parameter.inputs()});
        read(left, l);
        read(right, r);
        if (free_factors.contains(parameter.name())) {
            parameter.hold(subspace::FreeFactors<T, S>::from_factors(std::move(l), std::move(r)));
        } else {
            parameter.hold(subspace::WeightSubspace<T, S>::from_factors(std::move(l), std::move(r)));
        }
    };
    model->for_each_parameter([&](auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            read(parameter.name(), parameter.values);
        } else {
            read_weight(parameter);
            if (after_weight) {
                after_weight(parameter, model->config().depth);
            }
        }
    });
    for (const std::string& name : file.names()) {
        require<io_error>(expected.contains(name), path.string(), ": tensor ", name, " does not belong to this model");
    }
    return model;
}

/// Writes a model, whole or not at all. `metadata` is added to heads, patch, image and free_factors.
/// Throws io_error when the file cannot be written.
template <Scalar T, class S>
void save_model(nn::VisionTransformer<T, S>& model, const std::filesystem::path& path,
                std::map<std::string, std::string> metadata = {})
{
    std::vector<io::TensorToWrite> tensors;
    std::string free_factors;
    const auto write = [&](std::string name, const Shape& shape, std::span<const T> values) {
        tensors.push_back({std::move(name), std::vector<Index>(shape.begin(), shape.end()), values});
    };
    model.for_each_parameter([&](auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            write(parameter.name(), parameter.values.shape(), std::as_const(parameter.values).span());
        } else if (parameter.is_low_rank()) {
            const auto factors = parameter.low_rank();
            if (parameter.free_factors() != nullptr) {
                free_factors += (free_factors.empty() ? "" : ",") + parameter.name();
            }
            const auto flat = [](ConstMatrixView<T> m) {
                return std::span<const T>(m.data, static_cast<std::size_t>(m.size()));
            };
            write(parameter.name() + std::string(detail::left_suffix), Shape{factors.outputs(), factors.rank()},
                  flat(factors.left()));
            write(parameter.name() + std::string(detail::right_suffix), Shape{factors.rank(), factors.inputs()},
                  flat(factors.right()));
        } else {
            write(parameter.name(), parameter.shape(), std::as_const(parameter).dense().span());
        }
    });
    metadata["heads"] = std::to_string(model.config().heads);
    metadata["patch"] = std::to_string(model.config().patch);
    metadata["image"] = std::to_string(model.config().image);
    metadata.erase(detail::free_factors_key);
    if (!free_factors.empty()) {
        metadata[detail::free_factors_key] = free_factors;
    }
    io::write_safetensors(path, tensors, metadata);
}

}  // namespace wasi::train
