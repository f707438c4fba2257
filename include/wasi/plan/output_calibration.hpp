#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/weights/product.hpp"
#include "wasi/plan/compiled.hpp"
#include "wasi/plan/layer_outputs.hpp"

namespace wasi::plan {

/// How outputs are calibrated.
struct OutputCalibration {
    nn::Layers layers = nn::Layers::all;
    Index batch_size = 16;  ///< examples at a time: a matter of memory
    /// The first so many examples tell what an error of each output does to the features (output_gains): 32 were enough
    /// where 96 found the directions. 0: nobody asks, and an error counts relative to its layer's output.
    Index gradient_examples = 32;
};

namespace detail {

/// `pass` shows the layers everything that calibrates them, `check` what is held out.
template <nn::Model M, class Pass, class Check>
void find_bases(std::span<nn::LayerOf<M>* const> layers, std::span<LayerOutputs<typename M::Value>* const> found,
                Memory& memory, const Pass& pass, const Check& check, bool any_held_out)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    std::vector<std::unique_ptr<SeenLayer<S, T>>> seen;
    {
        nn::WatchScope<T, S> watch;
        for (auto* layer : layers) {
            seen.push_back(std::make_unique<SeenLayer<S, T>>(*layer, memory));
            watch.observe(*layer, {[one = seen.back().get()](auto x, auto y) { one->add(x, y); }, {}});
        }
        pass();
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        LayerOutputs<T>& outputs = *found[i];
        const Index most = (outputs.outputs * outputs.inputs - 1) / (outputs.outputs + outputs.inputs);
        const auto weight = std::as_const(layers[i]->weight).matrix();
        outputs.basis =
            subspace::output_basis<S, T>(weight, {seen[i]->scatter(), seen[i]->count(), outputs.gains.gain.span()},
                                         std::max<Index>(most, 1), memory, Tag{Use::workspace, 0});
        outputs.mean = workspace<T>(memory, 1, outputs.inputs);
        S::convert(outputs.mean.matrix(), seen[i]->mean());
        outputs.total = 0.0;
        for (const double energy : outputs.basis.energies) {
            outputs.total += energy;
        }
        outputs.energies.assign(outputs.basis.energies.begin(), outputs.basis.energies.begin() + outputs.basis.count());
        seen[i].reset();
    }
    if (!any_held_out) {
        return;
    }
    std::vector<std::pair<LayerOutputs<T>*, std::unique_ptr<CheckedLayer<S, T>>>> checked;
    {
        nn::WatchScope<T, S> watch;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (found[i]->basis.count() > 0) {
                checked.emplace_back(found[i], std::make_unique<CheckedLayer<S, T>>(*layers[i], *found[i], memory));
                watch.observe(*layers[i], {[one = checked.back().second.get()](auto, auto y) { one->add(y); }, {}});
            }
        }
        check();
    }
    for (auto& [outputs, one] : checked) {
        one->put_into(*outputs);
    }
}

/// Block by block, with what is between blocks kept of all examples; a model without blocks all at once.
template <nn::Model M, class D>
void find_bases_of(M& model, const D& data, std::span<const Index> fit, std::span<const Index> held_out,
                   const OutputCalibration& options, std::vector<LayerOutputs<typename M::Value>>& found,
                   std::span<nn::LayerOf<M>* const> layers, std::span<const Index> blocks)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    Memory& memory = model.memory();
    const autograd::Context<T, S> context{memory, nullptr};
    const auto of_block = [&](auto wanted, const auto& pass, const auto& check) {
        std::vector<nn::LayerOf<M>*> some;
        std::vector<LayerOutputs<T>*> theirs;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (wanted(blocks[i]) && found[i].held_rank == 0) {
                some.push_back(layers[i]);
                theirs.push_back(&found[i]);
            }
        }
        find_bases<M>(some, theirs, memory, pass, check, !held_out.empty());
    };
    if constexpr (nn::StagedModel<M>) {
        using Batches = std::vector<autograd::Variable<T>>;
        const auto embedded = [&](std::span<const Index> which) {
            Batches result;
            data::for_each_batch(data, which, options.batch_size, [&](const auto& batch) {
                result.push_back(model.embed(context, nn::Source<T>(batch)));
            });
            return result;
        };
        Batches fitted = embedded(fit);
        Batches checked = embedded(held_out);
        for (Index block = 0; block < model.stages(); ++block) {
            const auto move_on = [&](Batches& batches) {
                for (auto& x : batches) {
                    x = model.stage(context, block, std::move(x));
                }
            };
            // What is held out passes through the block whether or not anybody looks.
            of_block([&](Index at) { return at == block; }, [&] { move_on(fitted); }, [&] { move_on(checked); });
        }
    } else {
        const auto all = [&](std::span<const Index> which) {
            data::for_each_batch(data, which, options.batch_size, [&](const auto& batch) {
                static_cast<void>(model.forward(context, nn::Source<T>(batch)));
            });
        };
        of_block([](Index) { return true; }, [&] { all(fit); }, [&] { all(held_out); });
    }
}

}  // namespace detail

