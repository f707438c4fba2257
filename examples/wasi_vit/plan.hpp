#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wasi/storage/eigen.hpp>
#include <wasi/train/memory_plan.hpp>

#include "data_source.hpp"
#include "options.hpp"

namespace wasi_examples {

using PlannedModel = wasi::nn::VisionTransformer<float, wasi::EigenStorage>;

/// A model within --memory-budget: made or loaded, its weights held and its blocks keeping what the plan says.
struct ModelInBudget {
    std::unique_ptr<PlannedModel> model;
    wasi::train::MemoryPlan plan;
    /// The method that this comes to: vanilla, wsi or factors.
    wasi::train::Method method = wasi::train::Method::vanilla;
};

/// The bytes of --memory-budget; nothing when there is none. Throws wasi::argument_error, also when it does not go with
/// the other options.
[[nodiscard]] std::optional<std::size_t> memory_budget(const FinetuneOptions& options);

/// Plans for the model and the data that the options name. A weights file is read weight by weight for its spectra, so
/// that no more than one dense weight is held. `data` is loaded first: it is part of what the process holds.
[[nodiscard]] wasi::train::MemoryPlan plan_for(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data);

/// Plans, then makes or loads the model as planned.
[[nodiscard]] ModelInBudget make_model_in_budget(const FinetuneOptions& options, std::size_t budget,
                                                 wasi::Ledger& ledger, TrainAndTest& data);

/// The plan for the terminal: classes and bytes, choices by layer, the frontier.
[[nodiscard]] std::string memory_plan_text(const wasi::train::MemoryPlan& plan);

}  // namespace wasi_examples
