// The leading directions of what passes into layers: against the covariance of inputs gathered by hand, and the losses
// of adapters that start from them against stored ones.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/files/load_checkpoint.hpp>
#include <wasi/io/safetensors.hpp>
#include <wasi/linalg/pca.hpp>
#include <wasi/optim/sgd.hpp>
#include <wasi/plan/input_directions.hpp>
#include <wasi/train/trainer.hpp>

namespace {

using namespace wasi_tests;
namespace nn = wasi::nn;
namespace plan = wasi::plan;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";

[[nodiscard]] std::vector<Index> first_examples(Index count)
{
    std::vector<Index> examples(static_cast<std::size_t>(count));
    std::iota(examples.begin(), examples.end(), Index{0});
    return examples;
}

/// All rows that pass into a layer, one after another.
struct Gathered {
    std::vector<double> values;
    Index cols = 0;
};

TEST_CASE("input directions: principal components of all rows, in batches too, and the model stays as it is")
{
    wasi::Ledger memory;
    Model<double> model(tiny_config, memory);
    randomize(model, 1);
    const auto data = random_images<double>(tiny_config, 10, 2);
    const auto examples = first_examples(10);
    constexpr Index count = 3;
    std::map<std::string, Gathered> seen;
    {
        wasi::nn::WatchScope<double, EigenStorage> watch;
        for (auto* layer : nn::selected_layers(model, nn::Layers::all)) {
            watch.observe(*layer, {[&rows = seen[layer->weight.name()]](auto x, auto) {
                                       const auto all = elements(x);
                                       rows.values.insert(rows.values.end(), all.begin(), all.end());
                                       rows.cols = x.cols;
                                   },
                                   {}});
        }
        static_cast<void>(wasi::measure::predict(model, data, 10));
    }
    for (const Index batch : {10, 4}) {
        const auto before = memory.total().current;
        {
            const auto found = plan::input_directions(model, data, examples, nn::Layers::all, count, batch);
            REQUIRE(found.size() == 8);
            for (const auto& one : found) {
                CAPTURE(one.layer);
                CAPTURE(batch);
                const Gathered& rows = seen.at(one.layer);
                const auto x = wasi::ConstMatrixView<double>::row_major(
                    rows.values.data(), static_cast<Index>(rows.values.size()) / rows.cols, rows.cols);
                const auto wanted = wasi::linalg::pca<EigenStorage, double>(x, {.rank = wasi::linalg::FixedRank{count}},
                                                                            wasi::RandomKey(1), wasi::plain_memory());
                const auto directions = std::as_const(one.directions).matrix();
                CHECK(directions.shape() == std::array<Index, 2>{count, rows.cols});
                for (Index k = 0; k < count; ++k) {
                    const double along = EigenStorage::dot(directions.row_block(k, 1).transposed(),
                                                           wanted.components.matrix().col_block(k, 1));
                    // What two batches of the PCA discard turns directions a little; one batch discards nothing before.
                    CHECK(std::abs(along) == doctest::Approx(1.0).epsilon(batch == 10 ? 1e-10 : 1e-4));
                }
            }
        }
        CHECK(memory.total().current == before);
    }
    CHECK_THROWS_AS(
        static_cast<void>(plan::input_directions(model, data, std::vector<Index>{}, nn::Layers::all, count, 4)),
        wasi::argument_error);
}

TEST_CASE("adapters that start from the inputs of their layers have the stored losses")
{
    const auto read = [](const std::string& file, const std::string& name) {
        const wasi::io::SafetensorsFile tensors(golden + file);
        std::vector<double> values(static_cast<std::size_t>(tensors.info(name).element_count()));
        tensors.read(name, std::span<double>(values));
        return values;
    };
    wasi::Ledger memory;
    const auto loaded =
        wasi::files::load_checkpoint<float, EigenStorage>(golden + "vit_cli_weights.safetensors", memory);
    auto& model = *loaded.model;
    const auto images = read("vit_cli_data.safetensors", "images");
    const Index size = model.config().image;
    wasi::data::Dataset<float> data;
    const wasi::io::SafetensorsFile file(golden + "vit_cli_data.safetensors");
    data.labels.resize(static_cast<std::size_t>(file.info("labels").element_count()));
    file.read("labels", std::span<std::int64_t>(data.labels));
    data.count = static_cast<Index>(data.labels.size());
    data.channels = 3;
    data.height = data.width = size;
    data.images.assign(images.begin(), images.end());

    wasi::train::MethodOptions method{.method = wasi::train::method("lora"), .layers = nn::Layers::mlp};
    method.adapter = {.rank = 4, .alpha = 10.0, .start = nn::AdapterStart::eva};
    const auto found =
        plan::input_directions(model, data, first_examples(data.count), method.layers, method.adapter.rank, data.count);
    std::size_t at = 0;
    for (auto* layer : nn::selected_layers(model, method.layers)) {
        const nn::LayerStatistics statistics = found[at++].statistics();
        nn::set_up(layer->weight, method.method.weight(method), &statistics);
    }
    wasi::train::prepare_training(model, method, wasi::RandomKey(1));
    wasi::optim::Sgd<float, EigenStorage> sgd({.momentum = 0.9, .weight_decay = 1e-4}, memory);
    std::vector<double> losses;
    wasi::train::TrainOptions options{.epochs = 10,
                                      .batch_size = data.count,
                                      .shuffle = false,
                                      .schedule = wasi::optim::Schedule::Kind::constant,
                                      .rate = 0.1};
    options.on_step = [&](const wasi::train::StepRecord& record) {
        losses.push_back(record.loss);
        return true;
    };
    wasi::train::train(model, data, sgd, options, wasi::RandomKey(3));
    const auto wanted = read("peft_methods.safetensors", "eva_sgd");
    REQUIRE(losses.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(losses[i] - wanted[i]) <= 1e-5 * std::max(1.0, wanted[i]));
    }
}

}  // namespace
