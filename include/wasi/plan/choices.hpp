#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/plan/forecast.hpp"
#include "wasi/plan/spectra.hpp"

/// What a memory plan chooses from: how weights are held, how inputs are saved, what blocks keep.
namespace wasi::plan {

/// What blocks keep for the backward pass, under a name.
struct KeepPreset {
    std::string name;
    nn::KeepOptions keep = {};

    /// Relative error of weight gradients, 0 for what is exact: half the spacing of the numbers that are saved, 2^-8 in
    /// bfloat16, 2^-11 in half; in 8 and 4 bits half a step of normal numbers, of which a group of 256 spans six
    /// deviations: 3/255 and 3/15.
    [[nodiscard]] double error() const
    {
        switch (keep.saved_as) {
            case Precision::full:
                return 0.0;
            case Precision::half:
                return std::ldexp(1.0, -11);
            case Precision::bfloat16:
                return std::ldexp(1.0, -8);
            case Precision::int8:
                return 3.0 / 255.0;
            case Precision::int4:
                return 3.0 / 15.0;
        }
        return 0.0;
    }
};

/// From keeping all to keeping least.
[[nodiscard]] inline std::vector<KeepPreset> keep_presets()
{
    using autograd::Output;
    using autograd::Probabilities;
    using nn::Recompute;
    const auto recompute = [](Recompute what) {
        nn::KeepOptions keep;
        keep.recompute = what;
        return keep;
    };
    nn::KeepOptions rebuild;
    rebuild.probabilities = Probabilities::recompute;
    rebuild.norm_output = Output::rebuild;
    rebuild.gelu_input = Output::rebuild;
    rebuild.gelu_output = Output::rebuild;
    nn::KeepOptions rebuild_in_block = rebuild;
    rebuild_in_block.recompute = Recompute::block;
    nn::KeepOptions least = rebuild_in_block;
    least.saved_as = Precision::bfloat16;
    nn::KeepOptions smallest = least;
    smallest.saved_as = Precision::int8;
    return {{"everything", {}},
            {"what is not rebuilt cheaply", rebuild},
            {"inputs of MLP branches", recompute(Recompute::mlp)},
            {"inputs of both branches", recompute(Recompute::halves)},
            {"inputs of blocks", recompute(Recompute::block)},
            {"inputs of blocks, rebuilding in them", rebuild_in_block},
            {"the same in bfloat16", least},
            {"the same in int8", smallest}};
}

/// What plan_memory may choose from, and what the process takes beside the engine.
struct MemoryPlanOptions {
    /// Shares of a weight's energy to choose from; 1: weights as they are.
    std::vector<double> energies{1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4};
    std::vector<KeepPreset> keep = keep_presets();
    /// The layers whose weights may become low rank, and whose inputs may be compressed.
    nn::Layers layers = nn::Layers::all;
    /// The ways to save the inputs of these layers, from calibrate_inputs on one of the run's largest micro-batches.
    /// Empty: inputs are saved exactly.
    std::vector<InputChoices> inputs = {};
    /// Shares of the bytes of exact inputs: for each, the ranks with the least sum of perplexities are one candidate
    /// (choose_inputs).
    std::vector<double> input_shares{0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625};
    /// What the process holds beside the ledger's bytes, now.
    std::size_t base = 0;
    /// What the heap and the program's code take beyond all that is counted.
    std::size_t slack = std::size_t{4} << 20;
    /// And the heap of each thread: the C library keeps about as much as Eigen packs, after it was given back.
    std::size_t slack_per_thread = std::size_t{2} << 20;
    /// The most that the process has held so far: no choice can make it less.
    std::size_t reached = 0;

