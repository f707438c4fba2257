#pragma once
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/data/interpolation.hpp"

namespace wasi::data {

/// What a picture goes through before a model sees it: the shorter side is resized to `resize` pixels (or the whole to
/// resize x resize, whatever its sides were, where it may be stretched), the middle crop x crop is cut out, and each
/// channel c in [0, 1] becomes (c - mean) / std. At first what torchvision does for ViT-B and ViT-L. Models carry it in
/// their files' metadata as the text of to_text().
struct Preprocessing {
    std::array<double, 3> mean{0.485, 0.456, 0.406};
    std::array<double, 3> std{0.229, 0.224, 0.225};
    Index resize = 256;  ///< pixels; 0: as `crop`
    Index crop = 224;    ///< pixels; 0: the model's image size
    Interpolation interpolation = Interpolation::bilinear;
    bool stretch = false;  ///< resized to a square whatever the sides were

    friend bool operator==(const Preprocessing&, const Preprocessing&) = default;

    /// For a model that is not told anything: the middle of the picture at the model's size, numbers in [-1, 1].
    [[nodiscard]] static Preprocessing plain()
    {
        return {{0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, 0, 0, Interpolation::bicubic, false};
    }

    /// Throws argument_error for numbers that make no sense, and for a picture smaller than what is cut out of it.
    void check() const
    {
        for (std::size_t c = 0; c < 3; ++c) {
            require<argument_error>(mean[c] >= -10.0 && mean[c] <= 10.0, "Preprocessing: mean is ", mean[c]);
            require<argument_error>(std[c] > 0.0 && std[c] <= 10.0, "Preprocessing: std is ", std[c]);
        }
        require<argument_error>(resize >= 0 && resize <= (Index{1} << 20), "Preprocessing: resize is ", resize);
        require<argument_error>(crop >= 0 && crop <= (Index{1} << 20), "Preprocessing: crop is ", crop);
        require<argument_error>(resize == 0 || resize >= crop, "Preprocessing: a crop of ", crop,
                                " pixels of a picture that is resized to ", resize);
    }
};

/// The same for a model of images of another size: cropped to it, with the same margin in proportion.
[[nodiscard]] inline Preprocessing for_image(Preprocessing pictures, Index image)
{
    if (pictures.crop > 0 && pictures.resize > 0) {
        pictures.resize = (pictures.resize * image + pictures.crop / 2) / pictures.crop;
    }
    pictures.crop = image;
    return pictures;
}

/// The same with every size set, as decoding needs it: 0 follows the model's image size. Throws argument_error for
/// numbers that make no sense.
[[nodiscard]] inline Preprocessing fitted(const Preprocessing& pictures, Index image)
{
    require<argument_error>(image >= 1, "Preprocessing: an image of ", image, " pixels");
    pictures.check();
    Preprocessing result = for_image(pictures, image);
    if (pictures.crop == 0 || pictures.resize == 0) {
        result.resize = image;
    }
    return result;
}

namespace detail {

/// The shortest digits that are read back as the same number.
template <class Number>
[[nodiscard]] std::string shortest(Number value)
{
    std::array<char, 64> text{};
    const auto [end, failure] = std::to_chars(text.data(), text.data() + text.size(), value);
    return failure == std::errc() ? std::string(text.data(), end) : std::string();
}

[[nodiscard]] inline std::string three(const std::array<double, 3>& values)
{
    return shortest(values[0]) + "," + shortest(values[1]) + "," + shortest(values[2]);
}

/// Throws argument_error where the text is no number.
template <class Number>
[[nodiscard]] Number number_of(std::string_view text, std::string_view key)
{
    Number value{};
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    require<argument_error>(failure == std::errc() && end == text.data() + text.size(), "preprocessing: ", key, " is '",
                            text, "', a number is expected");
    return value;
}

[[nodiscard]] inline std::array<double, 3> three_of(std::string_view text, std::string_view key)
{
    std::array<double, 3> values{};
    for (std::size_t c = 0; c < 3; ++c) {
        const std::size_t comma = text.find(',');
        require<argument_error>((comma == std::string_view::npos) == (c == 2), "preprocessing: ", key,
                                " has not three numbers");
        values[c] = number_of<double>(text.substr(0, comma), key);
        text.remove_prefix(c == 2 ? text.size() : comma + 1);
    }
    return values;
}

}  // namespace detail

/// "mean=0.5,0.5,0.5;std=0.5,0.5,0.5;resize=224;crop=224;interpolation=bicubic;stretch=0"
[[nodiscard]] inline std::string to_text(const Preprocessing& value)
{
    return "mean=" + detail::three(value.mean) + ";std=" + detail::three(value.std) +
           ";resize=" + detail::shortest(value.resize) + ";crop=" + detail::shortest(value.crop) +
           ";interpolation=" + std::string(to_string(value.interpolation)) + ";stretch=" + (value.stretch ? "1" : "0");
}

/// Reads what to_text wrote; what is not in it stays as it is at first. Throws argument_error for other words or
/// numbers that make no sense.
[[nodiscard]] inline Preprocessing preprocessing_from_text(std::string_view text)
{
    Preprocessing result;
    while (!text.empty()) {
        const std::string_view entry = text.substr(0, text.find(';'));
        text.remove_prefix(entry.size() == text.size() ? text.size() : entry.size() + 1);
        const std::size_t cut = entry.find('=');
        const std::string_view key = entry.substr(0, cut);
        const std::string_view value = cut == std::string_view::npos ? std::string_view() : entry.substr(cut + 1);
        if (key == "mean") {
            result.mean = detail::three_of(value, key);
        } else if (key == "std") {
            result.std = detail::three_of(value, key);
        } else if (key == "resize") {
            result.resize = detail::number_of<Index>(value, key);
        } else if (key == "crop") {
            result.crop = detail::number_of<Index>(value, key);
        } else if (key == "stretch") {
            result.stretch = detail::number_of<int>(value, key) != 0;
        } else {
            require<argument_error>(key == "interpolation" && (value == "bilinear" || value == "bicubic"),
                                    "preprocessing: '", entry, "' is not understood");
            result.interpolation = value == "bilinear" ? Interpolation::bilinear : Interpolation::bicubic;
        }
    }
    result.check();
    return result;
}

}  // namespace wasi::data
