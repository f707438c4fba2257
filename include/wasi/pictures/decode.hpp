#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "wasi/pictures/jpeg.hpp"
#include "wasi/pictures/orient.hpp"
#include "wasi/pictures/png.hpp"

namespace wasi::pictures {

enum class Format : std::uint8_t { jpeg, png, other };

/// What a file says it is by its first bytes; its name does not matter.
[[nodiscard]] inline Format format_of(std::span<const std::uint8_t> bytes)
{
    constexpr std::array<std::uint8_t, 3> jpeg{0xff, 0xd8, 0xff};
    constexpr std::array<std::uint8_t, 8> png{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const auto begins = [&](const auto& magic) {
        return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
    };
    return begins(jpeg) ? Format::jpeg : begins(png) ? Format::png : Format::other;
}

namespace detail {

/// Throws io_error that says what the bytes are instead of JPEG or PNG, where that is easy to see.
[[noreturn]] inline void refuse_format(std::span<const std::uint8_t> bytes, const std::string& name)
{
    require<io_error>(!bytes.empty(), name, ": the file is empty");
    const auto begins = [&](std::string_view magic, std::size_t at = 0) {
        return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
    };
    const char* looks = "";
    if (begins("GIF8")) {
        looks = ": it looks like a GIF";
    } else if (begins("BM")) {
        looks = ": it looks like a BMP";
    } else if (begins("RIFF") && begins("WEBP", 8)) {
        looks = ": it looks like a WebP";
    } else if (begins("ftyp", 4)) {
        looks = ": it looks like a HEIF or AVIF";
    } else if (begins("II*") || begins("MM")) {
        looks = ": it looks like a TIFF";
    } else if (std::all_of(bytes.begin(), bytes.begin() + std::min<std::ptrdiff_t>(std::ssize(bytes), 64),
                           [](std::uint8_t byte) { return byte >= 0x20 || (byte >= 9 && byte <= 13); })) {
        looks = ": it looks like text";
    }
    throw io_error(message(name, ": is neither a JPEG nor a PNG picture", looks));
}

}  // namespace detail

struct DecodeOptions {
    DecodeLimits limits;
    /// Of a JPEG, decode only this many eighths of width and height: fast, not what resizing would give. For looking
    /// whether a file is sound.
    int eighths = 8;
};

/// The picture that a JPEG or PNG file in memory holds, upright by its EXIF orientation, as 8-bit RGB. `name` is for
/// messages. Nothing is allocated for pixels before the limits have been looked at. Cost: the decoder's, and one copy
/// more of a picture that lies on its side. Throws io_error that names the file.
[[nodiscard]] inline Picture decode(std::span<const std::uint8_t> bytes, const std::string& name,
                                    const DecodeOptions& options = {})
{
    switch (format_of(bytes)) {
        case Format::jpeg: {
            JpegReader reader(bytes, name);
            Picture picture = reader.decode(options.limits, options.eighths);
            return oriented(std::move(picture), reader.orientation());
        }
        case Format::png: {
            PngReader reader(bytes, name);
            Picture picture = reader.decode(options.limits);
            return oriented(std::move(picture), reader.orientation());
        }
        case Format::other:
            break;
    }
    detail::refuse_format(bytes, name);
}

/// What a file says of its picture.
struct Header {
    Size size;                        ///< upright
    std::size_t bytes_to_decode = 0;  ///< what decode() takes beside the file's bytes, its result included
};

/// From the header alone. Throws io_error that names the file.
[[nodiscard]] inline Header read_header(std::span<const std::uint8_t> bytes, const std::string& name)
{
    const auto header = [](const auto& reader) {
        const Size size = reader.size();
        const int orientation = reader.orientation();
        const auto pixels = static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height);
        return Header{orientation >= 5 ? Size{size.height, size.width} : size,
                      reader.bytes_to_decode() + (orientation != 1 ? 3 * pixels : 0)};
    };
    switch (format_of(bytes)) {
        case Format::jpeg:
            return header(JpegReader(bytes, name));
        case Format::png:
            return header(PngReader(bytes, name));
        case Format::other:
            break;
    }
    detail::refuse_format(bytes, name);
}

}  // namespace wasi::pictures
