#pragma once
#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/plan/plan_choice.hpp"

/// Choosing how a model is trained so that the whole process stays within a budget of bytes.
namespace wasi::plan {

/// The choice, and what else there was.
template <nn::Model M>
struct MemoryPlan {
    using PlanChoice = plan::PlanChoice<M>;

    std::size_t budget = 0;
    std::size_t base = 0;
    PlanChoice chosen;
    /// PlanChoice::work of the first energy with the first preset and as few micro-batches as there may be.
    double plain_work = 0.0;
    /// Of all that was looked at, what nothing else beats in bytes, work and error alike; by bytes.
    std::vector<PlanChoice> frontier;

    /// What more memory buys: of the frontier, the choices that are better than everything that takes less. Beginning
    /// with `chosen` these are the plans for larger budgets; a plan for a smaller one may find something better, since
    /// micro-batches are cut no smaller than this budget asks for.
    [[nodiscard]] std::vector<PlanChoice> by_budget() const
    {
        std::vector<PlanChoice> result;
        for (const PlanChoice& choice : frontier) {
            if (result.empty() || choice.is_better_than(result.back())) {
                if (!result.empty() && choice.process == result.back().process) {
                    result.pop_back();
                }
                result.push_back(choice);
            }
        }
        return result;
    }
};

namespace detail {

template <nn::Model M>
[[nodiscard]] bool beats(const PlanChoice<M>& a, const PlanChoice<M>& b)
{
    const bool no_worse = a.process <= b.process && a.work() <= b.work() && a.error() <= b.error();
    return no_worse && (a.process < b.process || a.work() < b.work() || a.error() < b.error());
}

template <nn::Model M>
[[nodiscard]] std::vector<PlanChoice<M>> undominated(const std::vector<PlanChoice<M>>& all)
{
    std::vector<PlanChoice<M>> result;
    for (const auto& choice : all) {
        if (std::none_of(all.begin(), all.end(), [&](const auto& other) { return beats(other, choice); })) {
            result.push_back(choice);
        }
    }
    std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.process < b.process; });
    return result;
}

/// 1, 2, 4, .. up to the batch; only what the options have where gradients cannot be collected.
[[nodiscard]] inline std::vector<Index> micro_batch_choices(const train::TrainOptions& training, Index images)
{
    const Index batch = images > 0 ? std::min(training.batch_size, images) : training.batch_size;
    if (training.gradients == train::GradientFlow::stream ||
        (training.clip_norm > 0.0 && training.clip_scope == train::ClipScope::parameter)) {
        return {1};
    }
    std::vector<Index> result;
    for (Index pieces = training.micro_batches; pieces <= batch; pieces *= 2) {
        result.push_back(pieces);
    }
    return result;
}

/// Looks at candidates one by one and remembers them.
template <nn::Model M>
class PlanSearch {
public:
    using PlanChoice = plan::PlanChoice<M>;

    PlanSearch(const RunDescription<M>& run, std::size_t budget, const MemoryPlanOptions& options)
        : run_(run), budget_(budget), options_(options)
    {
    }

    /// With these weights and inputs, everything that blocks may keep, each with these numbers of micro-batches, as
    /// long as more of them are needed and help.
    void look(const HeldWeights& weights, const SavedInputs& inputs, std::span<const Index> micro_batches)
    {
        PlanChoice choice;
        choice.energy = weights.energy;
        choice.weight_error = weights.error;
        choice.input_share = inputs.share;
        choice.input_error = inputs.error;
        choice.run = run_;
        choice.run.layers = planned_layers(weights, inputs);
        for (const KeepPreset& preset : options_.keep) {
            choice.keep = preset;
            choice.run.keep.assign(count_parts<nn::KeepOptions, M>(run_.model), preset.keep);
            std::size_t before = 0;
            for (const Index pieces : micro_batches) {
                choice.run.training.micro_batches = pieces;
                choice.forecast = forecast_step(choice.run);
                choice.process =
                    std::max(options_.process(std::max(choice.forecast.process, choice.forecast.convert), run_.threads),
                             options_.reached);
                if (before != 0 && choice.process >= before) {
                    break;
                }
                before = choice.process;
                seen_.push_back(choice);
                if (choice.process <= budget_) {
                    break;
                }
            }
        }
    }

    /// Of those within the budget the one with the least error and, of these, work; nullptr when there is none.
    [[nodiscard]] const PlanChoice* best() const
    {
        const PlanChoice* best = nullptr;
        for (const PlanChoice& choice : seen_) {
            if (choice.process <= budget_ && (best == nullptr || choice.is_better_than(*best))) {
                best = &choice;
            }
        }
        return best;
    }

    [[nodiscard]] const std::vector<PlanChoice>& seen() const { return seen_; }

private:
    /// The layers of the run with these ranks. What becomes low rank becomes the product that the run wishes for.
    [[nodiscard]] std::vector<nn::LayerSetup> planned_layers(const HeldWeights& weights,
                                                             const SavedInputs& inputs) const
    {
        const auto plan = [&](nn::LayerSetup& setup, std::size_t at) {
            if (weights.ranks[at] == 0) {
                setup.weight = nn::DenseOptions{};
            } else {
                nn::set_rank(setup.weight, weights.ranks[at]);
            }
            setup.input = nn::ExactOptions{};
            if (!inputs.ranks.empty() && inputs.ranks[at]) {
                nn::TuckerOptions tucker;
                tucker.ranks = tensor::ModeRules<3>(*inputs.ranks[at]);
                setup.input = tucker;
            }
        };
        std::vector<nn::LayerSetup> result = run_.layers;
        std::size_t layer = 0;
        static_cast<void>(setups_of<M>(run_.model, [&](nn::Place, Index number) {
            if (number >= 0) {
                plan(result.at(layer), static_cast<std::size_t>(number));
            }
            ++layer;
            return nn::LayerSetup{};
        }));
        return result;
    }

