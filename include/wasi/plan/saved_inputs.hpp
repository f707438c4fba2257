#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/cross_entropy.hpp"
#include "wasi/data/batches.hpp"
#include "wasi/nn/initialize.hpp"
#include "wasi/nn/model.hpp"
#include "wasi/nn/model_scopes.hpp"
#include "wasi/plan/compiled.hpp"
#include "wasi/rank/budget_solver.hpp"
#include "wasi/rank/perplexity.hpp"

namespace wasi::plan {

/// The ways to save one layer's input, as a calibration batch shows them.
struct InputChoices {
    std::string layer;                         ///< the weight's name
    std::vector<rank::PerplexityEntry> table;  ///< tucker or exact
    double exact_norm = 0.0;                   ///< ||dW||, to see a perplexity against
    std::int64_t exact_bytes = 0;              ///< of the input saved exactly
};

/// How one layer's input is to be saved.
struct PlannedInput {
    std::string layer;             ///< the weight's name
    rank::PerplexityEntry chosen;  ///< tucker or exact
    double exact_norm = 0.0;       ///< ||dW|| on the calibration batch, to see a perplexity against
    std::int64_t exact_bytes = 0;  ///< of the input saved exactly
};

/// How the inputs of the chosen layers are to be saved within a budget, in the order of nn::selected_layers.
struct ActivationPlan {
    std::int64_t budget = 0;
    std::vector<PlannedInput> inputs;
    rank::BudgetSolution solution;  ///< total bytes and perplexity, with the certificate
};

namespace detail {

/// Shows the inputs of layers to observers while it lives; inputs are saved exactly meanwhile, so no basis moves.
template <Scalar T, class S>
class ObserveScope {
public:
    ObserveScope() = default;
    ObserveScope(const ObserveScope&) = delete;
    ObserveScope& operator=(const ObserveScope&) = delete;
    ~ObserveScope()
    {
        for (auto& [layer, saver] : put_aside_) {
            layer->save_input_with(std::move(saver));
        }
    }
    void observe(nn::Linear<T, S>& layer, nn::InputObserver<T> observer)
    {
        put_aside_.emplace_back(&layer,
                                layer.save_input_with(std::make_unique<nn::ExactInput<T, S>>(std::move(observer))));
    }

private:
    std::vector<std::pair<nn::Linear<T, S>*, std::unique_ptr<nn::InputSaver<T, S>>>> put_aside_;
};

/// A head at zero, as a new one is, lets no gradient through: while this lives it holds random values instead.
template <Scalar T, class S>
class RandomHeadScope {
public:
    explicit RandomHeadScope(nn::Linear<T, S>* head)
    {
        if (head == nullptr || head->weight.template held_as<nn::DenseOptions>() == nullptr) {
            return;
        }
        const auto values = std::as_const(head->weight).matrix();
        if (S::dot(values, values) == 0.0) {
            head_ = head;
            nn::fill_normal(head->weight.dense(), std::sqrt(1.0 / static_cast<double>(head->weight.inputs())),
                            RandomKey(0));
        }
    }
    RandomHeadScope(const RandomHeadScope&) = delete;
    RandomHeadScope& operator=(const RandomHeadScope&) = delete;
    ~RandomHeadScope()
    {
        if (head_ != nullptr) {
            S::fill(head_->weight.dense().matrix(), T(0));
        }
    }

private:
    nn::Linear<T, S>* head_ = nullptr;
};

/// ||dYᵀ X||, as sqrt of a sum in double.
template <class S, Scalar T>
[[nodiscard]] double gradient_norm(ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy, Memory& memory)
{
    Tensor<T> dw = workspace<T>(memory, dy.shape[2], x.shape[2]);
    S::multiply(dw.matrix(), T(1), dy.rows_by(2).transposed(), x.rows_by(2), T(0), memory);
    return std::sqrt(S::dot(std::as_const(dw).matrix(), std::as_const(dw).matrix()));
}

}  // namespace detail

/// The ways to save the inputs of the chosen layers, in the order of nn::selected_layers: a forward and backward pass
/// over one batch with exact inputs, and rank::perplexity_table of each layer as its turn comes. The model, its warm
/// bases and random numbers stay as they are. A head at zero, as a new one is, would let no gradient through: for
/// calibration it is replaced by a random one, so perplexities are then right up to a factor that all layers share.
/// Call when weights are held as they will be: dY depends on it. Cost: one step, and for each layer a dense gradient in
/// double and an HOSVD. Peak memory: that of a step with exact inputs, and for a layer at a time its table; blocks that
/// recompute are calibrated one after the other. Throws argument_error for no images, labels out of range and frozen
/// layers.
template <nn::Model M>
[[nodiscard]] std::vector<InputChoices> calibrate_inputs(M& model, const nn::Source<typename M::Value>& batch,
                                                         std::span<const std::int64_t> labels, nn::Layers which,
                                                         rank::PerplexityOptions options = {})
{
    using T = typename M::Value;
    using S = typename M::Storage;
    require<argument_error>(!labels.empty(), "calibrate_inputs: no images");
    // ActivationSubspace has no form without a basis over the batch.
    options.batch_uncompressed = false;
    Memory& memory = model.memory();
    const auto layers = nn::selected_layers(model, which);
    std::vector<InputChoices> result(layers.size());
    {
        detail::ObserveScope<T, S> scope;
        const detail::RandomHeadScope<T, S> head(nn::head_of(model));
        for (std::size_t i = 0; i < layers.size(); ++i) {
            scope.observe(*layers[i], [&, i](ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy) {
                result[i].table = rank::perplexity_table<S, T>(x, dy, options, memory);
                result[i].exact_norm = detail::gradient_norm<S, T>(x, dy, memory);
                result[i].exact_bytes = x.size() * static_cast<std::int64_t>(sizeof(T));
            });
        }
        autograd::Tape<T, S> tape(memory);
        const autograd::Context<T, S> context{memory, &tape};
        const auto loss = autograd::cross_entropy(context, model.forward(context, batch), labels);
        nn::NoSink<T> sink;
        tape.backward(loss, sink);
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        result[i].layer = layers[i]->weight.name();
        require<argument_error>(!result[i].table.empty(), "calibrate_inputs: ", result[i].layer,
                                " is frozen, so nothing of its input is saved");
    }
    return result;
}

/// The choice for each input such that all together take at most `budget` bytes and the sum of perplexities
/// ||dW~ - dW|| is least: rank::solve_budget. Throws budget_error naming the least bytes that would do.
[[nodiscard]] inline ActivationPlan choose_inputs(std::span<const InputChoices> inputs, std::int64_t budget)
{
    ActivationPlan plan;
    plan.budget = budget;
    std::vector<rank::LayerOptions> choices;
    for (const InputChoices& input : inputs) {
        choices.push_back(rank::as_options(input.table));
    }
    plan.solution = rank::solve_budget(choices, budget);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        plan.inputs.push_back({inputs[i].layer, inputs[i].table[static_cast<std::size_t>(plan.solution.choice[i])],
                               inputs[i].exact_norm, inputs[i].exact_bytes});
    }
    return plan;
}