/// The directions of the outputs of the chosen layers on these examples, and what they hold on others, held out: what
/// decides on ranks must not be what directions were fitted to. In the order of nn::selected_layers. Layers are looked
/// at with the network as it is, a block at a time, so that no layer's inputs are kept: beside the model, the larger of
/// a step of output_gains and, of all examples, what is between two blocks, with the four or so scatter matrices of a
/// block (of its smaller sides, in double). The directions found are kept: min(O,I) numbers for each rank that pays.
/// Cost: output_gains, one forward pass of all examples, and an eigenvalue problem for each layer. The model stays as
/// it is. Throws argument_error for no examples, what output_gains and subspace::output_basis do.
template <nn::Model M, class D>
requires data::Batches<D, typename M::Value>
[[nodiscard]] std::vector<LayerOutputs<typename M::Value>> calibrate_outputs(M& model, const D& data,
                                                                             std::span<const Index> fit,
                                                                             std::span<const Index> held_out,
                                                                             const OutputCalibration& options = {})
{
    using T = typename M::Value;
    using S = typename M::Storage;
    require<argument_error>(!fit.empty() && options.batch_size >= 1 && options.gradient_examples >= 0,
                            "calibrate_outputs: ", fit.size(), " examples, ", options.batch_size, " at a time, ",
                            options.gradient_examples, " for gradients");
    std::vector<nn::LayerOf<M>*> layers;
    std::vector<Index> blocks;
    std::vector<LayerOutputs<T>> found;
    nn::visit_layers(model, [&](nn::Place place, nn::LayerOf<M>& layer) {
        if (nn::is_selected(place.role, options.layers)) {
            const bool dense = layer.weight.template held_as<nn::DenseOptions>() != nullptr;
            require<argument_error>(dense || layer.weight.is_low_rank(), "calibrate_outputs: ", layer.weight.name(),
                                    " is held as ", nn::kind_of(nn::setup_of(layer.weight)));
            layers.push_back(&layer);
            blocks.push_back(place.block);
            LayerOutputs<T>& outputs = found.emplace_back();
            outputs.layer = layer.weight.name();
            outputs.outputs = layer.weight.outputs();
            outputs.inputs = layer.weight.inputs();
            outputs.held_rank = layer.weight.rank();
        }
    });
    if (options.gradient_examples > 0) {
        const std::size_t count = std::min(fit.size(), static_cast<std::size_t>(options.gradient_examples));
        auto gains =
            output_gains(model, std::span<nn::LayerOf<M>* const>(layers), data, fit.first(count), options.batch_size);
        for (std::size_t i = 0; i < found.size(); ++i) {
            found[i].gains = std::move(gains[i]);
        }
    } else {
        for (LayerOutputs<T>& outputs : found) {
            outputs.gains = detail::unit_gains<S, T>(outputs.outputs, model.memory());
        }
    }
    detail::find_bases_of(model, data, fit, held_out, options, found, std::span<nn::LayerOf<M>* const>(layers), blocks);
    if (options.gradient_examples == 0) {
        for (LayerOutputs<T>& outputs : found) {
            const double unit = outputs.total > 0.0 ? 1.0 / outputs.total : 0.0;
            for (double& energy : outputs.energies) {
                energy *= unit;
            }
            outputs.total *= unit;
        }
    }
    return found;
}

}  // namespace wasi::plan
