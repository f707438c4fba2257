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
#include "wasi/train/trainer.hpp"

namespace wasi::train {

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

/// The images that the largest micro-batch of the first step of train(.., options, key) could hold: a batch's worth for
/// calibration.
[[nodiscard]] inline std::vector<Index> calibration_images(Index count, const TrainOptions& options, RandomKey key)
{
    std::vector<Index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), Index{0});
    if (options.shuffle) {
        order = random_permutation(count, key.derive(0));
    }
    const Index batch = std::min(options.batch_size, count);
    const Index pieces = std::min(options.micro_batches, batch);
    order.resize(static_cast<std::size_t>((batch + pieces - 1) / pieces));
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

/// Chooses how the inputs of the chosen layers are saved so that together they take at most `budget` bytes on a batch
/// of this size and the sum of perplexities ||dW~ - dW|| on it is least: a forward and backward pass with exact inputs,
/// rank::perplexity_table of each layer as its turn comes, rank::solve_budget. The model, its warm bases and random
/// numbers stay as they are. A head at zero, as a new one is, would let no gradient through: for calibration it is
/// replaced by a random one, so perplexities are then right up to a factor that all layers share. Call after
/// apply_method: dY depends on how weights are held. Cost: one step, and for each layer a dense gradient in double and
/// an HOSVD; peak memory that of exact inputs. Throws budget_error naming the least bytes that would do, argument_error
/// for labels or images that train would refuse.
template <Scalar T, class S>
[[nodiscard]] ActivationPlan plan_activations(nn::VisionTransformer<T, S>& model, const Dataset<T>& data,
                                              std::span<const Index> images, Layers which, std::int64_t budget,
                                              rank::PerplexityOptions options = {})
{
    data.check(model.config().classes);
    require<argument_error>(!images.empty(), "plan_activations: no images");
    // ActivationSubspace has no form without a basis over the batch.
    options.batch_uncompressed = false;
    Memory& memory = model.memory();
    const auto layers = selected_layers(model, which);
    std::vector<std::vector<rank::PerplexityEntry>> tables(layers.size());
    ActivationPlan plan;
    plan.budget = budget;
    plan.inputs.resize(layers.size());
    {
        const detail::ObserveScope<T, S> scope(layers);
        const detail::RandomHeadScope<T, S> head(*model.head);
        for (std::size_t i = 0; i < layers.size(); ++i) {
            layers[i]->observe([&, i](ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy) {
                tables[i] = rank::perplexity_table<S, T>(x, dy, options, memory);
                plan.inputs[i].exact_norm = detail::gradient_norm<S, T>(x, dy, memory);
                plan.inputs[i].exact_bytes = x.size() * static_cast<std::int64_t>(sizeof(T));
            });
        }
        autograd::Tape<T, S> tape(memory);
        const autograd::Context<T, S> context{memory, &tape};
        const Tensor<T> batch = data.gather(images, memory);
        const auto labels = data.gather_labels(images);
        const auto loss = autograd::cross_entropy(context, model.forward(context, batch.template view<4>()), labels);
        detail::NoSink<T> sink;
        tape.backward(loss, sink);
    }
    std::vector<rank::LayerOptions> choices;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        require<argument_error>(!tables[i].empty(), "plan_activations: ", layers[i]->weight.name(),
                                " is frozen, so nothing of its input is saved");
        choices.push_back(rank::as_options(tables[i]));
    }
    plan.solution = rank::solve_budget(choices, budget);
    for (std::size_t i = 0; i < layers.size(); ++i) {
        plan.inputs[i].layer = layers[i]->weight.name();
        plan.inputs[i].chosen = tables[i][static_cast<std::size_t>(plan.solution.choice[i])];
    }
    return plan;
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

}  // namespace wasi::train
