// Resizing and cutting are Pillow's and torchvision's; what is random is a function of its key.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include <support/files.hpp>

#include "golden_pictures.hpp"
#include "wasi/pictures/orient.hpp"
#include "wasi/pictures/transform.hpp"

namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::pictures::Augmentation;
using wasi::pictures::augmented;
using wasi::pictures::Interpolation;
using wasi::pictures::Picture;
using wasi::pictures::Size;
using wasi_tests::distance;
using wasi_tests::golden_picture;

[[nodiscard]] Size size_of(const std::string& name)
{
    long width = 0;
    long height = 0;
    REQUIRE(std::sscanf(name.c_str(), "%ldx%ld", &width, &height) == 2);
    return {width, height};
}

[[nodiscard]] Picture copied(const Picture& picture)
{
    Picture result(picture.size());
    std::copy_n(picture.data(), picture.bytes(), result.row(0));
    return result;
}

}  // namespace

TEST_CASE("resized pictures are Pillow's to the last bit, larger and smaller, both ways of interpolation")
{
    const Picture source = golden_picture("resize.source");
    int tried = 0;
    for (const auto& [how, word] : {std::pair(Interpolation::bicubic, "resize.bicubic."),
                                    std::pair(Interpolation::bilinear, "resize.bilinear.")}) {
        for (const std::string& name : wasi_tests::golden_names(word)) {
            CAPTURE(name);
            const Picture resized = wasi::pictures::resize(source.view(), size_of(name), how);
            CHECK(distance(resized, golden_picture(word + name)) == 0);
            ++tried;
        }
    }
    CHECK(tried == 14);
}

TEST_CASE("a part of a resized picture is that part, and the same size is the picture itself")
{
    const Picture source = golden_picture("resize.source");
    for (const Size whole : {Size{30, 20}, Size{70, 60}, Size{60, 20}, Size{20, 60}}) {
        const Picture all = wasi::pictures::resize(source.view(), whole, Interpolation::bicubic);
        const Picture part = wasi::pictures::resize_part(source.view(), whole, 5, 7, {12, 9}, Interpolation::bicubic);
        Picture cut({12, 9});
        for (Index y = 0; y < 9; ++y) {
            std::copy_n(all.row(y + 7) + 15, 36, cut.row(y));
        }
        CHECK(distance(part, cut) == 0);
    }
    CHECK(distance(wasi::pictures::resize(source.view(), source.size(), Interpolation::bicubic), source) == 0);
    CHECK_THROWS_AS((void)wasi::pictures::resize(source.view(), {0, 3}, Interpolation::bicubic), wasi::argument_error);
    CHECK_THROWS_AS((void)wasi::pictures::resize_part(source.view(), {5, 5}, 3, 0, {3, 3}, Interpolation::bicubic),
                    wasi::argument_error);
}

TEST_CASE("a single colour stays what it is, whatever the sizes")
{
    for (const Size size : {Size{1, 1}, Size{20000, 1}, Size{1, 3000}, Size{33, 17}}) {
        Picture flat(size);
        std::fill_n(flat.row(0), flat.bytes(), std::uint8_t{173});
        const Picture resized = wasi::pictures::resize(flat.view(), {14, 14}, Interpolation::bicubic);
        CHECK(std::all_of(resized.data(), resized.data() + resized.bytes(), [](int value) { return value == 173; }));
    }
}

TEST_CASE("the middle of a resized picture is torchvision's Resize and CenterCrop")
{
    const Picture source = golden_picture("resize.source");
    const auto names = wasi_tests::golden_names("prepare.");
    REQUIRE(names.size() == 5);
    const wasi::data::Preprocessing how{.resize = 20, .crop = 17, .interpolation = wasi::data::Interpolation::bicubic};
    for (const std::string& name : names) {
        CAPTURE(name);
        CHECK(distance(wasi::pictures::prepare(source.view().part(0, 0, size_of(name)), how),
                       golden_picture("prepare." + name)) == 0);
    }
}

TEST_CASE("preprocessing is fitted to a model's size, or refused")
{
    using wasi::data::fitted;
    auto how = wasi::data::Preprocessing::plain();
    CHECK(fitted(how, 98).resize == 98);
    CHECK(fitted(how, 98).crop == 98);
    how.resize = 256;
    how.crop = 224;
    CHECK(fitted(how, 224).resize == 256);
    CHECK(fitted(how, 112).resize == 128);
    how.crop = 300;
    CHECK_THROWS_AS((void)fitted(how, 224), wasi::argument_error);
    CHECK_THROWS_AS((void)fitted(how, 0), wasi::argument_error);
    how = wasi::data::Preprocessing::plain();
    how.std[1] = 0.0;
    CHECK_THROWS_AS((void)fitted(how, 224), wasi::argument_error);
}

