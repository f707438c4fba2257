// CIFAR and IDX files: what is in them, and what of them is refused.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>

#include "made_records.hpp"
#include "wasi/pictures/idx.hpp"

namespace {

using wasi::Index;
using wasi::io_error;
using wasi::pictures::read_cifar;
using wasi::pictures::read_idx;
using wasi_tests::cifar_records;
using wasi_tests::has;
using wasi_tests::idx_text;
using wasi_tests::message_of;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_in;
using wasi_tests::write_packed;

void write_cifar10(const std::filesystem::path& folder)
{
    for (int i = 1; i <= 5; ++i) {
        write_in(folder / ("data_batch_" + std::to_string(i) + ".bin"), cifar_records(4, 4 * (i - 1), 1, 10));
    }
    write_in(folder / "test_batch.bin", cifar_records(10, 100, 1, 10));
}

void write_idx(const std::filesystem::path& folder)
{
    write_in(folder / "train-images-idx3-ubyte", idx_text({6, 5, 4}, 120));
    write_in(folder / "train-labels-idx1-ubyte", idx_text({6}, 6));
    write_packed(folder / "t10k-images-idx3-ubyte.gz", idx_text({3, 5, 4}, 60));
    write_packed(folder / "t10k-labels.idx1-ubyte.gz", idx_text({3}, 3));
}

}  // namespace

TEST_CASE("CIFAR-10: all files one after the other, planes side by side, names of classes")
{
    const TemporaryFolder folder;
    write_cifar10(folder / "cifar-10-batches-bin");
    write_in(folder / "cifar-10-batches-bin/batches.meta.txt", "airplane\nautomobile\r\n\n");
    const auto data = read_cifar(folder.path(), 10);
    CHECK(data.training.which.size() == 20);
    CHECK(data.held_out->which.size() == 10);
    CHECK(data.training.labels[13] == 3);
    CHECK(data.training.classes.at(1) == "automobile");
    CHECK(data.training.classes.at(2) == "2");
    CHECK(data.training.classes.size() == 10);
    const auto& source = *data.training.source;
    const auto picture = source.decode(13, source.read(13), 8);
    CHECK(picture.row(2)[3 * 5] == 13 * 3 + 69 % 41);
    CHECK(picture.row(2)[3 * 5 + 2] == 13 * 3 + 100 + 69 % 41);
    CHECK(has(source.name(13), "data_batch_4.bin, picture 1"));
    CHECK(source.bytes() == 0);  // pixels stay where they are

    const auto some = data.training.of_classes(2, 3);
    CHECK(some.labels == std::vector<std::int64_t>{2, 3, 2, 3});
    CHECK(some.which == std::vector<Index>{2, 3, 12, 13});
    CHECK(some.classes.size() == 4);
    for (const auto& [first, last] : std::vector<std::pair<int, int>>{{10, 12}, {0, 10}, {5, 3}, {-1, 3}}) {
        const std::string said = message_of<wasi::argument_error>(
            [&, first = first, last = last] { (void)data.training.of_classes(first, last); });
        CHECK_MESSAGE(has(said, ": there are classes 0 to 9"), said);
    }
    const auto none = data.training.part(std::vector<Index>{3}).of_classes(3, 3);
    CHECK(has(message_of<wasi::argument_error>([&] { (void)none.of_classes(1, 2); }), "there is no picture of them"));
    CHECK_THROWS_AS((void)read_cifar(folder.path(), 20), wasi::argument_error);
}

TEST_CASE("CIFAR-100: the fine label is the second")
{
    const TemporaryFolder folder;
    write_in(folder / "train.bin", cifar_records(5, 42, 2, 100));
    write_in(folder / "test.bin", cifar_records(3, 97, 2, 100));
    const auto data = read_cifar(folder.path(), 100);
    CHECK(data.training.labels == std::vector<std::int64_t>{42, 43, 44, 45, 46});
    CHECK(data.held_out->labels == std::vector<std::int64_t>{97, 98, 99});
}

