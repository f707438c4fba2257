#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "wasi/data/batches.hpp"
#include "wasi/data/dataset.hpp"
#include "wasi/data/micro_batches.hpp"
#include "wasi/optim/schedule.hpp"
#include "wasi/train/step.hpp"

namespace wasi::train {

/// What one step reports.
struct StepRecord {
    Index step = 0;                         ///< from 0
    double epoch = 0.0;                     ///< epochs done before this step
    double loss = 0.0;                      ///< mean over the batch, before the update
    double rate = 0.0;                      ///< learning rate
    double seconds = 0.0;                   ///< of this step, batch assembly included
    double flops = 0.0;                     ///< counted, not estimated: see Memory::count_flops; 0 without a Ledger
    std::vector<double> captured_energies;  ///< of each compressed saved input, layer by layer
};

/// Which norm is held under clip_norm: that of all gradients together, or of each parameter's own.
enum class ClipScope { global, parameter };

/// When gradients are used: each as soon as it is made, so that none is stored; or all at the end of the step, in their
/// small forms. Automatic: stream, unless global clipping or micro-batches need them all first. The same step either
/// way.
enum class GradientFlow { automatic, stream, collect };

/// How long, in which order, at which rates, and how gradients go from the backward pass to the optimiser.
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
    /// The number of the first step: those before it are taken as done. What else a resumed run needs is in run files
    /// (files::load_run).
    Index first_step = 0;
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
        require<argument_error>(first_step >= 0, "TrainOptions: first_step is ", first_step);
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

    /// The sink that these options ask for.
    [[nodiscard]] optim::SinkOptions sink() const
    {
        return {clip_norm, gradients == GradientFlow::collect || needs_all_gradients(), micro_batches > 1};
    }
};

/// Steps in one epoch; the last batch may be smaller.
[[nodiscard]] inline Index steps_per_epoch(Index count, Index batch_size)
{
    return count / batch_size + (count % batch_size != 0 ? 1 : 0);
}

/// The examples of the largest micro-batch that steps over `count` examples (0: so many that every batch is full) have.
[[nodiscard]] inline Index largest_micro_batch(const TrainOptions& options, Index count)
{
    const Index batch = count > 0 ? std::min(options.batch_size, count) : options.batch_size;
    const Index pieces = std::min(options.micro_batches, batch);
    return (batch + pieces - 1) / pieces;
}

/// The order in which an epoch of train(.., options, key) sees its examples.
[[nodiscard]] inline std::vector<Index> epoch_order(Index count, const TrainOptions& options, RandomKey key,
                                                    Index epoch)
{
    std::vector<Index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), Index{0});
    return options.shuffle ? random_permutation(count, key.derive(epoch)) : order;
}

/// The examples that the largest micro-batch of the first step of train(.., options, key) could hold: a batch's worth
/// for calibration.
[[nodiscard]] inline std::vector<Index> calibration_images(Index count, const TrainOptions& options, RandomKey key)
{
    std::vector<Index> order = epoch_order(count, options, key, 0);
    order.resize(static_cast<std::size_t>(largest_micro_batch(options, count)));
    return order;
}

namespace detail {

/// One step over the examples of `now`, in micro-batches. The data set is told what comes after each.
template <nn::Model M, class D, class Loss>
[[nodiscard]] double take_step(Step<M, Loss>& step, const D& data, const data::StepExamples& now,
                               const data::StepExamples& next, Index micro_batches)
{
    double loss = 0.0;
    for (Index piece = 0; piece < now.pieces(micro_batches); ++piece) {
        const auto part = now.part(piece, micro_batches);
        const bool last = piece + 1 == now.pieces(micro_batches);
        const auto after = last ? next.part(0, micro_batches) : now.part(piece + 1, micro_batches);
        const double share = static_cast<double>(part.size()) / static_cast<double>(now.batch.size());
        loss += share * step.micro_batch(
                            [&](Memory& memory) {
                                auto examples = data.gather(part, now.key, memory);
                                data::expect(data, after, last ? next.key : now.key);
                                return examples;
                            },
                            data.gather_labels(part), share);
    }
    step.end();
    return loss;
}

}  // namespace detail

/// Trains the trainable parameters of a model on a data set, by `loss(context, logits, labels)`. Gradients stream into
/// the optimiser as they are made, unless global clipping or micro-batches need them collected first. Same seed, same
/// machine: the same bits for any number of threads. Returns the number of steps taken, those before first_step among
/// them. Throws argument_error when an option or the data makes no sense, divergence_error when the loss or a gradient
/// is no longer finite.
template <nn::Model M, data::Batches<typename M::Value> D, class Loss = MeanCrossEntropy>
Index train(M& model, const D& data, optim::Optimizer<typename M::Value, typename M::Storage>& optimizer,
            const TrainOptions& options, RandomKey key, Loss loss = {})
{
    using Clock = std::chrono::steady_clock;
    options.check();
    data.check(model.config().classes);
    Memory& memory = model.memory();
    const Index batch_size = std::min(options.batch_size, static_cast<Index>(data.size()));
    const Index per_epoch = steps_per_epoch(data.size(), batch_size);
    const Index total_steps = per_epoch * options.epochs;
    const optim::Schedule schedule{.kind = options.schedule,
                                   .rate = options.rate,
                                   .final_rate = 0.0,
                                   .warmup_steps = std::min(options.warmup_steps, total_steps),
                                   .total_steps = total_steps};
    const auto sink = optim::make_sink(nn::trainable_parameters(model), optimizer, memory, options.sink());
    constexpr std::uint64_t no_epoch = ~std::uint64_t{0};  // keys of epochs are the others
    Step<M, Loss> parts(model, *sink, std::move(loss), key.derive(no_epoch));

    std::vector<Index> next_order;
    const auto examples = [&](const std::vector<Index>& order, Index number) {
        const auto first = static_cast<std::size_t>(number % per_epoch * batch_size);
        return data::StepExamples{std::span<const Index>(order).subspan(
                                      first, std::min(static_cast<std::size_t>(batch_size), order.size() - first)),
                                  key.derive(number / per_epoch).derive(1)};
    };
    for (Index step = options.first_step; step < total_steps;) {
        const Index epoch = step / per_epoch;
        const std::vector<Index> order =
            next_order.empty() ? epoch_order(data.size(), options, key, epoch) : std::exchange(next_order, {});
        for (Index in_epoch = step % per_epoch; in_epoch < per_epoch; ++in_epoch, ++step) {
            const auto begin = Clock::now();
            const double flops_before = memory.flops();
            data::StepExamples next;
            if (in_epoch + 1 < per_epoch) {
                next = examples(order, step + 1);
            } else if (step + 1 < total_steps) {
                next_order = epoch_order(data.size(), options, key, epoch + 1);
                next = examples(next_order, step + 1);
            }
            StepRecord record;
            record.step = step;
            record.epoch = static_cast<double>(step) / static_cast<double>(per_epoch);
            record.rate = schedule(step);
            parts.begin(step, record.rate);
            record.loss = detail::take_step(parts, data, examples(order, step), next, options.micro_batches);
            record.captured_energies = nn::captured_energies(model);
            record.flops = memory.flops() - flops_before;
            record.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
            if (options.on_step && !options.on_step(record)) {
                return step + 1;
            }
        }
    }
    return total_steps;
}

WASI_COMPILED(WASI_TRAIN_TRAINER)

}  // namespace wasi::train
