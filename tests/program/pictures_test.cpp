// finetune on pictures as they lie on disk: what it learns from, what it refuses, and runs that go on to the same bits.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <wasi/pictures/decode.hpp>

#include "../pictures/made_files.hpp"
#include "run_program.hpp"
#include "run_results.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::reported;
using wasi_tests::run_program;
using wasi_tests::saved_word;
using wasi_tests::small_jpeg;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_classes;
using wasi_tests::write_in;

const std::string tiny =
    "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --method vanilla --lr 0.1 --seed 3 "
    "--schedule constant --batch-size 5 ";

[[nodiscard]] std::string quoted(const std::filesystem::path& path)
{
    return "'" + path.string() + "' ";
}

void run(const std::string& arguments)
{
    const auto outcome = run_program(arguments);
    REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
}

[[nodiscard]] std::string refused(const std::string& arguments)
{
    const auto outcome = run_program(arguments);
    CHECK(outcome.status == 2);
    return outcome.error;
}

[[nodiscard]] std::vector<std::uint8_t> from_base64(const std::string& text)
{
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::vector<std::uint8_t> bytes;
    unsigned int held = 0;
    unsigned int bits = 0;
    for (const char letter : text.substr(0, text.find('='))) {
        held = (held << 6U | static_cast<unsigned int>(digits.find(letter))) & 0xffffU;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes.push_back(static_cast<std::uint8_t>(held >> bits & 0xffU));
        }
    }
    return bytes;
}

[[nodiscard]] bool says(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a run on changed pictures goes on to the same bits, on other threads, with another cache")
{
    const TemporaryFolder folder;
    write_classes(folder / "pictures", {"a", "b"}, 8);
    const std::string data = tiny + "--data " + quoted(folder / "pictures") + "--augment crop=0.4,flip,jitter=0.3 ";
    run(data + "--epochs 4 --threads 1 --data-cache 0 --out " + quoted(folder / "whole"));
    for (const std::string how :
         {"--threads 1 --data-cache 0 ", "--threads 3 --data-cache 2KB ", "--threads 2 --accumulate 1 "}) {
        CAPTURE(how);
        run(data + how + "--epochs 2 --save-every 3 --out " + quoted(folder / "part"));
        run(data + how + "--epochs 4 --resume " + quoted(folder / "part") + "--out " + quoted(folder / "rest"));
        CHECK(contents(folder / "rest/model.safetensors") == contents(folder / "whole/model.safetensors"));
    }
    // Memory alone: what recomputes asks for its pictures again.
    run(data + "--epochs 4 --threads 2 --recompute block --out " + quoted(folder / "again"));
    CHECK(contents(folder / "again/model.safetensors") == contents(folder / "whole/model.safetensors"));

    const std::string resume =
        data + "--epochs 4 --resume " + quoted(folder / "part") + "--out " + quoted(folder / "other");
    CHECK(says(refused(resume + "--augment flip"), "--augment"));
    CHECK(says(refused(resume + "--validation 0.3"), "--validation"));
    write_in(folder / "pictures/a/00.JPG", small_jpeg(9, 11, 77));
    CHECK(says(refused(resume), "training data"));
}

TEST_CASE("classes by name, a head that follows them, and a part to measure on")
{
    const TemporaryFolder folder;
    write_classes(folder / "two/train", {"cat \"x\"", "dog"}, 6);
    write_classes(folder / "two/test", {"dog"}, 3);
    run(tiny + "--epochs 1 --data " + quoted(folder / "two") + "--out " + quoted(folder / "run"));
    CHECK(saved_word(folder / "run", "classes") == R"(["cat \"x\"","dog"])");
    CHECK(reported(folder / "run", "/test_count") == "3");
    CHECK(reported(folder / "run", "/steps") == "3");
    run(tiny + "--epochs 1 --validation 0.3 --data " + quoted(folder / "two") + "--out " + quoted(folder / "split"));
    CHECK(reported(folder / "split", "/test_count") == "3");  // that of test/ as before: 4 of train/ compare epochs
    CHECK(reported(folder / "split", "/steps") == "2");

    write_classes(folder / "three", {"a", "b", "c"}, 2);
    const auto outcome =
        run_program("finetune --method vanilla --epochs 1 --weights " + quoted(folder / "run/model.safetensors") +
                    "--data " + quoted(folder / "three") + "--out " + quoted(folder / "other"));
    REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
    CHECK(says(outcome.out, "The head for 2 classes is replaced by a new one for 3."));
    CHECK(saved_word(folder / "other", "classes") == R"(["a","b","c"])");
    // Nothing is held out: the training pictures, unchanged, are measured on.
    CHECK(reported(folder / "other", "/test_count") == "6");
    CHECK(says(refused(tiny + "--classes 2 --data " + quoted(folder / "three") + "--out " + quoted(folder / "no")),
               "its class is number 2, of a model with 2"));
}

