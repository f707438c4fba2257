// Labelled images in memory, as batches.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <wasi/data/batches.hpp>
#include <wasi/data/dataset.hpp>

namespace {

using wasi::Index;
using wasi::RandomKey;
using Dataset = wasi::data::Dataset<float>;
static_assert(wasi::data::Batches<Dataset, float>);
static_assert(!wasi::data::Batches<Dataset, double>);

/// Three images of two channels, 1 x 2 pixels: pixel by pixel 0, 1, 2, ...
[[nodiscard]] Dataset small()
{
    Dataset data;
    data.count = 3;
    data.channels = 2;
    data.height = 1;
    data.width = 2;
    for (int i = 0; i < 12; ++i) {
        data.images.push_back(static_cast<float>(i));
    }
    data.labels = {2, 0, 1};
    return data;
}

TEST_CASE("a batch has the images asked for, in that order and as often, booked as input")
{
    const Dataset data = small();
    wasi::Ledger memory;
    const std::vector<Index> which{2, 0, 2};
    const auto batch = data.gather(which, RandomKey(1), memory);
    CHECK(batch.shape() == wasi::Shape{3, 2, 1, 2});
    CHECK(std::vector<float>(batch.span().begin(), batch.span().end()) ==
          std::vector<float>{8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11});
    CHECK(data.gather_labels(which) == std::vector<std::int64_t>{1, 2, 1});
    CHECK(memory.of(wasi::Use::input).current == 12 * sizeof(float));
    const auto other_key = data.gather(which, RandomKey(2), memory);
    CHECK(std::equal(batch.span().begin(), batch.span().end(), other_key.span().begin()));
}

TEST_CASE("what is no data set is refused by its first fault")
{
    const auto refused = [](auto change, Index classes = 3) {
        Dataset data = small();
        change(data);
        data.check(classes);
    };
    CHECK_NOTHROW(refused([](Dataset&) {}));
    CHECK_THROWS_WITH_AS(refused([](Dataset&) {}, 2), "Dataset: label 2 of image 0 is outside the 2 classes",
                         wasi::argument_error);
    CHECK_THROWS_WITH_AS(refused([](Dataset& d) { d.labels.push_back(0); }), "Dataset: 4 labels for 3 images",
                         wasi::shape_error);
    CHECK_THROWS_WITH_AS(refused([](Dataset& d) { d.width = 3; }), "Dataset: 12 pixels for images (3, 2, 1, 3)",
                         wasi::shape_error);
    CHECK_THROWS_WITH_AS(refused([](Dataset& d) { d.images[5] = std::numeric_limits<float>::quiet_NaN(); }),
                         "Dataset: image 1 holds NaN or infinity", wasi::argument_error);
}

}  // namespace
