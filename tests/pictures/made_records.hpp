#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <zlib.h>

#include "made_files.hpp"

/// Files of CIFAR and MNIST that tests write for themselves.
namespace wasi_tests {

/// `count` records: labels, then planes whose bytes tell record, colour and place.
[[nodiscard]] inline std::string cifar_records(int count, int first, int label_bytes, int classes)
{
    std::string text;
    for (int i = 0; i < count; ++i) {
        for (int byte = 0; byte < label_bytes; ++byte) {
            text += static_cast<char>(byte + 1 == label_bytes ? (first + i) % classes : 1);
        }
        for (int value = 0; value < 3072; ++value) {
            text += static_cast<char>((first + i) * 3 + value / 1024 * 50 + value % 1024 % 41);
        }
    }
    return text;
}

[[nodiscard]] inline std::string idx_text(const std::vector<unsigned int>& extents, std::size_t bytes)
{
    std::string text("\0\0\x08", 3);
    text += static_cast<char>(extents.size());
    for (const unsigned int extent : extents) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            text += static_cast<char>(extent >> static_cast<unsigned int>(shift) & 0xffU);
        }
    }
    for (std::size_t i = 0; i < bytes; ++i) {
        text += static_cast<char>(i % 3);
    }
    return text;
}

inline void write_packed(const std::filesystem::path& path, const std::string& text)
{
    const gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned int>(text.size()));
    gzclose(file);
}

}  // namespace wasi_tests