TEST_CASE("IDX, packed or not, with either name")
{
    const TemporaryFolder folder;
    write_idx(folder.path());
    const auto data = read_idx(folder.path());
    CHECK(data.training.labels == std::vector<std::int64_t>{0, 1, 2, 0, 1, 2});
    CHECK(data.held_out->labels.size() == 3);
    CHECK(data.training.classes == std::vector<std::string>{"0", "1", "2"});
    const auto& source = *data.held_out->source;
    CHECK(source.bytes() >= 76);
    const auto picture = source.decode(2, source.read(2), 8);
    CHECK(picture.size() == wasi::pictures::Size{4, 5});
    CHECK(picture.row(1)[3] == (40 + 5) % 3);
    CHECK(picture.row(1)[5] == (40 + 5) % 3);
}

TEST_CASE("what CIFAR and IDX files may not say")
{
    const auto says = [](const auto& action) { return message_of<io_error>(action); };
    {
        const TemporaryFolder folder;
        CHECK(has(says([&] { (void)read_cifar(folder.path(), 10); }), "data_batch_1.bin: cannot be opened"));
        write_cifar10(folder.path());
        write_in(folder / "data_batch_3.bin", cifar_records(2, 0, 1, 10) + "x");
        CHECK(has(says([&] { (void)read_cifar(folder.path(), 10); }), "data_batch_3.bin: has 6147 bytes, no whole"));
        write_in(folder / "data_batch_3.bin", "");
        CHECK(has(says([&] { (void)read_cifar(folder.path(), 10); }), "data_batch_3.bin: has 0 bytes"));
        write_in(folder / "data_batch_3.bin", cifar_records(2, 11, 1, 20));
        CHECK(has(says([&] { (void)read_cifar(folder.path(), 10); }), "data_batch_3.bin, picture 0: the class is 11"));
        write_in(folder / "data_batch_3.bin", cifar_records(2, 0, 1, 10));
        REQUIRE(::mkfifo((folder / "batches.meta.txt").c_str(), 0600) == 0);  // whoever opens it waits
        CHECK(has(says([&] { (void)read_cifar(folder.path(), 10); }), "batches.meta.txt: is not a regular file"));
        std::filesystem::remove(folder / "batches.meta.txt");
        std::filesystem::remove(folder / "data_batch_3.bin");
        std::filesystem::create_directory(folder / "data_batch_3.bin");
        CHECK(has(says([&] { (void)read_cifar(folder.path(), 10); }), "is not a regular file"));
    }
    const TemporaryFolder folder;
    const auto idx = [&] { return says([&] { (void)read_idx(folder.path()); }); };
    CHECK(has(idx(), "train-images-idx3-ubyte: is not there, packed (.gz) or not"));
    write_idx(folder.path());
    const auto images = folder / "train-images-idx3-ubyte";
    for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "has 0 bytes"},
             {std::string(16, '\0'), "is no IDX file"},
             {idx_text({6, 5, 4}, 119), "which its 135 bytes are not"},
             {idx_text({6, 5, 4}, 121), "bytes are not"},
             {idx_text({0, 5, 4}, 0), "bytes are not"},
             {idx_text({0xffffffff, 0xffffffff, 0xffffffff}, 10), "bytes are not"},
             {idx_text({7, 5, 4}, 140), "has 6 labels for 7 pictures"},
             {"\x1f\x8b but not packed", "cannot be unpacked"}}) {
        write_in(images, text);
        const std::string said = idx();
        CHECK_MESSAGE(has(said, part), said);
    }
    write_idx(folder.path());
    const std::string packed = wasi_tests::bytes_of_file(folder / "t10k-images-idx3-ubyte.gz");
    write_in(folder / "t10k-images-idx3-ubyte.gz", packed.substr(0, packed.size() / 2));
    CHECK(has(idx(), "t10k-images-idx3-ubyte.gz"));

    // One that unpacks to more than it says is not unpacked.
    write_idx(folder.path());
    write_packed(folder / "t10k-images-idx3-ubyte.gz",
                 idx_text({3, 5, 4}, 60) + std::string(std::size_t{1} << 26, '\0'));
    CHECK(has(idx(), "t10k-images-idx3-ubyte.gz: unpacks to more than the 76 bytes that it may have"));
    // A file of holes: 6 pictures of 1.6 gigapixels.
    write_idx(folder.path());
    write_in(images, idx_text({6, 40000, 40000}, 0));
    std::filesystem::resize_file(images, 16 + std::uintmax_t{6} * 40000 * 40000);
    CHECK(has(idx(), "train-images-idx3-ubyte: says that it is 40000 x 40000 pixels, more than the 268435456"));
}
