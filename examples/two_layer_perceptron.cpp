// A model and data of one's own, as nn::Model and data::Batches ask for: that is all it takes to be trained here.
#include <cstdio>
#include <wasi/autograd/ops/elementwise.hpp>
#include <wasi/measure/evaluate.hpp>
#include <wasi/nn/initialize.hpp>
#include <wasi/optim/sgd.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

namespace nn = wasi::nn;
using wasi::Index;

namespace {

struct PerceptronConfig {
    Index features = 48, hidden = 32, classes = 3;
    wasi::Shape example(Index batch) const { return {batch, features}; }
    Index tokens() const { return 1; }
};

template <class S>
struct Perceptron {
    using Value = float;
    using Storage = S;
    using Config = PerceptronConfig;
    template <class Other>
    using On = Perceptron<Other>;

    Perceptron(const Config& shape, wasi::Memory& memory)
        : first("first.weight", "first.bias", memory, {shape.hidden, shape.features}, 1),
          second("second.weight", "second.bias", memory, {shape.classes, shape.hidden}, 2),
          own_config(shape)
    {
    }

    auto forward(const wasi::autograd::Context<float, S>& context, const nn::Source<float>& source)
    {
        auto x = first.forward(context, wasi::autograd::Variable<float>(source(context.memory)));
        return second.forward(context, wasi::autograd::gelu(context, std::move(x)));
    }
    void visit(auto&& f) { f(nn::Place{nn::Role::mlp, 0}, first), f(nn::Place{nn::Role::head}, second); }
    const Config& config() const { return own_config; }
    wasi::Memory& memory() const { return first.weight.memory(); }

    nn::Linear<float, S> first, second;
    Config own_config;
};

/// Three clouds of points; the label says which. Nothing is kept: a point follows from its number.
struct Clouds {
    Index size() const { return 64; }
    wasi::Tensor<float> gather(std::span<const Index> which, wasi::RandomKey, wasi::Memory& memory) const
    {
        wasi::Tensor<float> points(memory, {wasi::Use::input, 0}, {Index(which.size()), 48});
        for (Index i = 0; i < points.size(); ++i) {
            const auto number = std::uint64_t(which[std::size_t(i / 48)]), feature = std::uint64_t(i % 48);
            const double noise = wasi::RandomKey(1).derive(number).normal(feature);
            points.data()[i] = float(noise + (feature == number % 3 ? 3.0 : 0.0));
        }
        return points;
    }
    std::vector<std::int64_t> gather_labels(std::span<const Index> which) const
    {
        std::vector<std::int64_t> labels;
        for (const Index number : which) {
            labels.push_back(number % 3);
        }
        return labels;
    }
    void check(Index) const {}
};

}  // namespace

int main()
{
    wasi::Ledger memory;  // counts every byte
    Perceptron<wasi::EigenStorage> model({}, memory);
    for (auto* layer : {&model.first, &model.second}) {
        nn::fill_uniform(layer->weight.dense(), 0.3, wasi::RandomKey(layer->layer()));
        std::ranges::fill(layer->bias.values.span(), 0.0F);
    }
    wasi::train::apply_method(model, {.method = wasi::train::method("wsi"), .weight_rank = 8}, wasi::RandomKey(3));
    wasi::optim::Sgd<float, wasi::EigenStorage> sgd({.weight_decay = 1e-4}, memory);
    wasi::train::train(model, Clouds{}, sgd, {.epochs = 40, .rate = 0.2}, wasi::RandomKey(4));
    const Index right = wasi::measure::count_correct(model, Clouds{});
    std::printf("rank %td, %td of 64 right, peak %zu bytes\n", model.first.weight.rank(), right, memory.total().peak);
    return right >= 60 ? 0 : 1;
}
