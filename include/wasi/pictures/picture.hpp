#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::pictures {

/// Width and height in pixels.
struct Size {
    Index width = 0;
    Index height = 0;
    friend bool operator==(Size, Size) = default;
};

/// A part of a picture that somebody else holds: rows of width x 3 bytes, `row_bytes` apart.
struct PictureView {
    const std::uint8_t* pixels = nullptr;
    Size size;
    Index row_bytes = 0;

    [[nodiscard]] const std::uint8_t* row(Index y) const { return pixels + y * row_bytes; }
    /// The rectangle at (x, y). Not checked.
    [[nodiscard]] PictureView part(Index x, Index y, Size of) const
    {
        return {pixels + y * row_bytes + 3 * x, of, row_bytes};
    }
};

/// An 8-bit RGB picture, (height, width, 3), row-major: red, green and blue of a pixel side by side. Move-only.
class Picture {
public:
    Picture() = default;
    /// Pixels are not set. Throws std::bad_alloc.
    explicit Picture(Size size)
        : size_(size), pixels_(std::make_unique_for_overwrite<std::uint8_t[]>(byte_count(size)))  // NOLINT: a buffer
    {
    }

    [[nodiscard]] Size size() const { return size_; }
    [[nodiscard]] std::size_t bytes() const { return byte_count(size_); }
    [[nodiscard]] std::uint8_t* row(Index y) { return pixels_.get() + 3 * size_.width * y; }
    [[nodiscard]] const std::uint8_t* row(Index y) const { return pixels_.get() + 3 * size_.width * y; }
    [[nodiscard]] const std::uint8_t* data() const { return pixels_.get(); }
    [[nodiscard]] PictureView view() const { return {pixels_.get(), size_, 3 * size_.width}; }

private:
    [[nodiscard]] static std::size_t byte_count(Size size)
    {
        return 3 * static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height);
    }

    Size size_;
    std::unique_ptr<std::uint8_t[]> pixels_;  // NOLINT(cppcoreguidelines-avoid-c-arrays): not set when it is made
};

/// What a picture that is read may take. A file says how large its picture is long before it shows any of it, so this
/// is looked at before anything is allocated.
struct DecodeLimits {
    Index most_pixels = Index{1} << 28;             ///< 268 megapixels
    std::size_t most_bytes = std::size_t{1} << 30;  ///< for pixels and what the decoder keeps beside them
    std::size_t most_file_bytes = std::size_t{1} << 28;
};

/// A name for messages: control characters as \xNN, so that a message stays one line.
[[nodiscard]] inline std::string shown_name(const std::string& name)
{
    constexpr const char* digits = "0123456789abcdef";
    std::string result;
    for (const char letter : name) {
        const auto byte = static_cast<unsigned char>(letter);
        if (byte < 0x20 || byte == 0x7f) {
            result += "\\x";
            result += digits[byte >> 4U];
            result += digits[byte & 0xfU];
        } else {
            result += letter;
        }
    }
    return result;
}

[[nodiscard]] inline std::string shown_name(const std::filesystem::path& path)
{
    return shown_name(path.string());
}

namespace detail {

/// Throws io_error unless a picture of this size may be decoded into so many bytes.
inline void check_limits(Size size, std::size_t bytes, const DecodeLimits& limits, const std::string& name)
{
    require<io_error>(size.width >= 1 && size.height >= 1, name, ": says that it is ", size.width, " x ", size.height);
    require<io_error>(size.width <= limits.most_pixels / size.height, name, ": says that it is ", size.width, " x ",
                      size.height, " pixels, more than the ", limits.most_pixels, " that are allowed");
    require<io_error>(bytes <= limits.most_bytes, name, ": ", size.width, " x ", size.height, " pixels would take ",
                      bytes, " bytes to decode, more than the ", limits.most_bytes, " that are allowed");
}

}  // namespace detail

}  // namespace wasi::pictures
