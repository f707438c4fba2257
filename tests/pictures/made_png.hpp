#pragma once
#include <csetjmp>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <png.h>
#include <zlib.h>

/// PNG files of kinds that few programs write, and ones that lie.
namespace wasi_tests {

struct PngKind {
    std::uint32_t width = 5;
    std::uint32_t height = 4;
    int bits = 8;
    int colour = PNG_COLOR_TYPE_RGB;
    bool interlaced = false;
};

/// A PNG file of any kind; sample(x, y, channel) gives its values.
[[nodiscard]] inline std::vector<std::uint8_t> png_file(
    const PngKind& kind, const std::function<unsigned int(std::uint32_t, std::uint32_t, int)>& sample)
{
    std::vector<std::uint8_t> file;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(
        png, &file,
        [](png_structp from, png_bytep bytes, std::size_t count) {
            auto& to = *static_cast<std::vector<std::uint8_t>*>(png_get_io_ptr(from));
            to.insert(to.end(), bytes, bytes + count);
        },
        nullptr);
    png_set_IHDR(png, info, kind.width, kind.height, kind.bits, kind.colour,
                 kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    const int channels = png_get_channels(png, info);
    std::vector<std::vector<std::uint8_t>> rows(kind.height);
    std::vector<png_bytep> pointers;
    for (std::uint32_t y = 0; y < kind.height; ++y) {
        for (std::uint32_t x = 0; x < kind.width; ++x) {
            for (int c = 0; c < channels; ++c) {
                const unsigned int value = sample(x, y, c);
                if (kind.bits == 16) {
                    rows[y].push_back(static_cast<std::uint8_t>(value >> 8U));
                }
                rows[y].push_back(static_cast<std::uint8_t>(value & 0xffU));
            }
        }
        pointers.push_back(rows[y].data());
    }
    png_write_image(png, pointers.data());
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return file;
}

/// A chunk with the right sum.
[[nodiscard]] inline std::string png_chunk(const std::string& type, const std::string& data)
{
    const auto number = [](unsigned long value) {
        std::string text;
        for (int shift = 24; shift >= 0; shift -= 8) {
            text += static_cast<char>(value >> static_cast<unsigned int>(shift) & 0xffU);
        }
        return text;
    };
    const std::string body = type + data;
    return number(data.size()) + body +
           number(crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<unsigned int>(body.size())));
}

/// The beginning of a PNG file that says it is RGB of this size.
[[nodiscard]] inline std::string png_start(std::uint32_t width, std::uint32_t height)
{
    std::string header;
    for (const std::uint32_t extent : {width, height}) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            header += static_cast<char>(extent >> static_cast<unsigned int>(shift) & 0xffU);
        }
    }
    return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header + std::string("\x08\x02\0\0\0", 5));
}

}  // namespace wasi_tests
