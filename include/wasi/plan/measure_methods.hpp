#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "wasi/plan/forecast.hpp"
#include "wasi/plan/forecast_outputs.hpp"
#include "wasi/plan/method_errors.hpp"
#include "wasi/plan/output_ranks.hpp"

namespace wasi::plan {

namespace detail {

/// A forward and a backward pass over these examples as one batch, blocks keeping their inputs alone in this format;
/// look(i, layer) with each linear layer of the blocks as its turn comes.
template <nn::Model M, class D, class Look>
void show_layers(M& model, const D& data, std::span<const Index> which, Precision saved_as, const Look& look)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    Memory& memory = model.memory();
    const auto layers = nn::selected_layers(model, nn::Layers::all);
    const nn::RecomputeScope<M> recompute(model, saved_as);
    ObserveScope<T, S> scope;
    const RandomHeadScope<T, S> head(nn::head_of(model));
    for (std::size_t i = 0; i < layers.size(); ++i) {
        scope.observe(*layers[i], [&look, &memory, i](ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy) {
            look(i, MeasuredLayer<S, T>(x, dy, memory));
        });
    }
    autograd::Tape<T, S> tape(memory);
    const autograd::Context<T, S> context{memory, &tape};
    const auto labels = data.gather_labels(which);
    const nn::Source<T> batch = data::BatchInOrder<D>(data, which, std::ssize(which), 0);
    const auto loss = autograd::cross_entropy(context, model.forward(context, batch), labels);
    nn::NoSink<T> sink;
    tape.backward(loss, sink);
}

}  // namespace detail

/// Weights of the blocks as measured_layers has them from now on.
template <nn::Model M>
void hold_for_measurement(M& model, Precision held)
{
    for (auto* layer : nn::selected_layers(model, nn::Layers::all)) {
        nn::set_up(layer->weight, nn::WeightSetup(nn::AdapterOptions{.rank = 1, .base = held}));
    }
}

/// A model that is looked at: linear layers of the blocks as adapters of rank 1 that do nothing, over weights held in
/// this format. So no gradient of a weight is made, and nothing is trained.
template <nn::Model M>
[[nodiscard]] std::vector<nn::LayerSetup> measured_layers(const typename M::Config& config, Precision held)
{
    return wished_layers<M>(config, nn::AdapterOptions{.rank = 1, .base = held});
}

/// Measures on these examples, as one batch of the run, what ways to train would do:
///
///   - to the features that the head reads: what is put out less for each rank of each weight, by the gains of
///     output_gains (those of `outputs` where they were calibrated, else found now on these examples),
///   - to the gradient of the weights of the blocks: the part of it that weights of each rank and adapters can follow
///     (subspace::tangent_parts, adapter_parts), on the second half of the examples; and what it errs where all that is
///     saved is rounded, blocks running again from their rounded inputs, by eight random projections of each gradient.
///
/// Layers are to be such that inputs are saved for them: dense and trained, or adapters (measured_layers). The
/// model stays as it is; a head at zero is replaced by a random one meanwhile. Cost: a step for the gains and one for
/// the weights, in which each has its SVD, and one for each format. Peak memory: a step whose blocks are recomputed,
/// and for one layer at a time a few matrices of its size. `outputs` are those of all layers of the blocks, or none.
/// Throws argument_error for fewer than two examples and lists of other lengths, what output_gains does.
template <nn::Model M, class D>
requires data::Batches<D, typename M::Value>
[[nodiscard]] MethodErrors measure_methods(M& model, const D& data, std::span<const Index> which,
                                           const MethodMeasurement& options,
                                           std::span<const LayerOutputs<typename M::Value>> outputs = {})
{
    using T = typename M::Value;
    using S = typename M::Storage;
    using Layer = detail::MeasuredLayer<S, T>;
    Memory& memory = model.memory();
    const auto layers = nn::selected_layers(model, nn::Layers::all);
    const auto fits = [&](std::size_t given) { return given == 0 || given == layers.size(); };
    require<argument_error>(which.size() >= 2 && fits(options.weight_ranks.size()) &&
                                fits(options.output_ranks.size()) && fits(outputs.size()),
                            "measure_methods: ", which.size(), " examples, ranks for ", options.weight_ranks.size(),
                            " and ", options.output_ranks.size(), " layers, outputs of ", outputs.size(), " of ",
                            layers.size());
    std::vector<OutputGains<T>> found_gains;
    if (outputs.empty()) {
        found_gains = output_gains(model, std::span<nn::LayerOf<M>* const>(layers), data, which, std::ssize(which));
    }
    MethodErrors result;
    result.layers.resize(layers.size());
    std::vector<Tensor<T>> sketches(layers.size());
    const auto sketch_key = [&](std::size_t i) { return RandomKey(1).derive(i); };
    detail::show_layers(model, data, which, Precision::full, [&](std::size_t i, const Layer& layer) {
        LayerErrors& found = result.layers[i];
        auto& weight = layers[i]->weight;
        const OutputGains<T>& gains = outputs.empty() ? found_gains[i] : outputs[i].gains;
        found.layer = weight.name();
        {
            Tensor<double> wide = workspace<double>(memory, 1, weight.outputs());
            S::convert(wide.matrix(), gains.gain.matrix());
            S::multiply_elements(wide.matrix(), std::as_const(wide).matrix());
            found.gain_squares.resize(static_cast<std::size_t>(weight.outputs()));
            memory.read(found.gain_squares.data(), wide.data(), wide.bytes());
        }
        layer.inputs(found);
        layer.adapter(found, options.adapter_rank, RandomKey(0).derive(i));
        if (!options.weight_ranks.empty()) {
            layer.weight(found, weight, gains.gain.span(), options.weight_ranks[i]);
        }
        if (!options.output_ranks.empty() && !outputs.empty()) {
            layer.outputs(found, weight, outputs[i], options.output_ranks[i]);
        }
        sketches[i] = layer.sketch(sketch_key(i));
    });
    for (const Precision format : options.saves) {
        double apart = 0.0;
        double all = 0.0;
        detail::show_layers(model, data, which, format, [&](std::size_t i, const Layer& layer) {
            Tensor<T> now = layer.sketch(sketch_key(i));
            all += S::dot(std::as_const(sketches[i]).matrix(), std::as_const(sketches[i]).matrix());
            S::add_scaled(now.matrix(), T(1), T(-1), std::as_const(sketches[i]).matrix());
            apart += S::dot(std::as_const(now).matrix(), std::as_const(now).matrix());
        });
        result.saves[static_cast<std::size_t>(format)] = all > 0.0 ? std::sqrt(apart / all) : 0.0;
    }
    return result;
}

