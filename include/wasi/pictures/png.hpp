#pragma once
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <png.h>

#include "wasi/pictures/exif.hpp"
#include "wasi/pictures/picture.hpp"

namespace wasi::pictures {

namespace detail {

/// What libpng works on. Its errors leave by longjmp, from `png_fail` into `guarded`; between the two there are only
/// trivial objects and libpng's own frames.
struct PngState {
    png_structp png;
    png_infop info;
    std::jmp_buf jump;
    std::array<char, 200> text;
    const std::uint8_t* bytes;
    std::size_t left;
    png_bytep* rows;
};

[[noreturn]] inline void png_fail(png_structp png, png_const_charp text)
{
    auto& state = *static_cast<PngState*>(png_get_error_ptr(png));
    std::snprintf(state.text.data(), state.text.size(), "%s", text);
    std::longjmp(state.jump, 1);  // NOLINT(cert-err52-cpp): libpng knows no other way
}

inline void png_silent(png_structp, png_const_charp) {}

inline void png_take(png_structp png, png_bytep to, std::size_t count)
{
    auto& state = *static_cast<PngState*>(png_get_io_ptr(png));
    if (count > state.left) {
        png_fail(png, "the file ends early");
    }
    std::memcpy(to, state.bytes, count);
    state.bytes += count;
    state.left -= count;
}

/// Runs one step; false where libpng gave up, with the reason in state.text.
template <void (*step)(PngState&)>
[[nodiscard]] bool guarded(PngState& state) noexcept
{
    if (setjmp(state.jump) != 0) {  // NOLINT(cert-err52-cpp)
        return false;
    }
    step(state);
    return true;
}

inline void png_open(PngState& state)
{
    state.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &state, png_fail, png_silent);
    if (state.png == nullptr) {
        std::snprintf(state.text.data(), state.text.size(), "no memory for the decoder");
        std::longjmp(state.jump, 1);  // NOLINT(cert-err52-cpp)
    }
    state.info = png_create_info_struct(state.png);
    if (state.info == nullptr) {
        png_fail(state.png, "no memory for the decoder");
    }
    png_set_read_fn(state.png, &state, png_take);
    // Sizes are looked at by check_limits, which has a better sentence. Texts and profiles may be bombs of their own.
    png_set_user_limits(state.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    constexpr png_alloc_size_t most_of_a_chunk = 8000000;
    png_set_chunk_malloc_max(state.png, most_of_a_chunk);
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
    static const std::array<png_byte, 20> unread{'i', 'C', 'C', 'P', 0, 'i', 'T', 'X', 't', 0,
                                                 't', 'E', 'X', 't', 0, 'z', 'T', 'X', 't', 0};
    png_set_keep_unknown_chunks(state.png, PNG_HANDLE_CHUNK_NEVER, unread.data(), 4);
#endif
    png_read_info(state.png, state.info);
}

inline void png_shape(PngState& state)
{
    png_set_expand(state.png);    // palettes, 1, 2 and 4 bits, and a transparent colour
    png_set_strip_16(state.png);  // the high byte, as Pillow has it
    png_set_gray_to_rgb(state.png);
    png_set_interlace_handling(state.png);
    png_read_update_info(state.png, state.info);
}

inline void png_pixels(PngState& state)
{
    png_read_image(state.png, state.rows);
    png_read_end(state.png, state.info);
}

/// Colour over white, in place: four bytes a pixel become three.
inline void lay_over_white(const std::uint8_t* from, std::uint8_t* to, std::size_t pixels)
{
    for (std::size_t i = 0; i < pixels; ++i, from += 4) {
        const unsigned int alpha = from[3];
        for (std::size_t c = 0; c < 3; ++c) {
            *to++ = static_cast<std::uint8_t>((from[c] * alpha + 255U * (255U - alpha) + 127U) / 255U);
        }
    }
}

}  // namespace detail

/// A PNG picture in memory whose header has been read. `name` is for messages. Not copied, not moved; the bytes must
/// outlive it. Thread safety: an object for one thread at a time.
class PngReader {
public:
    /// Throws io_error where the bytes do not begin like a PNG picture.
    PngReader(std::span<const std::uint8_t> bytes, std::string name) : name_(std::move(name))
    {
        std::memset(&state_, 0, sizeof(state_));
        state_.bytes = bytes.data();
        state_.left = bytes.size();
        if (!detail::guarded<detail::png_open>(state_)) {
            destroy();
            fail();
        }
    }
    PngReader(const PngReader&) = delete;
    PngReader& operator=(const PngReader&) = delete;
    ~PngReader() { destroy(); }

