#pragma once
#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "wasi/measure/evaluate.hpp"
#include "wasi/plan/forecast_memory.hpp"
#include "wasi/plan/run_description.hpp"
#include "wasi/plan/saved_inputs.hpp"

namespace wasi::plan {

/// What a training run will take at most.
struct Forecast {
    std::array<std::size_t, use_count> peaks{};  ///< by class, as Ledger::of(Use).peak after a run
    std::size_t total = 0;                       ///< the joint peak, as Ledger::total().peak
    std::size_t arena = 0;                       ///< as Ledger::arena_high_water with an arena open
    std::size_t process = 0;                     ///< what the process holds for all that, and beside the books
    std::size_t at_start = 0;                    ///< alive before the first step: the model
    std::size_t convert = 0;                     ///< as `process`, while dense weights become low rank before that
    double flops = 0.0;                          ///< of a full step; without those of fresh bases

    [[nodiscard]] std::size_t of(Use use) const { return peaks[static_cast<std::size_t>(use)]; }
};

namespace detail {

/// A batch of the model's extents, on a storage that looks at no element.
template <class Config>
[[nodiscard]] auto blank_source(const Config& config, Index examples)
{
    return [shape = config.example(examples)](Memory& memory) {
        return Tensor<float>(memory, Tag{Use::input, 0}, shape);
    };
}

/// Examples for measure::confusion, on a storage that looks at no element.
template <nn::Model M>
struct BlankExamples {
    typename M::Config config;
    Index count = 0;

