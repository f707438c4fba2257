#pragma once
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include <jpeglib.h>  // after <cstdio>, which it wants

#include <jerror.h>

#include "wasi/pictures/exif.hpp"
#include "wasi/pictures/picture.hpp"

namespace wasi::pictures {

namespace detail {

/// What libjpeg works on. Its errors leave by longjmp, from the functions below into `guarded`; between the two there
/// are only trivial objects and libjpeg's own frames.
struct JpegState {
    jpeg_decompress_struct info;
    jpeg_error_mgr errors;
    jpeg_progress_mgr progress;
    std::jmp_buf jump;
    std::array<char, JMSG_LENGTH_MAX> text;
    bool single_scan;
    const std::uint8_t* bytes;
    unsigned long size;
    std::uint8_t* target;  ///< of rows
    std::size_t row_bytes;
    std::uint8_t* four;  ///< a row of CMYK; null for other pictures
};

[[nodiscard]] inline JpegState& jpeg_state(j_common_ptr info)
{
    return *static_cast<JpegState*>(info->client_data);
}

[[noreturn]] inline void jpeg_fail(j_common_ptr info)
{
    JpegState& state = jpeg_state(info);
    info->err->format_message(info, state.text.data());
    std::longjmp(state.jump, 1);  // NOLINT(cert-err52-cpp): libjpeg knows no other way
}

/// libjpeg warns and goes on where it fills in pixels that are not there. That is an error here; a few other warnings
/// are about what does not matter.
inline void jpeg_warn(j_common_ptr info, int level)
{
    if (level >= 0) {
        return;
    }
    switch (info->err->msg_code) {
        case JWRN_ADOBE_XFORM:
        case JWRN_BOGUS_ICC:
        case JWRN_EXTRANEOUS_DATA:
        case JWRN_JFIF_MAJOR:
        case JWRN_TOO_MUCH_DATA:
            return;
        case JWRN_JPEG_EOF:  // the end marker alone may be missing; pixels that are is another warning
            if (jpeg_state(info).single_scan) {
                return;
            }
            break;
        default:
            break;
    }
    jpeg_fail(info);
}

inline void jpeg_silent(j_common_ptr) {}

/// A progressive picture may have any number of scans, each of which costs time for all pixels.
inline void jpeg_count_scans(j_common_ptr info)
{
    constexpr int most_scans = 200;
    JpegState& state = jpeg_state(info);
    if (state.info.input_scan_number > most_scans) {
        std::snprintf(state.text.data(), state.text.size(), "more than %d scans", most_scans);
        std::longjmp(state.jump, 1);  // NOLINT(cert-err52-cpp)
    }
}

/// Runs one step; false where libjpeg gave up, with the reason in state.text.
template <void (*step)(JpegState&)>
[[nodiscard]] bool guarded(JpegState& state) noexcept
{
    if (setjmp(state.jump) != 0) {  // NOLINT(cert-err52-cpp)
        return false;
    }
    step(state);
    return true;
}

inline void jpeg_open(JpegState& state)
{
    jpeg_create_decompress(&state.info);
    state.info.client_data = &state;  // creating clears it only in old versions
    state.info.progress = &state.progress;
    jpeg_mem_src(&state.info, state.bytes, state.size);
    constexpr unsigned int most_of_a_marker = 0xffff;
    jpeg_save_markers(&state.info, JPEG_APP0 + 1, most_of_a_marker);
    jpeg_read_header(&state.info, TRUE);
    state.single_scan = jpeg_has_multiple_scans(&state.info) == FALSE;
}

inline void jpeg_start(JpegState& state)
{
    jpeg_start_decompress(&state.info);
}

/// Black inks of Adobe's pictures are stored the other way round, and others hardly exist: as Pillow has them.
inline void rgb_of_inks(const std::uint8_t* inks, std::uint8_t* rgb, std::size_t width)
{
    for (std::size_t x = 0; x < width; ++x, inks += 4) {
        const unsigned int light = inks[3];
        for (std::size_t ink = 0; ink < 3; ++ink) {
            const unsigned int product = (255U - inks[ink]) * light + 128U;
            *rgb++ = static_cast<std::uint8_t>(light - ((product + (product >> 8U)) >> 8U));
        }
    }
}

inline void jpeg_rows(JpegState& state)
{
    while (state.info.output_scanline < state.info.output_height) {
        std::uint8_t* const to = state.target + state.info.output_scanline * state.row_bytes;
        JSAMPROW row = state.four != nullptr ? state.four : to;
        jpeg_read_scanlines(&state.info, &row, 1);
        if (state.four != nullptr) {
            rgb_of_inks(state.four, to, state.info.output_width);
        }
    }
}

}  // namespace detail

/// A JPEG picture in memory whose header has been read. `name` is for messages. Not copied, not moved; the bytes must
/// outlive it. Thread safety: an object for one thread at a time.
class JpegReader {
public:
    /// Throws io_error where the bytes do not begin like a JPEG picture.
    JpegReader(std::span<const std::uint8_t> bytes, std::string name) : name_(std::move(name))
    {
        std::memset(&state_, 0, sizeof(state_));
        state_.info.err = jpeg_std_error(&state_.errors);
        state_.info.client_data = &state_;
        state_.errors.error_exit = detail::jpeg_fail;
        state_.errors.emit_message = detail::jpeg_warn;
        state_.errors.output_message = detail::jpeg_silent;
        state_.progress.progress_monitor = detail::jpeg_count_scans;
        state_.bytes = bytes.data();
        state_.size = static_cast<unsigned long>(bytes.size());
        if (!detail::guarded<detail::jpeg_open>(state_)) {
            jpeg_destroy_decompress(&state_.info);
            fail();
        }
    }
    JpegReader(const JpegReader&) = delete;
    JpegReader& operator=(const JpegReader&) = delete;
    ~JpegReader() { jpeg_destroy_decompress(&state_.info); }

