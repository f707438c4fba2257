// What each method does to a model before training.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <support/central_differences.hpp>
#include <support/models.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
using wasi::Use;
namespace train = wasi::train;
namespace linalg = wasi::linalg;
using wasi::nn::Layers;
namespace nn = wasi::nn;
using train::method;
using train::Method;

struct Setup {
    wasi::Ledger memory;
    Model<double> model{tiny_config, memory, wasi::RandomKey(1)};
    Dataset<double> data = random_images<double>(tiny_config, 4, 5);
    Setup() { wasi_tests::randomize(model, 3); }
};

TEST_CASE("methods are two switches; head freezes everything else")
{
    for (const Method method :
         {method("vanilla"), method("head"), method("wsi"), method("asi"), method("wasi"), method("factors")}) {
        for (const Layers layers : {Layers::mlp, Layers::all}) {
            CAPTURE(method.name);
            CAPTURE(layers == Layers::all);
            Setup setup;
            apply(setup.model, {.method = method, .layers = layers, .weight_rank = linalg::FixedRank{4}});
            for (const auto& block : setup.model.blocks) {
                for (auto* layer : {&block->in_proj, &block->out_proj, &block->fc1, &block->fc2}) {
                    const bool chosen = layers == Layers::all || layer == &block->fc1 || layer == &block->fc2;
                    CHECK((layer->weight.held_as<nn::SubspaceOptions>() != nullptr) ==
                          (chosen && (method == train::method("wsi") || method == train::method("wasi"))));
                    CHECK((layer->weight.held_as<nn::FactorsOptions>() != nullptr) ==
                          (chosen && method == train::method("factors")));
                    CHECK((compressor(*layer) != nullptr) ==
                          (chosen && (method == train::method("asi") || method == train::method("wasi"))));
                }
            }
            CHECK_FALSE(setup.model.head->weight.is_low_rank());
            CHECK_FALSE(setup.model.patch_projection.weight.is_low_rank());
            CHECK(compressor(setup.model.patch_projection) == nullptr);
            int trainable = 0;
            wasi::nn::for_each_parameter(setup.model,
                                         [&](auto& parameter) { trainable += parameter.trainable() ? 1 : 0; });
            CHECK(trainable == (method == train::method("head") ? 2 : 32));
            CHECK(nn::selected_layers(setup.model, layers).size() == (layers == Layers::all ? 8U : 4U));
        }
    }
}

TEST_CASE("head: only the head gets gradients, and no input of a block is saved")
{
    Setup setup;
    apply(setup.model, {.method = method("head")});
    setup.memory.reset_peaks();
    RecordingSink<double> sink;
    (void)loss_and_gradients<double>(setup.model, setup.data, sink);
    CHECK(sink.size() == 2);
    CHECK(sink.has("heads.head.weight"));
    CHECK(setup.memory.of(Use::saved_input).peak == 4 * 32 * sizeof(double));  // the head's own input
}

TEST_CASE(
    "bitfit: biases and norms of the chosen layers, of embeddings and of the head, and no input is saved for them")
{
    for (const Layers layers : {Layers::mlp, Layers::all}) {
        Setup setup;
        apply(setup.model, {.method = method("bitfit"), .layers = layers});
        setup.memory.reset_peaks();
        RecordingSink<double> sink;
        (void)loss_and_gradients<double>(setup.model, setup.data, sink);
        wasi::nn::for_each_parameter(setup.model, [&](auto& parameter) {
            const std::string& name = parameter.name();
            CAPTURE(name);
            const bool attention = name.find("self_attention") != std::string::npos;
            const bool wanted = name.find("ln") != std::string::npos || name.starts_with("heads.") ||
                                (name.ends_with("bias") && (layers == Layers::all || !attention));
            CHECK(sink.has(name) == wanted);
        });
        CHECK(setup.memory.of(Use::saved_input).peak == 4 * 32 * sizeof(double));  // the head's own input
    }
}

TEST_CASE_TEMPLATE("at full rank every method has the dense logits and gradients", T, float, double)
{
    wasi::Ledger memory;
    const auto data = random_images<T>(tiny_config, 4, 5);
    const double rounding = std::is_same_v<T, float> ? 2e-5 : 1e-12;
    Model<T> dense(tiny_config, memory, wasi::RandomKey(1));
    wasi_tests::randomize(dense, 3);
    RecordingSink<T> wanted;
    const double loss = loss_and_gradients<T>(dense, data, wanted);
    for (const Method method : {method("wsi"), method("asi"), method("wasi"), method("factors")}) {
        CAPTURE(method.name);
        Model<T> model(tiny_config, memory, wasi::RandomKey(1));
        wasi_tests::randomize(model, 3);
        apply(model, {.method = method,
                      .weight_rank = linalg::FixedRank{1000},
                      .activation = {.ranks = {1000, 1000, 1000}},
                      .keep_dense_above_break_even = false});
        RecordingSink<T> sink;
        CHECK(loss_and_gradients<T>(model, data, sink) == doctest::Approx(loss).epsilon(rounding));
        wasi::nn::for_each_parameter(model, [&](auto& parameter) {
            CAPTURE(parameter.name());
            if constexpr (requires { parameter.form(); }) {
                if (parameter.template held_as<nn::FactorsOptions>() != nullptr) {
                    CHECK(sink.has(parameter.name() + ".left"));
                    CHECK(sink.has(parameter.name() + ".right"));
                    return;
                }
            }
            const auto& entry = sink.at(parameter.name());
            if (entry.form != RecordingSink<T>::Form::factor_gradients) {
                CHECK(relative_distance(entry.dense, wanted.at(parameter.name()).dense) <= rounding);
            }
        });
    }
}

