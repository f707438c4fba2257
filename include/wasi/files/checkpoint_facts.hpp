#pragma once
#include <charconv>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "wasi/files/checkpoint.hpp"

/// What is asked of a checkpoint beside its values, and where it may be said. Needs the target wasi::io.
namespace wasi::files {

struct LoadOptions {
    /// Attention heads; no tensor shape tells them. Else config.json, the file's metadata, or the table of published
    /// widths (names.hpp), which is said; any other width is refused.
    std::optional<Index> heads = {};
    /// Image size; positions are resampled where it is not that of the file. Else what preprocessor_config.json crops
    /// to, else the file's.
    std::optional<Index> image = {};
    /// Layer scale as D trained factors a branch, else folded into the weights before it.
    bool train_layer_scale = false;
};

/// What was found, beside the values.
struct CheckpointFacts {
    nn::VisionTransformerConfig config;
    data::Preprocessing preprocessing;
    bool preprocessing_known = true;  ///< false of a model of this library that was made of other data than pictures
    bool folds_layer_scale = false;
    Index stored_grid = 0;  ///< patches across, in the file
    Index stored_position_rows = 0;
    bool transposed_head = false;
    std::vector<std::string> notes;  ///< what was settled by default, folded or resampled, a sentence each
};

namespace detail {

/// Reads fields of config.json, and those of the vision model in a file that describes two.
class ConfigReader {
public:
    explicit ConfigReader(const CheckpointHeader& header) : header_(&header), config_(&header.config)
    {
        if (config_->is_object() && config_->contains("vision_config") && (*config_)["vision_config"].is_object()) {
            config_ = &(*config_)["vision_config"];
        }
    }

    [[nodiscard]] const nlohmann::json* field(const char* name) const
    {
        for (const nlohmann::json* place : {config_, args(), pretrained()}) {
            if (place != nullptr && place->is_object() && place->contains(name) && !(*place)[name].is_null()) {
                return &(*place)[name];
            }
        }
        return nullptr;
    }
    [[nodiscard]] std::optional<Index> number(const char* name) const
    {
        const auto* found = field(name);
        if (found == nullptr) {
            return std::nullopt;
        }
        require<io_error>(found->is_number_integer() && *found >= 1 && *found <= (1 << 20), where(), name, " is ",
                          printable(found->dump()), ", a positive number is expected");
        return found->get<Index>();
    }
    /// Pixels that the positions are for, by any of the names there are.
    [[nodiscard]] std::optional<Index> image_size() const
    {
        for (const char* name : {"image_size", "img_size"}) {
            if (const auto* found = field(name); found != nullptr && found->is_number_integer()) {
                return number(name);
            }
        }
        const auto* found = field("input_size");
        const bool three = found != nullptr && found->is_array() && found->size() == 3;
        return three && (*found)[2].is_number_integer() ? std::optional<Index>((*found)[2].get<Index>()) : std::nullopt;
    }
    [[nodiscard]] std::string word(const char* name) const
    {
        const auto* found = field(name);
        return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
    }
    [[nodiscard]] std::string where() const { return (header_->path / "config.json").string() + ": "; }

    /// Throws io_error where config.json says another number than the tensors.
    void expect(const char* name, Index found) const
    {
        const auto said = number(name);
        require<io_error>(!said || *said == found, where(), name, " is ", said.value_or(0), ", the tensors say ",
                          found);
    }

private:
    [[nodiscard]] const nlohmann::json* below(const char* name) const
    {
        return config_->is_object() && config_->contains(name) ? &(*config_)[name] : nullptr;
    }
    [[nodiscard]] const nlohmann::json* args() const { return below("model_args"); }
    [[nodiscard]] const nlohmann::json* pretrained() const { return below("pretrained_cfg"); }

    const CheckpointHeader* header_;
    const nlohmann::json* config_;
};

/// The number under a key of the metadata. Throws io_error for anything but a positive number.
[[nodiscard]] inline Index metadata_number(const std::string& text, const std::filesystem::path& path,
                                           const std::string& key)
{
    Index value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    require<io_error>(failure == std::errc() && end == text.data() + text.size() && value >= 1 && value <= (1 << 20),
                      path.string(), ": metadata ", key, " is '", printable(text), "', a positive number is expected");
    return value;
}

}  // namespace detail

}  // namespace wasi::files
