// Batches of pictures: pure functions of examples and key, whatever is kept and however many threads decode.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <support/files.hpp>

#include "golden_pictures.hpp"
#include "made_files.hpp"
#include "wasi/core/memory.hpp"
#include "wasi/data/any_batches.hpp"
#include "wasi/data/dataset.hpp"
#include "wasi/data/subset.hpp"
#include "wasi/pictures/batches.hpp"

namespace {

using wasi::Index;
using wasi::Ledger;
using wasi::RandomKey;
using wasi::pictures::Augmentation;
using wasi::pictures::PictureBatches;
using wasi::pictures::PictureOptions;
using wasi::pictures::Skipped;
using wasi::pictures::Workers;
using wasi_tests::TemporaryFolder;

static_assert(wasi::data::Batches<PictureBatches<float>, float>);
static_assert(wasi::data::Batches<PictureBatches<double>, double>);
static_assert(wasi::data::Batches<wasi::data::AnyBatches<float>, float>);
static_assert(wasi::data::Batches<wasi::data::Subset<float>, float>);

constexpr Index side = 10;

[[nodiscard]] PictureBatches<float> open(const std::filesystem::path& folder, const Augmentation& augmentation,
                                         std::size_t cache, Index threads)
{
    Skipped skipped;
    PictureOptions options;
    options.preprocessing =
        wasi::data::fitted(wasi::data::Preprocessing{.mean = {0.4, 0.5, 0.6},
                                                     .std = {0.2, 0.25, 0.3},
                                                     .resize = 0,
                                                     .crop = 0,
                                                     .interpolation = wasi::data::Interpolation::bicubic},
                           side);
    options.augmentation = augmentation;
    options.cache_bytes = cache;
    return {wasi::pictures::list_folder(folder, skipped).training, options, std::make_shared<Workers>(threads),
            skipped};
}

template <class D>
[[nodiscard]] std::vector<float> gathered(const D& data, const std::vector<Index>& which, RandomKey key)
{
    Ledger memory;
    const auto batch = data.gather(which, key, memory);
    return {batch.data(), batch.data() + batch.span().size()};
}

const std::vector<Augmentation> all_kinds{
    {}, {.crop = true}, {.flip = true}, {.flip = true, .jitter = 0.3}, {.crop = true, .flip = true, .jitter = 0.3}};

}  // namespace

TEST_CASE("a batch is the same bits whatever is kept, for any number of threads, asked once or again, expected or not")
{
    const TemporaryFolder folder;
    wasi_tests::write_classes(folder.path(), {"a", "b", "c"}, 7);
    const std::vector<Index> first{3, 20, 0, 7, 7};
    const std::vector<Index> second{1, 2};
    for (const Augmentation& kind : all_kinds) {
        const auto plain = open(folder.path(), kind, 0, 0);
        CHECK(plain.kept() == 0);
        const auto expected = gathered(plain, first, RandomKey(5));
        const auto after = gathered(plain, second, RandomKey(6));
        for (const Index threads : {0, 1, 2, 7}) {
            for (const std::size_t cache : {std::size_t{0}, std::size_t{4000}, std::size_t{1000000}}) {
                const auto other = open(folder.path(), kind, cache, threads);
                CHECK((cache < 4000 || other.kept() > 0));
                CHECK((cache < 1000000 || other.kept() == 21));
                CHECK(other.kept_bytes() <= cache);
                CHECK(other.fingerprint() == plain.fingerprint());
                CHECK(gathered(other, first, RandomKey(5)) == expected);
                other.expect(second, RandomKey(6));
                CHECK(gathered(other, first, RandomKey(5)) == expected);
                CHECK(gathered(other, second, RandomKey(6)) == after);
                CHECK(gathered(other, first, RandomKey(5)) == expected);
                other.expect(second, RandomKey(7));  // what is not asked for after all
            }
        }
        // The key of a picture is its number's, not its place in the batch.
        const auto alone = gathered(plain, {7}, RandomKey(5));
        CHECK(std::equal(alone.begin(), alone.end(), expected.begin() + 3 * std::ssize(alone)));
        const bool random = !(kind == Augmentation{});
        CHECK((gathered(plain, first, RandomKey(8)) != expected) == random);
        const auto once = gathered(plain, first, RandomKey(9));  // the same examples, held as bytes, under another key
        CHECK((gathered(plain, first, RandomKey(10)) != once) == random);
        CHECK(gathered(plain.plain(), first, RandomKey(8)) ==
              gathered(open(folder.path(), {}, 0, 0), first, RandomKey(5)));
        const auto kept = open(folder.path(), kind, 1000000, 2);
        CHECK(gathered(kept.plain(), first, RandomKey(8)) ==
              gathered(open(folder.path(), {}, 0, 0), first, RandomKey(5)));
    }
}

