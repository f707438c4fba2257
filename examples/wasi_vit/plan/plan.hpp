#pragma once
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/plan/memory_plan.hpp>
#include <wasi/storage/eigen.hpp>

#include "commands/data_source.hpp"
#include "options/options.hpp"
#include "plan/planned_model.hpp"

namespace wasi_examples {

using PlannedMemory = wasi::plan::MemoryPlan<PlannedModel>;

/// The ranks of one linear layer of a block.
struct LayerRanks {
    wasi::Index weight = 0;                           ///< 0: dense
    std::optional<std::array<wasi::Index, 3>> input;  ///< nothing: exact
};

/// Of every linear layer of the blocks.
[[nodiscard]] std::vector<LayerRanks> ranks_of_blocks(const wasi::plan::RunDescription<PlannedModel>& run);

/// A plan, and a few words on how inputs are saved and why.
struct BudgetPlan {
    PlannedMemory memory;
    std::string inputs;
};

/// A model within --memory-budget: made or loaded, its weights held and its blocks keeping what the plan says.
struct ModelInBudget {
    std::unique_ptr<PlannedModel> model;
    BudgetPlan plan;
    /// The method that this comes to: vanilla, wsi, asi, wasi or factors.
    wasi::train::Method method = wasi::train::method("vanilla");
    std::map<std::string, std::string> origin = {};  ///< what its files carry of where it came from
};

/// Plans for the model and the data that the options name. A weights file is read weight by weight for its spectra, so
/// that no more than one dense weight is held, and once more if compressed inputs come into question and the budget has
/// room for their calibration. `data` is loaded: it is part of what the process holds.
[[nodiscard]] BudgetPlan plan_for(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data);

/// The same for a model that was looked at already; `more_energies` are tried beside the usual ones.
[[nodiscard]] BudgetPlan plan_from(const FinetuneOptions& options, std::size_t budget, const TrainAndTest& data,
                                   GivenModel given, const std::vector<double>& more_energies = {});

/// Makes or loads the model as planned.
[[nodiscard]] ModelInBudget make_model_in_budget(const FinetuneOptions& options, BudgetPlan plan, wasi::Ledger& ledger);

/// The plan for the terminal: classes and bytes, choices by layer, what more memory would buy.
[[nodiscard]] std::string memory_plan_text(const BudgetPlan& plan);

/// MemoryPlan::frontier, a line each.
[[nodiscard]] std::string frontier_csv(const PlannedMemory& plan);

}  // namespace wasi_examples
