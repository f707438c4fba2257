// The training loop: steps, records, batches, stopping, and options that make no sense.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <support/central_differences.hpp>
#include <support/models.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;
using train::method;
using train::Method;

constexpr wasi::nn::VisionTransformerConfig config{
    .image = 8, .patch = 4, .dim = 12, .depth = 1, .heads = 2, .mlp = 16, .classes = 3};

struct Setup {
    wasi::Ledger memory;
    Model<float> model{config, memory, wasi::RandomKey(1)};
    Dataset<float> data = random_images<float>(config, 7, 5);
    wasi::optim::Sgd<float, EigenStorage> sgd{{}, memory};
    Setup() { wasi_tests::randomize(model, 3); }
};

TEST_CASE("one record a step: numbers, epochs, rates, flops")
{
    Setup setup;
    apply(setup.model,
          {.method = method("wasi"), .weight_rank = linalg::FixedRank{3}, .activation = {.ranks = {2, 3, 4}}});
    train::TrainOptions options;
    options.epochs = 2;
    options.batch_size = 3;  // 3 + 3 + 1
    options.rate = 0.1;
    options.warmup_steps = 2;
    std::vector<train::StepRecord> records;
    options.on_step = [&](const train::StepRecord& record) {
        records.push_back(record);
        return true;
    };
    CHECK(train::steps_per_epoch(7, 3) == 3);
    CHECK(train::train(setup.model, setup.data, setup.sgd, options, wasi::RandomKey(5)) == 6);
    REQUIRE(records.size() == 6);
    const wasi::optim::Schedule schedule{.rate = 0.1, .warmup_steps = 2, .total_steps = 6};
    for (Index i = 0; i < 6; ++i) {
        const auto& record = records[static_cast<std::size_t>(i)];
        CHECK(record.step == i);
        CHECK(record.epoch == doctest::Approx(static_cast<double>(i) / 3.0));
        CHECK(record.rate == schedule(i));
        CHECK(std::isfinite(record.loss));
        CHECK(record.seconds > 0.0);
        CHECK(record.flops > 0.0);
        REQUIRE(record.captured_energies.size() == 4);
        for (const double energy : record.captured_energies) {
            CHECK(energy > 0.0);
            CHECK(energy <= 1.0 + 1e-6);
        }
    }
    CHECK(records[2].flops < records[1].flops);  // a batch of 1 after one of 3
}

TEST_CASE("the reported loss is the mean over the batch before the update")
{
    Setup setup;
    const double before = loss_of(setup.model, setup.data);
    train::TrainOptions options;
    options.batch_size = 7;
    for (const Index pieces : {1, 2, 3}) {  // 3 pieces of 7: 2, 2, 3 images, weighted by their share
        options.micro_batches = pieces;
        options.rate = 0.0;
        CHECK(train_losses<float>(setup.model, setup.data, setup.sgd, options).at(0) ==
              doctest::Approx(before).epsilon(1e-6));
    }
    options.rate = 0.1;
    options.schedule = wasi::optim::Schedule::Kind::constant;
    (void)train_losses<float>(setup.model, setup.data, setup.sgd, options);
    CHECK(loss_of(setup.model, setup.data) < before);
}

TEST_CASE("every method learns a small set by heart")
{
    for (const Method method : {method("vanilla"), method("wsi"), method("asi"), method("wasi")}) {
        CAPTURE(method.name);
        Setup setup;
        apply(setup.model, {.method = method, .weight_rank = linalg::FixedRank{4}, .activation = {.ranks = {7, 5, 8}}});
        train::TrainOptions options;
        options.epochs = 60;
        options.batch_size = 7;
        options.rate = 0.1;
        options.clip_norm = 2.0;
        const auto losses = train_losses<float>(setup.model, setup.data, setup.sgd, options);
        CHECK(losses.back() < 0.1 * losses.front());
        CHECK(wasi::measure::count_correct(setup.model, setup.data, Index{2}) == 7);
    }
}