/// calibrate_inputs on these examples of the data set, and choose_inputs. Call after apply_method. Throws what they do,
/// argument_error for labels or values that train would refuse.
template <nn::Model M, data::Batches<typename M::Value> D>
[[nodiscard]] ActivationPlan plan_activations(M& model, const D& data, std::span<const Index> which_examples,
                                              nn::Layers which, std::int64_t budget,
                                              const rank::PerplexityOptions& options = {})
{
    data.check(model.config().classes);
    return choose_inputs(calibrate_inputs(
                             model, [&](Memory& memory) { return data.gather(which_examples, RandomKey(0), memory); },
                             data.gather_labels(which_examples), which, options),
                         budget);
}

/// The set-up that saves an input as planned, with the other options of compressed inputs.
[[nodiscard]] inline nn::InputSetup planned_setup(const PlannedInput& input,
                                                  subspace::ActivationSubspaceOptions options)
{
    if (input.chosen.form == rank::SavedForm::exact) {
        return nn::ExactOptions{};
    }
    options.ranks = tensor::ModeRules<3>(input.chosen.ranks);
    return nn::TuckerOptions{options};
}

/// Sets up the saved inputs as planned; other options of compressed inputs, and keys by layer, as apply_method does.
/// Throws argument_error for a plan of another number of layers.
template <nn::Model M>
void apply_plan(M& model, const ActivationPlan& plan, nn::Layers which,
                const subspace::ActivationSubspaceOptions& options, RandomKey key)
{
    const auto layers = nn::selected_layers(model, which);
    require<argument_error>(plan.inputs.size() == layers.size(), "apply_plan: a plan for ", plan.inputs.size(),
                            " layers and a model with ", layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        nn::set_up(*layers[i], planned_setup(plan.inputs[i], options), key.derive(layers[i]->layer()));
    }
}

WASI_COMPILED(WASI_PLAN_SAVED_INPUTS)

}  // namespace wasi::plan