    /// What a process with this many threads holds when the engine takes so many bytes.
    [[nodiscard]] std::size_t process(std::size_t engine, Index threads) const
    {
        return base + slack + slack_per_thread * static_cast<std::size_t>(threads) + engine;
    }
};

/// The rank that holds `energy` of a weight, 0 where it stays dense, and the relative error that this makes.
[[nodiscard]] inline std::pair<Index, double> rank_for(const WeightSpectrum& weight, double energy)
{
    if (weight.values.empty() || energy >= 1.0) {
        return {weight.held_rank, 0.0};
    }
    double total = 0.0;
    for (const double value : weight.values) {
        total += value * value;
    }
    const double floor = linalg::detail::rounding_floor<float>(weight.outputs, weight.inputs, weight.values);
    const Index rank = linalg::RankRule(linalg::Energy{energy})
                           .choose({weight.values, total, total, floor, weight.outputs, weight.inputs});
    if (rank * (weight.outputs + weight.inputs) >= weight.outputs * weight.inputs) {
        return {0, 0.0};
    }
    double tail = 0.0;
    for (auto i = static_cast<std::size_t>(rank); i < weight.values.size(); ++i) {
        tail += weight.values[i] * weight.values[i];
    }
    return {rank, total > 0.0 ? std::sqrt(tail / total) : 0.0};
}

namespace detail {

/// One way to hold weights, or to save inputs.
struct HeldWeights {
    double energy = 1.0;
    std::vector<Index> ranks;
    double error = 0.0;
};
struct SavedInputs {
    double share = 1.0;
    std::vector<std::optional<std::array<Index, 3>>> ranks;
    double error = 0.0;
};

/// For every energy the ranks and their error (those that are not open stay as they are), each set of ranks once.
[[nodiscard]] inline std::vector<HeldWeights> ways_to_hold(std::span<const WeightSpectrum> spectra,
                                                           const std::vector<bool>& open,
                                                           const MemoryPlanOptions& options)
{
    std::vector<HeldWeights> result;
    for (const double energy : options.energies) {
        require<argument_error>(energy > 0.0 && energy <= 1.0, "plan_memory: an energy must be in (0, 1], got ",
                                energy);
        HeldWeights way{energy, {}, 0.0};
        for (std::size_t i = 0; i < spectra.size(); ++i) {
            const auto [rank, error] = rank_for(spectra[i], open[i] ? energy : 1.0);
            way.ranks.push_back(rank);
            way.error += error / static_cast<double>(spectra.size());
        }
        if (std::none_of(result.begin(), result.end(), [&](const auto& other) { return other.ranks == way.ranks; })) {
            result.push_back(std::move(way));
        }
    }
    return result;
}

/// For every share that can be had the ranks of the exact solver and their error, each set of ranks once.
[[nodiscard]] inline std::vector<SavedInputs> ways_to_save(const std::vector<bool>& open,
                                                           const MemoryPlanOptions& options)
{
    std::vector<SavedInputs> result;
    const std::size_t layers = open.size();
    double exact = 0.0;
    for (const InputChoices& input : options.inputs) {
        exact += static_cast<double>(input.exact_bytes);
    }
    for (const double share : options.input_shares) {
        require<argument_error>(share > 0.0 && share <= 1.0, "plan_memory: a share must be in (0, 1], got ", share);
        ActivationPlan plan;
        try {
            plan = choose_inputs(options.inputs, static_cast<std::int64_t>(share * exact));
        } catch (const budget_error&) {
            continue;  // not even the smallest ranks fit
        }
        SavedInputs way{static_cast<double>(plan.solution.bytes) / exact, {}, 0.0};
        way.ranks.resize(layers);
        auto planned = plan.inputs.begin();
        for (std::size_t i = 0; i < layers; ++i) {
            if (!open[i]) {
                continue;
            }
            if (planned->chosen.form == rank::SavedForm::tucker) {
                way.ranks[i] = planned->chosen.ranks;
                const double norm = planned->exact_norm;
                way.error += norm > 0.0 ? planned->chosen.perplexity / norm / static_cast<double>(layers) : 0.0;
            }
            ++planned;
        }
        if (std::none_of(result.begin(), result.end(), [&](const auto& other) { return other.ranks == way.ranks; })) {
            result.push_back(std::move(way));
        }
    }
    return result;
}

}  // namespace detail

}  // namespace wasi::plan