TEST_CASE("numbers of a batch: (v / 255 - mean) / deviation, channels first")
{
    const TemporaryFolder folder;
    const auto bytes = wasi_tests::golden_bytes("file.png_rgb");
    wasi_tests::write_in(folder / "x/a.png", std::string(bytes.begin(), bytes.end()));
    const auto data = open(folder.path(), {}, 0, 0);
    const auto batch = gathered(data, {0}, RandomKey(0));
    const auto how = wasi::data::fitted(wasi::data::Preprocessing::plain(), side);
    const auto pixels = wasi::pictures::prepare(wasi_tests::golden_picture("rgb.png_rgb").view(), how);
    const std::vector<double> mean{0.4, 0.5, 0.6};
    const std::vector<double> deviation{0.2, 0.25, 0.3};
    for (Index c = 0; c < 3; ++c) {
        for (Index y = 0; y < side; ++y) {
            for (Index x = 0; x < side; ++x) {
                const double value = (pixels.row(y)[3 * x + c] / 255.0 - mean[static_cast<std::size_t>(c)]) /
                                     deviation[static_cast<std::size_t>(c)];
                CHECK(batch[static_cast<std::size_t>((c * side + y) * side + x)] == static_cast<float>(value));
            }
        }
    }
}

TEST_CASE("normalised pictures are torchvision's")
{
    const TemporaryFolder folder;
    const auto source = wasi_tests::golden_picture("resize.source");
    wasi_tests::write_in(folder / "x/a.png", wasi_tests::text_of(wasi_tests::png_file(
                                                 {.width = 31, .height = 41}, [&](auto x, auto y, int c) {
                                                     return source.row(y)[3 * x + static_cast<unsigned int>(c)];
                                                 })));
    Skipped skipped;
    PictureOptions options;
    options.preprocessing = {.mean = {0.485, 0.456, 0.406},
                             .std = {0.229, 0.224, 0.225},
                             .resize = 20,
                             .crop = 17,
                             .interpolation = wasi::data::Interpolation::bicubic};
    options.preprocessing = wasi::data::fitted(options.preprocessing, 17);
    const PictureBatches<float> data(wasi::pictures::list_folder(folder.path(), skipped).training, options,
                                     std::make_shared<Workers>(0), skipped);
    const auto batch = gathered(data, {0}, RandomKey(0));
    const auto expected = wasi_tests::read_values<float>(wasi_tests::picture_golden(), "normalised.31x41");
    REQUIRE(batch.size() == expected.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
        CHECK(std::abs(batch[i] - expected[i]) < 1e-6F);
    }
}

TEST_CASE("a fingerprint tells files, labels and order apart")
{
    const auto fingerprint = [](const std::filesystem::path& folder) { return open(folder, {}, 0, 0).fingerprint(); };
    const TemporaryFolder folder;
    wasi_tests::write_classes(folder.path(), {"a", "b"}, 3);
    const auto before = fingerprint(folder.path());
    CHECK(fingerprint(folder.path()) == before);
    wasi_tests::write_in(folder / "a/00.JPG", wasi_tests::small_jpeg(9, 11, 99));
    const auto other = fingerprint(folder.path());
    CHECK(other != before);
    std::filesystem::rename(folder / "a/00.JPG", folder / "a/zz.JPG");
    CHECK(fingerprint(folder.path()) != other);
    const auto moved = fingerprint(folder.path());
    std::filesystem::rename(folder / "a/zz.JPG", folder / "b/0.JPG");  // the last of a is the first of b: another label
    CHECK(fingerprint(folder.path()) != moved);
}

