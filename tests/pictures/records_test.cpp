// CIFAR and IDX files: what is in them, and what of them is refused.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <zlib.h>

#include <support/files.hpp>

#include "made_files.hpp"
#include "wasi/pictures/idx.hpp"

namespace {

using wasi::Index;
using wasi::io_error;
using wasi::pictures::read_cifar;
using wasi::pictures::read_idx;
using wasi_tests::has;
using wasi_tests::message_of;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_in;

/// `count` records: labels, then planes whose bytes tell record, colour and place.
[[nodiscard]] std::string cifar_records(int count, int first, int label_bytes, int classes)
{
    std::string text;
    for (int i = 0; i < count; ++i) {
        for (int byte = 0; byte < label_bytes; ++byte) {
            text += static_cast<char>(byte + 1 == label_bytes ? (first + i) % classes : 1);
        }
        for (int value = 0; value < 3072; ++value) {
            text += static_cast<char>((first + i) * 3 + value / 1024 * 50 + value % 1024 % 41);
        }
    }
    return text;
}

void write_cifar10(const std::filesystem::path& folder)
{
    for (int i = 1; i <= 5; ++i) {
        write_in(folder / ("data_batch_" + std::to_string(i) + ".bin"), cifar_records(4, 4 * (i - 1), 1, 10));
    }
    write_in(folder / "test_batch.bin", cifar_records(10, 100, 1, 10));
}

[[nodiscard]] std::string idx_text(const std::vector<unsigned int>& extents, std::size_t bytes)
{
    std::string text("\0\0\x08", 3);
    text += static_cast<char>(extents.size());
    for (const unsigned int extent : extents) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            text += static_cast<char>(extent >> static_cast<unsigned int>(shift) & 0xffU);
        }
    }
    for (std::size_t i = 0; i < bytes; ++i) {
        text += static_cast<char>(i % 3);
    }
    return text;
}

void write_packed(const std::filesystem::path& path, const std::string& text)
{
    const gzFile file = gzopen(path.c_str(), "wb");
    REQUIRE(gzwrite(file, text.data(), static_cast<unsigned int>(text.size())) == static_cast<int>(text.size()));
    gzclose(file);
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
    CHECK_THROWS_AS((void)data.training.of_classes(10, 12), wasi::argument_error);
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
}
