// Checkpoints of every family, made by the families' own packages: the logits are theirs (tests/golden/README.md).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <support/models.hpp>
#include <wasi/files/vision_transformer_file.hpp>

namespace {

using namespace wasi_tests;
namespace files = wasi::files;

constexpr double tolerance = 1e-4;

[[nodiscard]] std::filesystem::path golden_folder(const std::string& name)
{
    return std::filesystem::path(WASI_TEST_DATA) / "golden" / "checkpoints" / name;
}

struct Golden {
    std::string name;
    std::vector<Index> sizes = {};  ///< other image sizes of which logits are stored
    std::string family;
    std::string note = {};  ///< that the report has to have
};

const std::vector<Golden> goldens{
    {"torchvision", {8, 20}, "torchvision"},
    {"torchvision_old", {}, "torchvision", "the prefix module. is cut off the names"},
    {"timm_vit", {8, 20}, "timm"},
    {"timm_deit_distilled", {}, "timm", "the two heads"},
    {"timm_dinov2", {}, "timm", "layer scale is folded"},
    {"timm_dinov2_registers", {8}, "timm"},
    {"timm_average", {}, "timm"},
    {"timm_no_class_token", {20}, "timm"},
    {"timm_registers_placed", {}, "timm", "the positions of the register tokens are added to the tokens"},
    {"timm_deit3", {}, "timm", "layer scale is folded"},
    {"timm_clip", {}, "timm"},
    {"hf_vit", {8, 20}, "Hugging Face ViT"},
    {"hf_vit_shards", {}, "Hugging Face ViT", "there is no bias of encoder.layer.0.attention.attention.query.weight"},
    {"hf_vit_base", {}, "Hugging Face ViT", "there is no head"},
    {"hf_deit", {}, "Hugging Face DeiT"},
    {"hf_deit_class", {}, "Hugging Face DeiT"},
    {"hf_dinov2", {20}, "Hugging Face DINOv2", "layer scale is folded"},
    {"hf_dinov2_registers", {}, "Hugging Face DINOv2"},
    {"hf_clip", {}, "Hugging Face CLIP (vision)"},
    {"hf_clip_both", {}, "Hugging Face CLIP (vision)"},
    {"openai_clip", {}, "OpenAI CLIP (vision)"},
};

/// The largest difference of the model's logits to those stored under this suffix.
template <class T>
[[nodiscard]] double distance(Model<T>& model, const std::string& name, const std::string& suffix)
{
    const wasi::io::SafetensorsFile file(golden_folder(name) / "expected.safetensors");
    Dataset<T> data;
    data.count = file.info("images" + suffix).shape[0];
    data.height = data.width = file.info("images" + suffix).shape[2];
    data.images = read_values<T>(file, "images" + suffix);
    data.labels.assign(static_cast<std::size_t>(data.count), 0);
    const auto wanted = read_values<double>(file, "logits" + suffix);
    const auto found = wasi::measure::predict(model, data, data.count);
    REQUIRE(found.size() == static_cast<Index>(wanted.size()));
    double worst = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(found.span()[i]) - wanted[i]));
    }
    return worst;
}

[[nodiscard]] files::LoadOptions options_of(const Golden& golden)
{
    files::LoadOptions options;
    if (golden.name == "openai_clip") {  // nothing tells them, and no published model is so narrow
        options.heads = 2;
    }
    return options;
}

TEST_CASE("checkpoints: the logits of every family are those of its own package, by float and double")
{
    for (const Golden& golden : goldens) {
        CAPTURE(golden.name);
        wasi::Ledger memory;
        auto loaded =
            files::load_checkpoint<float, EigenStorage>(golden_folder(golden.name), memory, options_of(golden));
        CAPTURE(loaded.report.text());
        CHECK(loaded.report.family == golden.family);
        CHECK(loaded.report.loaded + static_cast<Index>(loaded.report.ignored.size()) == loaded.report.total);
        CHECK(distance(*loaded.model, golden.name, "") <= tolerance);
        const auto has_note = [&](const std::string& note) { return note.find(golden.note) != std::string::npos; };
        CHECK((golden.note.empty() || std::any_of(loaded.report.notes.begin(), loaded.report.notes.end(), has_note)));
        for (const Index size : golden.sizes) {
            CAPTURE(size);
            auto options = options_of(golden);
            options.image = size;
            const auto other =
                files::load_checkpoint<double, EigenStorage>(golden_folder(golden.name), memory, options);
            CHECK(distance(*other.model, golden.name, "_" + std::to_string(size)) <= tolerance);
        }
    }
}

TEST_CASE("checkpoints: layer scale that is trained gives the same logits, and stays in this library's files")
{
    for (const std::string name : {"timm_dinov2", "timm_deit3", "hf_dinov2_registers"}) {
        CAPTURE(name);
        wasi::Ledger memory;
        const auto loaded =
            files::load_checkpoint<float, EigenStorage>(golden_folder(name), memory, {.train_layer_scale = true});
        CHECK(loaded.model->config().layer_scale);
        CHECK(distance(*loaded.model, name, "") <= tolerance);
    }
}

}  // namespace
