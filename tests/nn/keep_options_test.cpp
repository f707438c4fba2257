// What a block keeps for its backward pass: every exact switch leaves the losses and gradients as they were.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/sgd.hpp>

namespace {

using namespace wasi_tests;
using wasi::Precision;
using wasi::Use;
using wasi::autograd::Output;
using wasi::autograd::Probabilities;
using wasi::nn::KeepOptions;
using wasi::nn::Recompute;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
using train::method;
using train::Method;

constexpr wasi::nn::VisionTransformerConfig config{
    .image = 16, .patch = 4, .dim = 32, .depth = 3, .heads = 2, .mlp = 64, .classes = 5};

struct Run {
    double loss = 0.0;
    std::unique_ptr<RecordingSink<float>> gradients = std::make_unique<RecordingSink<float>>();
    std::size_t saved = 0;  ///< inputs and other activations, at their peak
    std::size_t total = 0;
};

[[nodiscard]] train::MethodOptions options_of(Method method)
{
    train::MethodOptions options{.method = method, .weight_rank = linalg::FixedRank{8}};
    options.activation.ranks = {linalg::FixedRank{3}, linalg::FixedRank{4}, linalg::FixedRank{8}};
    return options;
}

[[nodiscard]] Run run(Method method, const KeepOptions& keep)
{
    wasi::Ledger memory;
    Model<float> model(config, memory, wasi::RandomKey(1));
    randomize(model, 3);
    const auto data = random_images<float>(config, 6, 5);
    apply(model, options_of(method));
    wasi::nn::keep(model, keep);
    memory.reset_peaks();
    Run result;
    result.loss = loss_and_gradients<float>(model, data, *result.gradients);
    result.saved = memory.of(Use::saved_input).peak + memory.of(Use::saved_activation).peak;
    result.total = memory.total().peak;
    return result;
}

[[nodiscard]] std::vector<std::pair<std::string, KeepOptions>> exact_switches()
{
    std::vector<std::pair<std::string, KeepOptions>> result;
    for (const auto recompute : {Recompute::attention, Recompute::mlp, Recompute::halves, Recompute::block}) {
        result.emplace_back(std::string("recompute ") + std::string(to_string(recompute)),
                            KeepOptions{.recompute = recompute});
    }
    result.emplace_back("probabilities", KeepOptions{.probabilities = Probabilities::recompute});
    result.emplace_back("norm output", KeepOptions{.norm_output = Output::rebuild});
    result.emplace_back("gelu output", KeepOptions{.gelu_output = Output::rebuild});
    result.emplace_back("gelu input", KeepOptions{.gelu_input = Output::rebuild});
    result.emplace_back("all of them", KeepOptions{Recompute::block, Probabilities::recompute, Output::rebuild,
                                                   Output::rebuild, Output::rebuild});
    return result;
}

TEST_CASE("exact switches: the same loss and the same bits in every gradient, whatever the method")
{
    for (const Method method : {method("vanilla"), method("head"), method("wsi"), method("asi"), method("wasi")}) {
        CAPTURE(method.name);
        const Run plain = run(method, {});
        for (const auto& exact : exact_switches()) {
            const std::string& name = exact.first;
            const KeepOptions& keep = exact.second;
            CAPTURE(name);
            const Run other = run(method, keep);
            CHECK(other.loss == plain.loss);
            CHECK(other.gradients->size() == plain.gradients->size());
            wasi::Ledger memory;
            Model<float> model(config, memory);
            wasi::nn::for_each_parameter(model, [&](auto& parameter) {
                CAPTURE(parameter.name());
                REQUIRE(other.gradients->has(parameter.name()) == plain.gradients->has(parameter.name()));
                if (!plain.gradients->has(parameter.name())) {
                    return;
                }
                const auto& got = other.gradients->at(parameter.name());
                const auto& wanted = plain.gradients->at(parameter.name());
                CHECK(got.count == 1);
                CHECK(got.form == wanted.form);
                CHECK(got.dense == wanted.dense);
                CHECK(got.d_left == wanted.d_left);
                CHECK(got.d_right == wanted.d_right);
            });
        }
    }
}

TEST_CASE("exact switches: what each saves, to the byte")
{
    constexpr std::size_t depth = 3;
    constexpr std::size_t rows = 6 * 17;  // batch x tokens
    constexpr std::size_t d = 32;
    constexpr std::size_t m = 64;  // (and 17 x 17 probabilities take 304 places)
    const auto less = [](Method method, const KeepOptions& keep) {
        return run(method, {}).saved - run(method, keep).saved;
    };
    CHECK(less(method("vanilla"), {.probabilities = Probabilities::recompute}) == depth * 6 * 2 * 304 * 4);
    CHECK(less(method("vanilla"), {.norm_output = Output::rebuild}) == depth * 2 * rows * d * 4);
    CHECK(less(method("vanilla"), {.gelu_output = Output::rebuild}) == depth * rows * m * 4);
    CHECK(less(method("vanilla"), {.gelu_input = Output::rebuild}) == 0);  // fc1 is dense
    CHECK(less(method("wasi"), {.gelu_input = Output::rebuild}) == depth * rows * (m - 8) * 4);
    CHECK(less(method("wasi"), {.norm_output = Output::rebuild}) == 0);  // its input is kept, the output in Tucker form
    // Recomputed blocks keep their inputs, and one block all that a block keeps (its two norms share none of it).
    const std::size_t whole = run(method("vanilla"), {}).saved;
    const std::size_t blocks = run(method("vanilla"), {.recompute = Recompute::block}).saved;
    CHECK(blocks < whole / 2);
    CHECK(run(method("vanilla"), {.recompute = Recompute::halves}).saved < whole * 2 / 3);
    CHECK(run(method("vanilla"), {.recompute = Recompute::block}).total < run(method("vanilla"), {}).total);
}

TEST_CASE("16 bits: half the memory, losses and gradients to the format's rounding")
{
    for (const Method method : {method("vanilla"), method("wasi")}) {
        CAPTURE(method.name);
        const Run plain = run(method, {});
        for (const auto& format : {std::pair{Precision::bfloat16, 0x1p-8}, std::pair{Precision::half, 0x1p-11}}) {
            const Precision precision = format.first;
            const double unit = format.second;
            CAPTURE(to_string(precision));
            const Run other = run(method, {.saved_as = precision});
            CHECK(other.loss == plain.loss);  // the forward pass does not feel it
            if (method == train::method("vanilla")) {
                CHECK(static_cast<double>(other.saved) <= 0.55 * static_cast<double>(plain.saved));
            }
            const std::string name = "encoder.layers.encoder_layer_0.ln_1.bias";  // the far end
            const double distance = relative_distance(other.gradients->at(name).dense, plain.gradients->at(name).dense);
            CHECK(distance > 0.0);
            CHECK(distance <= 8.0 * unit);
        }
    }
}

TEST_CASE("16 bits: also what is saved inside a recomputed block")
{
    // With one block, what it saves while it runs again is nearly all that is saved.
    for (const auto recompute : {Recompute::attention, Recompute::mlp, Recompute::halves, Recompute::block}) {
        CAPTURE(to_string(recompute));
        const auto saved = [&](Precision precision) {
            wasi::Ledger memory;
            auto one_block = config;
            one_block.depth = 1;
            Model<float> model(one_block, memory, wasi::RandomKey(1));
            randomize(model, 3);
            wasi::nn::keep(model, {.recompute = recompute, .saved_as = precision});
            memory.reset_peaks();
            RecordingSink<float> sink;
            (void)loss_and_gradients<float>(model, random_images<float>(one_block, 6, 5), sink);
            return static_cast<double>(memory.of(Use::saved_input).peak + memory.of(Use::saved_activation).peak);
        };
        CHECK(saved(Precision::bfloat16) <= 0.6 * saved(Precision::full));  // statistics of norms stay in full
    }
}

TEST_CASE("a basis moves once a step, also where the block runs twice")
{
    for (const auto recompute : {Recompute::nothing, Recompute::halves, Recompute::block}) {
        wasi::Ledger memory;
        Model<float> model(config, memory, wasi::RandomKey(1));
        randomize(model, 3);
        auto options = options_of(method("wasi"));
        options.activation.restart_every = 1;  // every move is a restart, and restarts are counted
        apply(model, options);
        wasi::nn::keep(model, {.recompute = recompute});
        const auto data = random_images<float>(config, 6, 5);
        RecordingSink<float> sink;
        for (int step = 1; step <= 3; ++step) {
            (void)loss_and_gradients<float>(model, data, sink);
            for (const auto& block : model.blocks) {
                CHECK(block->fc2.saves_with<wasi::nn::TuckerOptions>()->subspace().restarts() == step);
            }
        }
    }
}

TEST_CASE("a whole run of training: the same losses with every exact switch, streaming and collecting")
{
    const auto losses = [](Method method, const KeepOptions& keep, double clip_norm) {
        wasi::Ledger memory;
        Model<float> model(config, memory, wasi::RandomKey(1));
        randomize(model, 3);
        apply(model, options_of(method));
        wasi::nn::keep(model, keep);
        wasi::optim::Sgd<float, EigenStorage> sgd({.weight_decay = 1e-4}, memory);
        const auto data = random_images<float>(config, 12, 5);
        return train_losses(model, data, sgd, {.epochs = 3, .batch_size = 5, .rate = 0.05, .clip_norm = clip_norm});
    };
    for (const Method method : {method("vanilla"), method("wasi")}) {
        for (const double clip_norm : {0.0, 1.0}) {
            const auto plain = losses(method, {}, clip_norm);
            CHECK(plain.size() == 9);
            CHECK(losses(method, exact_switches().back().second, clip_norm) == plain);
        }
    }
}

}  // namespace
