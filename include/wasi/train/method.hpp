#pragma once
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/nn/model.hpp"
#include "wasi/train/compiled.hpp"

namespace wasi::train {

struct MethodOptions;

/// A way to train: a rule from a layer's role to its set-up. How weights and saved inputs of the chosen linear layers
/// are held, and what is trained.
struct Method {
    std::string_view name;
    std::string_view what;
    nn::WeightSetup (*weight)(const MethodOptions&);  ///< of the chosen layers
    nn::InputSetup (*input)(const MethodOptions&);
    bool trains_layers = true;   ///< the weights of the chosen layers
    bool trains_rest = true;     ///< all else but the head, which always is
    bool trains_biases = false;  ///< of all else, norms and biases still: of the chosen layers and of embeddings

    friend bool operator==(const Method& a, const Method& b) { return a.name == b.name; }
};

/// The method of this name. Throws argument_error when there is none; in a constant expression, does not compile.
[[nodiscard]] constexpr const Method& method(std::string_view name);

/// A method with its numbers.
struct MethodOptions {
    Method method = train::method("wasi");
    nn::Layers layers = nn::Layers::all;
    /// How the weight rank is chosen. 0.8 of the energy: in the paper's middle range.
    linalg::RankRule weight_rank = linalg::Energy{0.8};
    subspace::ActivationSubspaceOptions activation = {};
    /// Of projected inputs; the methods compact and prac have projections of their own.
    subspace::InputProjectionOptions projection = {};
    /// How the inputs of the chosen layers are saved, in place of the method's own way (saved_inputs has those that
    /// there are).
    nn::InputSetup (*inputs)(const MethodOptions&) = nullptr;
    /// A weight whose rank would not make it smaller stays dense. Off only to study the limit of full rank.
    bool keep_dense_above_break_even = true;
    /// Ranks were chosen before (plan::hold_outputs): a weight that is dense now stays so.
    bool ranks_are_chosen = false;
    nn::AdapterOptions adapter = {};
    /// In which format weights of linear layers are held that are not trained, the base of an adapter among them.
    Precision frozen_weights = Precision::full;
    double precondition = 0.0;  ///< of free factors (nn::FactorsOptions); an adapter has its own
};

namespace detail {

[[nodiscard]] inline nn::WeightSetup dense(const MethodOptions&)
{
    return nn::DenseOptions{};
}
[[nodiscard]] inline nn::WeightSetup subspace(const MethodOptions& options)
{
    return nn::SubspaceOptions{{options.weight_rank, options.keep_dense_above_break_even}};
}
[[nodiscard]] inline nn::WeightSetup factors(const MethodOptions& options)
{
    return nn::FactorsOptions{{options.weight_rank, options.keep_dense_above_break_even}, options.precondition};
}
[[nodiscard]] inline nn::AdapterOptions adapter_of(const MethodOptions& options)
{
    nn::AdapterOptions adapter = options.adapter;
    adapter.base = options.frozen_weights;
    return adapter;
}
[[nodiscard]] inline nn::WeightSetup adapter(const MethodOptions& options)
{
    return adapter_of(options);
}
[[nodiscard]] inline nn::WeightSetup adapter_frozen_a(const MethodOptions& options)
{
    nn::AdapterOptions adapter = adapter_of(options);
    adapter.train_a = false;
    adapter.correct_b = true;
    return adapter;
}
[[nodiscard]] inline nn::WeightSetup dora(const MethodOptions& options)
{
    return nn::DoraOptions{adapter_of(options)};
}
[[nodiscard]] inline nn::InputSetup exact(const MethodOptions&)
{
    return nn::ExactOptions{};
}
[[nodiscard]] inline nn::InputSetup tucker(const MethodOptions& options)
{
    return nn::TuckerOptions{options.activation};
}

[[nodiscard]] inline nn::InputSetup projected(const MethodOptions& options)
{
    return nn::ProjectedOptions{options.projection};
}
template <subspace::Projection own>
[[nodiscard]] nn::InputSetup projected_by(const MethodOptions& options)
{
    nn::ProjectedOptions projected{options.projection};
    projected.projection = own;
    return projected;
}

}  // namespace detail

/// The ways to save inputs of which MethodOptions::inputs may be one.
struct SavedInputs {
    std::string_view name;
    nn::InputSetup (*input)(const MethodOptions&);
};
inline constexpr std::array saved_inputs{SavedInputs{"exact", detail::exact}, SavedInputs{"tucker", detail::tucker},
                                         SavedInputs{"projected", detail::projected}};

/// The table of methods.
inline constexpr std::array methods{
    Method{"vanilla", "dense weights, exact inputs", detail::dense, detail::exact},
    Method{"head", "only the head is trained", detail::dense, detail::exact, false, false},
    Method{"bitfit", "only biases, norms and the head are trained", detail::dense, detail::exact, false, false, true},
    Method{"wsi", "low-rank weights, exact inputs", detail::subspace, detail::exact},
    Method{"asi", "dense weights, Tucker inputs", detail::dense, detail::tucker},
    Method{"wasi", "low-rank weights, Tucker inputs", detail::subspace, detail::tucker},
    Method{"factors", "free low-rank factors, exact inputs", detail::factors, detail::exact},
    Method{"lora", "frozen dense weights, a low-rank adapter and the head trained, exact inputs", detail::adapter,
           detail::exact, true, false},
    Method{"lora-fa", "as lora with A frozen too: X Aᵀ is saved instead of inputs", detail::adapter_frozen_a,
           detail::exact, true, false},
    Method{"dora", "as lora with the lengths of the weight's rows trained too", detail::dora, detail::exact, true,
           false},
    Method{"compact", "dense weights, randomly projected inputs", detail::dense,
           detail::projected_by<subspace::Projection::gaussian>},
    Method{"prac", "dense weights, inputs projected onto principal and random directions", detail::dense,
           detail::projected_by<subspace::Projection::prac>},
};

constexpr const Method& method(std::string_view name)
{
    for (const Method& one : methods) {
        if (one.name == name) {
            return one;
        }
    }
    throw argument_error("there is no method '" + std::string(name) + "'");
}

/// How these options save the inputs of the chosen layers.
[[nodiscard]] inline nn::InputSetup input_setup(const MethodOptions& options)
{
    return (options.inputs != nullptr ? options.inputs : options.method.input)(options);
}

/// The set-up that a method gives a linear layer of this role.
[[nodiscard]] inline nn::LayerSetup layer_setup(const MethodOptions& options, nn::Role role)
{
    const Method& method = options.method;
    const bool rest = method.trains_rest || role == nn::Role::head;
    const bool bias = method.trains_biases && (role == nn::Role::embedding || nn::is_selected(role, options.layers));
    nn::LayerSetup setup{.trainable = rest, .bias_trainable = rest || bias};
    if (nn::is_selected(role, options.layers)) {
        setup.weight = method.weight(options);
        setup.input = input_setup(options);
        setup.trainable = method.trains_layers;
    }
    if (!setup.trainable && options.frozen_weights != Precision::full) {
        setup.weight = nn::FrozenOptions{options.frozen_weights};
    }
    return setup;
}

/// What a method does beside holding weights: freezes what is not trained, sets up how inputs are saved. What is frozen
/// already stays so.
template <nn::Model M>
void prepare_training(M& model, const MethodOptions& options, RandomKey key)
{
    model.visit([&](nn::Place place, auto& part) {
        if constexpr (requires { part.weight; }) {
            const nn::LayerSetup setup = layer_setup(options, place.role);
            nn::set_up(part, setup.input, key.derive(part.layer()));
            part.weight.set_trainable(part.weight.trainable() && setup.trainable);
            part.bias.set_trainable(part.bias.trainable() && setup.bias_trainable);
        } else if constexpr (requires { part.values; }) {
            const bool norm = options.method.trains_biases && place.role == nn::Role::norm;
            part.set_trainable(part.trainable() && (options.method.trains_rest || norm));
        }
    });
}

/// Prepares a model for a method: weights layer by layer, then prepare_training. Weights that are low rank already
/// (loaded so) keep their rank and product; a method with low-rank weights holds them in its own form. Throws what the
/// forms' starts do.
template <nn::Model M>
void apply_method(M& model, const MethodOptions& options, RandomKey key)
{
    nn::visit_layers(model, [&](nn::Place place, nn::LayerOf<M>& layer) {
        if (!options.ranks_are_chosen || layer.weight.is_low_rank()) {
            nn::set_up(layer.weight, layer_setup(options, place.role).weight);
        }
    });
    prepare_training(model, options, key);
}

/// The method that a model's layers come to: of those whose form of weights and of inputs some layer of the blocks has,
/// the one that says most; vanilla where all are dense and exact.
template <nn::Model M>
[[nodiscard]] const Method& method_of(M& model)
{
    const auto layers = nn::selected_layers(model, nn::Layers::all);
    const auto any = [&](const auto& setup, const auto& of) {
        return std::any_of(layers.begin(), layers.end(), [&](auto* layer) { return nn::alike(of(*layer), setup); });
    };
    const auto weight_of = [](const auto& layer) { return nn::setup_of(layer.weight); };
    const auto input_of = [](const auto& layer) { return nn::input_setup_of(layer); };
    const MethodOptions options;
    const Method* best = &methods.front();
    std::size_t most = 0;
    for (const Method& one : methods) {
        const auto weight = one.weight(options);
        const auto input = one.input(options);
        const bool dense = nn::kind_of(weight) == nn::DenseOptions::kind;
        const bool exact = nn::kind_of(input) == nn::ExactOptions::kind;  // projections are told apart by no kind
        const std::size_t says = (dense ? 0U : 1U) + (exact ? 0U : 1U);
        if (one.trains_layers && (dense || any(weight, weight_of)) && (exact || any(input, input_of)) && says > most) {
            best = &one;
            most = says;
        }
    }
    return *best;
}

WASI_COMPILED(WASI_TRAIN_METHOD)

}  // namespace wasi::train
