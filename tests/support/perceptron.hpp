#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <wasi/autograd/ops/elementwise.hpp>
#include <wasi/autograd/ops/tokens.hpp>
#include <wasi/nn/initialize.hpp>
#include <wasi/nn/model.hpp>

/// A model of one's own, as a user would write it, and data for it.
namespace wasi_tests {

struct PerceptronConfig {
    wasi::Index inputs = 24;
    wasi::Index hidden = 32;
    wasi::Index classes = 3;
    bool as_tokens = false;  ///< batches (B, 1, inputs) instead of (B, inputs)

    [[nodiscard]] wasi::Index tokens() const { return 1; }
    [[nodiscard]] wasi::Shape example(wasi::Index batch) const
    {
        return as_tokens ? wasi::Shape{batch, 1, inputs} : wasi::Shape{batch, inputs};
    }
};

/// Two layers of an MLP and a head.
template <wasi::Scalar T, class S>
class Perceptron {
public:
    using Value = T;
    using Storage = S;
    using Config = PerceptronConfig;
    template <class Other>
    using On = Perceptron<T, Other>;

    Perceptron(const Config& config, wasi::Memory& memory)
        : first("first.weight", "first.bias", memory, {config.hidden, config.inputs}, 1),
          second("second.weight", "second.bias", memory, {config.hidden, config.hidden}, 2),
          head("head.weight", "head.bias", memory, {config.classes, config.hidden}, 3),
          config_(config),
          memory_(&memory)
    {
    }

    [[nodiscard]] wasi::autograd::Variable<T> forward(const wasi::autograd::Context<T, S>& context,
                                                      const wasi::nn::Source<T>& source)
    {
        wasi::autograd::Variable<T> x(source(context.memory));
        x = wasi::autograd::gelu(context, first.forward(context, x));
        x = wasi::autograd::gelu(context, second.forward(context, x));
        return head.forward(context, config_.as_tokens ? wasi::autograd::select_token(context, x, 0) : x);
    }

    template <class F>
    void visit(F&& f)
    {
        f(wasi::nn::Place{wasi::nn::Role::mlp, 0}, first);
        f(wasi::nn::Place{wasi::nn::Role::mlp, 0}, second);
        f(wasi::nn::Place{wasi::nn::Role::head}, head);
    }

    [[nodiscard]] const Config& config() const { return config_; }
    [[nodiscard]] wasi::Memory& memory() const { return *memory_; }

    wasi::nn::Linear<T, S> first;
    wasi::nn::Linear<T, S> second;
    wasi::nn::Linear<T, S> head;

private:
    Config config_;
    wasi::Memory* memory_;
};

/// Random values, other ones for another seed.
template <class T, class S>
void fill(Perceptron<T, S>& model, std::uint64_t seed)
{
    const wasi::RandomKey key(seed);
    wasi::nn::visit_layers(model, [&](wasi::nn::Place, wasi::nn::Linear<T, S>& layer) {
        const double bound = wasi::nn::xavier_bound(layer.weight.inputs(), layer.weight.outputs());
        wasi::nn::fill_uniform(layer.weight.dense(), bound, key.derive(layer.layer()));
        wasi::nn::fill_normal(layer.bias.values, 0.1, key.derive(layer.layer()).derive(1));
    });
}

/// Clouds of points, one a class: data::Batches of one's own.
template <class T>
struct Points {
    PerceptronConfig config;
    std::vector<T> values;
    std::vector<std::int64_t> labels;
    double noise = 0.0;  ///< of an example in a batch: drawn from the key, so anew in each epoch

    Points(const PerceptronConfig& of, wasi::Index count, std::uint64_t seed) : config(of)
    {
        const wasi::RandomKey key(seed);
        for (wasi::Index i = 0; i < count; ++i) {
            labels.push_back(i % config.classes);
            for (wasi::Index j = 0; j < config.inputs; ++j) {
                const double centre = j == labels.back() ? 3.0 : 0.0;
                values.push_back(
                    static_cast<T>(centre + key.normal(static_cast<std::uint64_t>(i * config.inputs + j))));
            }
        }
    }

    [[nodiscard]] wasi::Index size() const { return static_cast<wasi::Index>(labels.size()); }
    [[nodiscard]] wasi::Tensor<T> gather(std::span<const wasi::Index> which, wasi::RandomKey key,
                                         wasi::Memory& memory) const
    {
        wasi::Tensor<T> batch(memory, wasi::Tag{wasi::Use::input, 0},
                              config.example(static_cast<wasi::Index>(which.size())));
        T* target = batch.data();
        for (const wasi::Index index : which) {
            const wasi::RandomKey own = key.derive(static_cast<std::uint64_t>(index));
            for (wasi::Index j = 0; j < config.inputs; ++j) {
                const double drawn = noise > 0.0 ? noise * own.normal(static_cast<std::uint64_t>(j)) : 0.0;
                *target++ = values[static_cast<std::size_t>(index * config.inputs + j)] + static_cast<T>(drawn);
            }
        }
        return batch;
    }
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const wasi::Index> which) const
    {
        std::vector<std::int64_t> result;
        for (const wasi::Index index : which) {
            result.push_back(labels[static_cast<std::size_t>(index)]);
        }
        return result;
    }
    void check(wasi::Index classes) const
    {
        wasi::require<wasi::argument_error>(classes == config.classes, "Points: of ", config.classes, " classes");
    }
};

}  // namespace wasi_tests
