#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/files/model_file.hpp"
#include "wasi/io/atomic_file.hpp"
#include "wasi/nn/models/vision_transformer.hpp"

/// Low-rank adapters of a Vision Transformer in PEFT's format: a folder with adapter_config.json and
/// adapter_model.safetensors, for the module names of torchvision. Needs the target wasi::io.
namespace wasi::files {

namespace detail {

inline constexpr std::string_view peft_prefix = "base_model.model.";
inline constexpr const char* peft_config = "adapter_config.json";
inline constexpr const char* peft_weights = "adapter_model.safetensors";

/// What PEFT calls factor `which` ("lora_A", "lora_B") of a weight. Its attention is one module: the adapter of in_proj
/// is the attention's own, that of out_proj lies in the module that it wraps.
[[nodiscard]] inline std::string peft_name(const std::string& weight, std::string_view which)
{
    constexpr std::string_view in_proj = ".in_proj_weight";
    constexpr std::string_view out_proj = ".out_proj.weight";
    constexpr std::string_view plain = ".weight";
    std::string module = weight;
    if (weight.ends_with(in_proj)) {
        module.resize(weight.size() - in_proj.size());
    } else if (weight.ends_with(out_proj)) {
        module.resize(weight.size() - out_proj.size());
        module += ".base_layer.out_proj";
    } else {
        module.resize(weight.size() - plain.size());
    }
    return std::string(peft_prefix) + module + "." + std::string(which) + ".weight";
}

/// The module that target_modules has to name for a weight.
[[nodiscard]] inline std::string peft_target(const std::string& weight)
{
    for (const std::string_view part : {"self_attention", "mlp.0", "mlp.3"}) {
        if (weight.find("." + std::string(part)) != std::string::npos) {
            return std::string(part);
        }
    }
    return weight;
}

}  // namespace detail

/// What an adapter's configuration says.
struct AdapterConfig {
    double alpha = 8.0;
    bool rank_stabilized = false;  ///< s = alpha / sqrt(r) instead of alpha / r (rsLoRA, arXiv 2312.03732)
};

/// Reads adapter_config.json. Throws io_error for what is no LoRA, and for what this library does not have: DoRA,
/// biases, patterns of ranks.
[[nodiscard]] inline AdapterConfig read_adapter_config(const std::filesystem::path& folder)
{
    const auto path = folder / detail::peft_config;
    std::ifstream file(path);
    require<io_error>(file.good(), path.string(), ": cannot be read");
    try {
        const auto json = nlohmann::json::parse(file);
        const auto refuse_unless = [&](bool fine, const char* what) {
            require<io_error>(fine, path.string(), ": ", what);
        };
        refuse_unless(json.at("peft_type") == "LORA", "peft_type is not LORA");
        refuse_unless(!json.value("use_dora", false), "use_dora: DoRA is not supported");
        refuse_unless(json.value("bias", "none") == "none", "bias: only \"none\" is supported");
        refuse_unless(!json.value("fan_in_fan_out", false), "fan_in_fan_out is not supported");
        for (const char* pattern : {"rank_pattern", "alpha_pattern"}) {
            refuse_unless(!json.contains(pattern) || json[pattern].empty(),
                          "patterns of ranks and alphas are not supported");
        }
        return {json.at("lora_alpha").get<double>(), json.value("use_rslora", false)};
    } catch (const nlohmann::json::exception& failure) {
        throw io_error(message(path.string(), ": ", failure.what()));
    }
}

/// Adapts the layers that the folder has factors for, and takes its head where it has one. The model's weights are the
/// base, held in the precision `base`. Throws io_error and shape_error for what does not fit, and for tensors that
/// belong nowhere.
template <Scalar T, class S>
void load_adapter(nn::VisionTransformer<T, S>& model, const std::filesystem::path& folder,
                  Precision base = Precision::full)
{
    const AdapterConfig config = read_adapter_config(folder);
    const auto path = folder / detail::peft_weights;
    const io::SafetensorsFile file(path);
    std::set<std::string> used;
    const auto read = [&](const std::string& name, Tensor<T>& values) {
        const auto& shape = file.info(name).shape;
        require<shape_error>(std::equal(shape.begin(), shape.end(), values.shape().begin(), values.shape().end()),
                             path.string(), ": tensor ", name, " has shape ", shape_text(shape), ", the model needs ",
                             shape_text(values.shape()));
        detail::fill_on_host(values, [&](std::span<T> numbers) {
            file.read(name, numbers);
            return true;
        });
        require<argument_error>(S::all_finite(std::as_const(values).matrix()), path.string(), ": tensor ", name,
                                " holds NaN or infinity");
        used.insert(name);
    };
    nn::visit_layers(model, [&](nn::Place place, nn::Linear<T, S>& layer) {
        const std::string& weight = layer.weight.name();
        if (place.role == nn::Role::head) {
            const std::string head = std::string(detail::peft_prefix) + weight;
            if (file.contains(head)) {
                read(head, layer.weight.dense());
                read(std::string(detail::peft_prefix) + layer.bias.name(), layer.bias.values);
            }
            return;
        }
        const std::string name_a = detail::peft_name(weight, "lora_A");
        if (!nn::is_selected(place.role, nn::Layers::all) || !file.contains(name_a)) {
            return;
        }
        const auto& shape = file.info(name_a).shape;
        require<io_error>(shape.size() == 2 && shape[0] >= 1, path.string(), ": tensor ", name_a, " has shape ",
                          shape_text(shape), ", a matrix is expected");
        const auto rank = static_cast<double>(shape[0]);
        nn::set_up(layer.weight, nn::WeightSetup(nn::AdapterOptions{
                                     .rank = shape[0],
                                     .alpha = config.rank_stabilized ? config.alpha * std::sqrt(rank) : config.alpha,
                                     .base = base}));
        auto& adapter = *layer.weight.template held_as<nn::AdapterOptions>();
        read(name_a, adapter.a.values);
        read(detail::peft_name(weight, "lora_B"), adapter.b.values);
    });
    require<io_error>(!used.empty(), path.string(), ": has no adapter for any layer of this model");
    for (const std::string& name : file.names()) {
        require<io_error>(used.contains(name), path.string(), ": tensor ", name, " does not belong to this model");
    }
}

/// Writes the adapters of a model and its head; the folder is made. Throws argument_error for a model without adapters,
/// or with adapters of several ranks or alphas, io_error when a file cannot be written.
template <Scalar T, class S>
void save_adapter(nn::VisionTransformer<T, S>& model, const std::filesystem::path& folder)
{
    std::vector<io::TensorToWrite> tensors;
    detail::HostCopies copies;
    std::set<std::string> targets;
    std::optional<nn::AdapterOptions> options;
    const auto write = [&](std::string name, const Tensor<T>& values) {
        tensors.push_back(
            {std::move(name), std::vector<Index>(values.shape().begin(), values.shape().end()), copies.of(values)});
    };
    nn::visit_layers(model, [&](nn::Place place, nn::Linear<T, S>& layer) {
        const std::string& weight = layer.weight.name();
        if (place.role == nn::Role::head) {
            write(std::string(detail::peft_prefix) + weight, std::as_const(layer.weight).dense());
            write(std::string(detail::peft_prefix) + layer.bias.name(), layer.bias.values);
        } else if (const auto* adapter = layer.weight.template held_as<nn::AdapterOptions>()) {
            const nn::AdapterOptions own = adapter->options();
            require<argument_error>(!options || (options->rank == own.rank && options->alpha == own.alpha),
                                    "save_adapter: ", weight, " has another rank or alpha than the layers before");
            options = own;
            targets.insert(detail::peft_target(weight));
            write(detail::peft_name(weight, "lora_A"), adapter->a.values);
            write(detail::peft_name(weight, "lora_B"), adapter->b.values);
        }
    });
    require<argument_error>(options.has_value(), "save_adapter: the model has no adapters");
    nlohmann::ordered_json config;
    config["peft_type"] = "LORA";
    config["base_model_name_or_path"] = nullptr;
    config["task_type"] = nullptr;
    config["inference_mode"] = true;
    config["r"] = options->rank;
    config["lora_alpha"] = options->alpha;
    config["lora_dropout"] = 0.0;
    config["bias"] = "none";
    config["fan_in_fan_out"] = false;
    config["use_rslora"] = false;
    config["use_dora"] = false;
    config["init_lora_weights"] = true;
    config["target_modules"] = targets;
    config["modules_to_save"] = {"head"};
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    require<io_error>(!failure, folder.string(), ": cannot be made a folder: ", failure.message());
    io::write_safetensors(folder / detail::peft_weights, tensors, {{"format", "pt"}});
    io::write_file_atomically(folder / detail::peft_config, config.dump(2) + "\n");
}

}  // namespace wasi::files
