#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/cross_entropy.hpp"
#include "wasi/optim/schedule.hpp"
#include "wasi/optim/sinks.hpp"
#include "wasi/train/compiled.hpp"
#include "wasi/train/dataset.hpp"
#include "wasi/train/method.hpp"

namespace wasi::train {

/// What one step reports.
struct StepRecord {
    Index step = 0;                         ///< from 0
    double epoch = 0.0;                     ///< epochs done before this step
    double loss = 0.0;                      ///< mean over the batch, before the update
    double rate = 0.0;                      ///< learning rate
    double seconds = 0.0;                   ///< of this step, batch assembly included
    double flops = 0.0;                     ///< counted, not estimated: see Memory::count_flops; 0 without a Ledger
    std::vector<double> captured_energies;  ///< of each compressed saved input, in the order of selected_layers
};

enum class ClipScope { global, parameter };

/// When gradients are used: each as soon as it is made, so that none is stored; or all at the end of the step, in their
/// small forms. Automatic: stream, unless global clipping or micro-batches need them all first. The same step either
/// way.
enum class GradientFlow { automatic, stream, collect };

struct TrainOptions {
    Index epochs = 1;
    Index batch_size = 32;
    /// Cut each batch into this many micro-batches, one after another, and update once: less memory, the same mean
    /// gradient.
    Index micro_batches = 1;
    bool shuffle = true;
    optim::Schedule::Kind schedule = optim::Schedule::Kind::cosine;
    double rate = 0.05;
    Index warmup_steps = 0;
    double clip_norm = 0.0;  ///< 0 = off
    /// global: gradients are kept, in their small forms, until all are there. parameter: each is clipped and used on
    /// the spot.
    ClipScope clip_scope = ClipScope::global;
    GradientFlow gradients = GradientFlow::automatic;
    /// Called after each step; returning false ends the run after it.
    std::function<bool(const StepRecord&)> on_step = {};

    /// Throws argument_error naming the first option that makes no sense.
    void check() const
    {
        require<argument_error>(epochs >= 1, "TrainOptions: epochs is ", epochs);
        require<argument_error>(batch_size >= 1, "TrainOptions: batch_size is ", batch_size);
        require<argument_error>(micro_batches >= 1 && micro_batches <= batch_size, "TrainOptions: ", micro_batches,
                                " micro-batches of a batch of ", batch_size);
        require<argument_error>(std::isfinite(rate) && rate >= 0.0, "TrainOptions: rate is ", rate);
        require<argument_error>(std::isfinite(clip_norm) && clip_norm >= 0.0, "TrainOptions: clip_norm is ", clip_norm);
        require<argument_error>(warmup_steps >= 0, "TrainOptions: warmup_steps is ", warmup_steps);
        require<argument_error>(
            micro_batches == 1 || clip_norm == 0.0 || clip_scope == ClipScope::global,
            "TrainOptions: clipping by parameter needs whole gradients, so it does not go with micro-batches");
        require<argument_error>(gradients != GradientFlow::stream || !needs_all_gradients(),
                                "TrainOptions: streamed gradients go neither with micro-batches nor with a global clip "
                                "norm, which need all of a step first");
        require<argument_error>(
            gradients != GradientFlow::collect || clip_norm == 0.0 || clip_scope == ClipScope::global,
            "TrainOptions: clipping by parameter is for streamed gradients");
    }

