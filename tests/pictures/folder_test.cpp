// Folders of pictures, and the ways in which they can be wrong: each is an error that names the file, or a counted
// skip.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include <support/files.hpp>

#include "made_files.hpp"
#include "wasi/data/split.hpp"
#include "wasi/pictures/batches.hpp"

namespace {

using wasi::Index;
using wasi::io_error;
using wasi::pictures::list_folder;
using wasi::pictures::PictureBatches;
using wasi::pictures::PictureOptions;
using wasi::pictures::Skipped;
using wasi::pictures::Workers;
using wasi_tests::has;
using wasi_tests::message_of;
using wasi_tests::small_jpeg;
using wasi_tests::small_png;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_classes;
using wasi_tests::write_in;

[[nodiscard]] PictureOptions small_options()
{
    PictureOptions options;
    options.preprocessing = wasi::data::fitted(wasi::data::Preprocessing::plain(), 8);
    return options;
}

/// Opens a folder as training does; what was skipped is in `skipped`.
[[nodiscard]] PictureBatches<float> open(const std::filesystem::path& folder, Skipped& skipped)
{
    auto found =
        list_folder(folder, skipped, {.most_pixels = 1 << 24, .most_bytes = 1 << 26, .most_file_bytes = 1 << 20});
    return {std::move(found.training), small_options(), std::make_shared<Workers>(2), skipped};
}

[[nodiscard]] std::string refusal(const std::filesystem::path& folder)
{
    Skipped skipped;
    return message_of<io_error>([&] { (void)open(folder, skipped); });
}

}  // namespace

TEST_CASE("a folder of classes: sorted by name, whatever the order on disk, hidden and other files passed over")
{
    const TemporaryFolder folder;
    write_classes(folder.path(), {"cat", "Zebra", "ant"}, 4);
    write_in(folder / "cat/deep/er/x.jpeg", small_jpeg(8, 8, 1));
    write_in(folder / "cat/notes.txt", "text");
    write_in(folder / "cat/.hidden.jpg", "text");
    write_in(folder / ".cache/x.jpg", "text");
    write_in(folder / "readme.md", "text");
    Skipped skipped;
    const auto found = list_folder(folder.path(), skipped);
    CHECK(found.training.classes == std::vector<std::string>{"Zebra", "ant", "cat"});
    CHECK(std::ssize(found.training.which) == 13);
    CHECK(found.training.labels == std::vector<std::int64_t>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2});
    CHECK(has(found.training.source->name(0), "Zebra/00.JPG"));
    CHECK(has(found.training.source->name(12), "cat/deep/er/x.jpeg"));
    CHECK_FALSE(found.held_out.has_value());
    CHECK(skipped.count == 0);
}

TEST_CASE("train/ and test/, val/ or validation/ beside it")
{
    for (const std::string part : {"test", "val", "validation"}) {
        const TemporaryFolder folder;
        write_classes(folder / "train", {"a", "b", "c"}, 2);
        write_classes(folder / part, {"c", "a"}, 1);
        Skipped skipped;
        const auto found = list_folder(folder.path(), skipped);
        REQUIRE(found.held_out.has_value());
        CHECK(found.held_out->labels == std::vector<std::int64_t>{0, 2});
        CHECK(found.held_out->classes == found.training.classes);
        write_classes(folder / part, {"unknown"}, 1);
        CHECK(has(message_of<io_error>([&] { (void)list_folder(folder.path(), skipped); }),
                  "unknown: there is no class"));
    }
}

TEST_CASE("what is wrong with a folder")
{
    const TemporaryFolder folder;
    Skipped skipped;
    CHECK(has(refusal(folder / "nowhere"), "is not a folder"));
    CHECK(has(refusal(folder.path()), "there are no pictures"));
    write_classes(folder.path(), {"full"}, 2);
    std::filesystem::create_directories(folder / "empty");
    CHECK(has(refusal(folder.path()), "empty: the class is empty"));
    write_in(folder / "empty/x.txt", "no picture");
    CHECK(has(refusal(folder.path()), "empty: the class is empty"));
}

