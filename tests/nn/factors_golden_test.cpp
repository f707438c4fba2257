// A linear layer with free factors under AdamW and SGD against PyTorch: tests/golden/factors_golden.safetensors.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/engines.hpp>
#include <support/golden_file.hpp>
#include <wasi/autograd/ops/cross_entropy.hpp>
#include <wasi/nn/linear.hpp>
#include <wasi/nn/weights/factors.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/optim/sinks.hpp>

namespace {

using wasi::Index;
using wasi::Shape;
using wasi::Tensor;
using namespace wasi_tests;
namespace autograd = wasi::autograd;
namespace nn = wasi::nn;
namespace optim = wasi::optim;

/// The stored steps are in double, from a start that float holds exactly.
template <class T>
constexpr double tolerance_of = std::is_same_v<T, float> ? 1e-5 : 1e-12;

template <class T>
[[nodiscard]] Tensor<T> stored(const wasi::io::SafetensorsFile& file, const std::string& name, Shape shape)
{
    Tensor<T> result(wasi::plain_memory(), {}, shape);
    file.read(name, result.span());
    return result;
}

/// Ten steps from the stored start; losses, factors and bias against those stored under `name`.
template <class E>
void check_series(const std::string& name, optim::Optimizer<typename E::Scalar, typename E::Storage>& optimizer,
                  double rate)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const auto file = golden_file("factors_golden.safetensors");
    nn::Linear<T, S> layer("weight", "bias", memory, {7, 10}, 1);
    layer.weight.hold(std::make_unique<nn::FactorsWeight<T, S>>(
        layer.weight, wasi::subspace::FreeFactors<T, S>::from_factors(stored<T>(file, "left", {7, 3}),
                                                                      stored<T>(file, "right", {3, 10}))));
    layer.bias.values = stored<T>(file, "bias", {7});
    const auto x = stored<T>(file, "x", {12, 10});
    const auto labels = read_values<std::int64_t>(file, "labels");

    std::vector<nn::ParameterRef<T, S>> parameters = layer.weight.form().parameters();
    parameters.emplace_back(layer.bias);
    optim::StreamSink<T, S> sink(parameters, optimizer, memory);
    sink.begin(rate);
    std::vector<double> losses;
    for (int step = 0; step < 10; ++step) {
        autograd::Tape<T, S> tape(memory);
        const autograd::Context<T, S> context{memory, &tape};
        const auto logits =
            layer.forward(context, autograd::Variable<T>(wasi::clone<wasi::EigenStorage>(x, wasi::Tag{})));
        const auto loss = autograd::cross_entropy(context, logits, labels);
        losses.push_back(static_cast<double>(*loss.value().data()));
        tape.backward(loss, sink);
    }
    const auto values = [](wasi::ConstMatrixView<T> m) { return std::vector<double>(m.data, m.data + m.size()); };
    CHECK(relative_distance(losses, read_values<double>(file, name + ".losses")) <= tolerance_of<T>);
    CHECK(relative_distance(values(layer.weight.low_rank().left()), read_values<double>(file, name + ".left")) <=
          tolerance_of<T>);
    CHECK(relative_distance(values(layer.weight.low_rank().right()), read_values<double>(file, name + ".right")) <=
          tolerance_of<T>);
    CHECK(relative_distance(layer.bias.values.span(), read_values<double>(file, name + ".bias")) <= tolerance_of<T>);
}

TEST_CASE_TEMPLATE("golden: ten steps of AdamW on free factors are PyTorch's", E, WASI_SHIPPED_ENGINES)
{
    optim::AdamW<typename E::Scalar, typename E::Storage> adamw({.weight_decay = 0.5}, wasi::plain_memory());
    check_series<E>("adamw", adamw, 0.02);
}

TEST_CASE_TEMPLATE("golden: ten steps of SGD with momentum on free factors are PyTorch's", E, WASI_SHIPPED_ENGINES)
{
    optim::Sgd<typename E::Scalar, typename E::Storage> sgd({.momentum = 0.9, .weight_decay = 0.5},
                                                            wasi::plain_memory());
    check_series<E>("sgd", sgd, 0.1);
}

}  // namespace
