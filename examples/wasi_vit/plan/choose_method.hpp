#pragma once
#include <optional>

#include "plan/method_table.hpp"
#include "plan/output_start.hpp"
#include "plan/plan.hpp"

namespace wasi_examples {

/// What --method auto comes to.
struct MethodInBudget {
    FinetuneOptions options;           ///< as given, with the method and its numbers filled in
    PlannedRun run;                    ///< its layers say how weights are held as they are loaded
    std::optional<OutputStart> start;  ///< where ranks are found by outputs after that
    std::optional<BudgetPlan> plan;    ///< instead of all this, where nothing could be measured: low rank by energy
    MethodTable compared;
};

/// Compares methods on a batch of the training images, and chooses what errs least within the budget: plan::
/// choose_method. What is measured, on how many images, and in which format the weights are held meanwhile, is as much
/// as fits into the budget itself. Where not even weights in 8 bits can be looked at, what is left is low rank by the
/// weights' own energies (plan_from). `data` is loaded. Throws wasi::budget_error where nothing fits,
/// wasi::argument_error for what makes no sense.
[[nodiscard]] MethodInBudget choose_within_budget(const FinetuneOptions& options, std::size_t budget,
                                                  TrainAndTest& data);

}  // namespace wasi_examples
