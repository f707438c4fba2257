#include "digits.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

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
constexpr Index channels = 3;

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

/// Image number `image` of the table, (3, size, size), at `to`; returns where it ends.
float* write_image(Index image, const std::vector<Tap>& taps, float* to)
{
    const std::uint8_t* source = table + image * table_columns;
    const auto at = [source](Index row, Index column) { return static_cast<float>(source[row * table_side + column]); };
    const float* const start = to;
    for (const Tap& y : taps) {
        for (const Tap& x : taps) {
            const float above = (1.0F - x.t) * at(y.left, x.left) + x.t * at(y.left, x.right);
            const float below = (1.0F - x.t) * at(y.right, x.left) + x.t * at(y.right, x.right);
            const float value = (1.0F - y.t) * above + y.t * below;
            *to++ = (value / 16.0F - 0.5F) / 0.5F;
        }
    }
    const Index plane = to - start;
    for (Index channel = 1; channel < channels; ++channel) {
        to = std::copy_n(start, plane, to);
    }
    return to;
}

struct Numbers {
    std::vector<Index> train;
    std::vector<Index> test;
};

/// The numbers of the images of these classes. Throws wasi::argument_error.
Numbers image_numbers(Index image_size, int first_class, int last_class)
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
    Numbers numbers;
    for (Index image = 0; image < total_count; ++image) {
        if (label_of(image) >= first_class && label_of(image) <= last_class) {
            (train[static_cast<std::size_t>(image)] ? numbers.train : numbers.test).push_back(image);
        }
    }
    return numbers;
}

Images images_of(const std::vector<Index>& numbers, Index size)
{
    Images images{.count = static_cast<Index>(numbers.size()),
                  .channels = channels,
                  .height = size,
                  .width = size,
                  .pixels = {},
                  .labels = {}};
    images.pixels.resize(static_cast<std::size_t>(images.count * channels * size * size));
    const std::vector<Tap> taps = bilinear_taps(size);
    float* to = images.pixels.data();
    for (const Index image : numbers) {
        to = write_image(image, taps, to);
        images.labels.push_back(label_of(image));
    }
    return images;
}

}  // namespace

Split load_digits(Index image_size, int first_class, int last_class)
{
    const Numbers numbers = image_numbers(image_size, first_class, last_class);
    return {images_of(numbers.train, image_size), images_of(numbers.test, image_size)};
}

Digits::Digits(Index image_size, std::vector<Index> images) : image_size_(image_size), images_(std::move(images)) {}

wasi::Tensor<float> Digits::gather(std::span<const Index> which, wasi::RandomKey, wasi::Memory& memory) const
{
    wasi::Tensor<float> batch(memory, wasi::Tag{wasi::Use::input, 0},
                              wasi::Shape{static_cast<Index>(which.size()), channels, image_size_, image_size_});
    const std::vector<Tap> taps = bilinear_taps(image_size_);
    float* to = batch.data();
    for (const Index number : which) {
        to = write_image(images_[static_cast<std::size_t>(number)], taps, to);
    }
    return batch;
}

std::vector<std::int64_t> Digits::gather_labels(std::span<const Index> which) const
{
    std::vector<std::int64_t> labels;
    for (const Index number : which) {
        labels.push_back(label_of(images_[static_cast<std::size_t>(number)]));
    }
    return labels;
}

void Digits::check(Index classes) const
{
    for (const Index image : images_) {
        wasi::require<wasi::argument_error>(label_of(image) < classes, "digits: label ", label_of(image), " of image ",
                                            image, " is outside the ", classes, " classes");
    }
}

DigitsSplit digits(Index image_size, int first_class, int last_class)
{
    Numbers numbers = image_numbers(image_size, first_class, last_class);
    return {Digits(image_size, std::move(numbers.train)), Digits(image_size, std::move(numbers.test))};
}

}  // namespace wasi_examples