TEST_CASE("names of classes stay with a head that stays, and go with one that is replaced")
{
    const TemporaryFolder folder;
    write_classes(folder / "p", {"cat", "dog"}, 4);
    run(tiny + "--epochs 1 --data " + quoted(folder / "p") + "--out " + quoted(folder / "run"));
    const std::vector<float> images(6 * 3 * 8 * 8, 0.5F);
    const std::vector<std::int64_t> labels{0, 1, 0, 1, 0, 1};
    wasi::io::write_safetensors(folder / "data.safetensors",
                                {{"images", {6, 3, 8, 8}, std::span<const float>(images)},
                                 {"labels", {6}, std::span<const std::int64_t>(labels)}},
                                {});
    const std::string again = "finetune --method vanilla --epochs 1 --batch-size 3 --weights " +
                              quoted(folder / "run/model.safetensors") + "--data 'tensors:" +
                              (folder / "data.safetensors").string() + "' ";
    run(again + "--out " + quoted(folder / "same"));
    CHECK(saved_word(folder / "same", "classes") == R"(["cat","dog"])");
    run(again + "--classes 3 --out " + quoted(folder / "other"));
    CHECK_FALSE(wasi::io::SafetensorsFile(folder / "other/model.safetensors").metadata().contains("classes"));

    // Made small and dense again it is of the same classes, and takes pictures as before.
    run("compress --rank 4 --weights " + quoted(folder / "run/model.safetensors") + "--out " + quoted(folder / "s"));
    run("expand --weights " + quoted(folder / "s") + "--out " + quoted(folder / "dense"));
    const wasi::io::SafetensorsFile first(folder / "run/model.safetensors");
    for (const char* name : {"s", "dense"}) {
        CAPTURE(name);
        const wasi::io::SafetensorsFile file(folder / name);
        for (const char* word : {"classes", "preprocessing"}) {
            CAPTURE(word);
            REQUIRE(file.metadata().contains(word));
            CHECK(file.metadata().at(word) == first.metadata().at(word));
        }
    }
}

TEST_CASE("pictures that are measured on are not changed at random")
{
    const TemporaryFolder folder;
    // The same pictures twice, so that they can be learnt by heart.
    write_classes(folder / "p/train", {"a", "b"}, 12);
    write_classes(folder / "p/test", {"a", "b"}, 12);
    const std::string data = "--data " + quoted(folder / "p");
    run(tiny + "--epochs 40 " + data + "--out " + quoted(folder / "run"));
    REQUIRE(std::stod(reported(folder / "run", "/test_accuracy")) > 0.8);
    run("finetune --method vanilla --lr 0 --weight-decay 0 --epochs 1 --augment crop=0.01,flip,jitter=1 --weights " +
        quoted(folder / "run/model.safetensors") + data + "--out " + quoted(folder / "still"));
    CHECK(reported(folder / "still", "/test_accuracy") == reported(folder / "run", "/test_accuracy"));
}

TEST_CASE("the report shows pictures in their own colours")
{
    const TemporaryFolder folder;
    const std::array<unsigned int, 3> colour{200, 100, 30};
    const auto sample = [&](std::uint32_t, std::uint32_t, int c) { return colour[static_cast<std::size_t>(c)]; };
    for (const char* name : {"a/0.png", "b/0.png"}) {
        write_in(folder / "p" / name, wasi_tests::text_of(wasi_tests::png_file({.width = 8, .height = 8}, sample)));
    }
    run(tiny + "--epochs 1 --data " + quoted(folder / "p") + "--out " + quoted(folder / "run"));
    const std::string page = contents(folder / "run/report.html");
    const std::string before = "src=\"data:image/png;base64,";
    const auto from = page.find(before);
    REQUIRE(from != std::string::npos);
    const auto begin = from + before.size();
    const auto bytes = from_base64(page.substr(begin, page.find('"', begin) - begin));
    const auto picture = wasi::pictures::decode(bytes, "the first picture");
    REQUIRE(picture.size().width == 8);
    for (std::size_t c = 0; c < 3; ++c) {
        CHECK(std::abs(static_cast<int>(picture.data()[c]) - static_cast<int>(colour[c])) <= 1);
    }
}

