// Checkpoints by the program: what it says of them, heads, labels, and models written for others, as factors, dense
// again.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;
using Folder = std::filesystem::path;

const Folder checkpoints = std::string(WASI_TEST_DATA) + "/golden/checkpoints";

[[nodiscard]] std::string quoted(const Folder& path)
{
    return "'" + path.string() + "' ";
}

[[nodiscard]] bool has(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

/// The logits that the program gives for the golden images of a checkpoint.
[[nodiscard]] std::vector<float> logits(const Folder& weights, const Folder& images, const TemporaryFolder& folder,
                                        std::string* said = nullptr)
{
    const auto run = run_program("predict --weights " + quoted(weights) + "--images " + quoted(images) + "--out " +
                                 quoted(folder / "logits"));
    REQUIRE_MESSAGE(run.status == 0, run.error);
    if (said != nullptr) {
        *said = run.out;
    }
    const wasi::io::SafetensorsFile file(folder / "logits");
    std::vector<float> values(static_cast<std::size_t>(file.info("logits").element_count()));
    file.read("logits", std::span<float>(values));
    return values;
}

[[nodiscard]] double distance(const std::vector<float>& a, const std::vector<float>& b)
{
    REQUIRE(a.size() == b.size());
    double worst = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        worst = std::max(worst, static_cast<double>(std::abs(a[i] - b[i])));
    }
    return worst;
}

/// Images of 12 pixels and labels as bytes of this type.
template <class Label>
void write_data(const Folder& path, const std::string& dtype, const std::vector<Label>& labels)
{
    const std::size_t pixels = labels.size() * 3 * 12 * 12;
    std::string data(pixels * sizeof(float) + labels.size() * sizeof(Label), '\0');
    for (std::size_t i = 0; i < pixels; ++i) {
        const auto value = static_cast<float>(i % 7) / 7.0F;
        std::memcpy(data.data() + i * sizeof value, &value, sizeof value);
    }
    std::memcpy(data.data() + pixels * sizeof(float), labels.data(), labels.size() * sizeof(Label));
    const std::string n = std::to_string(labels.size());
    const std::string cut = std::to_string(pixels * sizeof(float));
    const std::string header = R"({"images":{"dtype":"F32","shape":[)" + n + R"(,3,12,12],"data_offsets":[0,)" + cut +
                               R"(]},"labels":{"dtype":")" + dtype + R"(","shape":[)" + n + R"(],"data_offsets":[)" +
                               cut + "," + std::to_string(data.size()) + "]}}";
    const std::uint64_t length = header.size();
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header;
    out.write(data.data(), static_cast<std::streamsize>(data.size()));
}

}  // namespace

TEST_CASE("checkpoints: a folder of another family is fine-tuned, its origin stays in the files, and it is said")
{
    const TemporaryFolder folder;
    write_data<std::int64_t>(folder / "data", "I64", {0, 1, 2, 0, 1, 2});
    const std::string data = "--data tensors:" + quoted(folder / "data") + "--epochs 1 --batch-size 3 --threads 1 ";
    const auto run = run_program("finetune --weights " + quoted(checkpoints / "hf_vit") + data +
                                 "--method vanilla --out " + quoted(folder / "run"));
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK(has(run.out, "Hugging Face ViT: loaded 40 of 40 tensors\n"));
    const wasi::io::SafetensorsFile file(folder / "run" / "model.safetensors");
    CHECK(file.metadata().at("epsilon") == "1e-12");
    CHECK(has(file.metadata().at("preprocessing"), "mean=0.5,0.5,0.5;"));
    CHECK(file.contains("encoder.layers.encoder_layer_0.self_attention.in_proj_weight"));

    // Within a budget; resumed.
    const auto planned = run_program("finetune --weights " + quoted(checkpoints / "timm_dinov2") + data +
                                     "--memory-budget 1GiB --save-every 1 --out " + quoted(folder / "planned"));
    REQUIRE_MESSAGE(planned.status == 0, planned.error);
    CHECK(has(planned.out, "layer scale is folded"));
    const auto more = run_program("finetune --weights " + quoted(checkpoints / "timm_dinov2") + data +
                                  "--memory-budget 1GiB --save-every 1 --epochs 2 --resume " +
                                  quoted(folder / "planned") + "--out " + quoted(folder / "more"));
    REQUIRE_MESSAGE(more.status == 0, more.error);
    CHECK(
        has(wasi::io::SafetensorsFile(folder / "more" / "model.safetensors").metadata().at("preprocessing"), "mean="));

    // No head: refused, or made.
    const std::string no_head =
        "finetune --weights " + quoted(checkpoints / "hf_vit_base") + data + "--out " + quoted(folder / "headless");
    const auto refused = run_program(no_head);
    CHECK(refused.status == 2);
    CHECK(has(refused.error, "the file has no head; --classes C makes one"));
    const auto made = run_program(no_head + "--classes 3");
    REQUIRE_MESSAGE(made.status == 0, made.error);
    CHECK(has(made.out, "A new head for 3 classes is made."));

    const auto inspected = run_program("inspect --weights " + quoted(checkpoints / "timm_dinov2"));
    CHECK_MESSAGE(inspected.status == 0, inspected.error);
    CHECK(has(inspected.out, "encoder_layer_1.mlp.3"));
}

