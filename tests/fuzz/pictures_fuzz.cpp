// libFuzzer entry for picture files and EXIF blocks: whatever the bytes, either io_error or a picture
// within the limits, and no crash.
//   cmake --preset fuzz && cmake --build --preset fuzz && build/fuzz/tests/fuzz_pictures -max_total_time=60
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "wasi/core/error.hpp"
#include "wasi/pictures/decode.hpp"
#include "wasi/pictures/transform.hpp"

namespace {

using wasi::pictures::DecodeLimits;

constexpr DecodeLimits limits{.most_pixels = 1 << 18, .most_bytes = 1 << 23, .most_file_bytes = 1 << 20};

void fail(const char* why)
{
    std::fprintf(stderr, "%s\n", why);
    std::abort();
}

void check(std::span<const std::uint8_t> bytes, int eighths)
{
    try {
        const auto header = wasi::pictures::read_header(bytes, "input");
        const auto picture = wasi::pictures::decode(bytes, "input", {limits, eighths});
        const auto [width, height] = picture.size();
        if (width < 1 || height < 1 || width * height > limits.most_pixels) {
            fail("a picture outside the limits");
        }
        // An eXIf chunk behind the pixels of a PNG may turn it after all.
        if (eighths == 8 && width * height != header.size.width * header.size.height) {
            fail("another size than the header has");
        }
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < picture.bytes(); ++i) {
            sum += picture.data()[i];  // each is set and there
        }
        const auto how = wasi::data::fitted(wasi::data::Preprocessing::plain(), 5);
        sum += wasi::pictures::augmented(picture.view(), how, {.crop = true, .flip = true, .jitter = 0.5},
                                         wasi::RandomKey(sum))
                   .data()[0];
    } catch (const wasi::io_error& refused) {
        for (const char* character = refused.what(); *character != '\0'; ++character) {
            if (*character < 0x20 || *character > 0x7e) {
                fail("a message with control or non-ASCII bytes");
            }
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::span<const std::uint8_t> bytes(data, size);
    const int orientation = wasi::pictures::exif_orientation(bytes);
    if (orientation < 1 || orientation > 8) {
        fail("an orientation that is none");
    }
    check(bytes, 8);
    check(bytes, 1);
    return 0;
}