    [[nodiscard]] Index size() const { return count; }
    [[nodiscard]] Tensor<float> gather(std::span<const Index> which, RandomKey, Memory& memory) const
    {
        return blank_source(config, std::ssize(which))(memory);
    }
    [[nodiscard]] std::vector<std::int64_t> gather_labels(std::span<const Index> which) const
    {
        return std::vector<std::int64_t>(which.size(), 0);
    }
    void check(Index) const {}
};

/// Examples are looked at as after an epoch: one batch of them, and what is left for the last one.
template <nn::Model M>
void evaluate_dry(M& model, Index count, Index batch)
{
    const Index some = count <= batch ? count : batch + count % batch;
    static_cast<void>(measure::confusion(model, BlankExamples<M>{model.config(), some}, batch));
}

template <nn::Model M>
void check(const RunDescription<M>& run)
{
    run.training.check();
    require<argument_error>(run.evaluated >= 0 && run.evaluation_batch >= 0, "RunDescription: ", run.evaluated,
                            " examples are evaluated, ", run.evaluation_batch, " at once");
    require<argument_error>(run.images >= 0, "RunDescription: images is ", run.images);
    require<argument_error>(run.threads >= 1, "RunDescription: threads is ", run.threads);
}

template <class S, nn::Model M>
void run_dry(Forecast& forecast, const RunDescription<M>& run, Index restart_every)
{
    using Dry = typename M::template On<S>;
    const SerialScope serial;  // peaks must not depend on timing
    ForecastMemory memory(run.threads);
    Dry model(run.model, memory);
    prepare(model, run, restart_every);
    constexpr bool worst = std::same_as<S, WorstDryStorage>;
    // A refresh may fall on any step.
    const auto optimizer =
        optim::make_optimizer<float, S>(worst ? optim::refreshing(run.optimizer) : run.optimizer, memory);
    RepairingOptimizer<S> repairing(*optimizer, memory);
    const auto sink = optim::make_sink(nn::trainable_parameters(model),
                                       worst ? static_cast<optim::Optimizer<float, S>&>(repairing) : *optimizer, memory,
                                       run.training.sink());
    train::Step<Dry> step(model, *sink);
    forecast.convert = std::max(forecast.convert, memory.process_without_arena());
    memory.begin_training();
    forecast.at_start = memory.ledger().total().current;
    const Index full = run.images > 0 ? std::min(run.training.batch_size, run.images) : run.training.batch_size;
    // The first step makes what is kept, the second runs beside it, the last batch may need more for being smaller.
    for (const Index size : {full, full, run.images % full}) {
        if (size == 0) {
            continue;  // no smaller batch
        }
        double flops = -memory.ledger().flops();
        double before_piece = 0.0;
        const Index pieces = std::min(run.training.micro_batches, size);
        step.begin(0, 0.0);
        for (Index piece = 0; piece < pieces; ++piece) {
            // Micro-batches of one size are alike, and the last is enough, unless the gradients of compressed inputs
            // add up to more columns each time.
            if (piece == 3 && pieces > 4 && size % pieces == 0 && !any_factored_gradient(run)) {
                flops += static_cast<double>(pieces - 4) * (memory.ledger().flops() - before_piece);
                piece = pieces - 1;
            }
            const auto [from, to] = data::micro_batch_range(size, piece, pieces);
            before_piece = memory.ledger().flops();
            const std::vector<std::int64_t> labels(static_cast<std::size_t>(to - from), 0);
            static_cast<void>(step.micro_batch(blank_source(run.model, to - from), labels, 1.0));
        }
        step.end();
        if (!worst && size == full) {
            forecast.flops = flops + memory.ledger().flops();
        }
    }
    if (run.evaluated > 0) {
        evaluate_dry(
            model, run.evaluated,
            run.evaluation_batch > 0 ? run.evaluation_batch : train::largest_micro_batch(run.training, run.images));
    }
    for (std::size_t use = 0; use < use_count; ++use) {
        forecast.peaks[use] = std::max(forecast.peaks[use], memory.ledger().of(static_cast<Use>(use)).peak);
    }
    forecast.total = std::max(forecast.total, memory.ledger().total().peak);
    forecast.arena = std::max(forecast.arena, memory.ledger().arena_high_water());
    memory.unbooked(0);
    forecast.process = std::max(forecast.process, memory.process());
}

}  // namespace detail

/// What training steps will take, from the steps themselves: the model, its sinks and its optimiser run on a storage
/// that computes nothing (DryStorage), on a ledger of their own, so that what is booked there is what a real run will
/// book. A run with the answers of ordinary data, one with those that take most (WorstDryStorage), and for compressed
/// inputs one more with fresh bases all the time; the maximum of these. So peaks are an upper bound whatever the data
/// are. What RunDescription::evaluated examples take is in it, after the steps and beside what the optimiser keeps. For
/// fixed ranks and ordinary data those of the first run are what a real one books on one thread; with more
/// threads workspaces inside parallel loops are counted once a thread. Inputs saved by rules instead of fixed ranks:
/// see RunDescription. Cost: six or nine steps without arithmetic, some milliseconds; address space, but hardly any
/// memory, for what it would take. Throws argument_error when the description makes no sense.
template <nn::Model M>
[[nodiscard]] Forecast forecast_step(const RunDescription<M>& run)
{
    detail::check(run);
    Forecast forecast;
    detail::run_dry<DryStorage>(forecast, run, 0);
    detail::run_dry<WorstDryStorage>(forecast, run, 0);
    if (detail::any_compressed(run)) {
        detail::run_dry<WorstDryStorage>(forecast, run, 1);
        // How many directions a compressed gradient has depends on data. With other sizes come other gaps between
        // blocks, which may be larger although every block is smaller: up to 5 % of the arena were seen.
        const std::size_t gaps = forecast.arena / 8;
        forecast.arena += gaps;
        forecast.process += gaps;
    }
    return forecast;
}

/// What the process holds at most while calibrate_inputs looks at one micro-batch of this run, weights held and blocks
/// recomputing as described (how inputs are saved does not matter); an upper bound in the sense of forecast_step. Cost:
/// one step without arithmetic. Throws argument_error when the description makes no sense.
template <nn::Model M>
[[nodiscard]] std::size_t forecast_calibration(const RunDescription<M>& run, nn::Layers which,
                                               const rank::PerplexityOptions& options = {})
{
    detail::check(run);
    RunDescription<M> exact = run;
    exact.trainable.clear();
    for (nn::LayerSetup& layer : exact.layers) {
        layer.input = nn::ExactOptions{};
        layer.trainable = layer.bias_trainable = true;
    }
    const SerialScope serial;
    detail::ForecastMemory memory(run.threads);
    typename M::template On<WorstDryStorage> model(run.model, memory);
    detail::prepare(model, exact, 0);
    const Index images = train::largest_micro_batch(run.training, run.images);
    const std::vector<std::int64_t> labels(static_cast<std::size_t>(images), 0);
    static_cast<void>(calibrate_inputs(model, detail::blank_source(run.model, images), labels, which, options));
    return memory.process_without_arena();
}

}  // namespace wasi::plan