TEST_CASE("broken pictures: named, or by option skipped and counted in order")
{
    struct Case {
        std::string file;
        std::string bytes;
        std::string says;
    };
    const std::string whole = small_jpeg(16, 16, 3);
    const std::string png = small_png(16, 16, 3);
    std::string no_tables = whole;
    no_tables.replace(no_tables.find("\xff\xdb"), 2, "\xff\xfe");  // a table of steps becomes a comment
    const std::vector<Case> cases{
        {"empty.jpg", "", "the file is empty"},
        {"empty.png", "", "the file is empty"},
        {"text.png", "this is a text\n", "neither a JPEG nor a PNG"},
        {"header.jpg", whole.substr(0, 20), "not a sound JPEG"},
        {"half.jpg", whole.substr(0, whole.size() / 2), "not a sound JPEG"},
        {"most.jpg", whole.substr(0, whole.size() - 20), "not a sound JPEG"},
        {"tables.jpg", no_tables, "not a sound JPEG"},
        {"magic.jpg", "\xff\xd8\xff", "not a sound JPEG"},
        {"signature.png", png.substr(0, 8), "not a sound PNG"},
        {"half.png", png.substr(0, png.size() / 2), "not a sound PNG"},
        {"sum.png", png.substr(0, 20) + "\x7f" + png.substr(21), "not a sound PNG"},
        {"bomb.png", wasi_tests::png_start(200000, 200000) + wasi_tests::png_chunk("IDAT", "x"), "200000 x 200000"},
        {"wide.png", wasi_tests::png_start(0x7fffffff, 1) + wasi_tests::png_chunk("IDAT", "x"), "2147483647 x 1"},
        {"lies.png", wasi_tests::png_start(4000, 4000) + wasi_tests::png_chunk("IDAT", "x"), "lies.png"},
        {"gif.jpg", "GIF89a\x01\x00\x01", "looks like a GIF"},
        {"webp.jpg", "RIFF\x10\x10\x10\x10WEBPVP8 ", "looks like a WebP"},
        {"large.jpg", whole + std::string(1 << 20, 'x'), "more than the 1048576 that are allowed"},
        {"new\nline.jpg", "text", "new\\x0aline.jpg: is neither"},
    };
    for (const Case& one : cases) {
        CAPTURE(one.file);
        const TemporaryFolder folder;
        write_classes(folder.path(), {"a", "b"}, 3);
        write_in(folder / "a" / one.file, one.bytes);
        const std::string said = refusal(folder.path());
        CHECK_MESSAGE(has(said, one.says), said);
        CHECK_MESSAGE(said.find('\n') == std::string::npos, said);
        Skipped skipped{.allowed = true};
        const auto batches = open(folder.path(), skipped);
        CHECK(batches.size() == 6);
        CHECK(skipped.count == 1);
        CHECK(has(skipped.reasons.at(0), one.says));
    }
    // All of them at once.
    const TemporaryFolder folder;
    write_classes(folder.path(), {"a", "b"}, 3);
    for (const Case& one : cases) {
        write_in(folder / "a" / one.file, one.bytes);
    }
    Skipped skipped{.allowed = true};
    CHECK(open(folder.path(), skipped).size() == 6);
    CHECK(skipped.count == std::ssize(cases));
    CHECK(skipped.reasons.size() == 10);
}

TEST_CASE("files that are no files: loops of links, links to nowhere, pipes, folders with a picture's name")
{
    const TemporaryFolder folder;
    write_classes(folder.path(), {"a", "b"}, 3);
    const auto trouble = [&](const std::string& says) {
        const std::string said = refusal(folder.path());
        CHECK_MESSAGE(has(said, says), said);
        Skipped skipped{.allowed = true};
        CHECK(open(folder.path(), skipped).size() == 6);
        CHECK(skipped.count == 1);
    };
    std::filesystem::create_directory_symlink(folder.path(), folder / "a/loop");
    trouble("a loop of symbolic links");
    std::filesystem::remove(folder / "a/loop");
    std::filesystem::create_directory_symlink(folder / "a", folder / "a/self");
    trouble("a loop of symbolic links");
    std::filesystem::remove(folder / "a/self");
    std::filesystem::create_symlink("round.jpg", folder / "a/round.jpg");
    trouble("round.jpg: cannot be opened");
    std::filesystem::remove(folder / "a/round.jpg");
    std::filesystem::create_symlink("nowhere", folder / "a/dangling.png");
    trouble("dangling.png: cannot be opened");
    std::filesystem::remove(folder / "a/dangling.png");
    REQUIRE(::mkfifo((folder / "a/pipe.jpg").c_str(), 0600) == 0);
    trouble("pipe.jpg: is not a regular file");
    std::filesystem::remove(folder / "a/pipe.jpg");
    std::filesystem::create_directory(folder / "a/folder.jpg");
    Skipped skipped;
    CHECK(open(folder.path(), skipped).size() == 6);
    // A link that leads elsewhere is followed; the same folder may be met twice, one beside the other.
    std::filesystem::create_directory_symlink(folder / "b", folder / "a/others");
    CHECK(open(folder.path(), skipped).size() == 9);
    if (::geteuid() != 0) {
        std::filesystem::remove(folder / "a/others");
        write_in(folder / "a/secret.jpg", small_jpeg(8, 8, 1));
        ::chmod((folder / "a/secret.jpg").c_str(), 0);
        trouble("secret.jpg: cannot be opened: Permission denied");
    }
}

