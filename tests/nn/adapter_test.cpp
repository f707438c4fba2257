// Low-rank adapters: the start, gradients against central differences, with every way to save the input.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <support/matrices.hpp>
#include <wasi/core/ledger.hpp>
#include <wasi/nn/layer_setup.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
namespace autograd = wasi::autograd;
namespace nn = wasi::nn;

using Linear = nn::Linear<Real, EigenStorage>;
using Adapter = nn::AdapterWeight<Real, EigenStorage>;

constexpr Index outputs = 6;
constexpr Index inputs = 5;
constexpr std::uint16_t number = 3;

[[nodiscard]] std::unique_ptr<Linear> make_layer(wasi::Memory& memory)
{
    auto layer = std::make_unique<Linear>("weight", "bias", memory, Shape{outputs, inputs}, number);
    layer->weight.dense() = random_tensor(memory, {outputs, inputs}, 31);
    layer->bias.values = random_tensor(memory, {outputs}, 32);
    return layer;
}

[[nodiscard]] Adapter& adapt(Linear& layer, const nn::AdapterOptions& options, bool random_b = true)
{
    nn::set_up(layer.weight, nn::WeightSetup(options));
    Adapter& adapter = *layer.weight.held_as<nn::AdapterOptions>();
    if (random_b) {
        adapter.b.values = random_tensor(layer.weight.memory(), adapter.b.values.shape(), 33);
    }
    return adapter;
}

/// Y of some input without a tape.
[[nodiscard]] std::vector<double> output(Linear& layer)
{
    auto& memory = layer.weight.memory();
    const Variable x(random_tensor(memory, {2, 3, inputs}, 1));
    return elements(layer.forward({memory, nullptr}, x).value().matrix());
}

TEST_CASE("an adapter starts as the layer was, and then is W0 + s B A")
{
    auto& memory = wasi::plain_memory();
    auto layer = make_layer(memory);
    const auto before = output(*layer);
    Adapter& adapter = adapt(*layer, {.rank = 2, .alpha = 6.0}, false);
    CHECK(relative_distance(output(*layer), before) <= 1e-15);
    CHECK(max_abs(std::as_const(adapter.a.values).matrix()) > 0.0);
    CHECK(max_abs(std::as_const(adapter.a.values).matrix()) <= 1.0 / std::sqrt(static_cast<double>(inputs)));
    CHECK(layer->weight.rank() == 2);
    CHECK_FALSE(layer->weight.is_low_rank());
    CHECK(nn::kind_of(nn::setup_of(layer->weight)) == "adapter");

    adapter.b.values = random_tensor(memory, {outputs, 2}, 33);
    const auto adapted = output(*layer);
    auto merged = make_layer(memory);
    EigenStorage::multiply(merged->weight.matrix(), 3.0, std::as_const(adapter.b.values).matrix(),
                           std::as_const(adapter.a.values).matrix(), 1.0, memory);
    CHECK(relative_distance(adapted, output(*merged)) <= 1e-14);
    CHECK(relative_distance(adapted, before) > 1e-3);
}

TEST_CASE("adapter, exact input: everything against central differences, W0 frozen")
{
    auto& memory = wasi::plain_memory();
    auto layer = make_layer(memory);
    Adapter& adapter = adapt(*layer, {.rank = 2, .alpha = 6.0});
    bool train_bias = true;
    SUBCASE("bias trained") {}
    SUBCASE("bias frozen")
    {
        train_bias = false;
    }
    layer->bias.set_trainable(train_bias);
    Graph graph{memory, {}, {&adapter.a, &adapter.b, &layer->bias}, [&](const Context& c, const auto& x) {
                    return layer->forward(c, x[0]);
                }};
    graph.inputs.push_back(random_tensor(memory, {2, 3, inputs}, 1));
    graph.check();
    RecordingSink<Real> sink;
    (void)graph.backward(sink);
    CHECK_FALSE(sink.has("weight"));
}

TEST_CASE("adapter whose A is frozen: the same dB from X Aᵀ, and X is not kept")
{
    wasi::Ledger memory;
    std::vector<std::vector<double>> gradients;
    std::vector<std::size_t> saved;
    for (const bool train_a : {true, false}) {
        auto layer = make_layer(memory);
        Adapter& adapter = adapt(*layer, {.rank = 2, .alpha = 6.0, .train_a = train_a});
        adapter.a.values = random_tensor(memory, {2, inputs}, 34);
        memory.reset_peaks();
        RecordingSink<Real> sink;
        Graph graph{memory, {}, {}, [&](const Context& c, const auto& x) { return layer->forward(c, x[0]); }};
        graph.inputs.push_back(random_tensor(memory, {2, 3, inputs}, 1));
        (void)graph.backward(sink);
        CHECK(sink.has("weight.lora_A") == train_a);
        gradients.push_back(sink.at("weight.lora_B").dense);
        saved.push_back(memory.of(Tag{Use::saved_input, number}).peak);
    }
    CHECK(relative_distance(gradients[1], gradients[0]) <= 1e-14);
    CHECK(saved[0] == 2 * 3 * inputs * sizeof(Real));
    CHECK(saved[1] == 2 * 3 * 2 * sizeof(Real));
}

TEST_CASE("adapter with Tucker inputs of full rank: the gradients of exact inputs")
{
    auto& memory = wasi::plain_memory();
    std::vector<RecordingSink<Real>> sinks(2);
    for (std::size_t compressed = 0; compressed < 2; ++compressed) {
        auto layer = make_layer(memory);
        (void)adapt(*layer, {.rank = 2, .alpha = 6.0});
        if (compressed == 1) {
            nn::TuckerOptions tucker;
            tucker.ranks = std::array<Index, 3>{1000, 1000, 1000};
            nn::set_up(*layer, nn::InputSetup(tucker), wasi::RandomKey(1));
        }
        Graph graph{memory, {}, {}, [&](const Context& c, const auto& x) { return layer->forward(c, x[0]); }};
        graph.inputs.push_back(random_tensor(memory, {2, 3, inputs}, 1));
        (void)graph.backward(sinks[compressed]);
    }
    for (const std::string name : {"weight.lora_A", "weight.lora_B", "bias"}) {
        CAPTURE(name);
        CHECK(relative_distance(sinks[1].at(name).dense, sinks[0].at(name).dense) <= 1e-12);
    }
}

TEST_CASE("an adapter goes on a dense weight alone")
{
    auto& memory = wasi::plain_memory();
    auto layer = make_layer(memory);
    nn::set_up(layer->weight, nn::WeightSetup(nn::SubspaceOptions{{wasi::linalg::FixedRank{2}, false}}));
    CHECK_THROWS_AS(nn::set_up(layer->weight, nn::WeightSetup(nn::AdapterOptions{})), wasi::argument_error);
    auto dense = make_layer(memory);
    CHECK_THROWS_AS(nn::set_up(dense->weight, nn::WeightSetup(nn::AdapterOptions{.rank = 0})), wasi::argument_error);
}

}  // namespace