TEST_CASE("checkpoints: labels of every integer type are read, and one that cannot be is named")
{
    const TemporaryFolder folder;
    const auto train = [&] {
        return run_program("finetune --weights " + quoted(checkpoints / "torchvision") + "--data tensors:" +
                           quoted(folder / "data") + "--epochs 1 --method head --out " + quoted(folder / "run"));
    };
    const auto fine = [&]<class Label>(const std::string& dtype, Label) {
        CAPTURE(dtype);
        write_data<Label>(folder / "data", dtype, {0, 1, 2, 1});
        const auto run = train();
        CHECK_MESSAGE(run.status == 0, run.error);
    };
    fine("I8", std::int8_t{});
    fine("I16", std::int16_t{});
    fine("I32", std::int32_t{});
    fine("U8", std::uint8_t{});
    fine("U16", std::uint16_t{});
    fine("U32", std::uint32_t{});
    fine("U64", std::uint64_t{});
    write_data<std::int16_t>(folder / "data", "I16", {0, 1, -100, 1});
    CHECK(has(train().error, "label -100 of image 2"));
    write_data<std::int64_t>(folder / "data", "I64", {0, 1, 2, INT64_MAX});
    CHECK(has(train().error, "9223372036854775807"));
    write_data<std::uint64_t>(folder / "data", "U64", {0, 1, UINT64_MAX, 1});
    CHECK(has(train().error, "element 2 is 18446744073709551615, above 2^63 - 1"));
    CHECK(train().status == 2);
}

TEST_CASE("checkpoints: export, compress and expand")
{
    const TemporaryFolder folder;
    const Folder from = checkpoints / "hf_dinov2_registers";
    const Folder images = from / "expected.safetensors";
    const auto wanted = logits(from, images, folder);
    const auto write = [&](const std::string& arguments) {
        const auto run = run_program(arguments);
        CHECK_MESSAGE(run.status == 0, run.error);
        return run;
    };
    write("export --as hf --weights " + quoted(from) + "--out " + quoted(folder / "hf"));
    CHECK(std::filesystem::exists(folder / "hf" / "config.json"));
    CHECK(std::filesystem::exists(folder / "hf" / "preprocessor_config.json"));
    CHECK(distance(logits(folder / "hf", images, folder), wanted) <= 1e-5);
    const auto refused = run_program("export --as timm --weights " + quoted(from) + "--out " + quoted(folder / "timm"));
    CHECK(refused.status == 2);
    CHECK(has(refused.error, "for which timm has no model"));
    CHECK_FALSE(std::filesystem::exists(folder / "timm"));

    const auto small = write("compress --rank 3 --weights " + quoted(from) + "--out " + quoted(folder / "small"));
    CHECK(has(small.out, "MB dense"));
    const auto approximate = logits(folder / "small", images, folder);
    CHECK(distance(approximate, wanted) > 1e-4);
    write("expand --weights " + quoted(folder / "small") + "--out " + quoted(folder / "dense"));
    CHECK_FALSE(wasi::io::SafetensorsFile(folder / "dense").metadata().contains("forms"));
    CHECK(distance(logits(folder / "dense", images, folder), approximate) <= 1e-5);
    write("export --as hf --dense --dtype bf16 --weights " + quoted(folder / "small") + "--out " +
          quoted(folder / "b"));
    CHECK(wasi::io::SafetensorsFile(folder / "b" / "model.safetensors").info("classifier.bias").dtype ==
          wasi::io::Dtype::bf16);
    CHECK(distance(logits(folder / "b", images, folder), approximate) <= 0.2);
    CHECK(
        has(run_program("export --as hf --weights " + quoted(folder / "small") + "--out " + quoted(folder / "c")).error,
            "is held as factors, which no other package reads"));
    // A whole model of a weight's own rank is the same model.
    write("compress --energy 1 --form factors --above-break-even low-rank --weights " + quoted(from) + "--out " +
          quoted(folder / "whole"));
    CHECK(distance(logits(folder / "whole", images, folder), wanted) <= 1e-4);
}

TEST_CASE("checkpoints: heads that nothing tells are refused, and those of the table of widths are said")
{
    const TemporaryFolder folder;
    const auto refused =
        run_program("predict --weights " + quoted(checkpoints / "openai_clip") + "--images " +
                    quoted(checkpoints / "openai_clip" / "expected.safetensors") + "--out " + quoted(folder / "x"));
    CHECK(refused.status == 2);
    CHECK(has(refused.error, "no published model has the width 16: give --heads"));
}