TEST_CASE("shuffling: another order each epoch, the same set; off: as given")
{
    // One image a step: the loss names the image, for the rate is 0.
    Setup setup;
    train::TrainOptions options;
    options.epochs = 2;
    options.batch_size = 1;
    options.rate = 0.0;
    const auto shuffled = train_losses<float>(setup.model, setup.data, setup.sgd, options);
    options.shuffle = false;
    const auto ordered = train_losses<float>(setup.model, setup.data, setup.sgd, options);
    const std::vector<double> first(shuffled.begin(), shuffled.begin() + 7);
    const std::vector<double> second(shuffled.begin() + 7, shuffled.end());
    const std::vector<double> given(ordered.begin(), ordered.begin() + 7);
    CHECK(std::vector<double>(ordered.begin() + 7, ordered.end()) == given);
    CHECK(first != second);
    CHECK(first != given);
    const auto sorted = [](std::vector<double> values) {
        std::sort(values.begin(), values.end());
        return values;
    };
    CHECK(sorted(first) == sorted(given));
    CHECK(sorted(second) == sorted(given));
}

TEST_CASE("on_step may stop the run after its step")
{
    Setup setup;
    train::TrainOptions options;
    options.epochs = 5;
    options.batch_size = 3;
    Index seen = 0;
    options.on_step = [&](const train::StepRecord&) { return ++seen < 4; };
    CHECK(train::train(setup.model, setup.data, setup.sgd, options, wasi::RandomKey(5)) == 4);
    CHECK(seen == 4);
}

TEST_CASE("nothing is left behind: after a run the ledger holds the weights and nothing of a step")
{
    Setup setup;
    const auto before = setup.memory.total().current;
    train::TrainOptions options;
    options.micro_batches = 2;
    (void)train_losses<float>(setup.model, setup.data, setup.sgd, options);
    CHECK(setup.memory.total().current == before);
}

TEST_CASE("predict and count_correct do not depend on the batch size")
{
    Setup setup;
    const auto whole = wasi::measure::predict(setup.model, setup.data, Index{64});
    const auto pieces = wasi::measure::predict(setup.model, setup.data, Index{2});
    CHECK(relative_distance(pieces.span(), whole.span()) <= 1e-6);
    CHECK(wasi::measure::count_correct(setup.model, setup.data, Index{64}) ==
          wasi::measure::count_correct(setup.model, setup.data, Index{3}));
    CHECK_THROWS_AS((void)wasi::measure::predict(setup.model, setup.data, Index{0}), wasi::argument_error);
}

TEST_CASE("options and data that make no sense are refused by name, before any step")
{
    const auto message = [](auto change) {
        Setup setup;
        const auto start = snapshot(setup.model);
        train::TrainOptions options;
        options.batch_size = 4;
        change(options, setup.data);
        std::string text = "(nothing was thrown)";
        try {
            (void)train_losses<float>(setup.model, setup.data, setup.sgd, options);
        } catch (const wasi::error& caught) {
            text = caught.what();
        }
        CHECK(snapshot(setup.model) == start);
        return text;
    };
    using Options = train::TrainOptions;
    using Data = Dataset<float>;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(message([](Options& o, Data&) { o.epochs = 0; }) == "TrainOptions: epochs is 0");
    CHECK(message([](Options& o, Data&) { o.batch_size = -1; }) == "TrainOptions: batch_size is -1");
    CHECK(message([](Options& o, Data&) { o.micro_batches = 5; }) == "TrainOptions: 5 micro-batches of a batch of 4");
    CHECK(message([&](Options& o, Data&) { o.rate = nan; }) == "TrainOptions: rate is nan");
    CHECK(message([](Options& o, Data&) { o.clip_norm = -2.0; }) == "TrainOptions: clip_norm is -2");
    CHECK(message([](Options& o, Data&) { o.warmup_steps = -1; }) == "TrainOptions: warmup_steps is -1");
    CHECK(message([](Options& o, Data&) {
              o.micro_batches = 2;
              o.clip_norm = 1.0;
              o.clip_scope = train::ClipScope::parameter;
          }).starts_with("TrainOptions: clipping by parameter"));
    CHECK(message([](Options&, Data& d) { d.labels[2] = 3; }) ==
          "Dataset: label 3 of image 2 is outside the 3 classes");
    CHECK(message([](Options&, Data& d) { d.labels[2] = -1; }) ==
          "Dataset: label -1 of image 2 is outside the 3 classes");
    CHECK(message([](Options&, Data& d) { d.labels.pop_back(); }) == "Dataset: 6 labels for 7 images");
    CHECK(message([](Options&, Data& d) { d.images.pop_back(); }).starts_with("Dataset: 1343 pixels"));
    CHECK(message([](Options&, Data& d) { d.images[200] = std::numeric_limits<float>::infinity(); }) ==
          "Dataset: image 1 holds NaN or infinity");
    CHECK(message([](Options&, Data& d) {
              d.count = 0;
              d.images.clear();
              d.labels.clear();
          }).starts_with("Dataset:"));
    CHECK(message([](Options&, Data& d) { d.height = 16, d.width = 4; }).starts_with("VisionTransformer: images"));
}

