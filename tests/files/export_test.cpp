// Models in the names of other packages and back: the same logits. That the packages load them:
// tests/golden/check_export.py.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>
#include <support/models.hpp>
#include <wasi/files/export_checkpoint.hpp>

namespace {

using namespace wasi_tests;
namespace files = wasi::files;
namespace nn = wasi::nn;
using files::ExportAs;
using nn::Pooling;

constexpr nn::VisionTransformerConfig tiny{
    .image = 12, .patch = 4, .dim = 16, .depth = 2, .heads = 2, .mlp = 24, .classes = 3};

struct Case {
    std::string name;
    nn::VisionTransformerConfig config;
    std::vector<ExportAs> as;  ///< those who have such a model
};

[[nodiscard]] std::vector<Case> cases()
{
    const auto changed = [](auto change) {
        auto config = tiny;
        change(config);
        return config;
    };
    using enum ExportAs;
    return {{"plain", tiny, {torchvision, timm, huggingface}},
            {"layer scale", changed([](auto& c) { c.layer_scale = true; }), {torchvision, timm, huggingface}},
            {"clip",
             changed([](auto& c) {
                 c.pre_norm = true;
                 c.gelu = nn::Gelu::quick;
                 c.epsilon = 1e-5;
             }),
             {timm, huggingface}},
            {"distilled",
             changed([](auto& c) {
                 c.distillation_token = true;
                 c.pooling = Pooling::class_and_distillation;
             }),
             {timm, huggingface}},
            {"distilled, one head", changed([](auto& c) { c.distillation_token = true; }), {huggingface}},
            {"registers", changed([](auto& c) { c.registers = 4; }), {timm, huggingface}},
            {"dinov2",
             changed([](auto& c) {
                 c.registers = 4;
                 c.layer_scale = true;
                 c.pooling = Pooling::class_and_mean;
             }),
             {huggingface}},
            {"average", changed([](auto& c) { c.pooling = Pooling::mean_before_norm; }), {timm}},
            {"no class token",
             changed([](auto& c) {
                 c.class_token = false;
                 c.pooling = Pooling::mean;
             }),
             {timm}},
            {"no head",
             changed([](auto& c) {
                 c.head = false;
                 c.classes = c.dim;
             }),
             {timm, huggingface}}};
}

/// A model of random values; CLIP's projection has no bias.
[[nodiscard]] std::unique_ptr<Model<float>> make(const nn::VisionTransformerConfig& config, wasi::Memory& memory)
{
    auto model = std::make_unique<Model<float>>(config, memory, wasi::RandomKey(1));
    randomize(*model, 3);
    if (config.pre_norm) {
        std::fill(model->head->bias.values.span().begin(), model->head->bias.values.span().end(), 0.0F);
    }
    return model;
}

template <class A, class B>
[[nodiscard]] double distance(A& model, B& other)
{
    const auto data = random_images<float>(tiny, 3, 5);
    const auto wanted = wasi::measure::predict(model, data, Index{3});
    const auto found = wasi::measure::predict(other, data, Index{3});
    REQUIRE(found.shape() == wanted.shape());
    double worst = 0.0;
    for (Index i = 0; i < wanted.size(); ++i) {
        worst = std::max(worst, static_cast<double>(std::abs(wanted.data()[i] - found.data()[i])));
    }
    return worst;
}

TEST_CASE("export: every model comes back from the names of every package that has it, with the same logits")
{
    const TemporaryFolder folder;
    for (const Case& one : cases()) {
        CAPTURE(one.name);
        wasi::Ledger memory;
        const auto model = make(one.config, memory);
        for (const auto as : {ExportAs::torchvision, ExportAs::timm, ExportAs::huggingface}) {
            CAPTURE(static_cast<int>(as));
            const auto out = folder / "out";
            std::filesystem::remove_all(out);
            if (std::find(one.as.begin(), one.as.end(), as) == one.as.end()) {
                CHECK_THROWS_AS((void)files::export_checkpoint(*model, out, {.as = as}), wasi::argument_error);
                CHECK_FALSE(std::filesystem::exists(out));
                continue;
            }
            (void)files::export_checkpoint(*model, out, {.as = as});
            const auto loaded = files::load_checkpoint<float, EigenStorage>(out, memory);
            CHECK(distance(*model, *loaded.model) <= 1e-5);
            CHECK(loaded.model->config().epsilon == doctest::Approx(one.config.epsilon));
            if (as == ExportAs::huggingface && one.config.layer_scale) {
                const auto kept = files::load_checkpoint<float, EigenStorage>(out, memory, {.train_layer_scale = true});
                CHECK(distance(*model, *kept.model) <= 1e-5);
            }
        }
        // This library's own file says all of it.
        files::save_model(*model, folder / "own");
        const auto own = files::load_checkpoint<float, EigenStorage>(folder / "own", memory);
        CHECK(snapshot(*own.model) == snapshot(*model));
        CHECK(distance(*model, *own.model) == 0.0);
    }
}

TEST_CASE(
    "export: factors are multiplied out when asked, stay this library's own else; 16 bits are as good as they are")
{
    const TemporaryFolder folder;
    wasi::Ledger memory;
    const auto model = make(tiny, memory);
    make_low_rank<nn::SubspaceOptions>(model->blocks[0]->in_proj.weight, 5);
    make_low_rank<nn::FactorsOptions>(model->blocks[0]->fc1.weight, 4);
    nn::set_up(model->blocks[1]->fc2.weight, nn::WeightSetup(nn::AdapterOptions{.rank = 2}));
    auto* adapter = model->blocks[1]->fc2.weight.held_as<nn::AdapterOptions>();
    std::fill(adapter->b.values.span().begin(), adapter->b.values.span().end(), 0.1F);
    const auto out = folder / "out";
    CHECK_THROWS_AS((void)files::export_checkpoint(*model, out, {.as = ExportAs::timm}), wasi::argument_error);
    CHECK(files::export_checkpoint(*model, out, {.as = ExportAs::torchvision}).size() == 1);
    CHECK(files::load_model<float, EigenStorage>(out, memory)->blocks[0]->fc1.weight.rank() == 4);
    for (const auto as : {ExportAs::torchvision, ExportAs::timm, ExportAs::huggingface}) {
        for (const auto& stored :
             {std::pair{wasi::io::Dtype::f32, 1e-5}, {wasi::io::Dtype::f16, 2e-2}, {wasi::io::Dtype::bf16, 2e-1}}) {
            const auto dtype = stored.first;
            CAPTURE(to_string(dtype));
            CHECK(files::export_checkpoint(*model, out, {.as = as, .dense = true, .stored_as = dtype}).empty());
            const auto loaded = files::load_model<float, EigenStorage>(out, memory);
            CHECK(loaded->blocks[0]->fc1.weight.rank() == 0);
            CHECK(distance(*model, *loaded) <= stored.second);
        }
    }
    // The same model held dense.
    const auto before = wasi::measure::predict(*model, random_images<float>(tiny, 3, 5), Index{3});
    nn::visit_layers(*model, [](nn::Place, auto& layer) { nn::make_dense(layer.weight); });
    const auto after = wasi::measure::predict(*model, random_images<float>(tiny, 3, 5), Index{3});
    for (Index i = 0; i < before.size(); ++i) {
        CHECK(after.data()[i] == doctest::Approx(before.data()[i]).epsilon(1e-4));
    }
    files::save_model(*model, folder / "own", {}, wasi::io::Dtype::bf16);
    CHECK(wasi::io::SafetensorsFile(folder / "own").info("class_token").dtype == wasi::io::Dtype::bf16);
}

TEST_CASE("export: a subspace in 16 bits comes back as free factors, for its L is no longer orthonormal")
{
    const TemporaryFolder folder;
    wasi::Ledger memory;
    const auto model = make(tiny, memory);
    make_low_rank<nn::SubspaceOptions>(model->blocks[0]->fc1.weight, 5);
    files::save_model(*model, folder / "a", {}, wasi::io::Dtype::f16);
    const auto loaded = files::load_model<float, EigenStorage>(folder / "a", memory);
    CHECK(loaded->blocks[0]->fc1.weight.held_as<nn::FactorsOptions>() != nullptr);
    CHECK(distance(*model, *loaded) <= 2e-2);
}

TEST_CASE("export: classes keep their names where a package has a place for them")
{
    const TemporaryFolder folder;
    wasi::Ledger memory;
    const auto model = make(tiny, memory);
    const std::vector<std::string> names{"cat", "dog \"x\"", "ox"};
    for (const auto as : {ExportAs::torchvision, ExportAs::huggingface}) {
        const auto out = folder / "out";
        std::filesystem::remove_all(out);
        (void)files::export_checkpoint(*model, out, {.as = as, .classes = names});
        const auto loaded = files::load_checkpoint<float, EigenStorage>(
            as == ExportAs::torchvision ? out / "model.safetensors" : out, memory);
        CHECK(loaded.report.classes == names);
        CHECK(loaded.report.metadata().at("classes") == R"(["cat","dog \"x\"","ox"])");
        std::filesystem::remove_all(out);
        (void)files::export_checkpoint(*model, out, {.as = as, .classes = {"too few"}});
        CHECK(files::load_checkpoint<float, EigenStorage>(out, memory).report.classes.empty());
    }
}

}  // namespace
