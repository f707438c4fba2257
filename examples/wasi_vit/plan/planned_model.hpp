#pragma once
#include <vector>

#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/plan/run_description.hpp>
#include <wasi/plan/spectra.hpp>
#include <wasi/storage/eigen.hpp>

#include "commands/data_source.hpp"
#include "commands/weights.hpp"
#include "options/options.hpp"

namespace wasi_examples {

using PlannedModel = wasi::nn::VisionTransformer<float, wasi::EigenStorage>;
using PlannedRun = wasi::plan::RunDescription<PlannedModel>;

/// What a plan starts from: the model's shape and what was seen of the weights of its blocks.
struct GivenModel {
    wasi::nn::VisionTransformerConfig config;
    std::vector<wasi::plan::WeightSpectrum> spectra;
    /// Of each of these weights, for each of the formats that were asked for: plan::rounding_rows.
    std::vector<std::vector<std::vector<double>>> rounding;
};

/// Of a new model, all at once; of a weights file weight by weight, so that no more than one dense weight is held.
/// `data` is loaded too.
[[nodiscard]] GivenModel look_at_model(const FinetuneOptions& options, TrainAndTest& data,
                                       const std::vector<wasi::Precision>& formats = {});

/// What is given of a run: its layers are the wishes for weights that become low rank.
[[nodiscard]] PlannedRun describe_run(const FinetuneOptions& options, const wasi::nn::VisionTransformerConfig& config,
                                      const TrainAndTest& data);

/// The model that the options name, its weights held as the layers say.
[[nodiscard]] ModelWithOrigin make_or_load(const FinetuneOptions& options, const PlannedRun& run, wasi::Memory& memory);

}  // namespace wasi_examples
