#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wasi/optim/any_optimizer.hpp>

#include "commands/data_source.hpp"
#include "commands/phase_peaks.hpp"
#include "commands/run_keeper.hpp"
#include "commands/subspace_track.hpp"
#include "plan/method_table.hpp"
#include "plan/output_start.hpp"
#include "plan/plan.hpp"

namespace wasi_examples {

/// What a run of finetune starts from, whether new or resumed.
struct TrainingSetup {
    FinetuneOptions options;  ///< as they came to be: a method, a batch no larger than the data
    wasi::train::TrainOptions training;
    TrainAndTest data;
    wasi::Booking booked_images;
    std::unique_ptr<RunModel> model;
    std::map<std::string, std::string> origin;  ///< what its files carry of where it came from
    std::unique_ptr<RunOptimizer> optimizer;
    std::optional<PlannedMemory> memory_plan;                   ///< of --memory-budget
    std::optional<wasi::plan::ActivationPlan> activation_plan;  ///< of --activation-budget
    SubspaceTrack track;                                        ///< of --track-subspaces
    wasi::files::RunFacts facts;
    wasi::Index total_steps = 0;
    /// Of a resumed run: what was done before.
    std::vector<StepRow> steps;
    std::vector<std::vector<double>> energies;
    /// Of --method auto: what was compared, and the ranks by output that it may have chosen.
    std::optional<MethodTable> methods;
    std::optional<OutputStart> start;
};

/// Makes, loads or goes on with the model, its data and its optimiser, and says what it has settled. Throws what
/// loading, planning and the library's set-ups do.
[[nodiscard]] TrainingSetup set_up_training(const FinetuneOptions& given, wasi::Ledger& ledger, PhasePeaks& phases);

/// finetune's stream of random numbers: 1 start of the model, 2 methods, 3 batches, 4 images for ranks by output.
[[nodiscard]] inline wasi::RandomKey run_key(const FinetuneOptions& options, std::uint64_t purpose)
{
    return wasi::RandomKey(options.seed).derive(purpose);
}

}  // namespace wasi_examples
