#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/nn/vision_transformer.hpp"
#include "wasi/train/compiled.hpp"

namespace wasi::train {

/// What is trained, and how weights and saved inputs of the chosen linear layers are held:
///
///     vanilla  dense weights, exact inputs           wsi   low-rank weights, exact inputs
///     head     only the head is trained              asi   dense weights, Tucker inputs
///     factors  free low-rank factors, exact inputs   wasi  low-rank weights, Tucker inputs
///
/// Low-rank weights of wsi and wasi have an orthonormal L and are moved as one matrix (subspace::WeightSubspace); those
/// of factors are two ordinary parameters (subspace::FreeFactors), for any optimiser.
enum class Method { vanilla, head, wsi, asi, wasi, factors };

[[nodiscard]] constexpr std::string_view to_string(Method method) noexcept
{
    switch (method) {
        case Method::vanilla:
            return "vanilla";
        case Method::head:
            return "head";
        case Method::wsi:
            return "wsi";
        case Method::asi:
            return "asi";
        case Method::wasi:
            return "wasi";
        case Method::factors:
            return "factors";
    }
    return "unknown";
}

/// The linear layers a method applies to: those of the MLPs, or all of the blocks. Never the patch projection or the
/// head.
enum class Layers { mlp, all };

struct MethodOptions {
    Method method = Method::wasi;
    Layers layers = Layers::all;
    /// How the weight rank is chosen. 0.8 of the energy: in the paper's middle range.
    linalg::RankRule weight_rank = linalg::Energy{0.8};
    subspace::ActivationSubspaceOptions activation = {};
    /// A weight whose rank would not make it smaller stays dense. Off only to study the limit of full rank.
    bool keep_dense_above_break_even = true;
};

[[nodiscard]] constexpr bool has_low_rank_weights(Method method) noexcept
{
    return method == Method::wsi || method == Method::wasi || method == Method::factors;
}
/// Low-rank weights as the method of WASI trains them, which is what AdamW cannot.
[[nodiscard]] constexpr bool has_weight_subspaces(Method method) noexcept
{
    return method == Method::wsi || method == Method::wasi;
}
[[nodiscard]] constexpr bool has_compressed_inputs(Method method) noexcept
{
    return method == Method::asi || method == Method::wasi;
}

/// The chosen linear layers, block by block: in_proj, out_proj, fc1, fc2.
template <Scalar T, class S>
[[nodiscard]] std::vector<nn::Linear<T, S>*> selected_layers(nn::VisionTransformer<T, S>& model, Layers layers)
{
    std::vector<nn::Linear<T, S>*> result;
    for (const auto& block : model.blocks) {
        if (layers == Layers::all) {
            result.push_back(&block->in_proj);
            result.push_back(&block->out_proj);
        }
        result.push_back(&block->fc1);
        result.push_back(&block->fc2);
    }
    return result;
}

/// Whether the weight is one of `layers`, told by its number in the ledger (see nn::VisionTransformer): four a block.
template <Scalar T, class S>
[[nodiscard]] bool is_selected(const nn::LinearWeight<T, S>& weight, Index depth, Layers layers)
{
    const Index in_blocks = static_cast<Index>(weight.tag().layer) - 2;
    return in_blocks >= 0 && in_blocks < 4 * depth && (layers == Layers::all || in_blocks % 4 >= 2);
}

/// What the method does to one weight: if it is chosen and the method holds weights low rank, a dense one is factorized
/// and a low-rank one brought into the method's form. For train::load_model, weight by weight. Throws what
/// LinearWeight::factorize does.
template <Scalar T, class S>
void convert_weight(nn::LinearWeight<T, S>& weight, Index depth, const MethodOptions& options)
{
    if (!has_low_rank_weights(options.method) || !is_selected(weight, depth, options.layers)) {
        return;
    }
    const auto form = has_weight_subspaces(options.method) ? nn::LowRankForm::subspace : nn::LowRankForm::free_factors;
    if (weight.is_low_rank()) {
        weight.change_form(form);
    } else {
        weight.factorize(options.weight_rank, options.keep_dense_above_break_even, form);
    }
}

/// What a method does beside holding weights low rank: freezes what is not trained, sets up activation subspaces.
template <Scalar T, class S>
void prepare_training(nn::VisionTransformer<T, S>& model, const MethodOptions& options, RandomKey key)
{
    if (options.method == Method::head) {
        model.for_each_parameter([](auto& parameter) { parameter.set_trainable(false); });
        model.head->weight.set_trainable(true);
        model.head->bias.set_trainable(true);
    }
    if (has_compressed_inputs(options.method)) {
        for (nn::Linear<T, S>* layer : selected_layers(model, options.layers)) {
            layer->compress_input(options.activation, key.derive(layer->layer()));
        }
    }
}

/// Prepares a model for a method: factorizes weights layer by layer, then prepare_training. Weights that are low rank
/// already (loaded so) keep their rank and product; a method with low-rank weights holds them in its own form. Throws
/// what LinearWeight::factorize does.
template <Scalar T, class S>
void apply_method(nn::VisionTransformer<T, S>& model, const MethodOptions& options, RandomKey key)
{
    for (nn::Linear<T, S>* layer : selected_layers(model, options.layers)) {
        convert_weight(layer->weight, model.config().depth, options);
    }
    prepare_training(model, options, key);
}

WASI_COMPILED(WASI_TRAIN_METHOD)

}  // namespace wasi::train