/// What the process holds at most while measure_methods looks at `examples` examples of a model of this shape, the
/// weights of its blocks held in this format: an upper bound in the sense of forecast_step, from the measurement itself
/// on a storage that computes nothing. Throws what measure_methods does.
template <nn::Model M>
[[nodiscard]] std::size_t forecast_measurement(const typename M::Config& config, Index examples, Precision held,
                                               const MethodMeasurement& options, Index threads = thread_count())
{
    const SerialScope serial;
    RunDescription<M> run;
    run.model = config;
    run.layers = measured_layers<M>(config, held);
    detail::ForecastMemory memory(threads);
    typename M::template On<WorstDryStorage> model(config, memory);
    detail::prepare(model, run, 0);
    std::vector<Index> which(static_cast<std::size_t>(examples));
    std::iota(which.begin(), which.end(), Index{0});
    static_cast<void>(measure_methods(model, detail::BlankData<typename M::Config>{config, examples}, which, options));
    return memory.process_without_arena();
}

/// How many examples a calibration of outputs and a measurement after it look at.
struct OutputMeasurement {
    Index fit = 0;
    Index held_out = 0;
    Index measured = 0;
};

/// The same of calibrate_outputs on the dense model, measure_methods with what that has found, and hold_outputs, for a
/// start that does so.
template <nn::Model M>
[[nodiscard]] std::size_t forecast_output_measurement(const typename M::Config& config, OutputMeasurement examples,
                                                      const OutputCalibration& calibration, MethodMeasurement options,
                                                      Index threads = thread_count())
{
    const SerialScope serial;
    detail::ForecastMemory memory(threads);
    std::size_t directions = 0;
    {
        typename M::template On<DryStorage> model(config, memory);
        nn::for_each_parameter(model, [](auto& parameter) {
            if constexpr (requires { parameter.dense(); }) {
                static_cast<void>(parameter.dense());
            }
        });
        std::vector<Index> all(static_cast<std::size_t>(
            std::max(examples.fit + examples.held_out, std::max<Index>(examples.measured, 2))));
        std::iota(all.begin(), all.end(), Index{0});
        const std::span<const Index> which(all);
        const auto split = static_cast<std::size_t>(examples.fit);
        const detail::BlankData<typename M::Config> data{config, std::ssize(all)};
        const auto found =
            calibrate_outputs(model, data, which.first(split),
                              which.subspan(split, static_cast<std::size_t>(examples.held_out)), calibration);
        options.output_ranks.clear();
        std::vector<Index> ranks;
        for (const auto& outputs : found) {
            options.output_ranks.push_back({outputs.basis.count()});
            ranks.push_back(outputs.basis.count());
            directions += outputs.basis.rows.bytes();
        }
        const std::span<const LayerOutputs<float>> outputs(found);
        hold_for_measurement(model, Precision::full);
        static_cast<void>(
            measure_methods(model, data, which.first(static_cast<std::size_t>(examples.measured)), options, outputs));
        for (auto* layer : nn::selected_layers(model, nn::Layers::all)) {
            nn::drop_adapter(layer->weight);
        }
        hold_outputs(model, outputs, std::span<const Index>(ranks), calibration.layers);
    }
    options.output_ranks.clear();
    return std::max(memory.process_without_arena(),
                    directions + forecast_measurement<M>(config, examples.measured, Precision::full, options, threads));
}

}  // namespace wasi::plan
