#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <support/golden_file.hpp>

#include "wasi/pictures/picture.hpp"

/// tests/golden/picture_golden.safetensors: what Pillow and torchvision make of a few pictures.
namespace wasi_tests {

[[nodiscard]] inline const wasi::io::SafetensorsFile& picture_golden()
{
    static const wasi::io::SafetensorsFile file = golden_file("picture_golden.safetensors");
    return file;
}

[[nodiscard]] inline std::vector<std::uint8_t> golden_bytes(const std::string& name)
{
    std::vector<std::uint8_t> bytes;
    for (const std::int64_t value : read_values<std::int64_t>(picture_golden(), name)) {
        bytes.push_back(static_cast<std::uint8_t>(value));
    }
    return bytes;
}

[[nodiscard]] inline wasi::pictures::Picture golden_picture(const std::string& name)
{
    const auto& shape = picture_golden().info(name).shape;
    wasi::pictures::Picture picture({shape.at(1), shape.at(0)});
    const auto bytes = golden_bytes(name);
    std::copy(bytes.begin(), bytes.end(), picture.row(0));
    return picture;
}

/// The names of all tensors PREFIX..., without the prefix.
[[nodiscard]] inline std::vector<std::string> golden_names(const std::string& prefix)
{
    std::vector<std::string> names;
    for (const std::string& name : picture_golden().names()) {
        if (name.starts_with(prefix)) {
            names.push_back(name.substr(prefix.size()));
        }
    }
    return names;
}

/// The largest difference of two pixels' values; 1000 for pictures of different sizes.
[[nodiscard]] inline int distance(const wasi::pictures::Picture& a, const wasi::pictures::Picture& b)
{
    if (a.size() != b.size()) {
        return 1000;
    }
    int largest = 0;
    for (std::size_t i = 0; i < a.bytes(); ++i) {
        largest = std::max(largest, std::abs(a.data()[i] - b.data()[i]));
    }
    return largest;
}

}  // namespace wasi_tests
