#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/data/preprocessing.hpp"
#include "wasi/pictures/resize.hpp"

namespace wasi::pictures {

/// What is done at random to a picture that is trained on; nothing by default.
struct Augmentation {
    bool crop = false;         ///< a part of the picture instead of its middle
    double least_area = 0.08;  ///< smallest share of the picture that a part has
    bool flip = false;         ///< left and right exchanged, of every other picture
    double jitter = 0.0;       ///< brightness, contrast and saturation times up to 1 - jitter .. 1 + jitter

    /// Throws argument_error when a number is outside its range.
    void check() const
    {
        require<argument_error>(least_area > 0.0 && least_area <= 1.0, "Augmentation: a share of ", least_area,
                                " of the picture; it must be in (0, 1]");
        require<argument_error>(jitter >= 0.0 && jitter <= 1.0, "Augmentation: jitter is ", jitter,
                                "; it must be in [0, 1]");
    }
    friend bool operator==(const Augmentation&, const Augmentation&) = default;
};

/// A rectangle in a picture.
struct Box {
    Index x = 0;
    Index y = 0;
    Size size;
    friend bool operator==(const Box&, const Box&) = default;
};

/// The middle `crop` x `crop` of the picture after its shorter side was resized to `resize`: what torchvision's
/// Resize(resize) and CenterCrop(crop) give; with `stretch`, Resize((resize, resize)). `how` has been fitted. Pixels
/// outside the middle are not computed. Cost: that of resize_part.
[[nodiscard]] inline Picture prepare(PictureView from, const data::Preprocessing& how)
{
    const auto [width, height] = from.size;
    require<argument_error>(width >= 1 && height >= 1, "prepare: the picture is ", width, " x ", height);
    const Index side = how.resize;
    const Size whole = how.stretch ? Size{side, side}
                       : width <= height
                           ? Size{side, static_cast<Index>(static_cast<double>(side) * static_cast<double>(height) /
                                                           static_cast<double>(width))}
                           : Size{static_cast<Index>(static_cast<double>(side) * static_cast<double>(width) /
                                                     static_cast<double>(height)),
                                  side};
    // A half goes to the even neighbour.
    const auto middle = [&](Index extent) {
        const Index twice = extent - how.crop;
        return twice / 2 + (twice % 2 != 0 && (twice / 2) % 2 != 0 ? 1 : 0);
    };
    return resize_part(from, whole, middle(whole.width), middle(whole.height), {how.crop, how.crop}, how.interpolation);
}

/// A part of random size and place: a share of the area uniform in [least_area, 1], the logarithm of width over height
/// uniform in [log 3/4, log 4/3]; ten tries to fit, then the middle. A pure function. As torchvision's
/// RandomResizedCrop, with numbers of its own.
[[nodiscard]] inline Box random_part(Size of, double least_area, RandomKey key)
{
    const auto width = static_cast<double>(of.width);
    const auto height = static_cast<double>(of.height);
    const double narrowest = std::log(3.0 / 4.0);
    for (std::uint64_t attempt = 0; attempt < 10; ++attempt) {
        const double area = width * height * (least_area + (1.0 - least_area) * key.uniform(4 * attempt));
        const double ratio = std::exp(narrowest - 2.0 * narrowest * key.uniform(4 * attempt + 1));
        const Size size{static_cast<Index>(std::llround(std::sqrt(area * ratio))),
                        static_cast<Index>(std::llround(std::sqrt(area / ratio)))};
        if (size.width >= 1 && size.width <= of.width && size.height >= 1 && size.height <= of.height) {
            return {key.below(4 * attempt + 2, of.width - size.width + 1),
                    key.below(4 * attempt + 3, of.height - size.height + 1), size};
        }
    }
    Size size = of;
    if (width / height < 3.0 / 4.0) {
        size.height = std::max<Index>(1, static_cast<Index>(std::llround(width * 4.0 / 3.0)));
    } else if (width / height > 4.0 / 3.0) {
        size.width = std::max<Index>(1, static_cast<Index>(std::llround(height * 4.0 / 3.0)));
    }
    size = {std::min(size.width, of.width), std::min(size.height, of.height)};
    return {(of.width - size.width) / 2, (of.height - size.height) / 2, size};
}

namespace detail {

/// Luma of ITU-R 601, as Pillow rounds it.
[[nodiscard]] inline std::uint8_t grey(const std::uint8_t* pixel)
{
    return static_cast<std::uint8_t>((19595U * pixel[0] + 38470U * pixel[1] + 7471U * pixel[2] + 0x8000U) >> 16U);
}

/// from + (value - from) * factor, as 8 bits.
[[nodiscard]] inline std::uint8_t away_from(double from, std::uint8_t value, double factor)
{
    return static_cast<std::uint8_t>(std::clamp(from + (value - from) * factor + 0.5, 0.0, 255.0));
}

}  // namespace detail

/// Brightness, contrast and saturation, in this order, each times a factor uniform in [1 - jitter, 1 + jitter]. In
/// place.
inline void change_colours(Picture& picture, double jitter, RandomKey key)
{
    const auto factor = [&](std::uint64_t which) { return 1.0 - jitter + 2.0 * jitter * key.uniform(which); };
    const double brightness = factor(0);
    const double contrast = factor(1);
    const double saturation = factor(2);
    std::uint8_t* const begin = picture.row(0);
    std::uint8_t* const end = begin + picture.bytes();
    double sum = 0.0;
    for (std::uint8_t* pixel = begin; pixel != end; pixel += 3) {
        for (int c = 0; c < 3; ++c) {
            pixel[c] = detail::away_from(0.0, pixel[c], brightness);
        }
        sum += detail::grey(pixel);
    }
    const double mean = sum * 3.0 / static_cast<double>(picture.bytes());
    for (std::uint8_t* pixel = begin; pixel != end; pixel += 3) {
        for (int c = 0; c < 3; ++c) {
            pixel[c] = detail::away_from(mean, pixel[c], contrast);
        }
        const double light = detail::grey(pixel);
        for (int c = 0; c < 3; ++c) {
            pixel[c] = detail::away_from(light, pixel[c], saturation);
        }
    }
}

/// Left and right exchanged. In place.
inline void mirror(Picture& picture)
{
    const auto [width, height] = picture.size();
    for (Index y = 0; y < height; ++y) {
        std::uint8_t* left = picture.row(y);
        for (std::uint8_t* right = left + 3 * (width - 1); left < right; left += 3, right -= 3) {
            std::swap_ranges(left, left + 3, right);
        }
    }
}

/// What `augmentation` does to a picture that has its size already: mirror and colours. In place. A pure function of
/// its arguments.
inline void change_at_random(Picture& picture, const Augmentation& augmentation, RandomKey key)
{
    if (augmentation.flip && key.derive(2).uniform(0) < 0.5) {
        mirror(picture);
    }
    if (augmentation.jitter > 0.0) {
        change_colours(picture, augmentation.jitter, key.derive(3));
    }
}

/// What training sees of a picture: crop x crop pixels, changed at random as `augmentation` has it. A pure function of
/// its arguments: `key` is that of this picture in this epoch.
[[nodiscard]] inline Picture augmented(PictureView from, const data::Preprocessing& how,
                                       const Augmentation& augmentation, RandomKey key)
{
    Picture result;
    if (augmentation.crop) {
        const Box box = random_part(from.size, augmentation.least_area, key.derive(1));
        result = resize(from.part(box.x, box.y, box.size), {how.crop, how.crop}, how.interpolation);
    } else {
        result = prepare(from, how);
    }
    change_at_random(result, augmentation, key);
    return result;
}

}  // namespace wasi::pictures
