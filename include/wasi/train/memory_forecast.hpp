#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/dry.hpp"
#include "wasi/train/activation_plan.hpp"
#include "wasi/train/trainer.hpp"

namespace wasi::train {

/// Which optimiser a forecast is for. Its numbers do not matter for memory, only what it keeps.
struct OptimizerKind {
    enum class Name { sgd, adamw };
    Name name = Name::sgd;
    bool momentum = false;  ///< of sgd
};

/// Everything about a training run that decides what it allocates. Layers are those of selected_layers(Layers::all):
/// block by block in_proj, out_proj, fc1, fc2.
struct StepDescription {
    nn::VisionTransformerConfig model;
    /// How each weight is held: its rank, or 0 for dense. Empty: all dense.
    std::vector<Index> weight_ranks;
    /// How low-rank weights are held.
    nn::LowRankForm form = nn::LowRankForm::subspace;
    /// All weights are dense before the first becomes low rank, as those of a new model; else each becomes so as it is
    /// read (load_model with a visitor). For Forecast::convert.
    bool dense_first = false;
    /// How each input is saved: Tucker ranks over batch, token, feature, or nothing for exact. Empty: all exact. Where
    /// a rule chooses ranks at run time, the largest that can occur (largest_ranks).
    std::vector<std::optional<std::array<Index, 3>>> input_ranks;
    /// What every block keeps for the backward pass.
    nn::KeepOptions keep = {};
    /// Only the head is trained.
    bool head_only = false;
    OptimizerKind optimizer;
    /// batch_size, micro_batches, clip_norm, clip_scope and gradients matter.
    TrainOptions training;
    /// Images of an epoch, whose last batch may be smaller; 0: every batch is full.
    Index images = 0;
    /// Threads of the run.
    Index threads = thread_count();
};

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

/// A ledger that hears of unbooked memory.
class ForecastMemory final : public DryRunMemory {
public:
    explicit ForecastMemory(Index threads) : threads_(threads) {}
    [[nodiscard]] void* allocate(std::size_t bytes, Tag tag) override { return ledger_.allocate(bytes, tag); }
    void release(void* block, std::size_t bytes, Tag tag) noexcept override { ledger_.release(block, bytes, tag); }
    void rebook(std::size_t bytes, Tag from, Tag to) noexcept override { ledger_.rebook(bytes, from, to); }
    void count_flops(double flops) noexcept override { ledger_.count_flops(flops); }
    [[nodiscard]] Index threads() const noexcept override { return threads_; }
    void unbooked(std::size_t bytes) noexcept override
    {
        // The pages of the arena stay with the process up to its high-water mark.
        process_ =
            std::max(process_, ledger_.total().current - std::min(ledger_.total().current, ledger_.arena_used()) +
                                   ledger_.arena_high_water() + bytes);
    }

    /// What the process holds while no arena is open.
    [[nodiscard]] std::size_t process_without_arena() const { return std::max(process_, ledger_.total().peak); }
    /// From here on: what training takes.
    void begin_training()
    {
        ledger_.open_arena();
        ledger_.reset_peaks();
        process_ = 0;
    }
    [[nodiscard]] const Ledger& ledger() const { return ledger_; }
    [[nodiscard]] std::size_t process() const { return process_; }

private:
    Ledger ledger_;
    Index threads_;
    std::size_t process_ = 0;
};

/// An optimiser that after each step repairs low-rank weights, as they do every few hundred steps.
template <class S>
class RepairingOptimizer final : public optim::Optimizer<float, S> {
public:
    RepairingOptimizer(optim::Optimizer<float, S>& inner, Memory& memory) : inner_(&inner), memory_(&memory) {}

