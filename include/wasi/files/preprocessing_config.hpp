#pragma once
#include <array>
#include <cmath>
#include <string>

#include "wasi/files/checkpoint_facts.hpp"

/// Mean, deviation and resizing out of the files beside a checkpoint. Needs the target wasi::io.
namespace wasi::files::detail {

/// Three numbers, or one for all three; as they were where there are none. Throws io_error.
inline void read_three(const nlohmann::json& object, const char* name, const std::string& where,
                       std::array<double, 3>& values)
{
    if (!object.contains(name) || object[name].is_null()) {
        return;
    }
    const auto& list = object[name];
    bool fine = list.is_array() && list.size() == 3;
    for (std::size_t c = 0; fine && c < 3; ++c) {
        fine = list[c].is_number();
        values[c] = fine ? list[c].get<double>() : 0.0;
    }
    require<io_error>(fine, where, name, " is ", printable(list.dump()), ", three numbers are expected");
}

/// A number, {"height": H, "width": H} or {"shortest_edge": E}; 0 where there is none. Throws io_error.
[[nodiscard]] inline Index read_size(const nlohmann::json& object, const char* name, const std::string& where,
                                     bool& square)
{
    if (!object.contains(name) || object[name].is_null()) {
        return 0;
    }
    const auto& size = object[name];
    const auto number = [&](const nlohmann::json& value) {
        require<io_error>(value.is_number_integer() && value >= 1 && value <= (1 << 20), where, name, " is ",
                          printable(size.dump()), ", pixels are expected");
        return value.get<Index>();
    };
    square = !size.is_object() || !size.contains("shortest_edge");
    if (!size.is_object()) {
        return number(size);
    }
    if (!square) {
        return number(size["shortest_edge"]);
    }
    require<io_error>(size.contains("height") && size.contains("width") && size["height"] == size["width"], where, name,
                      " is ", printable(size.dump()), ", a square is expected");
    return number(size["height"]);
}

[[nodiscard]] inline bool flag(const nlohmann::json& object, const char* name, bool otherwise)
{
    return object.contains(name) && object[name].is_boolean() ? object[name].get<bool>() : otherwise;
}

/// preprocessor_config.json of Hugging Face.
inline void read_preprocessor(const nlohmann::json& json, const std::string& where, data::Preprocessing& result)
{
    read_three(json, "image_mean", where, result.mean);
    read_three(json, "image_std", where, result.std);
    if (!flag(json, "do_normalize", true)) {
        result.mean = {0.0, 0.0, 0.0};
        result.std = {1.0, 1.0, 1.0};
    }
    bool square = true;
    bool ignored = false;
    const Index size = read_size(json, "size", where, square);
    const Index crop = read_size(json, "crop_size", where, ignored);
    const bool crops = flag(json, "do_center_crop", crop > 0) && crop > 0;
    if (size > 0) {
        result.resize = flag(json, "do_resize", true) ? size : 0;
        result.stretch = square && !crops;
        result.crop = crops ? crop : size;
    }
    if (json.contains("resample") && json["resample"].is_number_integer()) {
        const auto resample = json["resample"].get<int>();
        require<io_error>(resample == 2 || resample == 3, where, "resample is ", resample,
                          ", 2 (bilinear) and 3 (bicubic) are supported");
        result.interpolation = resample == 2 ? data::Interpolation::bilinear : data::Interpolation::bicubic;
    }
}

/// The pretrained_cfg of timm's config.json.
inline void read_pretrained(const nlohmann::json& json, const std::string& where, data::Preprocessing& result)
{
    read_three(json, "mean", where, result.mean);
    read_three(json, "std", where, result.std);
    if (json.contains("input_size") && json["input_size"].is_array() && json["input_size"].size() == 3 &&
        json["input_size"][2].is_number_integer()) {
        result.crop = json["input_size"][2].get<Index>();
        result.resize = result.crop;
    }
    if (json.contains("crop_pct") && json["crop_pct"].is_number() && json["crop_pct"] > 0.1 &&
        json["crop_pct"] <= 1.0) {
        result.resize =
            static_cast<Index>(std::floor(static_cast<double>(result.crop) / json["crop_pct"].get<double>()));
    }
    if (json.contains("interpolation") && json["interpolation"].is_string()) {
        result.interpolation =
            json["interpolation"] == "bilinear" ? data::Interpolation::bilinear : data::Interpolation::bicubic;
    }
}

/// What the metadata, preprocessor_config.json or config.json say, else what is usual. `said`: whether one of them did.
[[nodiscard]] inline data::Preprocessing preprocessing_of(const CheckpointHeader& header,
                                                          const data::Preprocessing& usual, bool& said)
{
    data::Preprocessing result = usual;
    said = true;
    if (const auto found = header.metadata.find("preprocessing"); found != header.metadata.end()) {
        return data::preprocessing_from_text(found->second);
    }
    if (header.preprocessor.is_object()) {
        read_preprocessor(header.preprocessor, (header.path / "preprocessor_config.json").string() + ": ", result);
    } else if (header.config.is_object() && header.config.contains("pretrained_cfg") &&
               header.config["pretrained_cfg"].is_object()) {
        read_pretrained(header.config["pretrained_cfg"], (header.path / "config.json").string() + ": ", result);
    } else {
        said = false;
    }
    return result;
}

}  // namespace wasi::files::detail