    const RunDescription<M>& run_;
    std::size_t budget_;
    const MemoryPlanOptions& options_;
    std::vector<PlanChoice> seen_;
};

}  // namespace detail

/// The way to train within `budget` bytes for the whole process that errs least and, of those, takes the least time
/// (PlanChoice::work). Looks at every energy of the options with every preset of what blocks keep, and cuts a batch
/// into more micro-batches only as long as that is needed and helps; each candidate is a forecast_step. With
/// MemoryPlanOptions::inputs, also at compressed inputs, wherever they can err less than the best without; Tucker forms
/// belong to the size of the micro-batch that they were calibrated on, so these keep to that of `run`. The predicted
/// peak of the process is MemoryPlanOptions::process of the larger of Forecast::process and Forecast::convert, with the
/// pages of the arena up to its high water and a bound on what Eigen takes, and never less than
/// MemoryPlanOptions::reached. `run` says what is given: model, optimiser, batch size, clipping, images, threads, and
/// the form of what becomes low rank, as a wish of each layer of the blocks (wished_layers); its micro_batches is where
/// the search begins. Ranks are those that nn::set_up would find, and of the exact solver. Throws budget_error naming
/// the least budget that any candidate needs, argument_error for spectra or inputs that are not those of the model.
template <nn::Model M>
[[nodiscard]] MemoryPlan<M> plan_memory(const RunDescription<M>& run, std::span<const WeightSpectrum> spectra,
                                        std::size_t budget, const MemoryPlanOptions& options)
{
    using PlanChoice = plan::PlanChoice<M>;
    const std::vector<bool> layers = detail::open_layers<M>(run.model, options.layers);
    const auto open = static_cast<std::size_t>(std::count(layers.begin(), layers.end(), true));
    require<argument_error>(spectra.size() == layers.size(), "plan_memory: ", spectra.size(),
                            " spectra for a model with ", layers.size(), " linear layers in its blocks");
    require<argument_error>(
        run.layers.size() == setups_of<M>(run.model, [](auto...) { return nn::LayerSetup{}; }).size(),
        "plan_memory: ", run.layers.size(), " layers in the description; wished_layers() has those of the model");
    require<argument_error>(!options.energies.empty() && !options.keep.empty(), "plan_memory: nothing to choose from");
    require<argument_error>(options.inputs.empty() || options.inputs.size() == open,
                            "plan_memory: ", options.inputs.size(), " inputs for ", open, " layers");
    detail::PlanSearch<M> search(run, budget, options);
    const auto weights = detail::ways_to_hold(spectra, layers, options);
    const auto micro_batches = detail::micro_batch_choices(run.training, run.images);
    for (const auto& held : weights) {
        search.look(held, {}, micro_batches);
    }
    const double plain_work = search.seen().front().work();
    if (!options.inputs.empty()) {
        const auto inputs = detail::ways_to_save(layers, options);
        const PlanChoice* const exact = search.best();
        const double most = exact != nullptr ? exact->error() : std::numeric_limits<double>::infinity();
        for (const auto& held : weights) {
            for (const auto& saved : inputs) {
                if (held.error + saved.error < most) {
                    search.look(held, saved, std::span(micro_batches).first(1));
                }
            }
        }
    }
    const auto& all = search.seen();
    const auto least = std::min_element(all.begin(), all.end(),
                                        [](const PlanChoice& a, const PlanChoice& b) { return a.process < b.process; });
    const PlanChoice* const best = search.best();
    require<budget_error>(best != nullptr, "plan_memory: a budget of ", budget,
                          " bytes is too small; the least that any choice needs is ", least->process, " bytes");
    return {budget, options.base, *best, plain_work, detail::undominated(all)};
}

/// Prepares a model as planned: ranks of its weights (those that are dense), how inputs are saved, what its blocks
/// keep. `inputs` are other options of compressed inputs, with keys by layer, as in apply_method. `micro_batches` of
/// the training options is chosen.run.training.micro_batches. Throws what the forms' starts do, argument_error for
/// another model.
template <nn::Model M>
void apply_plan(M& model, const MemoryPlan<M>& plan, const subspace::ActivationSubspaceOptions& inputs = {},
                RandomKey key = RandomKey(0))
{
    const auto& setups = plan.chosen.run.layers;
    std::size_t at = 0;
    nn::visit_layers(model, [&](nn::Place, nn::LayerOf<M>& layer) {
        require<argument_error>(at < setups.size(), "apply_plan: a plan for ", setups.size(),
                                " layers and a model with more");
        nn::LayerSetup setup = setups[at++];
        if (auto* tucker = std::get_if<nn::TuckerOptions>(&setup.input)) {
            const auto ranks = tucker->ranks;
            *tucker = nn::TuckerOptions{inputs};
            tucker->ranks = ranks;
        }
        nn::set_up(layer, setup, key.derive(layer.layer()));
    });
    require<argument_error>(at == setups.size(), "apply_plan: a plan for ", setups.size(), " layers and a model with ",
                            at);
    nn::keep(model, plan.chosen.keep.keep);
}

}  // namespace wasi::plan
