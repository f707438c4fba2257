// What is done to pictures, as a value and as text.
#include <doctest/doctest.h>

#include <string>

#include <wasi/data/preprocessing.hpp>

namespace {

using wasi::data::Interpolation;
using wasi::data::Preprocessing;
using wasi::data::preprocessing_from_text;

TEST_CASE("preprocessing goes into text and comes back as it was")
{
    const Preprocessing usual;
    CHECK(preprocessing_from_text(to_text(usual)) == usual);
    CHECK(preprocessing_from_text("") == usual);
    const Preprocessing other{.mean = {0.1, 1.0 / 3.0, 0.48145466},
                              .std = {1e-3, 0.5, 1.0},
                              .resize = 0,
                              .crop = 98,
                              .interpolation = Interpolation::bicubic,
                              .stretch = true};
    CHECK(preprocessing_from_text(to_text(other)) == other);
    CHECK(to_text(usual) ==
          "mean=0.485,0.456,0.406;std=0.229,0.224,0.225;resize=256;crop=224;interpolation=bilinear;stretch=0");
    CHECK(preprocessing_from_text("crop=32").crop == 32);
}

TEST_CASE("for images of another size the margin around them stays in proportion")
{
    const Preprocessing usual;  // 224 of 256
    const Preprocessing larger = for_image(usual, 448);
    CHECK(larger.crop == 448);
    CHECK(larger.resize == 512);
    CHECK(for_image(usual, 100).resize == 114);  // 114.29
    CHECK(for_image(usual, 224) == usual);
    // What follows the image follows it still.
    const Preprocessing plain = for_image(Preprocessing::plain(), 32);
    CHECK(plain.crop == 32);
    CHECK(plain.resize == 0);
}

TEST_CASE("text that says no preprocessing is refused")
{
    for (const std::string text :
         {"mean=1,2", "mean=1,2,3,4", "mean=a,b,c", "std=0,1,1", "std=-1,1,1", "mean=nan,0,0", "crop=-1", "crop=2.5",
          "resize=", "interpolation=nearest", "colour=1", "crop", "=", ";", "resize=9999999999999999999"}) {
        CAPTURE(text);
        CHECK_THROWS_AS((void)preprocessing_from_text(text), wasi::argument_error);
    }
}

}  // namespace
