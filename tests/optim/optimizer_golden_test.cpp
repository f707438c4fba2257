// Optimisers that work in small spaces on a whole model against their references: tests/golden/optimizer_golden.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/golden_file.hpp>
#include <support/models.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
namespace optim = wasi::optim;

/// The largest distance, relative where they are above 1, of ten losses, on the one batch of vit_golden.safetensors, to
/// those stored.
template <class T>
[[nodiscard]] double series(const std::string& name, const optim::OptimizerOptions& options, double rate,
                            std::string_view method = "vanilla")
{
    wasi::Ledger memory;
    const auto file = golden_file("vit_golden.safetensors");
    Model<T> model(tiny_config, memory, wasi::RandomKey(1));
    load_weights(model, file, "weights.");
    apply(model, {.method = wasi::train::method(method)});
    Dataset<T> batch;
    batch.count = 8;
    batch.height = batch.width = tiny_config.image;
    batch.images = read_values<T>(file, "images");
    batch.labels.resize(8);
    file.read("labels", std::span<std::int64_t>(batch.labels));
    wasi::train::TrainOptions training;
    training.epochs = 10;
    training.batch_size = 8;
    training.shuffle = false;
    training.schedule = optim::Schedule::Kind::constant;
    training.rate = rate;
    const auto optimizer = optim::make_optimizer<T, wasi::EigenStorage>(options, memory);
    const auto losses = train_losses(model, batch, *optimizer, training);
    const auto wanted = read_values<double>(golden_file("optimizer_golden.safetensors"), name);
    REQUIRE(losses.size() == wanted.size());
    double worst = 0.0;
    for (std::size_t i = 0; i < losses.size(); ++i) {
        worst = std::max(worst, std::abs(losses[i] - wanted[i]) / std::max(1.0, wanted[i]));
    }
    return worst;
}

constexpr optim::GaloreOptions galore{.rank = 4, .weight_decay = 0.1};

TEST_CASE_TEMPLATE("golden: ten steps of GaLore are galore-torch's", T, float, double)
{
    CHECK(series<T>("galore_losses", galore, 2e-3) <= 1e-5);
}

TEST_CASE_TEMPLATE("golden: ten steps of GaLore with three refreshes are galore-torch's", T, float, double)
{
    auto refreshed = galore;
    refreshed.refresh_every = 3;
    CHECK(series<T>("galore_refreshed_losses", refreshed, 2e-3) <= 1e-5);
}

TEST_CASE_TEMPLATE("golden: ten steps of GaLore with moments carried over follow the formula", T, float, double)
{
    auto rotated = galore;
    rotated.refresh_every = 3;
    rotated.moments = optim::RefreshedMoments::rotated;
    CHECK(series<T>("galore_rotated_losses", rotated, 2e-3) <= 1e-5);
}

TEST_CASE_TEMPLATE("golden: ten steps of MoFaSGD follow the formula of the paper, and of its authors' code", T, float,
                   double)
{
    CHECK(series<T>("mofasgd_losses", optim::MofasgdOptions{.rank = 4, .beta = 0.9, .weight_decay = 0.1}, 0.01) <=
          1e-5);
    CHECK(series<T>("mofasgd_code_losses",
                    optim::MofasgdOptions{
                        .rank = 4, .beta = 0.9, .as_code = true, .complement_step = 0.05, .weight_decay = 0.1},
                    0.02) <= 1e-5);
}

TEST_CASE("golden: twenty steps of AdamW with moments in 8 bits are torchao's")
{
    wasi::Ledger memory;
    const auto file = golden_file("optimizer_golden.safetensors");
    const auto losses = read_values<double>(file, "adamw_8_bits_losses");
    const auto weights = read_values<float>(file, "adamw_8_bits_weights");
    wasi::autograd::DenseParameter<float> w("w", wasi::Tensor<float>(memory, {}, {96, 64}));
    std::vector<float> goal(weights.size());
    for (std::size_t i = 0; i < goal.size(); ++i) {
        const auto n = static_cast<double>(i);
        const double size = std::pow(10.0, -static_cast<double>(i / 256 % 3 + i % 2));
        goal[i] = static_cast<float>((3.0 + std::cos(n)) * size);
        w.values.span()[i] = static_cast<float>(std::sin(0.1 * n) * size);
    }
    const auto optimizer = optim::make_optimizer<float, wasi::EigenStorage>(
        optim::AdamWOptions{.weight_decay = 0.1, .state = {optim::MomentFormat::int8}}, memory);
    std::vector<float> gradient(goal.size());
    double worst = 0.0;
    for (const double wanted : losses) {
        double loss = 0.0;
        for (std::size_t i = 0; i < goal.size(); ++i) {
            gradient[i] = w.values.span()[i] - goal[i];
            loss += 0.5 * static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
        }
        worst = std::max(worst, std::abs(loss - wanted) / wanted);
        optimizer->apply(wasi::nn::ParameterRef<float, wasi::EigenStorage>(w),
                         wasi::autograd::Dense<float>{wasi::ConstMatrixView<float>::row_major(gradient.data(), 96, 64)},
                         2e-5F, 1.0F);
    }
    CHECK(worst <= 1e-5);
    // But for moments halfway between two codes.
    int far = 0;
    for (std::size_t i = 0; i < goal.size(); ++i) {
        far += std::abs(w.values.span()[i] - weights[i]) > 1e-6F;  // they move by 4e-4
    }
    CHECK(far <= 10);
}

TEST_CASE_TEMPLATE("golden: ten steps of AdamW on biases, norms and head alone are PyTorch's", T, float, double)
{
    CHECK(series<T>("bitfit_losses", optim::AdamWOptions{.weight_decay = 0.05}, 1e-2, "bitfit") <= 1e-5);
}

}  // namespace