TEST_CASE("a loss that is no longer finite is an error that says so")
{
    Setup setup;
    setup.model.head->bias.values.data()[0] = std::numeric_limits<float>::quiet_NaN();
    std::string text;
    try {
        (void)train_losses<float>(setup.model, setup.data, setup.sgd, {});
    } catch (const wasi::divergence_error& caught) {
        text = caught.what();
    }
    CHECK(text.starts_with("training diverged at step 0: the loss is nan"));
}

TEST_CASE("AdamW on weight subspaces is refused with the weight's name")
{
    Setup setup;
    apply(setup.model,
          {.method = method("wasi"), .weight_rank = linalg::FixedRank{3}, .activation = {.ranks = {2, 3, 4}}});
    wasi::optim::AdamW<float, EigenStorage> adamw({}, setup.memory);
    std::string text;
    try {
        (void)train_losses<float>(setup.model, setup.data, adamw, {});
    } catch (const wasi::argument_error& caught) {
        text = caught.what();
    }
    CHECK(text.find("low-rank weight encoder.layers.encoder_layer_0.mlp.3.weight") != std::string::npos);
}

TEST_CASE("momentum on low-rank weights, AdamW on free factors: the loss falls, streamed, clipped and accumulated")
{
    struct Case {
        Method method;
        bool adamw;
    };
    for (const Case c :
         {Case{method("wsi"), false}, {method("wasi"), false}, {method("factors"), false}, {method("factors"), true}}) {
        for (const int way : {0, 1, 2}) {
            CAPTURE(c.method.name);
            CAPTURE(c.adamw);
            CAPTURE(way);
            Setup setup;
            apply(setup.model,
                  {.method = c.method, .weight_rank = linalg::FixedRank{8}, .activation = {.ranks = {4, 8, 16}}});
            wasi::optim::Sgd<float, EigenStorage> momentum({.momentum = 0.9, .weight_decay = 1e-4}, setup.memory);
            wasi::optim::AdamW<float, EigenStorage> adamw({}, setup.memory);
            wasi::optim::Optimizer<float, EigenStorage>& optimizer =
                c.adamw ? static_cast<wasi::optim::Optimizer<float, EigenStorage>&>(adamw) : momentum;
            train::TrainOptions options;
            options.epochs = 30;
            options.batch_size = 8;
            options.rate = c.adamw ? 3e-3 : 0.01;
            options.clip_norm = way == 1 ? 2.0 : 0.0;
            options.micro_batches = way == 2 ? 2 : 1;
            const auto losses = train_losses<float>(setup.model, setup.data, optimizer, options);
            CHECK(losses.back() < 0.5 * losses.front());
            for (const auto* layer : nn::selected_layers(setup.model, nn::Layers::all)) {
                const auto booked = setup.memory.of(wasi::Tag{wasi::Use::optimiser_state, layer->layer()}).current;
                CHECK(booked >= (c.adamw ? 2 : 1) * layer->weight.bytes());
            }
        }
    }
}

}  // namespace
