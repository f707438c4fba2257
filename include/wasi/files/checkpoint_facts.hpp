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

/// Throws io_error for anything but a whole number from 1 to 2^20. `where`: the file, for messages.
[[nodiscard]] inline Index positive(const nlohmann::json& value, const char* name, const std::string& where)
{
    require<io_error>(value.is_number_integer() && value >= 1 && value <= (1 << 20), where, name, " is ",
                      printable(value.dump()), ", a positive number is expected");
    return value.get<Index>();
}

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
        return found == nullptr ? std::nullopt : std::optional<Index>(positive(*found, name, where()));
    }
    /// Pixels that the positions are for, by any of the names there are: a number, or [height, width] or [channels,
    /// height, width] of a square. Throws io_error for anything else.
    [[nodiscard]] std::optional<Index> image_size() const
    {
        for (const char* name : {"image_size", "img_size", "input_size"}) {
            const auto* found = field(name);
            if (found == nullptr) {
                continue;
            }
            if (!found->is_array()) {
                return number(name);
            }
            const std::size_t extents = found->size();
            require<io_error>((extents == 2 || extents == 3) && (*found)[extents - 2] == (*found)[extents - 1], where(),
                              name, " is ", printable(found->dump()), ", a square is expected");
            return positive(found->back(), name, where());
        }
        return std::nullopt;
    }
    /// Empty where there is none. Throws io_error for what is no string.
    [[nodiscard]] std::string word(const char* name) const
    {
        const auto* found = field(name);
        require<io_error>(found == nullptr || found->is_string(), where(), name, " is ",
                          found == nullptr ? "" : printable(found->dump()), ", a word is expected");
        return found != nullptr ? found->get<std::string>() : std::string();
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

/// VisionTransformerConfig::check, which names the file. Throws argument_error.
inline void check_config(const nn::VisionTransformerConfig& config, const std::filesystem::path& path)
{
    try {
        config.check();
    } catch (const argument_error& failure) {
        throw argument_error(message(path.string(), ": ", failure.what()));
    }
}

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
