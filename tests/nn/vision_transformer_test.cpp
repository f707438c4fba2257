// The whole model: gradients against central differences, names, heads, configs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <support/central_differences.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>

namespace {

using namespace wasi_tests;
using wasi::Use;
namespace train = wasi::train;
namespace linalg = wasi::linalg;

constexpr wasi::nn::VisionTransformerConfig smallest{
    .image = 4, .patch = 2, .dim = 6, .depth = 2, .heads = 2, .mlp = 7, .classes = 3};

struct Tiny {
    wasi::Ledger memory;
    Model<double> model{smallest, memory, wasi::RandomKey(1)};
    Dataset<double> data = random_images<double>(smallest, 3, 5);

    Tiny() { randomize(model, 3); }
};

TEST_CASE("the gradient of every parameter against central differences")
{
    Tiny tiny;
    RecordingSink<double> sink;
    (void)loss_and_gradients<double>(tiny.model, tiny.data, sink);
    int count = 0;
    wasi::nn::for_each_parameter(tiny.model, [&](auto& parameter) {
        CAPTURE(parameter.name());
        const auto wanted = central_differences(dense_span(parameter), [&] { return loss_of(tiny.model, tiny.data); });
        REQUIRE(sink.has(parameter.name()));
        CHECK(sink.at(parameter.name()).count == 1);
        CHECK(relative_distance(sink.at(parameter.name()).dense, wanted) <= 1e-8);
        ++count;
    });
    CHECK(count == static_cast<int>(sink.size()));
}

/// What other families than torchvision's do otherwise, in several combinations.
const std::vector<wasi::nn::VisionTransformerConfig>& other_configs()
{
    using wasi::nn::Gelu;
    using wasi::nn::Pooling;
    const auto changed = [](auto change) {
        auto config = smallest;
        change(config);
        return config;
    };
    static const std::vector<wasi::nn::VisionTransformerConfig> configs{
        changed([](auto& c) {  // CLIP
            c.epsilon = 1e-2;
            c.gelu = Gelu::quick;
            c.pre_norm = true;
        }),
        changed([](auto& c) {  // distilled DeiT
            c.distillation_token = true;
            c.pooling = Pooling::class_and_distillation;
        }),
        changed([](auto& c) {  // DINOv2 with registers
            c.registers = 3;
            c.layer_scale = true;
            c.pooling = Pooling::class_and_mean;
        }),
        changed([](auto& c) {  // averaged, without a class token
            c.class_token = false;
            c.registers = 1;
            c.pooling = Pooling::mean;
        }),
        changed([](auto& c) {  // averaged before the norm, without a head
            c.pooling = Pooling::mean_before_norm;
            c.head = false;
            c.classes = 6;
        })};
    return configs;
}

TEST_CASE("other families: every gradient against central differences, also where branches run again")
{
    for (const auto& config : other_configs()) {
        CAPTURE(to_string(config.pooling));
        wasi::Ledger memory;
        Model<double> model{config, memory, wasi::RandomKey(1)};
        const auto data = random_images<double>(config, 3, 5);
        randomize(model, 3);
        RecordingSink<double> sink;
        (void)loss_and_gradients<double>(model, data, sink);
        int count = 0;
        wasi::nn::for_each_parameter(model, [&](auto& parameter) {
            CAPTURE(parameter.name());
            const auto wanted = central_differences(dense_span(parameter), [&] { return loss_of(model, data); });
            REQUIRE(sink.has(parameter.name()));
            CHECK(relative_distance(sink.at(parameter.name()).dense, wanted) <= 1e-7);
            ++count;
        });
        CHECK(count == static_cast<int>(sink.size()));
        for (const auto recompute : {wasi::nn::Recompute::halves, wasi::nn::Recompute::block}) {
            wasi::nn::keep(model, {.recompute = recompute});
            RecordingSink<double> again;
            (void)loss_and_gradients<double>(model, data, again);
            wasi::nn::for_each_parameter(model, [&](auto& parameter) {
                CHECK(again.at(parameter.name()).dense == sink.at(parameter.name()).dense);
            });
        }
    }
}

TEST_CASE("without a head the result is the features; a new head reads them")
{
    wasi::Ledger memory;
    Model<double> model{other_configs().back(), memory, wasi::RandomKey(1)};
    const auto data = random_images<double>(model.config(), 3, 5);
    CHECK(wasi::nn::head_of(model) == nullptr);
    CHECK(wasi::measure::predict(model, data, Index{2}).shape() == wasi::Shape{3, 6});
    model.replace_head(4);
    CHECK(wasi::measure::predict(model, data, Index{2}).shape() == wasi::Shape{3, 4});
}

TEST_CASE("low-rank weights: every other gradient is exact, and factor gradients are those of the factors")
{
    Tiny tiny;
    apply(tiny.model,
          {.method = train::method("wsi"), .weight_rank = linalg::FixedRank{3}, .keep_dense_above_break_even = false});
    RecordingSink<double> sink;
    (void)loss_and_gradients<double>(tiny.model, tiny.data, sink);
    const auto numeric = [&](std::span<double> values) {
        return central_differences(values, [&] { return loss_of(tiny.model, tiny.data); });
    };
    const auto writable = [](wasi::ConstMatrixView<double> view) {
        return std::span<double>(const_cast<double*>(view.data), static_cast<std::size_t>(view.size()));
    };
    int factored = 0;
    wasi::nn::for_each_parameter(tiny.model, [&](auto& parameter) {
        CAPTURE(parameter.name());
        const auto& entry = sink.at(parameter.name());
        if constexpr (requires { parameter.is_low_rank(); }) {
            if (parameter.is_low_rank()) {
                CHECK(relative_distance(entry.d_left, numeric(writable(parameter.low_rank().left()))) <= 1e-8);
                CHECK(relative_distance(entry.d_right, numeric(writable(parameter.low_rank().right()))) <= 1e-8);
                ++factored;
                return;
            }
        }
        CHECK(relative_distance(entry.dense, numeric(dense_span(parameter))) <= 1e-8);
    });
    CHECK(factored == 8);
}

TEST_CASE("names and shapes are torchvision's, in its order")
{
    Tiny tiny;
    std::vector<std::string> names;
    wasi::nn::for_each_parameter(tiny.model, [&](auto& parameter) { names.push_back(parameter.name()); });
    REQUIRE(names.size() == 8 + 2 * 12);
    CHECK(names.front() == "class_token");
    CHECK(names[1] == "conv_proj.weight");
    CHECK(names[3] == "encoder.pos_embedding");
    CHECK(names[6] == "encoder.layers.encoder_layer_0.self_attention.in_proj_weight");
    CHECK(names.back() == "heads.head.bias");
    CHECK(tiny.model.patch_projection.weight.shape() == wasi::Shape{6, 3, 2, 2});
    CHECK(tiny.model.positions.values.shape() == wasi::Shape{1, 5, 6});
    std::size_t elements = 0;
    wasi::nn::for_each_parameter(tiny.model, [&](auto& parameter) { elements += dense_span(parameter).size(); });
    CHECK(wasi::nn::parameter_bytes(tiny.model) == elements * sizeof(double));
    CHECK(tiny.memory.of(Use::weight).current == elements * sizeof(double));
}

TEST_CASE("patches are those of a convolution: a filter that picks one pixel finds it")
{
    auto& memory = wasi::plain_memory();
    const auto data = random_images<float>(smallest, 2, 9);
    const std::vector<Index> both{0, 1};
    const auto images = data.gather(both, memory);
    const auto patches = wasi::nn::extract_patches<EigenStorage, float>(images.view<4>(), 2, memory);
    REQUIRE(patches.shape() == wasi::Shape{2, 4, 12});
    // Sample 1, channel 2, row 3, column 0 is patch 2, channel 2, row 1, column 0 in it.
    CHECK(patches.data()[(1 * 4 + 2) * 12 + (2 * 2 + 1) * 2 + 0] == data.images[((1 * 3 + 2) * 4 + 3) * 4 + 0]);
    // Sample 0, channel 1, row 0, column 3 is patch 1, row 0, column 1.
    CHECK(patches.data()[1 * 12 + (1 * 2 + 0) * 2 + 1] == data.images[(1 * 4 + 0) * 4 + 3]);
}

TEST_CASE("each sample's logits are its own, whatever the batch")
{
    Tiny tiny;
    const auto together = wasi::measure::predict(tiny.model, tiny.data, Index{3});
    const auto alone = wasi::measure::predict(tiny.model, tiny.data, Index{1});
    CHECK(relative_distance(together.span(), alone.span()) <= 1e-14);
}

TEST_CASE("a new head starts at zero, with the right shape")
{
    Tiny tiny;
    tiny.model.replace_head(5);
    CHECK(tiny.model.config().classes == 5);
    CHECK(tiny.model.head->weight.shape() == wasi::Shape{5, 6});
    CHECK(loss_of(tiny.model, tiny.data) == doctest::Approx(std::log(5.0)).epsilon(1e-14));
    CHECK_THROWS_AS(tiny.model.replace_head(0), wasi::argument_error);
    CHECK(tiny.model.config().classes == 5);
}

TEST_CASE("the start depends on the key alone and has torchvision's spread")
{
    wasi::Ledger memory;
    Model<float> one(tiny_config, memory, wasi::RandomKey(1));
    Model<float> same(tiny_config, memory, wasi::RandomKey(1));
    Model<float> other(tiny_config, memory, wasi::RandomKey(2));
    CHECK(snapshot(one) == snapshot(same));
    CHECK(snapshot(one) != snapshot(other));
    const auto values = snapshot(one);
    const auto& fc1 = values.at("encoder.layers.encoder_layer_0.mlp.0.weight");
    const double bound = std::sqrt(6.0 / (32 + 64));
    const auto largest = *std::max_element(fc1.begin(), fc1.end());
    CHECK(largest <= bound);
    CHECK(largest > 0.99 * bound);
    const auto& patches = values.at("conv_proj.weight");
    double squares = 0.0;
    for (const float value : patches) {
        CHECK(std::abs(value) <= 2.0 * std::sqrt(1.0 / 48) + 1e-7);
        squares += static_cast<double>(value) * static_cast<double>(value);
    }
    // A normal cut at two deviations has 0.7737 of the variance; 1,536 samples scatter by 3 %.
    CHECK(squares / static_cast<double>(patches.size()) * 48 == doctest::Approx(0.7737).epsilon(0.12));
    CHECK(values.at("class_token") == std::vector<float>(32, 0.0F));
}

TEST_CASE("configs and images that make no sense are refused by name")
{
    const auto refused = [](auto change) {
        auto config = smallest;
        change(config);
        config.check();
    };
    CHECK_THROWS_WITH_AS(refused([](auto& c) { c.patch = 3; }),
                         "VisionTransformerConfig: image 4 is not a multiple of patch 3", wasi::argument_error);
    CHECK_THROWS_WITH_AS(refused([](auto& c) { c.heads = 4; }),
                         "VisionTransformerConfig: dim 6 is not a multiple of heads 4", wasi::argument_error);
    CHECK_THROWS_WITH_AS(refused([](auto& c) { c.depth = 0; }), "VisionTransformerConfig: depth is 0",
                         wasi::argument_error);
    CHECK_THROWS_AS(refused([](auto& c) { c.classes = -1; }), wasi::argument_error);
    CHECK_THROWS_AS(refused([](auto& c) { c.mlp = Index{1} << 40; }), wasi::argument_error);
    CHECK_THROWS_AS(refused([](auto& c) { c.epsilon = 0.0; }), wasi::argument_error);
    CHECK_THROWS_AS(refused([](auto& c) { c.class_token = false; }), wasi::argument_error);
    CHECK_THROWS_AS(refused([](auto& c) { c.head = false; }), wasi::argument_error);
    CHECK_THROWS_AS(refused([](auto& c) { c.registers = -1; }), wasi::argument_error);
    CHECK_THROWS_WITH_AS(refused([](auto& c) { c.pooling = wasi::nn::Pooling::class_and_distillation; }),
                         "VisionTransformerConfig: pooling class_and_distillation without a distillation token",
                         wasi::argument_error);
    auto config = smallest;
    config.heads = 4;
    wasi::Ledger memory;
    CHECK_THROWS_AS(Model<double>(config, memory, wasi::RandomKey(1)), wasi::argument_error);
    CHECK(memory.total().current == 0);

    Tiny tiny;
    const wasi::autograd::Context<double, EigenStorage> context{tiny.memory, nullptr};
    const wasi::Tensor<double> wrong(tiny.memory, {}, {1, 3, 4, 6});
    CHECK_THROWS_AS((void)tiny.model.forward(context, wrong.view<4>()), wasi::shape_error);
}

}  // namespace
