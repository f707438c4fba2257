#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "wasi/nn/layer_setup.hpp"
#include "wasi/plan/output_calibration.hpp"
#include "wasi/rank/budget_solver.hpp"

namespace wasi::plan {

/// Ranks for the layers of a calibration, 0 where a weight stays dense.
struct OutputRanks {
    std::vector<Index> ranks;
    std::int64_t bytes = 0;        ///< of these weights
    std::int64_t dense_bytes = 0;  ///< of the same as full matrices
    /// sqrt of the sum of LayerOutputs::error: with gradients, the expected relative error of the features, to first
    /// order. It is of use for small errors and for comparing.
    double error = 0.0;
    rank::BudgetSolution solution;  ///< of ranks_within, with its certificate
};

namespace detail {

template <Scalar T>
[[nodiscard]] std::int64_t bytes_at(const LayerOutputs<T>& layer, Index rank)
{
    const Index numbers = rank == 0 ? layer.outputs * layer.inputs : rank * (layer.outputs + layer.inputs);
    return numbers * static_cast<std::int64_t>(sizeof(T));
}

template <Scalar T>
[[nodiscard]] OutputRanks summed(std::span<const LayerOutputs<T>> layers, std::vector<Index> ranks)
{
    OutputRanks result;
    result.ranks = std::move(ranks);
    for (std::size_t i = 0; i < layers.size(); ++i) {
        result.bytes += bytes_at(layers[i], result.ranks[i]);
        result.dense_bytes += bytes_at(layers[i], 0);
        result.error += layers[i].held_rank > 0 ? 0.0 : layers[i].error(result.ranks[i]);
    }
    result.error = std::sqrt(result.error);
    return result;
}

}  // namespace detail

/// The ranks with the least sum of errors whose weights take at most `bytes` together, by the exact budget solver.
/// Ranks are multiples of `step`, for the width of a processor's registers; 0: of 8, or of 1 where a layer has fewer
/// than 64 ranks that pay. Throws budget_error naming the least bytes that would do, argument_error for a step below 0.
template <Scalar T>
[[nodiscard]] OutputRanks ranks_within(std::span<const LayerOutputs<T>> layers, std::int64_t bytes, Index step = 0)
{
    require<argument_error>(step >= 0, "ranks_within: a step of ", step);
    if (step == 0) {
        const bool small = std::any_of(layers.begin(), layers.end(), [](const LayerOutputs<T>& layer) {
            return layer.held_rank == 0 && layer.basis.count() < 64;
        });
        step = small ? 1 : 8;
    }
    std::vector<rank::LayerOptions> choices;
    std::vector<std::vector<Index>> ranks_of;
    for (const LayerOutputs<T>& layer : layers) {
        rank::LayerOptions options;
        std::vector<Index> ranks;
        const auto offer = [&](Index rank) {
            options.push_back({detail::bytes_at(layer, rank), layer.held_rank > 0 ? 0.0 : layer.error(rank)});
            ranks.push_back(rank);
        };
        if (layer.held_rank > 0) {
            offer(layer.held_rank);
        } else {
            const Index most = layer.basis.count();
            for (Index rank = std::min(step, most); rank >= 1 && rank <= most; rank += step) {
                offer(rank);
            }
            offer(0);
        }
        choices.push_back(std::move(options));
        ranks_of.push_back(std::move(ranks));
    }
    rank::BudgetSolution solution = rank::solve_budget(choices, bytes);
    std::vector<Index> ranks;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        ranks.push_back(ranks_of[i][static_cast<std::size_t>(solution.choice[i])]);
    }
    OutputRanks result = detail::summed(layers, std::move(ranks));
    result.solution = std::move(solution);
    return result;
}

/// For each layer the least rank that keeps this share of the energy of its output, G (y - mean): Energy as it is of a
/// weight, asked of what the weight does. Dense where that does not pay. Throws argument_error unless 0 < share <= 1.
template <Scalar T>
[[nodiscard]] OutputRanks ranks_by_energy(std::span<const LayerOutputs<T>> layers, double share)
{
    require<argument_error>(share > 0.0 && share <= 1.0, "ranks_by_energy: a share of ", share);
    std::vector<Index> ranks;
    for (const LayerOutputs<T>& layer : layers) {
        Index rank = layer.held_rank;
        if (rank == 0) {
            double kept = 0.0;
            for (Index j = 0; j < layer.basis.count() && rank == 0; ++j) {
                kept += layer.energies[static_cast<std::size_t>(j)];
                rank = kept >= share * layer.total ? j + 1 : 0;
            }
        }
        ranks.push_back(rank);
    }
    return detail::summed(layers, std::move(ranks));
}

/// Holds the calibrated layers' weights at these ranks, as L R with orthonormal L (subspace::output_factors), and puts
/// into each bias what the weight leaves out of the mean: b + (W - L R) m. A method that comes after keeps rank and
/// product. 4 O I K flops a layer. Throws argument_error where layers and ranks are not the model's.
template <nn::Model M>
void hold_outputs(M& model, std::span<const LayerOutputs<typename M::Value>> found, std::span<const Index> ranks,
                  nn::Layers which = nn::Layers::all)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    Memory& memory = model.memory();
    const auto layers = nn::selected_layers(model, which);
    require<argument_error>(layers.size() == found.size() && ranks.size() == found.size(),
                            "hold_outputs: ", found.size(), " layers and ", ranks.size(), " ranks for a model with ",
                            layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        auto& weight = layers[i]->weight;
        const LayerOutputs<T>& outputs = found[i];
        require<argument_error>(weight.name() == outputs.layer, "hold_outputs: ", outputs.layer, " is not ",
                                weight.name());
        if (ranks[i] == 0 || outputs.held_rank > 0) {
            continue;
        }
        const auto dense = std::as_const(weight).matrix();
        auto factors = subspace::output_factors<S, T>(dense, outputs.basis, outputs.gains.gain.span(),
                                                      outputs.gains.inverse.span(), ranks[i], memory, weight.tag());
        auto held = subspace::WeightSubspace<T, S>::orthonormal(
            std::as_const(factors.left).matrix(), std::as_const(factors.right).matrix(), memory, weight.tag());
        factors = {};
        Tensor<T> inner = workspace<T>(memory, 1, ranks[i]);
        const auto bias = layers[i]->bias.values.matrix();
        const auto mean = outputs.mean.matrix();
        S::multiply(inner.matrix(), T(1), mean, held.right().transposed(), T(0), memory);
        S::multiply(bias, T(1), mean, dense.transposed(), T(1), memory);
        S::multiply(bias, T(-1), std::as_const(inner).matrix(), held.left().transposed(), T(1), memory);
        weight.hold(std::make_unique<nn::SubspaceWeight<T, S>>(weight, std::move(held)));
    }
}

}  // namespace wasi::plan
