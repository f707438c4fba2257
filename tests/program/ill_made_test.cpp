// The program on ill-made data and checkpoints: status 2, one line that names the file and what is wrong, and nothing
// half-written; or, where it may be left out, a counted skip. All of them, and where each is tested: docs/ill_made.md.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "../pictures/made_records.hpp"
#include "run_program.hpp"
#include "run_results.hpp"

namespace {

using wasi_tests::cifar_records;
using wasi_tests::contents;
using wasi_tests::idx_text;
using wasi_tests::png_chunk;
using wasi_tests::png_start;
using wasi_tests::reported;
using wasi_tests::run_program;
using wasi_tests::small_jpeg;
using wasi_tests::small_png;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_classes;
using wasi_tests::write_in;
using wasi_tests::write_packed;
namespace fs = std::filesystem;

const fs::path checkpoints = fs::path(WASI_TEST_DATA) / "golden" / "checkpoints";
const std::string tiny =
    "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --method vanilla --epochs 1 --batch-size 5 "
    "--threads 1 ";

[[nodiscard]] std::string quoted(const fs::path& path)
{
    return "'" + path.string() + "' ";
}

[[nodiscard]] bool says(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

/// `command` is refused with these words and leaves nothing at `out`.
void check_refused(const std::string& command, const fs::path& out, const std::string& words)
{
    const auto outcome = run_program(command + "--out " + quoted(out));
    CHECK(outcome.status == 2);
    CHECK_MESSAGE(says(outcome.error, words), outcome.error);
    CHECK_MESSAGE(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1, outcome.error);
    CHECK_FALSE(fs::exists(out));
}

/// An input at DIR/data, made by `make(DIR)`: what --data calls it ("@" stands for DIR), and what is said of it.
struct Row {
    std::string name;
    std::function<void(const fs::path&)> make;
    std::string data;
    std::string words;
    bool skips = false;  ///< --skip-broken on leaves it out
};

void make_cifar(const fs::path& folder)
{
    for (int i = 1; i <= 5; ++i) {
        write_in(folder / "data" / ("data_batch_" + std::to_string(i) + ".bin"), cifar_records(4, i, 1, 10));
    }
    write_in(folder / "data/test_batch.bin", cifar_records(4, 0, 1, 10));
}

void make_idx(const fs::path& folder)
{
    for (const std::string part : {"train", "t10k"}) {
        write_in(folder / "data" / (part + "-images-idx3-ubyte"), idx_text({6, 5, 4}, 120));
        write_in(folder / "data" / (part + "-labels-idx1-ubyte"), idx_text({6}, 6));
    }
}

/// A safetensors file whose tensor has these bytes of a header and of data.
void make_tensors(const fs::path& folder, const std::string& header, std::size_t bytes)
{
    std::string length;
    for (int shift = 0; shift < 64; shift += 8) {
        length += static_cast<char>(header.size() >> static_cast<unsigned int>(shift) & 0xffU);
    }
    write_in(folder / "data", length + header + std::string(bytes, '\0'));
}

/// Sound classes, and beside their pictures this one.
[[nodiscard]] std::function<void(const fs::path&)> beside(const std::string& file, const std::string& bytes)
{
    return [=](const fs::path& folder) {
        write_classes(folder / "data", {"a", "b"}, 4);
        write_in(folder / "data" / file, bytes);
    };
}

const std::string cure = "; --skip-broken on leaves out what cannot be read";

[[nodiscard]] std::vector<Row> rows()
{
    const std::string jpeg = small_jpeg(16, 16, 1);
    std::vector<Row> all{
        {"empty JPEG", beside("a/x.jpg", ""), "@/data", "a/x.jpg: the file is empty" + cure, true},
        {"truncated JPEG", beside("a/x.jpg", jpeg.substr(0, 300)), "@/data", "a/x.jpg: not a sound JPEG", true},
        {"text named .png", beside("a/x.png", "a text\n"), "@/data", "it looks like text", true},
        {"name with a newline", beside("a/x\ny.png", "a text\n"), "@/data", "a/x\\x0ay.png: is neither", true},
        {"bomb", beside("b/x.png", png_start(200000, 200000) + png_chunk("IDAT", "x")), "@/data",
         "200000 x 200000 pixels, more than", true},
        {"broken class",
         [](const fs::path& folder) {
             write_classes(folder / "data", {"a"}, 4);
             write_in(folder / "data/b/x.jpg", "");
         },
         "@/data", "b/x.jpg: the file is empty"},
        {"loop of links",
         [](const fs::path& folder) {
             write_classes(folder / "data", {"a", "b"}, 4);
             fs::create_directory_symlink("..", folder / "data/a/loop");
         },
         "@/data", "a/loop: a loop of symbolic links", true},
        {"empty class",
         [](const fs::path& folder) {
             write_classes(folder / "data", {"a", "b"}, 4);
             fs::create_directory(folder / "data/c");
         },
         "@/data", "data/c: the class is empty"},
        {"unknown class to measure on",
         [](const fs::path& folder) {
             write_classes(folder / "data/train", {"a", "b"}, 4);
             write_classes(folder / "data/test", {"a", "z"}, 1);
         },
         "@/data", "test/z: there is no class of that name"},
        {"CIFAR of another length",
         [](const fs::path& folder) {
             make_cifar(folder);
             write_in(folder / "data/data_batch_2.bin", cifar_records(2, 0, 1, 10) + "x");
         },
         "cifar10:@/data", "data_batch_2.bin: has 6147 bytes"},
        {"CIFAR with a label beyond",
         [](const fs::path& folder) {
             make_cifar(folder);
             write_in(folder / "data/data_batch_2.bin", cifar_records(2, 11, 1, 20));
         },
         "cifar10:@/data", "data_batch_2.bin, picture 0: the class is 11, of 10"},
        {"classes beyond", make_cifar, "cifar10:@/data:0-10", "data:0-10: classes 0 to 10: there are classes 0 to 9"},
        {"classes backwards", make_cifar, "cifar10:@/data:5-3", "classes 5 to 3: there are classes 0 to 9"},
        {"digits beyond", make_cifar, "digits:0-99", "the classes must lie in 0..9"},
        {"IDX that lies",
         [](const fs::path& folder) {
             make_idx(folder);
             write_in(folder / "data/train-images-idx3-ubyte", idx_text({6, 5, 5}, 120));
         },
         "idx:@/data", "train-images-idx3-ubyte: says that it is (6, 5, 5)..., which its 136 bytes are not"},
        {"truncated gz",
         [](const fs::path& folder) {
             make_idx(folder);
             const fs::path images = folder / "data/train-images-idx3-ubyte";
             write_packed(images, idx_text({6, 5, 4}, 120));
             write_in(images, contents(images).substr(0, 30));
         },
         "idx:@/data", "train-images-idx3-ubyte: cannot be unpacked"},
        {"test label beyond",
         [](const fs::path& folder) {
             make_idx(folder);
             write_in(folder / "data/t10k-labels-idx1-ubyte", idx_text({6}, 5) + "\x09");
         },
         "idx:@/data", "t10k-images-idx3-ubyte, picture 5: its class is number 9, of a model with 3"},
        {"tensors that are none",
         [](const fs::path& folder) {
             make_tensors(folder,
                          R"({"images":{"dtype":"F32","shape":[2,3,8,8],)"
                          R"("data_offsets":[0,9999]}})",
                          1536);
         },
         "tensors:@/data", "data: tensor 'images': shape (2, 3, 8, 8) in F32 takes 1536 bytes"},
        {"tensors of another size",
         [](const fs::path& folder) {
             make_tensors(folder,
                          R"({"images":{"dtype":"F32","shape":[2,3,4,16],"data_offsets":[0,1536]},)"
                          R"("labels":{"dtype":"U8","shape":[2],"data_offsets":[1536,1538]}})",
                          1538);
         },
         "tensors:@/data", "data: images are 4 x 16 pixels, the model takes 8 x 8"},
        {"labels that are not whole",
         [](const fs::path& folder) {
             make_tensors(folder,
                          R"({"images":{"dtype":"F32","shape":[2,3,8,8],"data_offsets":[0,1536]},)"
                          R"("labels":{"dtype":"F32","shape":[2],"data_offsets":[1536,1544]}})",
                          1544);
         },
         "tensors:@/data", "data: tensor 'labels' has dtype F32, wanted an integer type"},
        {"no folder", make_cifar, "@/nowhere", "is no folder and none of digits"},
    };
    if (::geteuid() != 0) {  // who may read everything is refused nothing
        all.push_back({"unreadable file",
                       [](const fs::path& folder) {
                           write_classes(folder / "data", {"a", "b"}, 4);
                           fs::permissions(folder / "data/a/00.JPG", fs::perms::none);
                       },
                       "@/data", "a/00.JPG: cannot be opened: Permission denied", true});
    }
    return all;
}

}  // namespace

TEST_CASE("ill-made data: refused before anything is trained or written, or counted and left out")
{
    for (const Row& row : rows()) {
        CAPTURE(row.name);
        const TemporaryFolder folder;
        row.make(folder.path());
        std::string data = row.data;
        if (const auto at = data.find('@'); at != std::string::npos) {
            data.replace(at, 1, folder.path().string());
        }
        const std::string command = tiny + "--data " + quoted(fs::path(data));
        check_refused(command, folder / "out", row.words);
        const std::string lenient = command + "--skip-broken on ";
        if (row.skips) {
            const auto outcome = run_program(lenient + "--out " + quoted(folder / "out"));
            CHECK_MESSAGE(outcome.status == 0, outcome.error);
            CHECK_MESSAGE(says(outcome.out, "1 broken picture is skipped:"), outcome.out);
        } else if (row.name == "broken class") {
            check_refused(lenient, folder / "out", "class 1 (b): none of its pictures can be read");
        } else {
            check_refused(lenient, folder / "out", row.words);
        }
    }
}

TEST_CASE("ill-made checkpoints: refused by every command that reads one, with nothing written")
{
    struct Broken {
        std::string golden;
        std::function<void(const fs::path&)> edit;
        std::string words;
    };
    const auto document = [](const std::string& name, const std::string& text) {
        return [=](const fs::path& folder) { write_in(folder / name, text); };
    };
    const std::string model = "model.safetensors";
    const std::string deep = std::string(300000, '[') + std::string(300000, ']');
    const std::vector<Broken> all{
        {"hf_vit", document("config.json", "{]"), "config.json: is not a JSON object"},
        {"hf_vit", document("preprocessor_config.json", "{\"size\":{\"height\":" + deep + ",\"width\":" + deep + "}}"),
         "preprocessor_config.json: has values within values"},
        {"hf_vit", document(model, ""), "model.safetensors: has 0 bytes"},
        {"hf_vit", [&](const fs::path& folder) { fs::resize_file(folder / model, fs::file_size(folder / model) - 7); },
         "the file is truncated or lies"},
        {"hf_vit_shards",
         [&](const fs::path& folder) {
             std::string index = contents(folder / (model + ".index.json"));
             const std::string shard = "model-00001-of-00002.safetensors";
             write_in(folder / (model + ".index.json"), index.replace(index.find(shard), shard.size(), "../" + shard));
         },
         "'../model-00001-of-00002.safetensors' is not a file in its folder"},
        {"hf_vit",
         [&](const fs::path& folder) {
             for (const char* name : {"config.json", "model.safetensors"}) {
                 fs::remove(folder / name);
             }
         },
         "has neither model.safetensors nor model.safetensors.index.json"},
    };
    for (const Broken& one : all) {
        CAPTURE(one.words);
        const TemporaryFolder folder;
        const fs::path weights = folder / "weights";
        fs::copy(checkpoints / one.golden, weights);
        one.edit(weights);
        const fs::path out = folder / "out";
        const std::string read = "--weights " + quoted(weights) + "--threads 1 ";
        check_refused("finetune --data digits " + read, out, one.words);
        check_refused("export --as timm " + read, out, one.words);
        check_refused("compress " + read, out, one.words);
    }
}

TEST_CASE("names of classes that would do something on a terminal are shown, and written as they are")
{
    const TemporaryFolder folder;
    write_classes(folder / "p", {"a\nb", "\x1b[31mred"}, 4);
    const auto run = [](const std::string& command) {
        const auto outcome = run_program(command);
        REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
        CHECK_MESSAGE(outcome.out.find('\x1b') == std::string::npos, outcome.out);
        return outcome.out;
    };
    static_cast<void>(run(tiny + "--data " + quoted(folder / "p") + "--out " + quoted(folder / "run")));
    const std::string weights = "--weights " + quoted(folder / "run/model.safetensors");
    CHECK(says(run("predict " + weights + quoted(folder / "p")), "%  a\\x0ab\n"));
    const std::string matrix =
        run("evaluate " + weights + "--data " + quoted(folder / "p") + "--out " + quoted(folder / "how"));
    CHECK_MESSAGE(says(matrix, "a\\x0ab |"), matrix);
    CHECK(says(contents(folder / "how/evaluate.json"), R"("a\nb")"));
}
