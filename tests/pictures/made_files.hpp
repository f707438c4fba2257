#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <jpeglib.h>

#include "made_png.hpp"

/// Picture files that tests write for themselves.
namespace wasi_tests {

[[nodiscard]] inline std::string text_of(const std::vector<std::uint8_t>& bytes)
{
    return {bytes.begin(), bytes.end()};
}

/// A small JPEG whose colours follow from `seed`.
[[nodiscard]] inline std::string small_jpeg(int width, int height, unsigned int seed)
{
    jpeg_compress_struct info;
    jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    unsigned char* memory = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&info, &memory, &size);
    info.image_width = static_cast<JDIMENSION>(width);
    info.image_height = static_cast<JDIMENSION>(height);
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_start_compress(&info, TRUE);
    std::vector<std::uint8_t> row(static_cast<std::size_t>(3 * width));
    for (int y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < row.size(); ++x) {
            row[x] = static_cast<std::uint8_t>(
                (seed * 37U + static_cast<unsigned int>(x) * 5U + static_cast<unsigned int>(y) * (seed % 7U + 1U)) &
                0xffU);
        }
        JSAMPROW pointer = row.data();
        jpeg_write_scanlines(&info, &pointer, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    std::string text(reinterpret_cast<const char*>(memory), size);
    std::free(memory);  // NOLINT: jpeg_mem_dest's own
    return text;
}

/// A small PNG likewise.
[[nodiscard]] inline std::string small_png(std::uint32_t width, std::uint32_t height, unsigned int seed)
{
    return text_of(png_file({.width = width, .height = height}, [&](std::uint32_t x, std::uint32_t y, int c) {
        return (seed * 37U + x * 11U + y * 3U + static_cast<unsigned int>(c) * 50U) & 0xffU;
    }));
}

inline void write_in(const std::filesystem::path& path, const std::string& bytes)
{
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// FOLDER/CLASS/NUMBER.jpg or .png: so many of each class, of sizes that differ.
inline void write_classes(const std::filesystem::path& folder, const std::vector<std::string>& classes, int each)
{
    unsigned int seed = 0;
    for (const std::string& name : classes) {
        for (int i = 0; i < each; ++i, ++seed) {
            const auto size = static_cast<int>(9 + seed % 5);
            const std::string file = (i < 10 ? "0" : "") + std::to_string(i);
            if (i % 3 == 2) {
                write_in(folder / name / (file + ".png"), small_png(static_cast<std::uint32_t>(size), 12, seed));
            } else {
                write_in(folder / name / (file + ".JPG"), small_jpeg(size, 11, seed));
            }
        }
    }
}

}  // namespace wasi_tests