TEST_CASE("a file that changes after it was looked at is an error that names it, and not a crash")
{
    const TemporaryFolder folder;
    wasi_tests::write_classes(folder.path(), {"a", "b"}, 3);
    const auto data = open(folder.path(), {}, 0, 2);
    wasi_tests::write_in(folder / "b/01.JPG", "no longer");
    Ledger memory;
    const std::vector<Index> which{0, 4, 5};
    for (int again = 0; again < 3; ++again) {
        const std::string said =
            wasi_tests::message_of<wasi::io_error>([&] { (void)data.gather(which, RandomKey(1), memory); });
        CHECK_MESSAGE(wasi_tests::has(said, "b/01.JPG"), said);
    }
    CHECK(memory.total().current == 0);
    data.expect(which, RandomKey(2));  // its failure waits for who asks
    CHECK_NOTHROW((void)data.gather(std::vector<Index>{0, 1}, RandomKey(1), memory));
}

TEST_CASE("labels, checks and memory")
{
    const TemporaryFolder folder;
    wasi_tests::write_classes(folder.path(), {"a", "b", "c"}, 2);
    const auto data = open(folder.path(), {}, 1000000, 1);
    CHECK(data.gather_labels(std::vector<Index>{5, 0}) == std::vector<std::int64_t>{2, 0});
    CHECK_NOTHROW(data.check(3));
    CHECK_THROWS_AS(data.check(2), wasi::argument_error);
    CHECK(data.bytes() >= 6 * 3 * side * side);
    CHECK(data.working_bytes(4) >= 2 * 4 * 3 * side * side);
    Ledger memory;
    {
        const auto batch = data.gather(std::vector<Index>{0, 1}, RandomKey(1), memory);
        CHECK(memory.of(wasi::Use::input).current == 2 * 3 * side * side * sizeof(float));
    }
    CHECK(memory.total().current == 0);
}

TEST_CASE("any data set behind one type, and a part of it")
{
    wasi::data::Dataset<float> plain{4, 1, 1, 2, {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 0, 1}};
    const wasi::data::AnyBatches<float> any(plain);
    CHECK(any.size() == 4);
    CHECK(gathered(any, {2, 0}, RandomKey(1)) == std::vector<float>{4, 5, 0, 1});
    const wasi::data::AnyBatches<float> part(wasi::data::Subset<float>(any, {3, 2}));
    CHECK(part.size() == 2);
    CHECK(gathered(part, {1, 0}, RandomKey(1)) == std::vector<float>{4, 5, 6, 7});
    CHECK(part.gather_labels(std::vector<Index>{0}) == std::vector<std::int64_t>{1});
    CHECK_THROWS_AS(part.check(1), wasi::argument_error);
    CHECK_THROWS_AS((void)wasi::data::Subset<float>(any, {4}), wasi::argument_error);
    CHECK_THROWS_AS((void)wasi::data::AnyBatches<float>().size(), wasi::argument_error);
    part.expect(std::vector<Index>{0}, RandomKey(1));  // a plain data set does not mind
}

TEST_CASE("workers: every piece once, the first failure by number, and an end that waits for nobody")
{
    for (const Index threads : {0, 1, 3}) {
        Workers workers(threads);
        std::vector<std::atomic<int>> done(200);
        workers.run(200, [&](Index i) { ++done[static_cast<std::size_t>(i)]; });
        for (const auto& one : done) {
            CHECK(one == 1);
        }
        for (int again = 0; again < 20; ++again) {
            const std::string said = wasi_tests::message_of<std::runtime_error>([&] {
                workers.run(50, [](Index i) {
                    if (i % 10 == 7) {
                        throw std::runtime_error("piece " + std::to_string(i));
                    }
                });
            });
            CHECK(said == "piece 7");
        }
        workers.run(0, [](Index) {});
        auto left = workers.begin(1000, [](Index) {});
    }
}
