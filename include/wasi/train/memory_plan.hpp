#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/linalg/svd.hpp"
#include "wasi/train/memory_forecast.hpp"

/// Choosing how a model is trained so that the whole process stays within a budget of bytes.
namespace wasi::train {

/// What blocks keep for the backward pass, under a name.
struct KeepPreset {
    std::string name;
    nn::KeepOptions keep = {};
    double error = 0.0;  ///< relative error of weight gradients, 0 for what is exact
};

/// From keeping all to keeping least. bfloat16 rounds by up to 2^-9 of a number.
[[nodiscard]] inline std::vector<KeepPreset> keep_presets()
{
    using autograd::Output;
    using autograd::Probabilities;
    using nn::Recompute;
    const auto recompute = [](Recompute what) {
        nn::KeepOptions keep;
        keep.recompute = what;
        return keep;
    };
    nn::KeepOptions rebuild;
    rebuild.probabilities = Probabilities::recompute;
    rebuild.norm_output = Output::rebuild;
    rebuild.gelu_input = Output::rebuild;
    rebuild.gelu_output = Output::rebuild;
    nn::KeepOptions least = recompute(Recompute::block);
    least.saved_as = Precision::bfloat16;
    return {{"everything", {}, 0.0},
            {"what is not rebuilt cheaply", rebuild, 0.0},
            {"inputs of MLP branches", recompute(Recompute::mlp), 0.0},
            {"inputs of both branches", recompute(Recompute::halves), 0.0},
            {"inputs of blocks", recompute(Recompute::block), 0.0},
            {"inputs of blocks in bfloat16", least, std::ldexp(1.0, -9)}};
}

/// What a plan knows of one linear weight: its singular values, or the rank it is held with already.
struct WeightSpectrum {
    std::string name;
    Index outputs = 0;
    Index inputs = 0;
    Index held_rank = 0;         ///< 0: dense
    std::vector<double> values;  ///< descending; empty where it is low rank
};

/// The singular values of a dense weight. O I min(O,I) flops, workspace for one Gram matrix in double.
template <class S>
[[nodiscard]] WeightSpectrum spectrum_of(const nn::LinearWeight<float, S>& weight, Memory& memory)
{
    WeightSpectrum result{weight.name(), weight.outputs(), weight.inputs(), weight.rank(), {}};
    if (!weight.is_low_rank()) {
        static_cast<void>(linalg::leading_svd<S, float>(
            weight.matrix(),
            [&](std::span<const double> values) {
                result.values.assign(values.begin(), values.end());
                return Index{0};
            },
            memory));
    }
    return result;
}

/// spectrum_of every weight of selected_layers(Layers::all), in that order.
template <class S>
[[nodiscard]] std::vector<WeightSpectrum> weight_spectra(nn::VisionTransformer<float, S>& model)
{
    std::vector<WeightSpectrum> result;
    for (const auto* layer : selected_layers(model, Layers::all)) {
        result.push_back(spectrum_of<S>(layer->weight, model.memory()));
    }
    return result;
}

struct MemoryPlanOptions {
    /// Shares of a weight's energy to choose from; 1: weights as they are.
    std::vector<double> energies{1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4};
    std::vector<KeepPreset> keep = keep_presets();
    /// The layers whose weights may become low rank.
    Layers layers = Layers::all;
    /// What the process holds beside the ledger's bytes, now.
    std::size_t base = 0;
    /// What the heap and threads take beyond all that is counted.
    std::size_t slack = std::size_t{4} << 20;
};

/// One way to train, with what it takes and what it costs.
struct PlanChoice {
    double energy = 1.0;
    KeepPreset keep;
    StepDescription run;  ///< weight ranks, micro-batches and keep as chosen
    Forecast forecast;
    double weight_error = 0.0;  ///< mean over the layers of ||W - L R|| / ||W||
    std::size_t process = 0;    ///< predicted peak of the process

    /// What choices are ordered by first: the mean relative error of weights plus the relative error of their
    /// gradients.
    [[nodiscard]] double error() const { return weight_error + keep.error; }