    /// As stored: before the orientation.
    [[nodiscard]] Size size() const
    {
        return {static_cast<Index>(png_get_image_width(state_.png, state_.info)),
                static_cast<Index>(png_get_image_height(state_.png, state_.info))};
    }

    /// From its eXIf chunk, which may stand behind the pixels: known for good after decode().
    [[nodiscard]] int orientation() const
    {
#ifdef PNG_eXIf_SUPPORTED
        png_uint_32 count = 0;
        png_bytep block = nullptr;
        if (png_get_eXIf_1(state_.png, state_.info, &count, &block) != 0) {
            return exif_orientation({block, count});
        }
#endif
        return 1;
    }

    /// What decoding takes, pixels included.
    [[nodiscard]] std::size_t bytes_to_decode() const
    {
        const auto height = static_cast<std::size_t>(size().height);
        return static_cast<std::size_t>(size().width) * height * channels() + height * sizeof(png_bytep);
    }

    /// The pixels, once, as RGB: palettes and grey are looked up, of 16 bits the high byte is taken, what is
    /// transparent lies over white. Throws io_error where data are missing or wrong, or the limits would be passed.
    [[nodiscard]] Picture decode(const DecodeLimits& limits)
    {
        detail::check_limits(size(), bytes_to_decode(), limits, name_);
        if (!detail::guarded<detail::png_shape>(state_)) {
            fail();
        }
        const auto [width, height] = size();
        const std::size_t of_pixel = png_get_channels(state_.png, state_.info);
        require<io_error>((of_pixel == 3 || of_pixel == 4) && png_get_bit_depth(state_.png, state_.info) == 8, name_,
                          ": not a PNG that is understood: ", of_pixel, " channels");
        Picture picture(size());
        const auto row_bytes = of_pixel * static_cast<std::size_t>(width);
        std::vector<std::uint8_t> with_alpha(of_pixel == 4 ? row_bytes * static_cast<std::size_t>(height) : 0);
        std::vector<png_bytep> rows(static_cast<std::size_t>(height));
        for (Index y = 0; y < height; ++y) {
            rows[static_cast<std::size_t>(y)] =
                of_pixel == 4 ? with_alpha.data() + static_cast<std::size_t>(y) * row_bytes : picture.row(y);
        }
        state_.rows = rows.data();
        if (!detail::guarded<detail::png_pixels>(state_)) {
            fail();
        }
        if (of_pixel == 4) {
            detail::lay_over_white(with_alpha.data(), picture.row(0),
                                   static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
        }
        return picture;
    }

private:
    /// Bytes of a pixel while it is decoded: RGB, and RGBA beside it where something is transparent.
    [[nodiscard]] std::size_t channels() const
    {
        const bool alpha = (png_get_color_type(state_.png, state_.info) & PNG_COLOR_MASK_ALPHA) != 0 ||
                           png_get_valid(state_.png, state_.info, PNG_INFO_tRNS) != 0;
        return alpha ? 7 : 3;
    }

    void destroy()
    {
        png_destroy_read_struct(&state_.png, &state_.info, nullptr);
    }
    [[noreturn]] void fail() const
    {
        throw io_error(message(name_, ": not a sound PNG: ", state_.text.data()));
    }

    std::string name_;
    detail::PngState state_;
};

}  // namespace wasi::pictures
