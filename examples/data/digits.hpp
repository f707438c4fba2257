#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <wasi/core/random.hpp>
#include <wasi/storage/tensor.hpp>

namespace wasi_examples {

/// Images side by side in memory as (count, channels, height, width), row-major, and the class of each.
struct Images {
    wasi::Index count = 0;
    wasi::Index channels = 0;
    wasi::Index height = 0;
    wasi::Index width = 0;
    std::vector<float> pixels;         ///< (count, channels, height, width)
    std::vector<std::int64_t> labels;  ///< (count)
};

/// What is learned from and what is measured on. No image is in both.
struct Split {
    Images train;
    Images test;
};

/// The handwritten digits that are embedded in this program, ready for a model: (n, 3, image_size, image_size).
///
/// Each 8 x 8 image with values v in 0..16 is resized by bilinear interpolation and brought to (v/16 - 1/2) / (1/2),
/// which lies in [-1, 1]; its three channels are equal. Only the classes first_class..last_class (both included) are
/// kept; labels stay what they are. The split is always the same, by class, 1,000 images to train and 797 to test for
/// all ten classes, and does not depend on the range: a test image of a digit is a test image in every range.
/// Cost: 12 image_size^2 bytes an image. Throws wasi::argument_error for a size outside 1..512 or a range outside 0..9.
/// Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi 10.24432/C50P49 (CC BY 4.0).
[[nodiscard]] Split load_digits(wasi::Index image_size, int first_class, int last_class);

/// The same images as a data set that holds none of them: each is resized when it is asked for. A wasi::data::Batches.
class Digits {
public:
    /// Some images of the table.
    Digits(wasi::Index image_size, std::vector<wasi::Index> images);

    [[nodiscard]] wasi::Index size() const { return static_cast<wasi::Index>(images_.size()); }
    [[nodiscard]] wasi::Tensor<float> gather(std::span<const wasi::Index> which, wasi::RandomKey key,
                                             wasi::Memory& memory) const;
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const wasi::Index> which) const;
    /// Throws wasi::argument_error where a label is no class.
    void check(wasi::Index classes) const;
    [[nodiscard]] std::size_t bytes() const { return images_.capacity() * sizeof(wasi::Index); }

private:
    wasi::Index image_size_;
    std::vector<wasi::Index> images_;
};

struct DigitsSplit {
    Digits train;
    Digits test;
};

/// As load_digits, image for image. Throws what it does.
[[nodiscard]] DigitsSplit digits(wasi::Index image_size, int first_class, int last_class);

}  // namespace wasi_examples
