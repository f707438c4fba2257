#pragma once
#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <variant>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/nn/model.hpp"
#include "wasi/optim/any_optimizer.hpp"
#include "wasi/train/trainer.hpp"

namespace wasi::plan {

/// Everything about a training run that decides what it allocates. Lists are in the order in which the model visits its
/// parts.
template <nn::Model M>
struct RunDescription {
    typename M::Config model;
    /// Every linear layer. Ranks of weights and of saved inputs are fixed ones; where a rule chooses them at run time,
    /// the largest that can occur (largest_ranks). Empty: all dense, exact and trained.
    std::vector<nn::LayerSetup> layers;
    /// Whether each parameter outside of linear layers is trained. Empty: all are.
    std::vector<bool> trainable;
    /// What each block keeps for the backward pass. Empty: everything.
    std::vector<nn::KeepOptions> keep;
    /// All weights are dense before the first becomes low rank, as those of a new model; else each becomes so as it is
    /// read (files::load_model with a visitor). For Forecast::convert.
    bool dense_first = false;
    /// Which optimiser; its numbers do not matter for memory, only what it keeps.
    optim::OptimizerOptions optimizer;
    /// batch_size, micro_batches, clip_norm, clip_scope and gradients matter.
    train::TrainOptions training;
    /// Examples of an epoch, whose last batch may be smaller; 0: every batch is full.
    Index images = 0;
    /// Examples that are looked at without gradients after an epoch (measure::confusion, measure::predict); 0: none.
    Index evaluated = 0;
    /// How many of them at once; 0: as many as the largest micro-batch has.
    Index evaluation_batch = 0;
    /// Threads of the run.
    Index threads = thread_count();
};

/// The largest ranks that any rule can choose for an input (B,N,I): every rule keeps at most as many singular values of
/// an unfolding as there are.
[[nodiscard]] inline std::array<Index, 3> largest_ranks(Index batch, Index tokens, Index features)
{
    return {batch, tokens, std::min(features, batch * tokens)};
}

/// The set-up of every linear layer of a model of this shape, as `choose(place, number among those of the blocks)` has
/// it; number is -1 elsewhere. Costs a model that holds nothing.
template <nn::Model M, class Choose>
[[nodiscard]] std::vector<nn::LayerSetup> setups_of(const typename M::Config& config, const Choose& choose)
{
    using Dry = typename M::template On<DryStorage>;
    Ledger memory;
    Dry model(config, memory);
    std::vector<nn::LayerSetup> result;
    Index number = 0;
    nn::visit_layers(model, [&](nn::Place place, auto&) {
        const bool in_blocks = nn::is_selected(place.role, nn::Layers::all);
        result.push_back(choose(place, in_blocks ? number++ : Index{-1}));
    });
    return result;
}

/// Every layer of the blocks with this wish for its weight, all others dense.
template <nn::Model M>
[[nodiscard]] std::vector<nn::LayerSetup> wished_layers(const typename M::Config& config, const nn::WeightSetup& wish)
{
    return setups_of<M>(config, [&](nn::Place, Index number) {
        nn::LayerSetup setup;
        if (number >= 0) {
            setup.weight = wish;
        }
        return setup;
    });
}

namespace detail {

/// Of each linear layer of the blocks, whether it is one of `which`.
template <nn::Model M>
[[nodiscard]] std::vector<bool> open_layers(const typename M::Config& config, nn::Layers which)
{
    std::vector<bool> result;
    static_cast<void>(setups_of<M>(config, [&](nn::Place place, Index number) {
        if (number >= 0) {
            result.push_back(nn::is_selected(place.role, which));
        }
        return nn::LayerSetup{};
    }));
    return result;
}

/// How many parts of this kind a model of this shape has.
template <class Part, nn::Model M>
[[nodiscard]] std::size_t count_parts(const typename M::Config& config)
{
    Ledger memory;
    typename M::template On<DryStorage> model(config, memory);
    std::size_t result = 0;
    model.visit(
        [&](nn::Place, auto& part) { result += std::same_as<std::remove_cvref_t<decltype(part)>, Part> ? 1 : 0; });
    return result;
}

[[nodiscard]] inline bool is_compressed(const nn::LayerSetup& layer)
{
    return std::holds_alternative<nn::TuckerOptions>(layer.input);
}
/// Whether dW = P Qᵀ: over micro-batches such gradients add up to more columns.
[[nodiscard]] inline bool has_factored_gradient(const nn::LayerSetup& layer)
{
    return !std::holds_alternative<nn::ExactOptions>(layer.input);
}

template <nn::Model M>
[[nodiscard]] bool any_compressed(const RunDescription<M>& run)
{
    return std::any_of(run.layers.begin(), run.layers.end(), is_compressed);
}
template <nn::Model M>
[[nodiscard]] bool any_factored_gradient(const RunDescription<M>& run)
{
    return std::any_of(run.layers.begin(), run.layers.end(), has_factored_gradient);
}

/// Holds weights and saves inputs as described. No element is set.
template <nn::Model M, nn::Model D>
void prepare(D& model, const RunDescription<M>& run, Index restart_every)
{
    std::size_t layers = 0;
    std::size_t others = 0;
    std::size_t blocks = 0;
    model.visit([&](nn::Place place, auto& part) {
        if constexpr (requires { part.weight; }) {
            ++layers;
            if (run.dense_first || !nn::is_selected(place.role, nn::Layers::all)) {
                static_cast<void>(part.weight.dense());
            }
        } else if constexpr (requires { part.values; }) {
            part.set_trainable(run.trainable.empty() || (others < run.trainable.size() && run.trainable[others]));
            ++others;
        } else {
            part = run.keep.empty() || blocks >= run.keep.size() ? nn::KeepOptions{} : run.keep[blocks];
            ++blocks;
        }
    });
    const auto fits = [](std::size_t given, std::size_t there, const char* what) {
        require<argument_error>(given == 0 || given == there, "RunDescription: ", given, ' ', what,
                                " for a model with ", there);
    };
    fits(run.layers.size(), layers, "layers");
    fits(run.trainable.size(), others, "parameters");
    fits(run.keep.size(), blocks, "blocks");
    std::size_t at = 0;
    nn::visit_layers(model, [&](nn::Place, auto& layer) {
        if (layer.weight.template held_as<nn::DenseOptions>() != nullptr) {
            static_cast<void>(layer.weight.dense());
        }
        if (run.layers.empty()) {
            return;
        }
        nn::LayerSetup setup = run.layers[at++];
        if (auto* tucker = std::get_if<nn::TuckerOptions>(&setup.input)) {
            // The energies of a dry run mean nothing, so no restart may depend on them.
            tucker->restart_below = 0.0;
            tucker->restart_every = restart_every;
        }
        auto* projected = std::get_if<nn::ProjectedOptions>(&setup.input);
        if (projected != nullptr && std::same_as<typename D::Storage, WorstDryStorage>) {
            projected->refresh_every = projected->refresh_every > 0 ? 1 : 0;  // a refresh may fall on any step
        }
        nn::set_up(layer, setup, RandomKey(0));
    });
}

}  // namespace detail

/// A description of the run that `train` would do with this model, as it is prepared now, and these options. Where a
/// rule chooses the ranks of saved inputs, the largest that can occur.
template <nn::Model M>
[[nodiscard]] RunDescription<M> describe(M& model, const train::TrainOptions& training,
                                         const optim::OptimizerOptions& optimizer, Index images)
{
    RunDescription<M> run;
    run.model = model.config();
    run.optimizer = optimizer;
    run.training = training;
    run.images = images;
    const Index largest = train::largest_micro_batch(training, images);
    model.visit([&](nn::Place, auto& part) {
        if constexpr (requires { part.weight; }) {
            nn::LayerSetup setup = nn::setup_of(part);
            if (auto* tucker = std::get_if<nn::TuckerOptions>(&setup.input)) {
                auto ranks = largest_ranks(largest, model.config().tokens(), part.weight.inputs());
                for (std::size_t mode = 0; mode < 3; ++mode) {
                    ranks[mode] = tucker->ranks[mode].fixed().value_or(ranks[mode]);
                }
                tucker->ranks = tensor::ModeRules<3>(ranks);
            }
            run.layers.push_back(std::move(setup));
        } else if constexpr (requires { part.values; }) {
            run.trainable.push_back(part.trainable());
        } else {
            run.keep.push_back(part);
        }
    });
    return run;
}

}  // namespace wasi::plan
