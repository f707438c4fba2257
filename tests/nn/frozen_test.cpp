// Weights that nobody trains in fewer bits: the error as stated, and products that are those of the decoded matrix.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/graph_check.hpp>
#include <support/matrices.hpp>
#include <wasi/core/ledger.hpp>
#include <wasi/nn/dense_values.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::Precision;
using wasi::Shape;
using wasi::Tensor;
using wasi::Use;
namespace nn = wasi::nn;

template <class T>
using Weight = nn::LinearWeight<T, EigenStorage>;

const std::vector<Precision> precisions{Precision::bfloat16, Precision::half, Precision::int8};

/// Rows of many magnitudes, one of zeros.
template <class T>
[[nodiscard]] std::unique_ptr<Weight<T>> random_weight(wasi::Memory& memory, Index outputs, Index inputs)
{
    auto weight = std::make_unique<Weight<T>>("weight", memory, Shape{outputs, inputs}, std::uint16_t{3});
    EigenStorage::fill_normal(weight->matrix(), wasi::RandomKey(5));
    for (Index i = 0; i < outputs; ++i) {
        const double scale = i == 1 ? 0.0 : std::ldexp(1.0, static_cast<int>(i % 12));
        const auto row = weight->matrix().row_block(i, 1);
        EigenStorage::add_scaled(row, T(0), static_cast<T>(scale), wasi::ConstMatrixView<T>(row));
    }
    return weight;
}

TEST_CASE_TEMPLATE("a frozen weight: each element errs no more than is said", T, float, double)
{
    auto& memory = wasi::plain_memory();
    for (const Precision precision : precisions) {
        CAPTURE(to_string(precision));
        const auto exact = random_weight<T>(memory, 40, 33);
        const auto held = random_weight<T>(memory, 40, 33);
        nn::set_up(*held, nn::WeightSetup(nn::FrozenOptions{precision}));
        CHECK(std::get<nn::FrozenOptions>(nn::setup_of(*held)).precision == precision);
        const auto decoded = nn::dense_rows(*held, 0, 40);
        double worst = 0.0;  // of what is allowed
        for (Index i = 0; i < 40; ++i) {
            double largest = 0.0;
            for (Index j = 0; j < 33; ++j) {
                largest = std::max(largest, std::abs(static_cast<double>(exact->matrix()(i, j))));
            }
            for (Index j = 0; j < 33; ++j) {
                const auto wanted = static_cast<double>(exact->matrix()(i, j));
                const double error = std::abs(static_cast<double>(decoded.matrix()(i, j)) - wanted);
                const double allowed = precision == Precision::int8       ? largest / 254.0
                                       : precision == Precision::bfloat16 ? std::abs(wanted) * 0x1p-8
                                                                          : std::abs(wanted) * 0x1p-11;
                if (largest == 0.0) {
                    CHECK(error == 0.0);
                } else {
                    worst = std::max(worst, error / allowed);
                }
            }
        }
        CHECK(worst <= 1.0 + 1e-4);
        CHECK(worst > 0.9);  // the bound is no guess
    }
}

TEST_CASE("a frozen weight: products of the decoded matrix, panel by panel, and no dense copy")
{
    constexpr Index outputs = 700;  // three panels of 2^18 numbers, the last a small one
    constexpr Index inputs = 800;
    constexpr Index rows = 9;
    for (const Precision precision : precisions) {
        CAPTURE(to_string(precision));
        wasi::Ledger memory;
        const auto weight = random_weight<float>(memory, outputs, inputs);
        nn::set_up(*weight, nn::WeightSetup(nn::FrozenOptions{precision}));
        const std::size_t number = precision == Precision::int8 ? 1 : 2;
        const std::size_t scales = precision == Precision::int8 ? 4 * outputs : 0;
        CHECK(weight->bytes() == outputs * inputs * number + scales);
        CHECK(memory.of(Use::weight).current == weight->bytes());
        const auto dense = nn::dense_rows(*weight, 0, outputs);
        Tensor<float> x(wasi::plain_memory(), {}, Shape{rows, inputs});
        Tensor<float> dy(wasi::plain_memory(), {}, Shape{rows, outputs});
        EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(1));
        EigenStorage::fill_normal(dy.matrix(), wasi::RandomKey(2));
        Tensor<float> y(wasi::plain_memory(), {}, dy.shape());
        Tensor<float> dx(wasi::plain_memory(), {}, x.shape());
        Tensor<float> wanted_y(wasi::plain_memory(), {}, dy.shape());
        Tensor<float> wanted_dx(wasi::plain_memory(), {}, x.shape());
        EigenStorage::fill(y.matrix(), std::nanf(""));
        EigenStorage::fill(dx.matrix(), std::nanf(""));
        EigenStorage::multiply(wanted_y.matrix(), 1.0F, std::as_const(x).matrix(), dense.matrix().transposed(), 0.0F,
                               wasi::plain_memory());
        EigenStorage::multiply(wanted_dx.matrix(), 1.0F, std::as_const(dy).matrix(), dense.matrix(), 0.0F,
                               wasi::plain_memory());
        memory.reset_peaks();
        const std::size_t before = memory.total().current;
        const double flops = memory.flops();
        (void)weight->form().apply(y.matrix(), std::as_const(x).matrix(), memory);
        (void)weight->form().adjoint(dx.matrix(), std::as_const(dy).matrix(), memory);
        CHECK(memory.flops() - flops == 2.0 * 2.0 * rows * outputs * inputs);
        CHECK(memory.total().peak - before <= (std::size_t{1} << 18) * sizeof(float));
        CHECK(relative_distance(elements(std::as_const(y).matrix()), elements(std::as_const(wanted_y).matrix())) <=
              1e-6);
        CHECK(relative_distance(elements(std::as_const(dx).matrix()), elements(std::as_const(wanted_dx).matrix())) <=
              1e-6);
    }
}