TEST_CASE("a broken picture is named before anything is trained, or skipped and counted")
{
    const TemporaryFolder folder;
    write_classes(folder / "p", {"a", "b"}, 4);
    write_in(folder / "p/b/bad\nname.png", "text");
    write_in(folder / "p/b/cut.jpg", small_jpeg(16, 16, 1).substr(0, 300));
    const std::string command = tiny + "--epochs 1 --data " + quoted(folder / "p") + "--out " + quoted(folder / "run");
    const std::string error = refused(command);
    CHECK_MESSAGE(says(error, "bad\\x0aname.png: is neither a JPEG nor a PNG"), error);
    CHECK_MESSAGE(says(error, "--skip-broken on"), error);
    CHECK_FALSE(std::filesystem::exists(folder / "run/model.safetensors"));
    const auto outcome = run_program(command + "--skip-broken on");
    REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
    CHECK_MESSAGE(says(outcome.out, "2 broken pictures are skipped:"), outcome.out);
    CHECK_MESSAGE(says(outcome.out, "cut.jpg: not a sound JPEG"), outcome.out);
    CHECK(reported(folder / "run", "/test_count") == "8");
}

TEST_CASE("CIFAR's files, all or some classes, and what --data cannot be")
{
    const TemporaryFolder folder;
    std::string records;
    for (int i = 0; i < 20; ++i) {
        records += static_cast<char>(i % 10);
        records += std::string(3072, static_cast<char>(i * 10));
    }
    for (const char* name :
         {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"}) {
        write_in(folder / "cifar" / (std::string(name) + ".bin"), records);
    }
    const std::string some = "cifar10:" + (folder / "cifar").string() + ":0-4";
    run(tiny + "--epochs 1 --data '" + some + "' --out " + quoted(folder / "run"));
    CHECK(reported(folder / "run", "/steps") == "10");
    CHECK(reported(folder / "run", "/test_count") == "10");
    CHECK(saved_word(folder / "run", "classes") == R"(["0","1","2","3","4"])");
    const auto data = [&](const std::string& name) {
        return refused(tiny + "--data '" + name + "' --out " + quoted(folder / "no"));
    };
    CHECK(says(data(some + "x"), "is not a range of classes"));
    CHECK(
        says(data("cifar10:" + (folder / "cifar").string() + ":11-12"), "classes 11 to 12: there are classes 0 to 9"));
    CHECK(says(data("cifar100:" + (folder / "cifar").string()), "train.bin: cannot be opened"));
    CHECK(says(data("idx:" + (folder / "cifar").string()), "is not there, packed (.gz) or not"));
    CHECK(says(data("idx:"), "needs a folder"));
    CHECK(says(data((folder / "nowhere").string()), "is no folder and none of digits"));
    CHECK(says(refused(tiny + "--data digits --augment flip --out " + quoted(folder / "no")),
               "--augment is for pictures"));
    CHECK(says(refused(tiny + "--data '" + some + "' --augment turn --out " + quoted(folder / "no")),
               "'turn' is none of crop"));
    CHECK(says(refused(tiny + "--data '" + some + "' --augment crop=0 --out " + quoted(folder / "no")),
               "--augment crop"));
}

TEST_CASE("a plan counts pictures, and a run within a budget stays within it")
{
    const TemporaryFolder folder;
    write_classes(folder / "p", {"a", "b"}, 8);
    run(tiny + "--epochs 1 --data-cache 0 --data " + quoted(folder / "p") + "--out " + quoted(folder / "none"));
    run(tiny + "--epochs 1 --data-cache 1MiB --data " + quoted(folder / "p") + "--out " + quoted(folder / "all"));
    const double none = std::stod(reported(folder / "none", "/ledger_peak_bytes/input"));
    const double all = std::stod(reported(folder / "all", "/ledger_peak_bytes/input"));
    CHECK(all - none >= 16 * 3 * 8 * 8);
    CHECK(all - none <= 16 * (3 * 8 * 8 + 64));
    const std::string budget =
        "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --epochs 1 --memory-budget 1GiB ";
    run(budget + "--data " + quoted(folder / "p") + "--out " + quoted(folder / "planned"));
    CHECK(std::stod(reported(folder / "planned", "/memory_plan/predicted_bytes/input")) >=
          std::stod(reported(folder / "planned", "/ledger_peak_bytes/input")));
}
