#include "report/picture_figures.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string_view>

#include <png.h>

#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

[[nodiscard]] std::string base64(std::span<const std::uint8_t> bytes)
{
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k) {
            group = group << 8U | (k < count ? bytes[i + k] : 0U);
        }
        for (std::size_t k = 0; k < 4; ++k) {
            text += k <= count ? digits[group >> (18U - 6U * static_cast<unsigned>(k)) & 63U] : '=';
        }
    }
    return text;
}

/// A PNG of rows of RGB.
[[nodiscard]] std::vector<std::uint8_t> encode_png(const std::vector<std::uint8_t>& pixels, Index width, Index height)
{
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width);
    image.height = static_cast<png_uint_32>(height);
    image.format = PNG_FORMAT_RGB;
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    std::vector<std::uint8_t> bytes(size);
    if (png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr) == 0) {
        throw std::runtime_error(std::string("a picture cannot be written as PNG: ") + &image.message[0]);
    }
    bytes.resize(size);
    return bytes;
}

[[nodiscard]] std::uint8_t to_byte(double value)
{
    return static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0, 255.0)));
}

}  // namespace

std::string picture_source(const wasi::Tensor<float>& batch, Index i,
                           const std::optional<wasi::data::Preprocessing>& preprocessing)
{
    const Index height = batch.shape()[2];
    const Index width = batch.shape()[3];
    const Index plane = height * width;
    const auto numbers =
        batch.span().subspan(static_cast<std::size_t>(3 * plane * i), static_cast<std::size_t>(3 * plane));
    const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
    const double least = static_cast<double>(*low);
    const double range = std::max(static_cast<double>(*high) - least, 1e-30);
    std::vector<std::uint8_t> pixels(numbers.size());
    for (Index at = 0; at < plane; ++at) {
        for (std::size_t c = 0; c < 3; ++c) {
            const auto value =
                static_cast<double>(numbers[c * static_cast<std::size_t>(plane) + static_cast<std::size_t>(at)]);
            pixels[3 * static_cast<std::size_t>(at) + c] =
                to_byte(255.0 * (preprocessing ? value * preprocessing->std[c] + preprocessing->mean[c]
                                               : (value - least) / range));
        }
    }
    return "data:image/png;base64," + base64(encode_png(pixels, width, height));
}

std::string picture_grid(const std::vector<ShownPicture>& pictures)
{
    if (pictures.empty()) {
        return {};
    }
    std::string html =
        "<div style=\"display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:.9rem .7rem\">\n";
    for (const ShownPicture& picture : pictures) {
        const std::string note = page::escape_html(picture.note);
        html += "<div title=\"" + note + "\"><img alt=\"" + note +
                "\" style=\"width:100%;display:block;image-rendering:pixelated;border-radius:3px\" src=\"" +
                picture.source + "\"><span class=\"small\">" + page::escape_html(picture.caption) + "</span></div>\n";
    }
    return html + "</div>\n";
}

}  // namespace wasi_examples
