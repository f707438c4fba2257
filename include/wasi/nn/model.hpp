#pragma once
#include <concepts>
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi/nn/keep_options.hpp"
#include "wasi/nn/layer_setup.hpp"
#include "wasi/nn/linear.hpp"
#include "wasi/nn/place.hpp"
#include "wasi/storage/dry.hpp"

namespace wasi::nn {

/// A model's input: makes one batch, the same bits whenever it is asked. A model may ask once in the forward pass and
/// once more in the backward pass, and so need not save what it can make again.
template <Scalar T>
using Source = std::function<Tensor<T>(Memory&)>;

/// A visitor that takes every kind of part.
template <Scalar T, class S>
struct AnyPart {
    void operator()(Place, autograd::DenseParameter<T>&) const {}
    void operator()(Place, Linear<T, S>&) const {}
    void operator()(Place, KeepOptions&) const {}
};

// clang-format off

/// What train, predict, calibrate, forecast, plan, save and load ask of a model:
///
///   Value, Storage, Config          its scalar, its storage, and all that decides its shape
///   On<Other>                       the same model, of the same Config, on another storage: what a forecast runs
///   M(config, memory)               with values not set, for whoever fills them next
///   forward(context, source)        logits (rows, classes) as a Variable
///   visit(f)                        f(Place, part) for each part once, in the order of files: a DenseParameter, a
///                                   Linear layer, or KeepOptions (what a block keeps for its backward pass)
///   config()                        classes, example(batch): the extents of a batch; tokens(): rows that its linear
///                                   layers see of one example
///   memory()
template <class M>
concept Model =
    requires {
        typename M::Value;
        typename M::Storage;
        typename M::Config;
        typename M::template On<DryStorage>;
    } && std::constructible_from<M, const typename M::Config&, Memory&> &&
    requires(M& model, const M& fixed, const autograd::Context<typename M::Value, typename M::Storage>& context,
             const Source<typename M::Value>& source, const typename M::Config& config, Index batch) {
        { model.forward(context, source) } -> std::same_as<autograd::Variable<typename M::Value>>;
        { model.visit(AnyPart<typename M::Value, typename M::Storage>{}) };
        { fixed.config() } -> std::same_as<const typename M::Config&>;
        { fixed.memory() } -> std::same_as<Memory&>;
        { config.classes } -> std::convertible_to<Index>;
        { config.example(batch) } -> std::same_as<Shape>;
        { config.tokens() } -> std::same_as<Index>;
    };

// clang-format on

template <class M>
using LayerOf = Linear<typename M::Value, typename M::Storage>;

/// Every parameter as its values are held, in the order of files: f(place, autograd::DenseParameter&) or f(place,
/// LinearWeight&).
template <class M, class F>
void visit_weights(M& model, F&& f)
{
    model.visit([&](Place place, auto& part) {
        if constexpr (requires { part.weight; }) {
            f(place, part.weight);
            f(place, part.bias);
        } else if constexpr (requires { part.values; }) {
            f(place, part);
        }
    });
}

/// The same without places.
template <class M, class F>
void for_each_parameter(M& model, F&& f)
{
    visit_weights(model, [&](Place, auto& parameter) { f(parameter); });
}

/// f(place, layer) of every linear layer.
template <class M, class F>
void visit_layers(M& model, F&& f)
{
    model.visit([&](Place place, auto& part) {
        if constexpr (requires { part.weight; }) {
            f(place, part);
        }
    });
}

/// The chosen linear layers, in the order of files: block by block.
template <class M>
[[nodiscard]] std::vector<LayerOf<M>*> selected_layers(M& model, Layers layers)
{
    std::vector<LayerOf<M>*> result;
    visit_layers(model, [&](Place place, LayerOf<M>& layer) {
        if (is_selected(place.role, layers)) {
            result.push_back(&layer);
        }
    });
    return result;
}

/// The captured energy of each saved input in Tucker form, layer by layer.
template <class M>
[[nodiscard]] std::vector<double> captured_energies(M& model)
{
    std::vector<double> result;
    visit_layers(model, [&](Place, LayerOf<M>& layer) {
        if (const auto* saver = layer.template saves_with<TuckerOptions>()) {
            result.push_back(saver->subspace().captured_energy());
        }
    });
    return result;
}

/// The last linear layer whose role is head; nullptr when there is none.
template <class M>
[[nodiscard]] LayerOf<M>* head_of(M& model)
{
    LayerOf<M>* result = nullptr;
    visit_layers(model, [&](Place place, LayerOf<M>& layer) { result = place.role == Role::head ? &layer : result; });
    return result;
}

/// The trained parameters in the order of files. Throws argument_error where two have one name, by which optimisers
/// know them.
template <class M>
[[nodiscard]] std::vector<ParameterRef<typename M::Value, typename M::Storage>> trainable_parameters(M& model)
{
    using Ref = ParameterRef<typename M::Value, typename M::Storage>;
    std::vector<Ref> result;
    std::set<std::string> names;
    const auto take = [&](const Ref& parameter) {
        if (parameter.identity().trainable()) {
            require<argument_error>(names.insert(parameter.name()).second, "trainable_parameters: two are called ",
                                    parameter.name());
            result.push_back(parameter);
        }
    };
    for_each_parameter(model, [&](auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            take(Ref(parameter));
        } else {
            for (const Ref& part : parameter.form().parameters()) {
                take(part);
            }
        }
    });
    return result;
}

/// What every block keeps for its backward pass.
template <class M>
void keep(M& model, const KeepOptions& options)
{
    model.visit([&](Place, auto& part) {
        if constexpr (std::same_as<std::remove_cvref_t<decltype(part)>, KeepOptions>) {
            part = options;
        }
    });
}

/// Bytes of all parameters as they are held now.
template <class M>
[[nodiscard]] std::size_t parameter_bytes(M& model)
{
    std::size_t bytes = 0;
    for_each_parameter(model, [&](auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            bytes += parameter.values.bytes();
        } else {
            bytes += parameter.bytes();
        }
    });
    return bytes;
}

/// Whether every number of every parameter is finite.
template <class M>
[[nodiscard]] bool all_finite(M& model)
{
    using S = typename M::Storage;
    bool finite = true;
    const auto look = [&](const auto& values) { finite = finite && S::all_finite(values); };
    for_each_parameter(model, [&](auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            look(std::as_const(parameter.values).matrix());
        } else {
            for (const auto& part : parameter.form().parameters()) {
                if (auto* subspace = part.subspace()) {
                    look(subspace->factors.left());
                    look(subspace->factors.right());
                } else {
                    look(std::as_const(part.dense()->values).matrix());
                }
            }
        }
    });
    return finite;
}

/// The state of all weights, by their names; and, unless values alone are asked for, of what saves inputs.
template <class M>
void visit_state(M& model, State& state)
{
    model.visit([&](Place, auto& part) {
        if constexpr (requires { part.weight; }) {
            {
                const State::Scope scope(state, part.weight.name());
                part.weight.form().state(state);
            }
            state.tensor(part.bias.name(), part.bias.values, part.bias.values.memory(), part.bias.values.tag());
            if (!state.values_only()) {
                const State::Scope scope(state, part.weight.name() + ".input.");
                part.input().state(state);
            }
        } else if constexpr (requires { part.values; }) {
            state.tensor(part.name(), part.values, part.values.memory(), part.values.tag());
        }
    });
}

}  // namespace wasi::nn