TEST_CASE("a changed picture is a function of its key alone, and keys differ")
{
    const Picture source = golden_picture("resize.source");
    const auto how = wasi::data::fitted(wasi::data::Preprocessing::plain(), 16);
    for (const Augmentation& one : {Augmentation{.crop = true}, Augmentation{.flip = true}, Augmentation{.jitter = 0.4},
                                    Augmentation{.crop = true, .flip = true, .jitter = 0.4}}) {
        std::set<std::string> seen;
        for (int i = 0; i < 20; ++i) {
            const Picture a = augmented(source.view(), how, one, RandomKey(7).derive(i));
            const Picture b = augmented(source.view(), how, one, RandomKey(7).derive(i));
            CHECK(distance(a, b) == 0);
            CHECK(a.size() == Size{16, 16});
            seen.emplace(a.data(), a.data() + a.bytes());
        }
        const bool only_flips = !one.crop && one.jitter == 0.0;
        CHECK(seen.size() == (only_flips ? 2U : 20U));
    }
    // Nothing asked for: the middle.
    CHECK(distance(augmented(source.view(), how, {}, RandomKey(1)), prepare(source.view(), how)) == 0);
}

TEST_CASE("random parts lie inside, their areas and proportions are spread as asked")
{
    double areas = 0.0;
    double logarithms = 0.0;
    int mirrored = 0;
    constexpr int count = 2000;
    for (int i = 0; i < count; ++i) {
        const auto box = wasi::pictures::random_part({400, 300}, 0.2, RandomKey(3).derive(i));
        CHECK(box.x >= 0);
        CHECK(box.y >= 0);
        CHECK(box.x + box.size.width <= 400);
        CHECK(box.y + box.size.height <= 300);
        const double area = static_cast<double>(box.size.width * box.size.height) / 120000.0;
        CHECK(area >= 0.195);
        areas += area / count;
        logarithms += std::log(static_cast<double>(box.size.width) / static_cast<double>(box.size.height)) / count;
        mirrored += RandomKey(3).derive(i).derive(2).uniform(0) < 0.5 ? 1 : 0;
    }
    // The mean of the area a over what fits into 4 : 3, a <= 3/4 r, of ratios r with a uniform logarithm.
    CHECK(std::abs(areas - 0.4943) < 0.015);
    CHECK(logarithms > 0.0);  // wide parts fit more often
    CHECK(logarithms < 0.1);
    CHECK(std::abs(mirrored - count / 2) < 4.0 * std::sqrt(count / 4.0));
    for (const Size odd : {Size{1, 1}, Size{20000, 1}, Size{1, 20000}}) {
        const auto box = wasi::pictures::random_part(odd, 0.08, RandomKey(1));
        CHECK(box.size.width >= 1);
        CHECK(box.size.height >= 1);
        CHECK(box.x + box.size.width <= odd.width);
        CHECK(box.y + box.size.height <= odd.height);
    }
}

TEST_CASE("of a single grey the brightness alone changes")
{
    for (int i = 0; i < 20; ++i) {
        const RandomKey key = RandomKey(5).derive(i);
        Picture grey({6, 4});
        std::fill_n(grey.row(0), grey.bytes(), std::uint8_t{90});
        change_colours(grey, 0.4, key);
        const double wanted = 90.0 * (0.6 + 0.8 * key.uniform(0));
        for (std::size_t at = 0; at < grey.bytes(); ++at) {
            CHECK(std::abs(static_cast<double>(grey.data()[at]) - wanted) <= 0.5 + 1e-9);
        }
    }
}

TEST_CASE("a mirrored picture mirrored again is the picture")
{
    const Picture source = golden_picture("resize.source");
    Picture copy = copied(source);
    mirror(copy);
    CHECK(distance(copy, source) > 0);
    CHECK(copy.row(3)[0] == source.row(3)[3 * 52]);
    mirror(copy);
    CHECK(distance(copy, source) == 0);
}

TEST_CASE("options outside their range are refused")
{
    CHECK_THROWS_AS((Augmentation{.least_area = 0.0}.check()), wasi::argument_error);
    CHECK_THROWS_AS((Augmentation{.jitter = 1.5}.check()), wasi::argument_error);
    CHECK_THROWS_AS((void)wasi::pictures::oriented(Picture({1, 1}), 9), wasi::argument_error);
}