    /// Whether a step has to see every gradient before it uses the first.
    [[nodiscard]] bool needs_all_gradients() const
    {
        return micro_batches > 1 || (clip_norm > 0.0 && clip_scope == ClipScope::global);
    }
};

/// Steps in one epoch; the last batch may be smaller.
[[nodiscard]] inline Index steps_per_epoch(Index count, Index batch_size)
{
    return (count + batch_size - 1) / batch_size;
}

namespace detail {

template <Scalar T, class S>
[[nodiscard]] std::vector<double> captured_energies(nn::VisionTransformer<T, S>& model)
{
    std::vector<double> result;
    for (const nn::Linear<T, S>* layer : selected_layers(model, Layers::all)) {
        if (layer->compressor() != nullptr) {
            result.push_back(layer->compressor()->captured_energy());
        }
    }
    return result;
}

}  // namespace detail

/// One training step in its parts: `begin`, a forward and backward pass for each micro-batch, `end`. It owns the sink
/// that the options ask for: gradients stream into the optimiser as they are made, unless global clipping or
/// micro-batches need them collected until the end. What train() does in a loop, for loops of other kinds.
template <Scalar T, class S>
class Step {
public:
    Step(nn::VisionTransformer<T, S>& model, optim::Optimizer<T, S>& optimizer, const TrainOptions& options)
        : model_(&model)
    {
        const auto parameters = optim::trainable_parameters<T, S>(model);
        if (options.gradients == GradientFlow::collect || options.needs_all_gradients()) {
            collector_.emplace(parameters, optimizer, model.memory(), options.clip_norm, options.micro_batches > 1);
        } else {
            stream_.emplace(parameters, optimizer, model.memory(), options.clip_norm);
        }
    }

    /// Step number `number` with this learning rate.
    void begin(Index number, double rate)
    {
        number_ = number;
        rate_ = rate;
        if (stream_) {
            stream_->set_rate(rate);
        }
    }

    /// The mean loss of some images; gradients times `share`, the part of the batch that these images are.
    /// `make_images(memory)` -> Tensor (B,3,H,W), the same each time: it is asked once now, and once at the end of the
    /// backward pass for the patches, which so are not kept. Throws argument_error when the loss is not finite; nothing
    /// has changed then.
    template <class MakeImages>
    double micro_batch(const MakeImages& make_images, std::span<const std::int64_t> labels, double share)
    {
        Memory& memory = model_->memory();
        memory.mark("forward");
        autograd::Tape<T, S> tape(memory);
        const autograd::Context<T, S> context{memory, &tape};
        auto x = model_->embed(context, make_images);
        const auto loss = autograd::cross_entropy(context, model_->encode(context, std::move(x)), labels);
        const double value = static_cast<double>(*loss.value().data());
        require<argument_error>(std::isfinite(value), "train: the loss of step ", number_, " is ", value,
                                "; a smaller learning rate or gradient clipping may help");
        memory.mark("backward");
        if (collector_) {
            tape.backward(loss, *collector_, static_cast<T>(share));
        } else {
            tape.backward(loss, *stream_, static_cast<T>(share));
        }
        return value;
    }