    /// What they are ordered by next, for the time of a step: its flops, and more the fewer rows its products have,
    /// flops (1 + 64 / m) with m tokens in a micro-batch. The 64 is fitted to measured steps of a ViT-B/32 with 800,
    /// 200 and 50 tokens at a time (1 : 1.4 : 2.2), which is what packing a weight for few rows costs.
    [[nodiscard]] double work() const
    {
        const Index pieces = run.training.micro_batches;
        const Index images = run.images > 0 ? std::min(run.training.batch_size, run.images) : run.training.batch_size;
        const Index rows = (images + pieces - 1) / pieces * run.model.tokens();
        return forecast.flops * (1.0 + 64.0 / static_cast<double>(rows));
    }
};

/// The choice, and what else there was.
struct MemoryPlan {
    std::size_t budget = 0;
    std::size_t base = 0;
    PlanChoice chosen;
    /// PlanChoice::work of the first energy with the first preset and as few micro-batches as there may be.
    double plain_work = 0.0;
    /// Of all that was looked at, what nothing else beats in bytes, work and error alike; by bytes.
    std::vector<PlanChoice> frontier;
};

namespace detail {

/// The rank that holds `energy` of a weight, 0 where it stays dense, and the relative error that this makes.
[[nodiscard]] inline std::pair<Index, double> rank_for(const WeightSpectrum& weight, double energy)
{
    if (weight.values.empty() || energy >= 1.0) {
        return {weight.held_rank, 0.0};
    }
    double total = 0.0;
    for (const double value : weight.values) {
        total += value * value;
    }
    const double floor = linalg::detail::rounding_floor<float>(weight.outputs, weight.inputs, weight.values);
    const Index rank = linalg::RankRule(linalg::Energy{energy})
                           .choose({weight.values, total, total, floor, weight.outputs, weight.inputs});
    if (rank * (weight.outputs + weight.inputs) >= weight.outputs * weight.inputs) {
        return {0, 0.0};
    }
    double tail = 0.0;
    for (auto i = static_cast<std::size_t>(rank); i < weight.values.size(); ++i) {
        tail += weight.values[i] * weight.values[i];
    }
    return {rank, total > 0.0 ? std::sqrt(tail / total) : 0.0};
}

[[nodiscard]] inline bool beats(const PlanChoice& a, const PlanChoice& b)
{
    const bool no_worse = a.process <= b.process && a.work() <= b.work() && a.error() <= b.error();
    return no_worse && (a.process < b.process || a.work() < b.work() || a.error() < b.error());
}

[[nodiscard]] inline std::vector<PlanChoice> undominated(const std::vector<PlanChoice>& all)
{
    std::vector<PlanChoice> result;
    for (const PlanChoice& choice : all) {
        if (std::none_of(all.begin(), all.end(), [&](const PlanChoice& other) { return beats(other, choice); })) {
            result.push_back(choice);
        }
    }
    std::stable_sort(result.begin(), result.end(),
                     [](const PlanChoice& a, const PlanChoice& b) { return a.process < b.process; });
    return result;
}

/// 1, 2, 4, .. up to the batch; only what the options have where gradients cannot be collected.
[[nodiscard]] inline std::vector<Index> micro_batch_choices(const TrainOptions& training, Index images)
{
    const Index batch = images > 0 ? std::min(training.batch_size, images) : training.batch_size;
    if (training.gradients == GradientFlow::stream ||
        (training.clip_norm > 0.0 && training.clip_scope == ClipScope::parameter)) {
        return {1};
    }
    std::vector<Index> result;
    for (Index pieces = training.micro_batches; pieces <= batch; pieces *= 2) {
        result.push_back(pieces);
    }
    return result;
}

}  // namespace detail

/// The way to train within `budget` bytes for the whole process that errs least and, of those, takes the least time
/// (PlanChoice::work). Looks at every energy of the options with every preset of what blocks keep, and cuts a batch
/// into more micro-batches only as long as that is needed and helps; each candidate is a forecast_step. Saved inputs
/// are exact. The predicted peak of the process is base + slack + Forecast::process, with the pages of the arena up to
/// its high water and a bound on what Eigen takes. `run` says what is given: model, optimiser, form, batch size,
/// clipping, images, threads; its micro_batches is where the search begins. Ranks are those that
/// LinearWeight::factorize would find. Throws budget_error naming the least budget that any candidate needs,
/// argument_error for spectra that are not those of the model.
[[nodiscard]] inline MemoryPlan plan_memory(const StepDescription& run, std::span<const WeightSpectrum> spectra,
                                            std::size_t budget, const MemoryPlanOptions& options)
{
    require<argument_error>(static_cast<Index>(spectra.size()) == 4 * run.model.depth, "plan_memory: ", spectra.size(),
                            " spectra for a model of ", run.model.depth, " blocks");
    require<argument_error>(!options.energies.empty() && !options.keep.empty(), "plan_memory: nothing to choose from");
    std::vector<PlanChoice> all;
    std::vector<std::vector<Index>> seen;
    for (const double energy : options.energies) {
        require<argument_error>(energy > 0.0 && energy <= 1.0, "plan_memory: an energy must be in (0, 1], got ",
                                energy);
        PlanChoice choice;
        choice.energy = energy;
        choice.run = run;
        choice.run.weight_ranks.clear();
        double errors = 0.0;
        for (std::size_t i = 0; i < spectra.size(); ++i) {
            const bool open = options.layers == Layers::all || i % 4 >= 2;
            const auto [rank, error] = detail::rank_for(spectra[i], open ? energy : 1.0);
            choice.run.weight_ranks.push_back(rank);
            errors += error;
        }
        if (std::find(seen.begin(), seen.end(), choice.run.weight_ranks) != seen.end()) {
            continue;
        }
        seen.push_back(choice.run.weight_ranks);
        choice.weight_error = errors / static_cast<double>(spectra.size());
        for (const KeepPreset& preset : options.keep) {
            choice.keep = preset;
            choice.run.keep = preset.keep;
            std::size_t before = 0;
            for (const Index pieces : detail::micro_batch_choices(run.training, run.images)) {
                choice.run.training.micro_batches = pieces;
                choice.forecast = forecast_step(choice.run);
                choice.process = options.base + options.slack + choice.forecast.process;
                if (before != 0 && choice.process >= before) {
                    break;
                }
                before = choice.process;
                all.push_back(choice);
                if (choice.process <= budget) {
                    break;
                }
            }
        }
    }
    const auto least = std::min_element(all.begin(), all.end(),
                                        [](const PlanChoice& a, const PlanChoice& b) { return a.process < b.process; });
    require<budget_error>(least->process <= budget, "plan_memory: a budget of ", budget,
                          " bytes is too small; the least that any choice needs is ", least->process, " bytes");
    const PlanChoice* best = nullptr;
    for (const PlanChoice& choice : all) {
        if (choice.process > budget) {
            continue;
        }
        const auto order = [](const PlanChoice& c) { return std::pair{c.error(), c.work()}; };
        if (best == nullptr || order(choice) < order(*best)) {
            best = &choice;
        }
    }
    return {budget, options.base, *best, all.front().work(), detail::undominated(all)};
}

/// Prepares a model as planned: ranks of its weights (those that are dense), what its blocks keep. `micro_batches` of
/// the training options is chosen.run.training.micro_batches. Throws what LinearWeight::factorize does, argument_error
/// for another model.
template <class S>
void apply_plan(nn::VisionTransformer<float, S>& model, const MemoryPlan& plan)
{
    const auto layers = selected_layers(model, Layers::all);
    const auto& ranks = plan.chosen.run.weight_ranks;
    require<argument_error>(ranks.size() == layers.size(), "apply_plan: a plan for ", ranks.size(),
                            " layers and a model with ", layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        if (ranks[i] > 0 && !layers[i]->weight.is_low_rank()) {
            layers[i]->weight.factorize(linalg::FixedRank{ranks[i]}, false, plan.chosen.run.form);
        }
    }
    model.keep(plan.chosen.keep.keep);
}

}  // namespace wasi::train
