#include "digits.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include <wasi/core/error.hpp>

namespace wasi_examples {
namespace {

using wasi::Index;

constexpr Index table_side = 8;
constexpr Index table_pixels = table_side * table_side;
constexpr Index table_columns = table_pixels + 1;  // the pixels, then the class
constexpr Index class_count = 10;
constexpr Index total_count = 1797;
constexpr Index train_count = 1000;
constexpr Index largest_size = 512;

constexpr std::uint8_t table[] = {
#include "digits_table.inc"
};
static_assert(sizeof(table) == static_cast<std::size_t>(total_count * table_columns),
              "digits.csv must hold 1,797 lines of 64 pixels and a class");

Index label_of(Index image)
{
    return table[static_cast<std::size_t>(image * table_columns + table_pixels)];
}

/// The split must never change, so it hangs on this function and the position in the file alone. SplitMix64's finaliser
/// (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
constexpr std::uint64_t split_hash(Index image)
{
    std::uint64_t z = (static_cast<std::uint64_t>(image) + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31U);
}

/// One flag an image of the table: does it belong to the training part? In each class the images with the smallest
/// hashes do, as many as the class's share of train_count.
std::vector<bool> training_images()
{
    std::vector<bool> chosen(static_cast<std::size_t>(total_count), false);
    for (Index digit = 0; digit < class_count; ++digit) {
        std::vector<Index> members;
        for (Index image = 0; image < total_count; ++image) {
            if (label_of(image) == digit) {
                members.push_back(image);
            }
        }
        std::sort(members.begin(), members.end(), [](Index a, Index b) { return split_hash(a) < split_hash(b); });
        const auto size = static_cast<Index>(members.size());
        const Index share = (size * train_count + total_count / 2) / total_count;
        for (Index i = 0; i < share; ++i) {
            chosen[static_cast<std::size_t>(members[static_cast<std::size_t>(i)])] = true;
        }
    }
    return chosen;
}

/// Where one pixel of the resized image looks in a row (or column) of the table: (1 - t) v[left] + t v[right].
struct Tap {
    Index left;
    Index right;
    float t;
};

/// Half-pixel centres: pixel i of n sits at (i + 1/2) 8 / n - 1/2 in the table; beyond the outermost centres the edge
/// value goes on.
std::vector<Tap> bilinear_taps(Index size)
{
    std::vector<Tap> taps;
    taps.reserve(static_cast<std::size_t>(size));
    for (Index i = 0; i < size; ++i) {
        const double centre =
            (static_cast<double>(i) + 0.5) * static_cast<double>(table_side) / static_cast<double>(size) - 0.5;
        const double position = std::clamp(centre, 0.0, static_cast<double>(table_side - 1));
        const auto left = static_cast<Index>(position);  // position >= 0: this is the floor
        taps.push_back(
            {left, std::min(left + 1, table_side - 1), static_cast<float>(position - static_cast<double>(left))});
    }
    return taps;
}

/// Appends image number `image` of the table to `images`.
void append(Images& images, Index image, const std::vector<Tap>& taps)
{
    const std::uint8_t* source = table + image * table_columns;
    const auto at = [source](Index row, Index column) { return static_cast<float>(source[row * table_side + column]); };
    const std::size_t start = images.pixels.size();
    for (const Tap& y : taps) {
        for (const Tap& x : taps) {
            const float above = (1.0F - x.t) * at(y.left, x.left) + x.t * at(y.left, x.right);
            const float below = (1.0F - x.t) * at(y.right, x.left) + x.t * at(y.right, x.right);
            const float value = (1.0F - y.t) * above + y.t * below;
            images.pixels.push_back((value / 16.0F - 0.5F) / 0.5F);
        }
    }
    const std::size_t plane = images.pixels.size() - start;
    for (Index channel = 1; channel < images.channels; ++channel) {
        for (std::size_t i = 0; i < plane; ++i) {
            images.pixels.push_back(images.pixels[start + i]);
        }
    }
    images.labels.push_back(label_of(image));
    ++images.count;
}

/// No images yet, room for `count` of them: (count, 3, size, size).
Images reserve_images(Index count, Index size)
{
    Images images{.count = 0, .channels = 3, .height = size, .width = size, .pixels = {}, .labels = {}};
    images.pixels.reserve(static_cast<std::size_t>(count * images.channels * size * size));
    images.labels.reserve(static_cast<std::size_t>(count));
    return images;
}

}  // namespace

Split load_digits(Index image_size, int first_class, int last_class)
{
    if (image_size < 1 || image_size > largest_size) {
        throw wasi::argument_error("load_digits: image_size must lie in 1.." + std::to_string(largest_size) + ", got " +
                                   std::to_string(image_size));
    }
    if (first_class < 0 || last_class >= class_count || first_class > last_class) {
        throw wasi::argument_error(
            "load_digits: the classes must lie in 0..9, the first not above the last, got first_class = " +
            std::to_string(first_class) + ", last_class = " + std::to_string(last_class));
    }
    const std::vector<bool> train = training_images();
    const auto kept = [&](Index image) { return label_of(image) >= first_class && label_of(image) <= last_class; };
    Index kept_train = 0;
    Index kept_test = 0;
    for (Index image = 0; image < total_count; ++image) {
        if (kept(image)) {
            ++(train[static_cast<std::size_t>(image)] ? kept_train : kept_test);
        }
    }
    Split split{reserve_images(kept_train, image_size), reserve_images(kept_test, image_size)};
    const std::vector<Tap> taps = bilinear_taps(image_size);
    for (Index image = 0; image < total_count; ++image) {
        if (kept(image)) {
            append(train[static_cast<std::size_t>(image)] ? split.train : split.test, image, taps);
        }
    }
    return split;
}

}  // namespace wasi_examples