    /// As stored: before the orientation.
    [[nodiscard]] Size size() const
    {
        return {static_cast<Index>(state_.info.image_width), static_cast<Index>(state_.info.image_height)};
    }

    /// From its EXIF block.
    [[nodiscard]] int orientation() const
    {
        constexpr std::size_t head = 6;
        for (const jpeg_marker_struct* marker = state_.info.marker_list; marker != nullptr; marker = marker->next) {
            if (marker->data_length > head && std::memcmp(marker->data, "Exif\0\0", head) == 0) {
                return exif_orientation({marker->data + head, marker->data_length - head});
            }
        }
        return 1;
    }

    /// What decoding takes, pixels included.
    [[nodiscard]] std::size_t bytes_to_decode(int eighths = 8) const
    {
        const Size made = scaled(eighths);
        std::size_t bytes = 3 * static_cast<std::size_t>(made.width) * static_cast<std::size_t>(made.height);
        if (!state_.single_scan) {  // all coefficients, of 16 bits
            for (int i = 0; i < state_.info.num_components; ++i) {
                const jpeg_component_info& part = state_.info.comp_info[i];
                bytes += sizeof(JCOEF) * DCTSIZE2 * static_cast<std::size_t>(part.width_in_blocks) *
                         static_cast<std::size_t>(part.height_in_blocks);
            }
        }
        return bytes;
    }

    /// The pixels, once. Grey, YCbCr, RGB, CMYK and YCCK become RGB. `eighths` < 8 makes the picture that much smaller
    /// on the way from its cosines, which is faster and not what resizing would give. Throws io_error where data are
    /// missing or wrong, or the limits would be passed.
    [[nodiscard]] Picture decode(const DecodeLimits& limits, int eighths = 8)
    {
        detail::check_limits(size(), bytes_to_decode(eighths), limits, name_);
        const bool inks = state_.info.num_components == 4;
        state_.info.out_color_space = inks ? JCS_CMYK : JCS_RGB;
        state_.info.scale_num = static_cast<unsigned int>(eighths);
        state_.info.scale_denom = 8;
        if (!detail::guarded<detail::jpeg_start>(state_)) {
            fail();
        }
        Picture picture({static_cast<Index>(state_.info.output_width), static_cast<Index>(state_.info.output_height)});
        const auto four = inks ? std::make_unique<std::uint8_t[]>(std::size_t{4} * state_.info.output_width)  // NOLINT
                               : nullptr;
        state_.target = picture.row(0);
        state_.row_bytes = 3 * std::size_t{state_.info.output_width};
        state_.four = four.get();
        if (!detail::guarded<detail::jpeg_rows>(state_)) {
            fail();
        }
        return picture;
    }

private:
    [[nodiscard]] Size scaled(int eighths) const
    {
        const auto part = [&](Index extent) { return (extent * eighths + 7) / 8; };
        return {part(size().width), part(size().height)};
    }

    [[noreturn]] void fail() const { throw io_error(message(name_, ": not a sound JPEG: ", state_.text.data())); }

    std::string name_;
    detail::JpegState state_;
};

}  // namespace wasi::pictures
