#include "plan/plan.hpp"

#include <cstdio>
#include <utility>

#include <wasi/core/process_memory.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/plan/fit.hpp>

#include "commands/commands.hpp"
#include "files/output_folder.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"
#include "plan/choose_method.hpp"
#include "plan/planned_model.hpp"

namespace wasi_examples {
namespace {

using Run = wasi::plan::RunDescription<PlannedModel>;

[[nodiscard]] std::string inputs_text(const wasi::plan::Fit<PlannedModel>& fit)
{
    switch (fit.inputs) {
        case wasi::plan::InputsDecision::exact_suffices:
            return "exact; nothing else was needed";
        case wasi::plan::InputsDecision::may_not_compress:
            return "exact; compressed ones are looked at for sgd alone";
        case wasi::plan::InputsDecision::calibration_too_big:
            return "exact; to calibrate compressed ones would take " +
                   page::bytes_text(static_cast<double>(fit.calibration)) + " in all";
        case wasi::plan::InputsDecision::looked_at:
            break;
    }
    const double share = fit.plan.chosen.input_share;
    return share < 1.0 ? "compressed to " + page::percent_text(share) + " of exact ones"
                       : "exact; compressed ones were looked at";
}

}  // namespace

BudgetPlan plan_for(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data)
{
    GivenModel given = look_at_model(options, data);
    return plan_from(options, budget, data, std::move(given));
}

BudgetPlan plan_from(const FinetuneOptions& options, std::size_t budget, const TrainAndTest& data, GivenModel given,
                     const std::vector<double>& more_energies)
{
    wasi::plan::FitRequest<PlannedModel> request;
    request.run = describe_run(options, given.config, data);
    request.spectra = std::move(given.spectra);
    request.budget = budget;
    request.options.layers = options.layers;
    auto& energies = request.options.energies;
    energies.insert(energies.end(), more_energies.begin(), more_energies.end());
    if (options.keep != wasi::nn::KeepOptions{}) {
        request.options.keep = {{"as asked for", options.keep}};
    }
    // What decoding takes is not there yet.
    request.options.base = wasi::process_memory().resident + data.working_bytes;
    request.may_compress = options.optimizer == OptimizerName::sgd;
    request.make_model = [&](const Run& run, wasi::Memory& memory) { return make_or_load(options, run, memory).model; };
    const auto images = wasi::train::calibration_images(data.train.size(), request.run.training,
                                                        wasi::RandomKey(options.seed).derive(3));
    check_labels(data.train, request.run.model.classes, options);
    request.batch = [&](wasi::Memory& memory) { return data.train.gather(images, wasi::RandomKey(0), memory); };
    request.labels = data.train.gather_labels(images);
    auto fit = wasi::plan::fit(std::move(request));
    std::string inputs = inputs_text(fit);
    return {std::move(fit.plan), std::move(inputs)};
}

ModelInBudget make_model_in_budget(const FinetuneOptions& options, BudgetPlan plan, wasi::Ledger& ledger)
{
    ModelInBudget result;
    result.plan = std::move(plan);
    const auto& chosen = result.plan.memory.chosen;
    auto made = make_or_load(options, chosen.run, ledger);
    result.model = std::move(made.model);
    result.origin = std::move(made.origin);
    wasi::plan::apply_plan(*result.model, result.plan.memory, method_options(options).activation,
                           wasi::RandomKey(options.seed).derive(2));
    result.method = wasi::train::method_of(*result.model);
    return result;
}

int plan(const FinetuneOptions& options)
{
    const auto budget = memory_budget(options);
    if (!options.out.empty()) {
        check_file(options.out);
    }
    use_threads(options.threads);
    TrainAndTest data;
    if (compares_methods(options)) {
        const MethodInBudget chosen = choose_within_budget(options, *budget, data);
        std::fputs(batch_note(options, data.train.size()).c_str(), stdout);
        std::fputs(chosen.compared.text().c_str(), stdout);
        if (chosen.plan) {
            std::fputs(memory_plan_text(*chosen.plan).c_str(), stdout);
        }
        if (!options.out.empty()) {
            wasi::io::write_file_atomically(options.out,
                                            chosen.plan ? frontier_csv(chosen.plan->memory) : chosen.compared.csv());
        }
        return 0;
    }
    wasi::require<wasi::argument_error>(!options.rank && !options.alpha && !options.rslora && !options.calibration,
                                        "--rank, --alpha, --rslora and --calibration are for --method auto");
    const BudgetPlan result = plan_for(options, *budget, data);
    std::fputs(batch_note(options, data.train.size()).c_str(), stdout);
    std::fputs(memory_plan_text(result).c_str(), stdout);
    if (!options.out.empty()) {
        wasi::io::write_file_atomically(options.out, frontier_csv(result.memory));
    }
    return 0;
}

}  // namespace wasi_examples