    /// Applies what was collected.
    void end()
    {
        if (collector_) {
            model_->memory().mark("update");
            collector_->finish(rate_);
        }
    }

private:
    nn::VisionTransformer<T, S>* model_;
    std::optional<optim::CollectSink<T, S>> collector_;
    std::optional<optim::StreamSink<T, S>> stream_;
    Index number_ = 0;
    double rate_ = 0.0;
};

/// The micro-batch number `piece` of `pieces` that a batch of `size` images is cut into: [first, last).
[[nodiscard]] inline std::pair<Index, Index> micro_batch_range(Index size, Index piece, Index pieces)
{
    return {piece * size / pieces, (piece + 1) * size / pieces};
}

/// Trains the trainable parameters of a model on a data set with mean cross entropy. Gradients stream into the
/// optimiser as they are made, unless global clipping or micro-batches need them collected first. Same seed, same
/// machine: the same bits for any number of threads. Returns the number of steps taken. Throws argument_error when an
/// option or the data makes no sense, or when the loss or a gradient is no longer finite.
template <Scalar T, class S>
Index train(nn::VisionTransformer<T, S>& model, const Dataset<T>& data, optim::Optimizer<T, S>& optimizer,
            const TrainOptions& options, RandomKey key)
{
    using Clock = std::chrono::steady_clock;
    options.check();
    data.check(model.config().classes);
    Memory& memory = model.memory();
    const Index per_epoch = steps_per_epoch(data.count, options.batch_size);
    const Index total_steps = per_epoch * options.epochs;
    const optim::Schedule schedule{.kind = options.schedule,
                                   .rate = options.rate,
                                   .final_rate = 0.0,
                                   .warmup_steps = std::min(options.warmup_steps, total_steps),
                                   .total_steps = total_steps};
    Step<T, S> parts(model, optimizer, options);
    const auto* ledger = dynamic_cast<const Ledger*>(&memory);

    Index step = 0;
    for (Index epoch = 0; epoch < options.epochs; ++epoch) {
        std::vector<Index> order(static_cast<std::size_t>(data.count));
        std::iota(order.begin(), order.end(), Index{0});
        if (options.shuffle) {
            order = random_permutation(data.count, key.derive(epoch));
        }
        for (Index in_epoch = 0; in_epoch < per_epoch; ++in_epoch, ++step) {
            const auto begin = Clock::now();
            const double flops_before = ledger != nullptr ? ledger->flops() : 0.0;
            const auto first = static_cast<std::size_t>(in_epoch * options.batch_size);
            const auto batch = std::span<const Index>(order).subspan(
                first, std::min(static_cast<std::size_t>(options.batch_size), order.size() - first));
            const auto size = static_cast<Index>(batch.size());
            StepRecord record;
            record.step = step;
            record.epoch = static_cast<double>(step) / static_cast<double>(per_epoch);
            record.rate = schedule(step);
            parts.begin(step, record.rate);
            const Index pieces = std::min(options.micro_batches, size);
            for (Index piece = 0; piece < pieces; ++piece) {
                const auto [from, to] = micro_batch_range(size, piece, pieces);
                const auto part = batch.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
                const double share = static_cast<double>(to - from) / static_cast<double>(size);
                record.loss += share * parts.micro_batch([&](Memory& where) { return data.gather(part, where); },
                                                         data.gather_labels(part), share);
            }
            parts.end();
            record.captured_energies = detail::captured_energies(model);
            record.flops = ledger != nullptr ? ledger->flops() - flops_before : 0.0;
            record.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
            if (options.on_step && !options.on_step(record)) {
                return step + 1;
            }
        }
    }
    return step;
}

/// Logits (count, classes) of images number first .. first + count - 1, in batches, without a tape.
template <Scalar T, class S>
[[nodiscard]] Tensor<T> predict(nn::VisionTransformer<T, S>& model, const Dataset<T>& data, Index batch_size = 64)
{
    require<argument_error>(batch_size >= 1, "predict: batch_size is ", batch_size);
    Memory& memory = model.memory();
    const autograd::Context<T, S> context{memory, nullptr};
    Tensor<T> result(memory, Tag{}, Shape{data.count, model.config().classes});
    for (Index first = 0; first < data.count; first += batch_size) {
        std::vector<Index> indices(static_cast<std::size_t>(std::min(batch_size, data.count - first)));
        std::iota(indices.begin(), indices.end(), first);
        const auto logits = model.forward(context, data.gather(indices, memory).template view<4>());
        S::copy(result.matrix().row_block(first, static_cast<Index>(indices.size())), logits.value().matrix());
    }
    return result;
}

/// How many of a data set's images get their label as the largest logit.
template <Scalar T, class S>
[[nodiscard]] Index count_correct(nn::VisionTransformer<T, S>& model, const Dataset<T>& data, Index batch_size = 64)
{
    const Tensor<T> logits = predict(model, data, batch_size);
    Index correct = 0;
    for (Index i = 0; i < data.count; ++i) {
        const auto row = logits.span().subspan(static_cast<std::size_t>(i * model.config().classes),
                                               static_cast<std::size_t>(model.config().classes));
        const auto best = std::max_element(row.begin(), row.end()) - row.begin();
        correct += best == data.labels[static_cast<std::size_t>(i)] ? 1 : 0;
    }
    return correct;
}

WASI_COMPILED(WASI_TRAIN_TRAINER)

}  // namespace wasi::train
