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
    square = !size.is_object() || !size.contains("shortest_edge");
    if (!size.is_object()) {
        return positive(size, name, where);
    }
    if (!square) {
        return positive(size["shortest_edge"], name, where);
    }
    require<io_error>(size.contains("height") && size.contains("width") && size["height"] == size["width"], where, name,
                      " is ", printable(size.dump()), ", a square is expected");
    return positive(size["height"], name, where);
}

/// Throws io_error for what is neither true nor false.
[[nodiscard]] inline bool flag(const nlohmann::json& object, const char* name, const std::string& where, bool otherwise)
{
    if (!object.contains(name) || object[name].is_null()) {
        return otherwise;
    }
    require<io_error>(object[name].is_boolean(), where, name, " is ", printable(object[name].dump()),
                      ", true or false is expected");
    return object[name].get<bool>();
}

/// preprocessor_config.json of Hugging Face.
inline void read_preprocessor(const nlohmann::json& json, const std::string& where, data::Preprocessing& result)
{
    read_three(json, "image_mean", where, result.mean);
    read_three(json, "image_std", where, result.std);
    if (!flag(json, "do_normalize", where, true)) {
        result.mean = {0.0, 0.0, 0.0};
        result.std = {1.0, 1.0, 1.0};
    }
    bool square = true;
    bool ignored = false;
    const Index size = read_size(json, "size", where, square);
    const Index crop = read_size(json, "crop_size", where, ignored);
    const bool crops = flag(json, "do_center_crop", where, crop > 0) && crop > 0;
    if (size > 0) {
        result.resize = flag(json, "do_resize", where, true) ? size : 0;
        result.stretch = square && !crops;
        result.crop = crops ? crop : size;
    }
    if (json.contains("resample") && !json["resample"].is_null()) {
        const auto& resample = json["resample"];
        require<io_error>(resample == 2 || resample == 3, where, "resample is ", printable(resample.dump()),
                          ", 2 (bilinear) and 3 (bicubic) are supported");
        result.interpolation = resample == 2 ? data::Interpolation::bilinear : data::Interpolation::bicubic;
    }
}

/// The pretrained_cfg of timm's config.json.
inline void read_pretrained(const nlohmann::json& json, const std::string& where, data::Preprocessing& result)
{
    read_three(json, "mean", where, result.mean);
    read_three(json, "std", where, result.std);
    if (json.contains("input_size") && !json["input_size"].is_null()) {
        const auto& size = json["input_size"];
        require<io_error>(size.is_array() && size.size() == 3, where, "input_size is ", printable(size.dump()),
                          ", (channels, height, width) is expected");
        result.crop = positive(size[2], "input_size", where);
        result.resize = result.crop;
    }
    if (json.contains("crop_pct") && !json["crop_pct"].is_null()) {
        const auto& share = json["crop_pct"];
        require<io_error>(share.is_number() && share > 0.1 && share <= 1.0, where, "crop_pct is ",
                          printable(share.dump()), ", a share above 0.1 is expected");
        result.resize = static_cast<Index>(std::floor(static_cast<double>(result.crop) / share.get<double>()));
    }
    if (json.contains("interpolation") && !json["interpolation"].is_null()) {
        const auto& name = json["interpolation"];
        require<io_error>(name == "bilinear" || name == "bicubic", where, "interpolation is ", printable(name.dump()),
                          ", bilinear and bicubic are supported");
        result.interpolation = name == "bilinear" ? data::Interpolation::bilinear : data::Interpolation::bicubic;
    }
}

/// What the metadata, preprocessor_config.json or config.json say, else what is usual. `said`: whether one of them did.
/// Throws io_error and argument_error, naming the file.
[[nodiscard]] inline data::Preprocessing preprocessing_of(const CheckpointHeader& header,
                                                          const data::Preprocessing& usual, bool& said)
{
    data::Preprocessing result = usual;
    said = true;
    std::string where = header.path.string() + ": ";
    try {
        if (const auto found = header.metadata.find("preprocessing"); found != header.metadata.end()) {
            result = data::preprocessing_from_text(found->second);
        } else if (header.preprocessor.is_object()) {
            where = (header.path / "preprocessor_config.json").string() + ": ";
            read_preprocessor(header.preprocessor, where, result);
        } else if (header.config.is_object() && header.config.contains("pretrained_cfg") &&
                   header.config["pretrained_cfg"].is_object()) {
            where = (header.path / "config.json").string() + ": ";
            read_pretrained(header.config["pretrained_cfg"], where, result);
        } else {
            said = false;
        }
        result.check();
    } catch (const argument_error& failure) {
        throw argument_error(where + failure.what());
    }
    return result;
}

}  // namespace wasi::files::detail
