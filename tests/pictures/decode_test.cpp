// Pictures are what Pillow has of them; what is broken is named, and nothing is allocated for what lies about its size.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include <support/files.hpp>

#include "golden_pictures.hpp"
#include "made_png.hpp"
#include "wasi/core/error.hpp"
#include "wasi/pictures/decode.hpp"

namespace {

using wasi::io_error;
using wasi::pictures::decode;
using wasi::pictures::Picture;
using wasi_tests::golden_bytes;
using wasi_tests::has;
using wasi_tests::message_of;

[[nodiscard]] std::vector<std::uint8_t> bytes_of(const std::string& text)
{
    return {text.begin(), text.end()};
}

[[nodiscard]] std::string refusal(const std::vector<std::uint8_t>& bytes,
                                  const wasi::pictures::DecodeOptions& options = {})
{
    return message_of<io_error>([&] { (void)decode(bytes, "file name", options); });
}

}  // namespace

TEST_CASE("every kind of file is, pixel for pixel, what Pillow reads")
{
    const auto names = wasi_tests::golden_names("file.");
    REQUIRE(names.size() >= 20);
    for (const std::string& name : names) {
        CAPTURE(name);
        const Picture picture = decode(golden_bytes("file." + name), name);
        // The same cosine transform; a release of the library may round once differently.
        CHECK(wasi_tests::distance(picture, wasi_tests::golden_picture("rgb." + name)) <= (name[0] == 'j' ? 1 : 0));
    }
}

TEST_CASE("interlaced PNG, 16 bits, grey or not, transparent or not: as the plain file of the same values")
{
    const auto sample = [](std::uint32_t x, std::uint32_t y, int c) {
        return (x * 4099U + y * 1021U + static_cast<unsigned int>(c) * 12345U + 77U) & 0xffffU;
    };
    for (const int colour : {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGBA}) {
        const auto plain =
            wasi_tests::png_file({.colour = colour}, [&](auto x, auto y, int c) { return sample(x, y, c) >> 8U; });
        const Picture expected = decode(plain, "plain");
        for (const bool interlaced : {false, true}) {
            for (const int bits : {8, 16}) {
                const auto file = wasi_tests::png_file(
                    {.bits = bits, .colour = colour, .interlaced = interlaced},
                    [&](auto x, auto y, int c) { return bits == 16 ? sample(x, y, c) : sample(x, y, c) >> 8U; });
                CHECK(wasi_tests::distance(decode(file, "made"), expected) == 0);
            }
        }
    }
}

TEST_CASE("what is transparent lies over white")
{
    const auto file = wasi_tests::png_file({.width = 3, .height = 1, .colour = PNG_COLOR_TYPE_RGBA},
                                           [](auto x, auto, int c) { return c < 3 ? 100U : x * 127U + x / 2; });
    const Picture picture = decode(file, "made");
    CHECK(picture.data()[0] == 255);
    CHECK(picture.data()[3] == (100 * 127 + 255 * 128 + 127) / 255);
    CHECK(picture.data()[6] == 100);
}

TEST_CASE("a JPEG at half its size, for looks at whether it is sound")
{
    const auto bytes = golden_bytes("file.jpeg_420");
    const Picture small = decode(bytes, "x", {.limits = {}, .eighths = 4});
    CHECK(small.size() == wasi::pictures::Size{19, 15});
}

TEST_CASE("a file that is cut off anywhere is an error that names it, or what was cut does not show")
{
    for (const std::string name :
         {"jpeg_420", "jpeg_progressive", "jpeg_grey", "jpeg_exif_6", "png_rgb", "png_palette"}) {
        CAPTURE(name);
        const auto whole = golden_bytes("file." + name);
        const Picture expected = decode(whole, name);
        std::size_t refused = 0;
        for (std::size_t length = 0; length < whole.size(); ++length) {
            const std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
            try {
                const Picture picture = decode(cut, "cut off");
                CHECK(wasi_tests::distance(picture, expected) == 0);
            } catch (const io_error& failure) {
                ++refused;
                CHECK_MESSAGE(has(failure.what(), "cut off: "), failure.what());
            }
        }
        CHECK(refused >= whole.size() - 4);  // an end marker of two bytes, and padding before it
    }
}

