// A dense Vision Transformer against PyTorch: the stored reference of tests/golden.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include <support/central_differences.hpp>
#include <support/engines.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using wasi::Index;
using namespace wasi_tests;
namespace optim = wasi::optim;
namespace train = wasi::train;

constexpr double clip_limit = 0.5;  // the norm that sgd_clip_losses were clipped to

/// The reference's model and its one batch.
template <class E>
struct Golden {
    using T = typename E::Scalar;
    using S = typename E::Storage;
    wasi::Ledger memory;
    wasi::io::SafetensorsFile file = golden_file("vit_golden.safetensors");
    Model<T, S> model{tiny_config, memory, wasi::RandomKey(1)};
    Dataset<T> batch;

    Golden()
    {
        load_weights(model, file, "weights.");
        batch.count = 8;
        batch.height = batch.width = tiny_config.image;
        batch.images = read_values<T>(file, "images");
        batch.labels.resize(8);
        file.read("labels", std::span<std::int64_t>(batch.labels));
    }

    /// Relative distance of ten losses to those stored under `name`.
    [[nodiscard]] double series(const std::string& name, optim::Optimizer<T, S>& optimizer, double rate,
                                double clip_norm = 0.0)
    {
        train::TrainOptions options;
        options.epochs = 10;
        options.batch_size = 8;
        options.shuffle = false;
        options.schedule = optim::Schedule::Kind::constant;
        options.rate = rate;
        options.clip_norm = clip_norm;
        const auto losses = train_losses(model, batch, optimizer, options);
        const auto wanted = read_values<double>(file, name);
        double worst = losses.size() == wanted.size() ? 0.0 : 1.0;
        for (std::size_t i = 0; i < std::min(losses.size(), wanted.size()); ++i) {
            worst = std::max(worst, std::abs(losses[i] - wanted[i]) / wanted[i]);
        }
        return worst;
    }
};

/// What the reference allows by type. In float both sides round; in double only ours, but the series are stored in
/// float.
template <class T>
constexpr double forward_tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-11;
constexpr double series_tolerance = 2e-5;

TEST_CASE_TEMPLATE("golden: logits are PyTorch's", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    Golden<E> golden;
    const auto logits = wasi::measure::predict(golden.model, golden.batch, Index{3});  // in batches of 3, 3 and 2
    const auto wanted = read_values<double>(golden.file, "logits_f64");
    CHECK(relative_distance(logits.span(), wanted) <= forward_tolerance<T>);
    CHECK(relative_distance(logits.span(), read_values<double>(golden.file, "logits")) <= 1e-5);
}

TEST_CASE_TEMPLATE("golden: loss and the gradient of every parameter are PyTorch's", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    Golden<E> golden;
    RecordingSink<T> sink;
    const double loss = loss_and_gradients(golden.model, golden.batch, sink);
    CHECK(loss == doctest::Approx(read_values<double>(golden.file, "loss")[0]).epsilon(2e-7));
    Index count = 0;
    const std::string prefix = "grad64.";
    for (const std::string& name : golden.file.names()) {
        if (!name.starts_with(prefix)) {
            continue;
        }
        const std::string parameter = name.substr(prefix.size());
        CAPTURE(parameter);
        REQUIRE(sink.has(parameter));
        CHECK(sink.at(parameter).count == 1);
        CHECK(relative_distance(sink.at(parameter).dense, read_values<double>(golden.file, name)) <=
              forward_tolerance<T>);
        ++count;
    }
    CHECK(count == static_cast<Index>(sink.size()));
    CHECK(count == 32);
}

TEST_CASE_TEMPLATE("golden: ten steps of SGD with momentum and decay, and the weights afterwards", E,
                   WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    Golden<E> golden;
    optim::Sgd<T, typename E::Storage> sgd({.momentum = 0.9, .weight_decay = 1e-4}, golden.memory);
    CHECK(golden.series("sgd_losses", sgd, 0.05) <= series_tolerance);
    wasi::nn::for_each_parameter(golden.model, [&](auto& parameter) {
        CAPTURE(parameter.name());
        CHECK(relative_distance(dense_span(parameter),
                                read_values<double>(golden.file, "sgd_final." + parameter.name())) <= series_tolerance);
    });
}

TEST_CASE_TEMPLATE("golden: ten steps of plain SGD", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    Golden<E> golden;
    optim::Sgd<T, typename E::Storage> sgd({.momentum = 0.0, .weight_decay = 1e-4}, golden.memory);
    CHECK(golden.series("sgd_plain_losses", sgd, 0.1) <= series_tolerance);
}

TEST_CASE_TEMPLATE("golden: ten steps of SGD clipped by the global norm", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    Golden<E> golden;
    optim::Sgd<T, typename E::Storage> sgd({.momentum = 0.0, .weight_decay = 1e-4}, golden.memory);
    CHECK(golden.series("sgd_clip_losses", sgd, 0.1, clip_limit) <= series_tolerance);
}

TEST_CASE_TEMPLATE("golden: ten steps of AdamW", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    Golden<E> golden;
    optim::AdamW<T, typename E::Storage> adamw({.weight_decay = 0.05}, golden.memory);
    CHECK(golden.series("adamw_losses", adamw, 1e-3) <= series_tolerance);
}

}  // namespace