TEST_CASE("a rank that does not pay stays dense, unless that is asked for")
{
    for (const bool keep : {true, false}) {
        Setup setup;
        apply(setup.model,
              {.method = method("wasi"), .weight_rank = linalg::Energy{1.0}, .keep_dense_above_break_even = keep});
        for (const auto* layer : nn::selected_layers(setup.model, Layers::all)) {
            CHECK(layer->weight.is_low_rank() == !keep);
            CHECK(compressor(*layer) != nullptr);
        }
    }
}

TEST_CASE("weights that are low rank already keep rank and product, in the form of a method that has one")
{
    for (const bool free : {false, true}) {
        for (const Method method :
             {method("vanilla"), method("asi"), method("wsi"), method("wasi"), method("factors")}) {
            CAPTURE(method.name);
            Setup setup;
            auto& fc1 = setup.model.blocks[0]->fc1.weight;
            free ? make_low_rank<nn::FactorsOptions>(fc1, 3) : make_low_rank<nn::SubspaceOptions>(fc1, 3);
            REQUIRE(fc1.rank() == 3);
            const double before = loss_of<double>(setup.model, setup.data);
            apply(setup.model, {.method = method, .layers = Layers::mlp, .weight_rank = linalg::FixedRank{7}});
            CHECK(fc1.rank() == 3);
            const bool low_rank = has_low_rank_weights(method);
            CHECK(setup.model.blocks[1]->fc1.weight.rank() == (low_rank ? 7 : 0));
            CHECK((fc1.held_as<nn::FactorsOptions>() != nullptr) ==
                  (low_rank ? method == train::method("factors") : free));
            if (!low_rank) {
                CHECK(loss_of<double>(setup.model, setup.data) == before);
            }
        }
    }
}

TEST_CASE("compression shows in the ledger: saved inputs of the chosen layers, and weights")
{
    const auto peak_of = [](Method method, Use use) {
        Setup setup;
        apply(setup.model, {.method = method, .weight_rank = linalg::FixedRank{4}, .activation = {.ranks = {2, 3, 4}}});
        setup.memory.reset_peaks();
        RecordingSink<double> sink;
        (void)loss_and_gradients<double>(setup.model, setup.data, sink);
        std::size_t bytes = 0;
        for (const auto* layer : nn::selected_layers(setup.model, Layers::all)) {
            bytes += setup.memory.of(wasi::Tag{use, layer->layer()}).peak;
        }
        return bytes;
    };
    // Two blocks: in_proj, out_proj, fc1 save 32 features, fc2 64, of 4 x 17 tokens.
    CHECK(peak_of(method("vanilla"), Use::saved_input) == 2 * 4 * 17 * (3 * 32 + 64) * sizeof(double));
    CHECK(peak_of(method("wasi"), Use::saved_input) ==
          2 * (4 * (2 * 3 * 4 + 4 * 2 + 17 * 3) + 3 * 32 * 4 + 64 * 4) * sizeof(double));
    CHECK(peak_of(method("wsi"), Use::weight) == 2 * 4 * ((96 + 32) + (32 + 32) + 2 * (64 + 32)) * sizeof(double));
}

TEST_CASE("options out of range are refused before anything is changed")
{
    CHECK_THROWS_AS((void)(train::MethodOptions{.weight_rank = linalg::Energy{0.0}}), wasi::argument_error);
    CHECK_THROWS_AS((void)(train::MethodOptions{.weight_rank = linalg::FixedRank{0}}), wasi::argument_error);
    Setup setup;
    train::MethodOptions options;
    options.activation.restart_below = 2.0;
    CHECK_THROWS_AS(apply(setup.model, options), wasi::argument_error);
    Setup spoilt;
    spoilt.model.blocks[0]->fc1.weight.dense().data()[3] = std::nan("");
    CHECK_THROWS_AS(apply(spoilt.model, {.method = method("wasi")}), wasi::argument_error);
}

}  // namespace
