// As the energies go to 1, training in subspaces goes to ordinary training.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

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
    .image = 12, .patch = 4, .dim = 16, .depth = 2, .heads = 2, .mlp = 32, .classes = 5};

struct Run {
    std::vector<double> losses;
    int low_rank_layers = 0;
    int compressed_layers = 0;
    double energy = 1.0;  ///< least captured energy of a compressed input in the last step
};

/// Eight steps of SGD with decay, three batches an epoch, the last one smaller, on a tiny model in double.
[[nodiscard]] Run run(Method method, double energy, double rate = 0.02, bool collected = false)
{
    wasi::Ledger memory;
    Model<double> model(config, memory, wasi::RandomKey(1));
    wasi_tests::randomize(model, 3);
    const auto data = random_images<double>(config, 11, 5);
    apply(model, {.method = method,
                  .weight_rank = linalg::Energy{energy},
                  .activation = {.ranks = {linalg::Energy{energy}, linalg::Energy{energy}, linalg::Energy{energy}}},
                  .keep_dense_above_break_even = false});
    wasi::optim::Sgd<double, EigenStorage> sgd({.weight_decay = 1e-3}, memory);
    train::TrainOptions options;
    options.epochs = 3;
    options.batch_size = 4;
    options.rate = rate;
    options.clip_norm = collected ? 1e9 : 0.0;  // a limit that is never reached
    Run result;
    result.losses = train_losses(model, data, sgd, options);
    result.losses.resize(8);
    for (const auto* layer : nn::selected_layers(model, nn::Layers::all)) {
        result.low_rank_layers += layer->weight.is_low_rank() ? 1 : 0;
        if (const auto* subspace = compressor(*layer)) {
            ++result.compressed_layers;
            result.energy = std::min(result.energy, subspace->captured_energy());
        }
    }
    return result;
}

[[nodiscard]] double distance(const Run& a, const Run& b)
{
    double largest = 0.0;
    for (std::size_t i = 0; i < 8; ++i) {
        largest = std::max(largest, std::abs(a.losses[i] - b.losses[i]));
    }
    return largest;
}

TEST_CASE("as energy goes to 1 the trajectory goes to vanilla's")
{
    const Run vanilla = run(method("vanilla"), 1.0);
    CHECK(vanilla.low_rank_layers == 0);
    CHECK(vanilla.compressed_layers == 0);
    // There is something to follow: the losses move by far more than what is compared.
    double spread = 0.0;
    for (const double loss : vanilla.losses) {
        spread = std::max(spread, std::abs(loss - vanilla.losses.front()));
    }
    CHECK(spread > 0.1);
    for (const Method method : {method("wasi"), method("wsi"), method("asi")}) {
        CAPTURE(method.name);
        std::vector<double> distances;
        for (const double energy : {0.9, 0.99, 0.999, 1.0}) {
            const Run subspace = run(method, energy);
            CHECK(subspace.low_rank_layers == (has_low_rank_weights(method) ? 8 : 0));
            CHECK(subspace.compressed_layers == (has_compressed_inputs(method) ? 8 : 0));
            distances.push_back(distance(subspace, vanilla));
        }
        INFO("distances ", distances[0], " ", distances[1], " ", distances[2], " ", distances[3]);
        CHECK(distances[0] > distances[1]);
        CHECK(distances[1] > distances[2]);
        CHECK(distances[2] > distances[3]);
        CHECK(distances[0] > 1e-3);
        if (method != train::method("wsi")) {
            CHECK(distances[3] <= 1e-9);
        }
    }
}

TEST_CASE("exact inputs take the tangent step: at full rank what is left is of second order in the learning rate")
{
    std::vector<double> distances;
    for (const double rate : {0.02, 0.01, 0.005}) {
        distances.push_back(distance(run(method("wsi"), 1.0, rate), run(method("vanilla"), 1.0, rate)));
    }
    INFO("distances ", distances[0], " ", distances[1], " ", distances[2]);
    CHECK(distances[0] <= 2e-3);
    CHECK(std::log2(distances[0] / distances[1]) >= 1.8);
    CHECK(std::log2(distances[1] / distances[2]) >= 1.8);
}

TEST_CASE("the same limit with gradients collected before the step")
{
    const Run vanilla = run(method("vanilla"), 1.0, 0.02, true);
    for (const Method method : {method("wasi"), method("asi")}) {
        CAPTURE(method.name);
        CHECK(distance(run(method, 1.0, 0.02, true), vanilla) <= 1e-9);
    }
}

}  // namespace
