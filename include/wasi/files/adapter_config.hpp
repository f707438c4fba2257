#pragma once
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "wasi/core/error.hpp"
#include "wasi/io/atomic_file.hpp"
#include "wasi/nn/weights/adapter_options.hpp"

/// The configuration and the names of low-rank adapters in PEFT's format, for the module names of torchvision. Needs
/// the target wasi::io.
namespace wasi::files {

namespace detail {

inline constexpr std::string_view peft_prefix = "base_model.model.";
inline constexpr const char* peft_config = "adapter_config.json";
inline constexpr const char* peft_weights = "adapter_model.safetensors";

/// What PEFT calls tensor `which` ("lora_A.weight", "lora_magnitude_vector") of a weight. Its attention is one module:
/// the adapter of in_proj is the attention's own, that of out_proj lies in the module that it wraps.
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
    return std::string(peft_prefix) + module + "." + std::string(which);
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

/// `init_lora_weights` for a start, and back. PEFT makes the weights of "pissa" and "olora" again when it loads an
/// adapter, from the weights that it was started on, and so do we; what is not the same each time cannot be.
[[nodiscard]] inline nlohmann::json peft_start(nn::AdapterStart start)
{
    switch (start) {
        case nn::AdapterStart::pissa:
            return "pissa";
        case nn::AdapterStart::olora:
            return "olora";
        case nn::AdapterStart::mica:
            return "mica";
        default:
            return true;
    }
}
[[nodiscard]] inline nn::AdapterStart start_of_peft(const nlohmann::json& word, const std::string& path)
{
    if (word.is_boolean() || word == "gaussian" || word == "eva" || word == "orthogonal") {
        return nn::AdapterStart::kaiming;  // these leave the weights as they are
    }
    for (const auto start : {nn::AdapterStart::pissa, nn::AdapterStart::olora, nn::AdapterStart::mica}) {
        if (word == peft_start(start)) {
            return start;
        }
    }
    throw io_error(message(path, ": init_lora_weights ", word.dump(),
                           " has changed the weights in a way that cannot be repeated; save it with "
                           "path_initial_model_for_weight_conversion"));
}

}  // namespace detail

/// What an adapter's configuration says.
struct AdapterConfig {
    double alpha = 8.0;
    bool rank_stabilized = false;  ///< s = alpha / sqrt(r) instead of alpha / r (rsLoRA, arXiv 2312.03732)
    nn::AdapterStart start = nn::AdapterStart::kaiming;
    bool dora = false;  ///< with magnitudes (nn::DoraWeight)

    friend bool operator==(const AdapterConfig&, const AdapterConfig&) = default;
};

/// Reads adapter_config.json. Throws io_error for what is no LoRA, and for what this library does not have: biases,
/// patterns of ranks, starts that have changed the weights by chance or by data.
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
        refuse_unless(json.value("bias", "none") == "none", "bias: only \"none\" is supported");
        refuse_unless(!json.value("fan_in_fan_out", false), "fan_in_fan_out is not supported");
        for (const char* pattern : {"rank_pattern", "alpha_pattern"}) {
            refuse_unless(!json.contains(pattern) || json[pattern].empty(),
                          "patterns of ranks and alphas are not supported");
        }
        return {json.at("lora_alpha").get<double>(), json.value("use_rslora", false),
                detail::start_of_peft(json.value("init_lora_weights", nlohmann::json(true)), path.string()),
                json.value("use_dora", false)};
    } catch (const nlohmann::json::exception& failure) {
        throw io_error(message(path.string(), ": ", failure.what()));
    }
}

/// Writes adapter_config.json for adapters of this rank in these modules. Throws io_error when it cannot be written.
inline void write_adapter_config(const std::filesystem::path& folder, const AdapterConfig& config, Index rank,
                                 const std::set<std::string>& targets)
{
    nlohmann::ordered_json json;
    json["peft_type"] = "LORA";
    json["base_model_name_or_path"] = nullptr;
    json["task_type"] = nullptr;
    json["inference_mode"] = true;
    json["r"] = rank;
    json["lora_alpha"] = config.alpha;
    json["lora_dropout"] = 0.0;
    json["bias"] = "none";
    json["fan_in_fan_out"] = false;
    json["use_rslora"] = config.rank_stabilized;
    json["use_dora"] = config.dora;
    json["init_lora_weights"] = detail::peft_start(config.start);
    json["target_modules"] = targets;
    json["modules_to_save"] = {"head"};
    io::write_file_atomically(folder / detail::peft_config, json.dump(2) + "\n");
}

}  // namespace wasi::files