using Linear = nn::Linear<Real, EigenStorage>;

TEST_CASE("an adapter on a base in fewer bits: the layer and the gradients of one on the decoded base")
{
    for (const Precision precision : precisions) {
        CAPTURE(to_string(precision));
        wasi::Ledger memory;
        std::vector<std::unique_ptr<Linear>> layers;
        std::vector<RecordingSink<Real>> sinks(2);
        std::vector<std::vector<double>> outputs;
        for (std::size_t at = 0; at < 2; ++at) {
            auto layer = std::make_unique<Linear>("weight", "bias", memory, Shape{6, 5}, std::uint16_t{3});
            layer->weight.dense() = random_tensor(memory, {6, 5}, 31);
            layer->bias.values = random_tensor(memory, {6}, 32);
            if (at == 1) {  // what the first one holds
                nn::set_up(layer->weight, nn::WeightSetup(nn::FrozenOptions{precision}));
                nn::make_dense(layer->weight);
            }
            nn::set_up(layer->weight, nn::WeightSetup(nn::AdapterOptions{
                                          .rank = 2, .alpha = 6.0, .base = at == 0 ? precision : Precision::full}));
            auto* adapter = layer->weight.held_as<nn::AdapterOptions>();
            adapter->b.values = random_tensor(memory, {6, 2}, 33);
            CHECK(std::get<nn::AdapterOptions>(nn::setup_of(layer->weight)).base ==
                  (at == 0 ? precision : Precision::full));
            CHECK(layer->weight.bytes() == adapter->base.bytes() + 8 * (2 * 5 + 6 * 2));
            Graph graph{memory, {}, {&adapter->a, &adapter->b, &layer->bias}, [&](const Context& c, const auto& x) {
                            return layer->forward(c, x[0]);
                        }};
            graph.inputs.push_back(random_tensor(memory, {2, 3, 5}, 1));
            graph.check();
            (void)graph.backward(sinks[at]);
            const Variable x(random_tensor(memory, {2, 3, 5}, 1));
            outputs.push_back(elements(layer->forward({memory, nullptr}, x).value().matrix()));
            layers.push_back(std::move(layer));
        }
        CHECK(relative_distance(outputs[0], outputs[1]) <= 1e-14);
        for (const std::string name : {"weight.lora_A", "weight.lora_B", "bias"}) {
            CHECK(relative_distance(sinks[0].at(name).dense, sinks[1].at(name).dense) <= 1e-14);
        }
    }
}

TEST_CASE("a frozen weight gets no gradient, saves nothing, and hands dX on")
{
    wasi::Ledger memory;
    Linear layer("weight", "bias", memory, Shape{6, 5}, std::uint16_t{3});
    layer.weight.dense() = random_tensor(memory, {6, 5}, 31);
    layer.bias.values = random_tensor(memory, {6}, 32);
    nn::set_up(layer.weight, nn::WeightSetup(nn::FrozenOptions{}));
    layer.weight.set_trainable(true);  // there is nothing to train
    memory.reset_peaks();
    RecordingSink<Real> sink;
    Graph graph{memory, {}, {&layer.bias}, [&](const Context& c, const auto& x) { return layer.forward(c, x[0]); }};
    graph.inputs.push_back(random_tensor(memory, {2, 3, 5}, 1));
    graph.check();
    (void)graph.backward(sink);
    CHECK_FALSE(sink.has("weight"));
    CHECK(memory.of(Use::saved_input).peak == 0);
}

TEST_CASE("frozen weights: what is refused")
{
    auto& memory = wasi::plain_memory();
    const auto weight = random_weight<float>(memory, 6, 5);
    CHECK_THROWS_AS(nn::set_up(*weight, nn::WeightSetup(nn::FrozenOptions{Precision::full})), wasi::argument_error);
    CHECK_THROWS_AS(nn::set_up(*weight, nn::WeightSetup(nn::FrozenOptions{Precision::int4})), wasi::argument_error);
}

}  // namespace
