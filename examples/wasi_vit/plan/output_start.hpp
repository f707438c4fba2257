#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wasi/nn/place.hpp>

#include "commands/data_source.hpp"
#include "commands/run_keeper.hpp"

namespace wasi_examples {

/// Ranks by what weights do to pictures (plan::calibrate_outputs).
struct OutputStart {
    std::optional<double> size;  ///< share of the dense bytes of these weights, dealt over layers; else by `energy`
    double energy = 0.8;         ///< of each layer's output
    wasi::nn::Layers layers = wasi::nn::Layers::all;
    wasi::Index examples = 128;  ///< a quarter of them is held out
    wasi::Index batch_size = 16;
};

/// `count` different examples of `size` (all where there are fewer), in the order in which the key draws them.
[[nodiscard]] std::vector<wasi::Index> draw_examples(wasi::Index size, wasi::Index count, wasi::RandomKey key);

/// Of `drawn` calibration images (two or more) those that find directions, and the quarter that checks them.
[[nodiscard]] std::pair<std::size_t, std::size_t> fit_and_held_out(std::size_t drawn);

/// As finetune's options have it; calibration takes as many images at a time as a piece of a batch has, at most 16.
[[nodiscard]] OutputStart output_start(const FinetuneOptions& options);

/// Which images are drawn: 4 of finetune's streams of random numbers.
[[nodiscard]] inline wasi::RandomKey calibration_key(const FinetuneOptions& options)
{
    return wasi::RandomKey(options.seed).derive(4);
}

/// Holds the weights of these layers as factors, and returns lines that say what that cost. The examples are drawn from
/// `data` by the key. Throws wasi::argument_error for fewer than two examples, what calibrate_outputs does, and
/// wasi::budget_error for a size that cannot be had.
[[nodiscard]] std::string start_from_outputs(RunModel& model, const RunData& data, const OutputStart& options,
                                             wasi::RandomKey key);

}  // namespace wasi_examples