    void apply(const optim::ParameterRef<float, S>& parameter, const autograd::Gradient<float>& gradient, float rate,
               float scale) override
    {
        inner_->apply(parameter, gradient, rate, scale);
        auto* factors = parameter.weight_subspace();
        if (factors != nullptr && std::holds_alternative<linalg::Factored<float>>(gradient)) {
            // Steps of rank r, which are those that need repair, keep R Rᵀ; in a worst run they are declined.
            std::optional<Tensor<double>> gram;
            if (factors->state_bytes() == 0) {
                gram.emplace(*memory_, parameter.state_tag(), Shape{factors->rank(), factors->rank()});
            }
            factors->repair();
        }
    }

private:
    optim::Optimizer<float, S>* inner_;
    Memory* memory_;
};

template <class S>
[[nodiscard]] std::unique_ptr<optim::Optimizer<float, S>> make_optimizer(const OptimizerKind& kind, Memory& memory)
{
    if (kind.name == OptimizerKind::Name::adamw) {
        return std::make_unique<optim::AdamW<float, S>>(optim::AdamWOptions{}, memory);
    }
    return std::make_unique<optim::Sgd<float, S>>(optim::SgdOptions{.momentum = kind.momentum ? 0.9 : 0.0}, memory);
}

/// Holds weights and saves inputs as described. No element is set.
template <class S>
void prepare(nn::VisionTransformer<float, S>& model, const StepDescription& run, Index restart_every)
{
    const auto layers = selected_layers(model, Layers::all);
    const auto fits = [&](std::size_t count) { return count == 0 || count == layers.size(); };
    require<argument_error>(fits(run.weight_ranks.size()), "forecast_step: ", run.weight_ranks.size(),
                            " weight ranks for ", layers.size(), " layers");
    require<argument_error>(fits(run.input_ranks.size()), "forecast_step: ", run.input_ranks.size(),
                            " input ranks for ", layers.size(), " layers");
    model.for_each_parameter([&](auto& parameter) {
        if constexpr (requires { parameter.is_low_rank(); }) {
            const bool converted =
                !run.dense_first && std::any_of(layers.begin(), layers.end(),
                                                [&](const auto* layer) { return &layer->weight == &parameter; });
            if (!converted) {
                static_cast<void>(parameter.dense());
            }
        }
        parameter.set_trainable(!run.head_only);
    });
    model.keep(run.keep);
    model.head->weight.set_trainable(true);
    model.head->bias.set_trainable(true);
    for (std::size_t i = 0; i < layers.size(); ++i) {
        static_cast<void>(layers[i]->weight.dense());
        if (!run.weight_ranks.empty() && run.weight_ranks[i] != 0) {
            layers[i]->weight.factorize(linalg::FixedRank{run.weight_ranks[i]}, false, run.form);
        }
        if (!run.input_ranks.empty() && run.input_ranks[i]) {
            // The energies of a dry run mean nothing, so no restart may depend on them.
            layers[i]->compress_input(
                {.ranks = *run.input_ranks[i], .restart_below = 0.0, .restart_every = restart_every}, RandomKey(0));
        }
    }
}

[[nodiscard]] inline bool any_compressed(const StepDescription& run)
{
    return std::any_of(run.input_ranks.begin(), run.input_ranks.end(),
                       [](const auto& ranks) { return ranks.has_value(); });
}

template <class S>
void run_dry(Forecast& forecast, const StepDescription& run, Index restart_every)
{
    const SerialScope serial;  // peaks must not depend on timing
    ForecastMemory memory(run.threads);
    nn::VisionTransformer<float, S> model(run.model, memory);
    prepare<S>(model, run, restart_every);
    const auto optimizer = make_optimizer<S>(run.optimizer, memory);
    RepairingOptimizer<S> repairing(*optimizer, memory);
    constexpr bool worst = std::same_as<S, WorstDryStorage>;
    Step<float, S> step(model, worst ? static_cast<optim::Optimizer<float, S>&>(repairing) : *optimizer, run.training);
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
            if (piece == 3 && pieces > 4 && size % pieces == 0 && !any_compressed(run)) {
                flops += static_cast<double>(pieces - 4) * (memory.ledger().flops() - before_piece);
                piece = pieces - 1;
            }
            const auto [from, to] = micro_batch_range(size, piece, pieces);
            before_piece = memory.ledger().flops();
            const std::vector<std::int64_t> labels(static_cast<std::size_t>(to - from), 0);
            const Shape shape{to - from, nn::VisionTransformerConfig::channels, run.model.image, run.model.image};
            const auto make_images = [&](Memory& where) { return Tensor<float>(where, Tag{Use::input, 0}, shape); };
            static_cast<void>(step.micro_batch(make_images, labels, 1.0));
        }
        step.end();
        if (!worst && size == full) {
            forecast.flops = flops + memory.ledger().flops();
        }
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

/// The largest ranks that any rule can choose for an input (B,N,I): every rule keeps at most as many singular values of
/// an unfolding as there are.
[[nodiscard]] inline std::array<Index, 3> largest_ranks(Index batch, Index tokens, Index features)
{
    return {batch, tokens, std::min(features, batch * tokens)};
}

/// What training steps will take, from the steps themselves: the model, its sinks and its optimiser run on a storage
/// that computes nothing (DryStorage), on a ledger of their own, so that what is booked there is what a real run will
/// book. A run with the answers of ordinary data, one with those that take most (WorstDryStorage), and for compressed
/// inputs one more with fresh bases all the time; the maximum of these. So peaks are an upper bound whatever the data
/// are. For fixed ranks and ordinary data those of the first run are what a real one books on one thread; with more
/// threads workspaces inside parallel loops are counted once a thread. Inputs saved by rules instead of fixed ranks:
/// see StepDescription. Cost: six or nine steps without arithmetic, some milliseconds; address space, but hardly any
/// memory, for what it would take. Throws argument_error when the description makes no sense.
[[nodiscard]] inline Forecast forecast_step(const StepDescription& run)
{
    run.training.check();
    require<argument_error>(run.images >= 0, "forecast_step: images is ", run.images);
    require<argument_error>(run.threads >= 1, "forecast_step: threads is ", run.threads);
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
/// recomputing as described (input_ranks do not matter); an upper bound in the sense of forecast_step. Cost: one step
/// without arithmetic. Throws argument_error when the description makes no sense.
[[nodiscard]] inline std::size_t forecast_calibration(const StepDescription& run, Layers which,
                                                      const rank::PerplexityOptions& options = {})
{
    run.training.check();
    require<argument_error>(run.images >= 0, "forecast_calibration: images is ", run.images);
    require<argument_error>(run.threads >= 1, "forecast_calibration: threads is ", run.threads);
    StepDescription exact = run;
    exact.input_ranks.clear();
    exact.head_only = false;
    const SerialScope serial;
    detail::ForecastMemory memory(run.threads);
    nn::VisionTransformer<float, WorstDryStorage> model(run.model, memory);
    detail::prepare<WorstDryStorage>(model, exact, 0);
    const Index images = largest_micro_batch(run.training, run.images);
    const Shape shape{images, nn::VisionTransformerConfig::channels, run.model.image, run.model.image};
    const std::vector<std::int64_t> labels(static_cast<std::size_t>(images), 0);
    static_cast<void>(
        calibrate_inputs(model, Tensor<float>(memory, Tag{Use::input, 0}, shape), labels, which, options));
    return memory.process_without_arena();
}

/// A description of the run that `train` would do with this model, as it is prepared now, and these options. Where a
/// rule chooses the ranks of saved inputs, the largest that can occur. All blocks keep what the first does. Throws
/// argument_error for feature ranks under hysteresis, which a forecast does not follow.
template <class S>
[[nodiscard]] StepDescription describe(nn::VisionTransformer<float, S>& model, const TrainOptions& training,
                                       const OptimizerKind& optimizer, Index images)
{
    StepDescription run;
    run.model = model.config();
    run.optimizer = optimizer;
    run.training = training;
    run.images = images;
    const Index largest = largest_micro_batch(training, images);
    for (const auto* layer : selected_layers(model, Layers::all)) {
        run.weight_ranks.push_back(layer->weight.rank());
        if (layer->weight.free_factors() != nullptr) {
            run.form = nn::LowRankForm::free_factors;
        }
        run.input_ranks.emplace_back();
        if (layer->compressor() != nullptr) {
            const auto& options = layer->compressor()->options();
            require<argument_error>(!options.feature_hysteresis, "describe: the feature rank of ", layer->weight.name(),
                                    " follows its rule under hysteresis");
            auto ranks = largest_ranks(largest, model.config().tokens(), layer->weight.inputs());
            for (std::size_t mode = 0; mode < 3; ++mode) {
                ranks[mode] = options.ranks[mode].fixed().value_or(ranks[mode]);
            }
            run.input_ranks.back() = ranks;
        }
    }
    run.head_only = !model.class_token.trainable();
    run.keep = model.blocks.front()->keep;
    return run;
}

}  // namespace wasi::train
