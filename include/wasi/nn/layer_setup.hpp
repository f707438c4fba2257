#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "wasi/nn/inputs/inputs.hpp"
#include "wasi/nn/linear.hpp"
#include "wasi/nn/weights/forms.hpp"

namespace wasi::nn {

/// How a linear layer holds its weight, saves its input, and what of it is trained. A value: methods make it of a
/// layer's role, plans choose it, forecasts run it, files and reports record it.
struct LayerSetup {
    WeightSetup weight = DenseOptions{};
    InputSetup input = ExactOptions{};
    bool trainable = true;  ///< what its form trains of the weight
    bool bias_trainable = true;
};

[[nodiscard]] inline std::string_view kind_of(const WeightSetup& setup)
{
    return std::visit([](const auto& options) { return std::remove_cvref_t<decltype(options)>::kind; }, setup);
}
[[nodiscard]] inline std::string_view kind_of(const InputSetup& setup)
{
    return std::visit([](const auto& options) { return std::remove_cvref_t<decltype(options)>::kind; }, setup);
}

/// Whether two set-ups are of one kind and, where its options tell, train the same.
template <class Setup>
[[nodiscard]] bool alike(const Setup& one, const Setup& other)
{
    return one.index() == other.index() &&
           std::visit(
               [&](const auto& options) {
                   if constexpr (requires { options.trains_like(options); }) {
                       return options.trains_like(std::get<std::remove_cvref_t<decltype(options)>>(other));
                   } else {
                       return true;
                   }
               },
               one);
}

/// The same form at this rank, whatever it saves. Throws argument_error for a form that has none.
inline void set_rank(WeightSetup& setup, Index rank)
{
    std::visit(
        [&](auto& options) {
            if constexpr (requires { options.keep_dense_above_break_even; }) {
                options.rank = linalg::FixedRank{rank};
                options.keep_dense_above_break_even = false;
            } else {
                throw argument_error(message("set_rank: a weight held ", options.kind, " has no rank to be chosen"));
            }
        },
        setup);
}

/// The rank of a set-up where it is a number, 0 of a form that has none or leaves it to a rule.
[[nodiscard]] inline Index fixed_rank(const WeightSetup& setup)
{
    return std::visit(
        [](const auto& options) -> Index {
            if constexpr (requires { options.rank.fixed(); }) {
                return options.rank.fixed().value_or(0);
            } else if constexpr (requires { options.rank; }) {
                return options.rank;
            } else {
                return 0;
            }
        },
        setup);
}

/// The weight held as wished, from what it is now. `statistics`: of the layer, for starts that look at data. Throws
/// what the form's start does.
template <Scalar T, class S>
void set_up(LinearWeight<T, S>& weight, const WeightSetup& setup, const LayerStatistics* statistics = nullptr)
{
    std::visit(
        [&](const auto& options) {
            using Form = typename std::remove_cvref_t<decltype(options)>::template Form<T, S>;
            if (std::unique_ptr<WeightForm<T, S>> form = Form::start(weight, options, statistics)) {
                weight.hold(std::move(form));
            }
        },
        setup);
}

/// The input saved as wished from now on, with a fresh state.
template <Scalar T, class S>
void set_up(Linear<T, S>& layer, const InputSetup& setup, RandomKey key)
{
    std::visit(
        [&](const auto& options) {
            using Saver = typename std::remove_cvref_t<decltype(options)>::template Saver<T, S>;
            layer.save_input_with(Saver::start(options, key, layer.weight.memory(), layer.layer()));
        },
        setup);
}

/// The whole layer as wished. `key` is the layer's own.
template <Scalar T, class S>
void set_up(Linear<T, S>& layer, const LayerSetup& setup, RandomKey key, const LayerStatistics* statistics = nullptr)
{
    set_up(layer.weight, setup.weight, statistics);
    set_up(layer, setup.input, key);
    layer.weight.set_trainable(setup.trainable);
    layer.bias.set_trainable(setup.bias_trainable);
}

namespace detail {

/// What match(std::type_identity<Options>) gives for the first alternative that it gives anything for.
template <class Setup, std::size_t at = 0, class Match>
[[nodiscard]] std::optional<Setup> find_setup(const Match& match)
{
    if constexpr (at < std::variant_size_v<Setup>) {
        if (auto found = match(std::type_identity<std::variant_alternative_t<at, Setup>>())) {
            return found;
        }
        return find_setup<Setup, at + 1>(match);
    } else {
        return std::nullopt;
    }
}

/// Throws argument_error for a form or a saver that is in no list: what is not said must not pass for the first one.
template <class Setup>
[[nodiscard]] Setup listed(std::optional<Setup> found, const std::string& weight)
{
    require<argument_error>(found.has_value(), "setup_of: ", weight, " is held or saved in a way that no list names");
    return *std::move(found);
}

}  // namespace detail

/// How a weight is held now: setting a weight of the same values up so gives the same form and rank. Throws
/// argument_error for a form that is not in the list of forms.
template <Scalar T, class S>
[[nodiscard]] WeightSetup setup_of(const LinearWeight<T, S>& weight)
{
    const auto found =
        detail::find_setup<WeightSetup>([&]<class Options>(std::type_identity<Options>) -> std::optional<WeightSetup> {
            const auto* form = dynamic_cast<const typename Options::template Form<T, S>*>(&weight.form());
            if (form == nullptr) {
                return std::nullopt;
            }
            if constexpr (requires { form->options(); }) {
                return Options{form->options()};
            } else {
                return Options{};
            }
        });
    return detail::listed(found, weight.name());
}

/// How a layer's input is saved now. Throws argument_error for a saver that is not in the list of savers.
template <Scalar T, class S>
[[nodiscard]] InputSetup input_setup_of(const Linear<T, S>& layer)
{
    const auto found =
        detail::find_setup<InputSetup>([&]<class Options>(std::type_identity<Options>) -> std::optional<InputSetup> {
            const auto* saver = dynamic_cast<const typename Options::template Saver<T, S>*>(&layer.input());
            if (saver == nullptr) {
                return std::nullopt;
            }
            if constexpr (requires { saver->options(); }) {
                return Options{saver->options()};
            } else {
                return Options{};
            }
        });
    return detail::listed(found, layer.weight.name());
}

/// How a layer is set up now.
template <Scalar T, class S>
[[nodiscard]] LayerSetup setup_of(const Linear<T, S>& layer)
{
    return {setup_of(layer.weight), input_setup_of(layer), layer.weight.trainable(), layer.bias.trainable()};
}

/// An empty form of this kind, for state() to fill; nullptr where no form is called so.
template <Scalar T, class S>
[[nodiscard]] std::unique_ptr<WeightForm<T, S>> empty_form(LinearWeight<T, S>& weight, std::string_view kind)
{
    std::unique_ptr<WeightForm<T, S>> result;
    static_cast<void>(
        detail::find_setup<WeightSetup>([&]<class Options>(std::type_identity<Options>) -> std::optional<WeightSetup> {
            if (Options::kind != kind) {
                return std::nullopt;
            }
            result = Options::template Form<T, S>::empty(weight);
            return Options{};
        }));
    return result;
}

}  // namespace wasi::nn
