#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/rank/budget_solver.hpp"
#include "wasi/rank/perplexity.hpp"
#include "wasi/train/compiled.hpp"
#include "wasi/train/trainer.hpp"

namespace wasi::train {

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

/// How the inputs of the chosen layers are to be saved within a budget, in the order of selected_layers.
struct ActivationPlan {
    std::int64_t budget = 0;
    std::vector<PlannedInput> inputs;
    rank::BudgetSolution solution;  ///< total bytes and perplexity, with the certificate
};

/// The images of the largest micro-batch that steps over `images` images (0: so many that every batch is full) have.
[[nodiscard]] inline Index largest_micro_batch(const TrainOptions& options, Index images)
{
    const Index batch = images > 0 ? std::min(options.batch_size, images) : options.batch_size;
    const Index pieces = std::min(options.micro_batches, batch);
    return (batch + pieces - 1) / pieces;
}

/// The images that the largest micro-batch of the first step of train(.., options, key) could hold: a batch's worth for
/// calibration.
[[nodiscard]] inline std::vector<Index> calibration_images(Index count, const TrainOptions& options, RandomKey key)
{
    std::vector<Index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), Index{0});
    if (options.shuffle) {
        order = random_permutation(count, key.derive(0));
    }
    order.resize(static_cast<std::size_t>(largest_micro_batch(options, count)));
    return order;
}

namespace detail {

/// Takes gradients and forgets them.
template <Scalar T>
class NoSink final : public autograd::Sink<T> {
public:
    void take(autograd::Parameter&, const autograd::Gradient<T>&) override {}
};

/// Ends the observation of layers, also when calibration throws.
template <Scalar T, class S>
class ObserveScope {
public:
    explicit ObserveScope(std::vector<nn::Linear<T, S>*> layers) : layers_(std::move(layers)) {}
    ObserveScope(const ObserveScope&) = delete;
    ObserveScope& operator=(const ObserveScope&) = delete;
    ~ObserveScope()
    {
        for (nn::Linear<T, S>* layer : layers_) {
            layer->observe({});
        }
    }

private:
    std::vector<nn::Linear<T, S>*> layers_;
};

/// A head at zero, as a new one is, lets no gradient through: while this lives it holds random values instead.
template <Scalar T, class S>
class RandomHeadScope {
public:
    explicit RandomHeadScope(nn::Linear<T, S>& head)
    {
        if (head.weight.is_low_rank()) {
            return;
        }
        const auto values = head.weight.matrix();
        if (S::dot(ConstMatrixView<T>(values), ConstMatrixView<T>(values)) == 0.0) {
            head_ = &head;
            nn::fill_normal(head.weight.dense(), std::sqrt(1.0 / static_cast<double>(head.weight.inputs())),
                            RandomKey(0));
        }
    }
    RandomHeadScope(const RandomHeadScope&) = delete;
    RandomHeadScope& operator=(const RandomHeadScope&) = delete;
    ~RandomHeadScope()
    {
        if (head_ != nullptr) {
            head_->weight.dense().fill(T(0));
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

/// The ways to save the inputs of the chosen layers, in the order of selected_layers: a forward and backward pass over
/// the images `batch` (B,3,H,W) with exact inputs, and rank::perplexity_table of each layer as its turn comes. The
/// model, its warm bases and random numbers stay as they are. A head at zero, as a new one is, would let no gradient
/// through: for calibration it is replaced by a random one, so perplexities are then right up to a factor that all
/// layers share. Call when weights are held as they will be: dY depends on it. Cost: one step, and for each layer a
/// dense gradient in double and an HOSVD. Peak memory: that of a step with exact inputs, and for a layer at a time its
/// table; blocks that recompute are calibrated one after the other. Throws argument_error for no images, labels out of
/// range and frozen layers.
template <Scalar T, class S>
[[nodiscard]] std::vector<InputChoices> calibrate_inputs(nn::VisionTransformer<T, S>& model, const Tensor<T>& batch,
                                                         std::span<const std::int64_t> labels, Layers which,
                                                         rank::PerplexityOptions options = {})
{
    require<argument_error>(!labels.empty(), "calibrate_inputs: no images");
    // ActivationSubspace has no form without a basis over the batch.
    options.batch_uncompressed = false;
    Memory& memory = model.memory();
    const auto layers = selected_layers(model, which);
    std::vector<InputChoices> result(layers.size());
    {
        const detail::ObserveScope<T, S> scope(layers);
        const detail::RandomHeadScope<T, S> head(*model.head);
        for (std::size_t i = 0; i < layers.size(); ++i) {
            layers[i]->observe([&, i](ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy) {
                result[i].table = rank::perplexity_table<S, T>(x, dy, options, memory);
                result[i].exact_norm = detail::gradient_norm<S, T>(x, dy, memory);
                result[i].exact_bytes = x.size() * static_cast<std::int64_t>(sizeof(T));
            });
        }
        autograd::Tape<T, S> tape(memory);
        const autograd::Context<T, S> context{memory, &tape};
        const auto loss = autograd::cross_entropy(context, model.forward(context, batch.template view<4>()), labels);
        detail::NoSink<T> sink;
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

/// calibrate_inputs on these images of the data set, and choose_inputs. Call after apply_method. Throws what they do,
/// argument_error for labels or images that train would refuse.
template <Scalar T, class S>
[[nodiscard]] ActivationPlan plan_activations(nn::VisionTransformer<T, S>& model, const Dataset<T>& data,
                                              std::span<const Index> images, Layers which, std::int64_t budget,
                                              const rank::PerplexityOptions& options = {})
{
    data.check(model.config().classes);
    return choose_inputs(
        calibrate_inputs(model, data.gather(images, model.memory()), data.gather_labels(images), which, options),
        budget);
}

/// Sets up the saved inputs as planned; other options, and keys by layer, as apply_method does.
template <Scalar T, class S>
void apply_plan(nn::VisionTransformer<T, S>& model, const ActivationPlan& plan, Layers which,
                subspace::ActivationSubspaceOptions options, RandomKey key)
{
    const auto layers = selected_layers(model, which);
    require<argument_error>(plan.inputs.size() == layers.size(), "apply_plan: a plan for ", plan.inputs.size(),
                            " layers and a model with ", layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const rank::PerplexityEntry& chosen = plan.inputs[i].chosen;
        if (chosen.form == rank::SavedForm::exact) {
            layers[i]->save_input_exactly();
            continue;
        }
        options.ranks = tensor::ModeRules<3>(chosen.ranks);
        layers[i]->compress_input(options, key.derive(layers[i]->layer()));
    }
}

WASI_COMPILED(WASI_TRAIN_ACTIVATION_PLAN)

}  // namespace wasi::train
