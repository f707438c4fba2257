#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wasi/storage/eigen.hpp>
#include <wasi/plan/memory_plan.hpp>

#include "commands/data_source.hpp"
#include "options/options.hpp"

namespace wasi_examples {

using PlannedModel = wasi::nn::VisionTransformer<float, wasi::EigenStorage>;

/// A plan, and a few words on how inputs are saved and why.
struct BudgetPlan {
    wasi::plan::MemoryPlan memory;
    std::string inputs;
};

/// A model within --memory-budget: made or loaded, its weights held and its blocks keeping what the plan says.
struct ModelInBudget {
    std::unique_ptr<PlannedModel> model;
    BudgetPlan plan;
    /// The method that this comes to: vanilla, wsi, asi, wasi or factors.
    wasi::train::Method method = wasi::train::method("vanilla");
};

/// Plans for the model and the data that the options name. A weights file is read weight by weight for its spectra, so
/// that no more than one dense weight is held, and once more if compressed inputs come into question and the budget has
/// room for their calibration. `data` is loaded: it is part of what the process holds.
[[nodiscard]] BudgetPlan plan_for(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data);

/// Plans, then makes or loads the model as planned.
[[nodiscard]] ModelInBudget make_model_in_budget(const FinetuneOptions& options, std::size_t budget,
                                                 wasi::Ledger& ledger, TrainAndTest& data);

/// The plan for the terminal: classes and bytes, choices by layer, what more memory would buy.
[[nodiscard]] std::string memory_plan_text(const BudgetPlan& plan);

/// MemoryPlan::frontier, a line each.
[[nodiscard]] std::string frontier_csv(const wasi::plan::MemoryPlan& plan);

}  // namespace wasi_examples