TEST_CASE("odd shapes are pictures: 1 x 1, 20000 x 1, 1 x 20000")
{
    const TemporaryFolder folder;
    write_in(folder / "a/dot.png", small_png(1, 1, 5));
    write_in(folder / "a/dot.jpg", small_jpeg(1, 1, 5));
    write_in(folder / "a/wide.png", small_png(20000, 1, 5));
    write_in(folder / "b/tall.jpg", small_jpeg(1, 20000, 5));
    Skipped skipped;
    const auto batches = open(folder.path(), skipped);
    CHECK(batches.size() == 4);
    wasi::Ledger memory;
    const auto batch = batches.gather(std::vector<Index>{0, 1, 2, 3}, wasi::RandomKey(1), memory);
    CHECK(batch.shape()[2] == 8);
}

TEST_CASE("a class of which nothing is sound is an error, skipped or not")
{
    const TemporaryFolder folder;
    write_classes(folder.path(), {"a"}, 3);
    write_in(folder / "b\n/x.jpg", "text");
    Skipped skipped{.allowed = true};
    CHECK(has(message_of<io_error>([&] { (void)open(folder.path(), skipped); }),
              "class 1 (b\\x0a): none of its pictures can be read"));
}

TEST_CASE("files and folders for predictions")
{
    const TemporaryFolder folder;
    write_classes(folder.path(), {"a", "b"}, 2);
    Skipped skipped;
    const auto list = wasi::pictures::list_pictures({folder / "b/00.JPG", folder / "a"}, skipped);
    REQUIRE(list.which.size() == 3);
    CHECK(list.source->name(0) == (folder / "b/00.JPG").string());
    CHECK(list.source->name(1) == (folder / "a/00.JPG").string());
    const auto says = [&](const std::filesystem::path& path) {
        return message_of<io_error>([&] { (void)wasi::pictures::list_pictures({path}, skipped); });
    };
    CHECK(has(says(folder / "c"), "c: is not there"));
    std::filesystem::create_directory(folder / "c");
    CHECK(has(says(folder / "c"), "no JPEG or PNG file is in it"));
}

TEST_CASE("a stratified split: a share of each class, from the key")
{
    std::vector<std::int64_t> labels;
    for (int i = 0; i < 100; ++i) {
        labels.push_back(i < 60 ? 0 : i < 95 ? 7 : i < 97 ? 3 : i - 90);
    }
    using wasi::data::stratified_split;
    const auto split = stratified_split(labels, 0.1, wasi::RandomKey(1));
    std::multiset<std::int64_t> aside;
    for (const Index i : split.validation) {
        aside.insert(labels[static_cast<std::size_t>(i)]);
    }
    CHECK(aside.count(0) == 6);
    CHECK(aside.count(7) == 4);  // of 36
    CHECK(aside.count(3) == 1);  // of 2
    CHECK(aside.count(8) == 0);  // of 1
    std::set<Index> all(split.training.begin(), split.training.end());
    all.insert(split.validation.begin(), split.validation.end());
    CHECK(all.size() == 100);
    CHECK(split.training.size() + split.validation.size() == 100);
    CHECK(stratified_split(labels, 0.1, wasi::RandomKey(1)).validation == split.validation);
    CHECK(stratified_split(labels, 0.1, wasi::RandomKey(2)).validation != split.validation);
    CHECK_THROWS_AS((void)stratified_split(labels, 0.0, wasi::RandomKey(1)), wasi::argument_error);
    CHECK_THROWS_AS((void)stratified_split(labels, 1.0, wasi::RandomKey(1)), wasi::argument_error);
}
