// A model of one's own on autograd: two layers, the first one low rank, trained with SGD that updates as gradients
// arrive.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <wasi/autograd/ops/cross_entropy.hpp>
#include <wasi/autograd/ops/elementwise.hpp>
#include <wasi/nn/initialize.hpp>
#include <wasi/nn/linear.hpp>
#include <wasi/optim/sinks.hpp>
#include <wasi/storage/eigen.hpp>

using wasi::Index;
using Storage = wasi::EigenStorage;
namespace autograd = wasi::autograd;

namespace {

struct Perceptron {
    Perceptron(wasi::Memory& memory, Index inputs, Index hidden, Index classes, wasi::RandomKey key)
        : first("first.weight", "first.bias", memory, {hidden, inputs}, 1),
          second("second.weight", "second.bias", memory, {classes, hidden}, 2)
    {
        for (auto* layer : {&first, &second}) {
            const double bound = wasi::nn::xavier_bound(layer->weight.inputs(), layer->weight.outputs());
            wasi::nn::fill_uniform(layer->weight.dense(), bound, key.derive(layer->layer()));
            layer->bias.values.fill(0.0F);
        }
        first.weight.factorize(wasi::linalg::FixedRank{8}, true);  // from here on W = L R, rank 8
    }

    [[nodiscard]] autograd::Variable<float> forward(const autograd::Context<float, Storage>& context,
                                                    const autograd::Variable<float>& x)
    {
        return second.forward(context, autograd::gelu(context, first.forward(context, x)));
    }

    template <class F>
    void for_each_parameter(F&& f)
    {
        f(first.weight), f(first.bias), f(second.weight), f(second.bias);
    }

    wasi::nn::Linear<float, Storage> first;
    wasi::nn::Linear<float, Storage> second;
};

}  // namespace

int main()
{
    constexpr Index samples = 64;
    constexpr Index inputs = 48;
    const wasi::RandomKey key(1);
    wasi::Ledger memory;  // counts every byte and every product
    Perceptron model(memory, inputs, 32, 3, key.derive(1));

    // Three clouds of points; the label says which.
    wasi::Tensor<float> points(memory, {wasi::Use::input, 0}, {samples, inputs});
    wasi::nn::fill_normal(points, 1.0, key.derive(2));
    std::vector<std::int64_t> labels;
    for (Index i = 0; i < samples; ++i) {
        labels.push_back(i % 3);
        points.data()[i * inputs + labels.back()] += 3.0F;
    }
    const autograd::Variable<float> x(std::move(points));

    wasi::optim::Sgd<float, Storage> sgd({.weight_decay = 1e-4}, memory);
    wasi::optim::StreamSink<float, Storage> sink(wasi::nn::trainable_parameters(model), sgd, memory);
    sink.set_rate(0.2);
    float start = 0.0F;
    float loss = 0.0F;
    for (int step = 0; step <= 60; ++step) {
        autograd::Tape<float, Storage> tape(memory);
        const autograd::Context<float, Storage> context{memory, &tape};
        const auto objective = autograd::cross_entropy(context, model.forward(context, x), labels);
        loss = *objective.value().data();
        start = step == 0 ? loss : start;
        if (step % 10 == 0) {
            std::printf("step %2d  loss %.4f\n", step, static_cast<double>(loss));
        }
        tape.backward(objective, sink);
    }
    std::printf("rank of the first layer %td, ||LᵀL - 1|| %.1e, peak %zu bytes\n", model.first.weight.rank(),
                model.first.weight.weight_subspace()->orthogonality_defect(), memory.total().peak);
    return std::isfinite(loss) && loss < 0.5F * start ? 0 : 1;
}