TEST_CASE("bytes that are wrong are an error or another picture of that size, and never more")
{
    for (const std::string name :
         {"jpeg_420", "jpeg_progressive", "jpeg_cmyk", "png_palette_transparent", "png_exif_6"}) {
        CAPTURE(name);
        const auto whole = golden_bytes("file." + name);
        for (std::size_t at = 0; at < whole.size(); ++at) {
            for (const int change : {1, 0x80, 0xff}) {
                auto wrong = whole;
                wrong[at] = static_cast<std::uint8_t>(wrong[at] ^ change);
                try {
                    const Picture picture =
                        decode(wrong, "wrong", {.limits = {.most_pixels = 1 << 20, .most_bytes = 1 << 23}});
                    CHECK(picture.bytes() > 0);
                } catch (const io_error& failure) {
                    CHECK_MESSAGE(has(failure.what(), "wrong: "), failure.what());
                }
            }
        }
    }
}

TEST_CASE("what is no picture says what it is")
{
    CHECK(has(refusal({}), "file name: the file is empty"));
    CHECK(has(refusal(bytes_of("hello, this is a text\n")), "neither a JPEG nor a PNG picture: it looks like text"));
    CHECK(has(refusal(bytes_of("GIF89a\x01\x02")), "GIF"));
    CHECK(has(refusal(bytes_of("BM......")), "BMP"));
    CHECK(has(refusal(bytes_of("RIFF....WEBPVP8 ")), "WebP"));
    CHECK(has(refusal(bytes_of(std::string("\0\0\0\x18", 4) + "ftypheic")), "HEIF"));
    CHECK(has(refusal({0xff}), "neither"));
    CHECK(has(refusal({0xff, 0xd8, 0xff}), "not a sound JPEG"));
    CHECK(has(refusal(bytes_of("\x89PNG\r\n\x1a\n")), "not a sound PNG: the file ends early"));
}

TEST_CASE("a bomb is refused by what it says of itself")
{
    const std::string bomb = wasi_tests::png_start(100000, 100000) + wasi_tests::png_chunk("IDAT", "x");
    CHECK(has(refusal(bytes_of(bomb)), "100000 x 100000 pixels, more than the 268435456 that are allowed"));
    const std::string large = wasi_tests::png_start(16000, 16000) + wasi_tests::png_chunk("IDAT", "x");
    CHECK(has(refusal(bytes_of(large), {.limits = {.most_bytes = 100000000}}), "bytes to decode"));
    CHECK(has(refusal(bytes_of(wasi_tests::png_start(0, 3))), "not a sound PNG"));
    // A JPEG's header begins at its first SOF: height and width stand 5 bytes after the marker.
    auto jpeg = golden_bytes("file.jpeg_420");
    std::size_t at = 2;
    while (!(jpeg[at] == 0xff && jpeg[at + 1] == 0xc0)) {
        ++at;
    }
    for (std::size_t i = 5; i < 9; ++i) {
        jpeg[at + i] = 0xfd;
    }
    CHECK(has(refusal(jpeg), "65021 x 65021 pixels, more than"));
    // A picture that keeps all its coefficients takes more than its pixels.
    const auto progressive = golden_bytes("file.jpeg_progressive");
    CHECK(wasi::pictures::read_header(progressive, "x").bytes_to_decode > 2 * std::size_t{37} * 29 * 3);
    CHECK(has(refusal(progressive, {.limits = {.most_bytes = std::size_t{37} * 29 * 3}}), "bytes to decode"));
}

TEST_CASE("EXIF: either order of bytes, and whatever makes no sense is upright")
{
    const auto block = [](bool little, int value, int count = 1) {
        std::vector<std::uint8_t> bytes(2, static_cast<std::uint8_t>(little ? 'I' : 'M'));
        const auto put = [&](unsigned int number, int size) {
            for (int i = 0; i < size; ++i) {
                const int shift = 8 * (little ? i : size - 1 - i);
                bytes.push_back(static_cast<std::uint8_t>(number >> static_cast<unsigned int>(shift)));
            }
        };
        put(42, 2);
        put(8, 4);
        put(static_cast<unsigned int>(count), 2);
        put(0x0112, 2);
        put(3, 2);
        put(1, 4);
        put(static_cast<unsigned int>(value), 2);
        put(0, 2);
        return bytes;
    };
    using wasi::pictures::exif_orientation;
    for (int value = 1; value <= 8; ++value) {
        CHECK(exif_orientation(block(true, value)) == value);
        CHECK(exif_orientation(block(false, value)) == value);
    }
    CHECK(exif_orientation(block(true, 0)) == 1);
    CHECK(exif_orientation(block(true, 9)) == 1);
    CHECK(exif_orientation(block(true, 6, 60000)) == 6);
    auto whole = block(false, 6);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CHECK(exif_orientation({whole.data(), length}) == 1);
    }
    whole[7] = 0xff;  // the directory lies outside
    whole[4] = 0xff;
    CHECK(exif_orientation(whole) == 1);
}
