// Opening what is no file, reading what a file does not have, writing what would be no good file.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <support/files.hpp>

#include "wasi/io/safetensors.hpp"

using wasi::argument_error;
using wasi::io_error;
using wasi::shape_error;
using wasi::io::SafetensorsFile;
using wasi::io::TensorToWrite;
using wasi::io::write_safetensors;
using wasi_tests::has;
using wasi_tests::message_of;
using wasi_tests::safetensors_bytes;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_bytes;

TEST_CASE("safetensors: files that cannot be opened")
{
    const TemporaryFolder folder;
    const auto opening = [&](std::string_view name) {
        return message_of<io_error>([&] { const SafetensorsFile file(folder / name); });
    };
    CHECK(opening("missing") == (folder / "missing").string() + ": cannot be opened: No such file or directory");
    std::filesystem::create_directory(folder / "folder");
    CHECK(opening("folder") == (folder / "folder").string() + ": is not a regular file");
    write_bytes(folder / "short", "1234567");
    CHECK(opening("short").starts_with((folder / "short").string() + ": has 7 bytes"));
    CHECK(has(opening("short/inside"), "short/inside: cannot be opened: Not a directory"));
    if (::geteuid() != 0) {  // root may read everything
        std::filesystem::permissions(folder / "short", std::filesystem::perms::none);
        CHECK(has(opening("short"), "short: cannot be opened: Permission denied"));
    }
}

TEST_CASE("safetensors: reading what is not there")
{
    const TemporaryFolder folder;
    write_bytes(folder / "file", safetensors_bytes(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},)"
                                                   R"("b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                                                   R"("c":{"dtype":"F16","shape":[3,1],"data_offsets":[24,30]}})",
                                                   std::string(30, '\0')));
    const SafetensorsFile file(folder / "file");
    const auto reading = [&]<class T>(std::string_view name, std::vector<T> values) {
        return [&file, name, values]() mutable { file.read(name, std::span<T>(values)); };
    };
    const std::string prefix = (folder / "file").string();
    CHECK(message_of<io_error>(reading("none", std::vector<float>(4))) == prefix + ": has no tensor 'none'");
    CHECK(message_of<io_error>([&] { static_cast<void>(file.info("none")); }) == prefix + ": has no tensor 'none'");
    CHECK(message_of<shape_error>(reading("a", std::vector<float>(3))) ==
          prefix + ": tensor 'a' of shape (2, 2) has 4 elements, but there is room for 3");
    CHECK(has(message_of<shape_error>(reading("a", std::vector<double>(5))), "room for 5"));
    CHECK(has(message_of<shape_error>(reading("b", std::vector<std::int64_t>(2))), "room for 2"));
    CHECK(message_of<io_error>(reading("a", std::vector<std::int64_t>(4))) ==
          prefix + ": tensor 'a' has dtype F32, wanted an integer type");
    CHECK(message_of<io_error>(reading("b", std::vector<float>(1))) ==
          prefix + ": tensor 'b' has dtype I64, wanted F32, F64, F16 or BF16");

    // The file shrinks while it is open; after that failure what is still there can be read.
    std::filesystem::resize_file(folder / "file", std::filesystem::file_size(folder / "file") - 8);
    CHECK(message_of<io_error>(reading("a", std::vector<float>(4))) ==
          prefix + ": tensor 'a': only 14 of 16 bytes could be read: the file was truncated after it was opened");
    CHECK(has(message_of<io_error>(reading("c", std::vector<float>(3))), "tensor 'c': only 0 of 6 bytes"));
    CHECK_NOTHROW(reading("b", std::vector<std::int64_t>(1))());
}

TEST_CASE("safetensors: the writer refuses what would not be a good file")
{
    const TemporaryFolder folder;
    const std::vector<float> two{1, 2};
    const auto writing = [&](const std::vector<TensorToWrite>& tensors,
                             const std::map<std::string, std::string>& metadata = {}) {
        return [&, tensors, metadata] { write_safetensors(folder / "file", tensors, metadata); };
    };
    CHECK(has(message_of<shape_error>(writing({{"w", {3}, two}})), "tensor 'w' of shape (3) is given 2 elements"));
    CHECK(has(message_of<shape_error>(writing({{"w", {-1, -2}, two}})), "negative extent: (-1, -2)"));
    constexpr wasi::Index huge = wasi::Index{1} << 62;
    CHECK(has(message_of<shape_error>(writing({{"w", {huge, 4, 2}, two}})), "4611686018427387904, 4, 2) is given 2"));
    CHECK(has(message_of<shape_error>(writing({{"w", {huge, 4}, std::span<const float>()}})), "is given 0 elements"));
    CHECK(has(message_of<argument_error>(writing({{"w", {2}, two}, {"v", {2}, two}, {"w", {2}, two}})),
              "are called 'w'"));
    CHECK(has(message_of<argument_error>(writing({{"__metadata__", {2}, two}})), "'__metadata__'"));
    CHECK(has(message_of<argument_error>(writing({{"\xff", {2}, two}})), "'\\xff' is not valid UTF-8"));
    CHECK(has(message_of<argument_error>(writing({{"w", {2}, two}}, {{"k", "\xff"}})), "'\\xff' is not valid UTF-8"));
    CHECK(folder.entries() == 0);
}
