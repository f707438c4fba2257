#include "commands/training_setup.hpp"

#include <cstdio>
#include <utility>

#include "commands/adapters.hpp"
#include "commands/weights.hpp"
#include "options/run_options.hpp"
#include "plan/activation_budget.hpp"
#include "plan/choose_method.hpp"
#include "plan/output_start.hpp"

namespace wasi_examples {
namespace {

using wasi::EigenStorage;
using wasi::Index;

[[nodiscard]] std::unique_ptr<RunModel> make_model(const FinetuneOptions& options,
                                                   const wasi::train::MethodOptions& method, wasi::Ledger& ledger,
                                                   TrainAndTest& data, std::map<std::string, std::string>& origin)
{
    if (options.weights.empty()) {
        auto config = model_config(options);
        data = load_data(options, config.image);
        config.classes = options.classes.value_or(data.class_count);
        return std::make_unique<RunModel>(config, ledger, run_key(options, 1));
    }
    auto loaded = load_weights({options.weights, options.heads, options.train_layer_scale, options.image}, ledger,
                               false, [&](wasi::nn::Place place, auto& weight) {
                                   // Adapters come with ranks of their own; a look at data needs the whole model.
                                   if (options.adapter.empty() && !ranks_by_output(options) &&
                                       options.adapter_start != wasi::nn::AdapterStart::eva) {
                                       wasi::nn::set_up(weight, wasi::train::layer_setup(method, place.role).weight);
                                   }
                               });
    auto& model = loaded.model;
    data = load_data(options, model->config().image, preprocessing_of(loaded.origin));
    const Index before = model->config().head ? model->config().classes : 0;
    const Index classes = class_count(options, data, before);
    require_head(classes > 0);
    if (classes != before) {
        model->replace_head(classes);
        if (before == 0) {
            std::printf("A new head for %td classes is made.\n", classes);
        } else {
            std::printf("The head for %td classes is replaced by a new one for %td.\n", before, classes);
        }
    }
    origin = std::move(loaded.origin);
    if (classes != before) {
        origin.erase("classes");
    }
    return std::move(model);
}

void check_data(TrainingSetup& setup, const FinetuneOptions& given, wasi::Ledger& ledger)
{
    const Index classes = setup.model->config().classes;
    check_labels(setup.data.train, classes, setup.options);
    check_labels(setup.data.test(), classes, setup.options);
    std::fputs(batch_note(setup.options, setup.data.train.size()).c_str(), stdout);
    setup.options = fit_to_images(setup.options, setup.data.train.size());
    setup.training = train_options(setup.options);
    // A data set belongs to the program, not to the engine, but it is part of what a run needs.
    if (setup.data.pixels && !setup.origin.contains("preprocessing")) {
        setup.origin["preprocessing"] = wasi::data::to_text(*setup.data.pixels);
    }
    setup.booked_images = {ledger, setup.data.bytes + setup.data.working_bytes, {wasi::Use::input, 0}};
    setup.facts = run_facts(given, setup.data.fingerprint);
    setup.total_steps =
        wasi::train::steps_per_epoch(setup.data.train.size(), setup.options.batch_size) * setup.options.epochs;
}

/// The rest of a new run: weights that are not held as the method wants them yet, saved inputs, optimiser.
void begin(TrainingSetup& setup, const wasi::train::MethodOptions& method, std::int64_t budget, wasi::Ledger& ledger)
{
    const FinetuneOptions& options = setup.options;
    if (!options.adapter.empty()) {
        read_adapter(*setup.model, options, method);
    }
    if (!setup.memory_plan) {  // else weights, inputs and blocks are as planned
        const bool by_output = ranks_by_output(options);
        if (by_output) {
            std::fputs(start_from_outputs(*setup.model, setup.data.train,
                                          setup.start ? *setup.start : output_start(options), calibration_key(options))
                           .c_str(),
                       stdout);
        }
        if (options.adapter_start == wasi::nn::AdapterStart::eva) {
            start_from_inputs(*setup.model, setup.data.train, options, method);
        }
        if (by_output || (options.weights.empty() && options.adapter.empty())) {
            auto now = method;
            now.ranks_are_chosen = by_output;
            wasi::train::apply_method(*setup.model, now, run_key(options, 2));
        } else {  // the weights were converted as they were read
            wasi::train::prepare_training(*setup.model, method, run_key(options, 2));
        }
        wasi::nn::keep(*setup.model, options.keep);
    }
    if (budget > 0) {
        const auto images =
            wasi::train::calibration_images(setup.data.train.size(), setup.training, run_key(options, 3));
        setup.activation_plan =
            wasi::plan::plan_activations(*setup.model, setup.data.train, images, method.layers, budget);
        wasi::plan::apply_plan(*setup.model, *setup.activation_plan, method.layers, method.activation,
                               run_key(options, 2));
        std::fputs(plan_text(*setup.activation_plan).c_str(), stdout);
    }
    setup.optimizer = wasi::optim::make_optimizer<float, EigenStorage>(optimizer_options(options), ledger);
}

void resume(TrainingSetup& setup, const SavedRun& saved, const wasi::train::MethodOptions& method, wasi::Ledger& ledger)
{
    setup.optimizer = wasi::optim::make_optimizer<float, EigenStorage>(optimizer_options(setup.options), ledger);
    setup.training.first_step =
        wasi::files::load_run(*setup.model, *setup.optimizer, setup.facts, saved.file(), method.activation,
                              run_key(setup.options, 2), [&](wasi::State& state) { setup.track.state(state); });
    setup.track.resume(saved.file().parent_path(), setup.training.first_step);
    setup.steps = saved.steps(setup.training.first_step, setup.energies);
    std::printf("Going on after step %td of %td.\n", setup.training.first_step, setup.total_steps);
}

/// A method that allows for what a plan within the budget will come to.
void until_planned(FinetuneOptions& options)
{
    options.method =
        options.optimizer == OptimizerName::sgd ? wasi::train::method("wsi") : wasi::train::method("factors");
}

/// The options of a run within a budget that goes on: how everything is held is in its file.
void as_saved(FinetuneOptions& options, const SavedRun& saved)
{
    options.method = wasi::train::method(saved.method());
    options.energy_of_output = false;
    options.size.reset();
    options.calibration.reset();
    if (!has_adapter(options)) {
        without_adapter(options);
    }
}

/// --method auto: the options as they come to be, and the model; or, where nothing could be measured, a plan.
[[nodiscard]] std::optional<BudgetPlan> compare_methods(TrainingSetup& setup, std::size_t budget, wasi::Ledger& ledger)
{
    MethodInBudget chosen = choose_within_budget(setup.options, budget, setup.data);
    std::fputs(chosen.compared.text().c_str(), stdout);
    setup.methods = std::move(chosen.compared);
    setup.options = std::move(chosen.options);
    if (chosen.plan) {
        setup.options.calibration.reset();
        without_adapter(setup.options);
        until_planned(setup.options);
        return std::move(chosen.plan);
    }
    setup.start = chosen.start;
    auto made = make_or_load(setup.options, chosen.run, ledger);
    setup.model = std::move(made.model);
    setup.origin = std::move(made.origin);
    return std::nullopt;
}

}  // namespace

TrainingSetup set_up_training(const FinetuneOptions& given, wasi::Ledger& ledger, PhasePeaks& phases)
{
    TrainingSetup setup;
    setup.options = given;
    FinetuneOptions& options = setup.options;
    const auto memory = memory_budget(options);
    const bool compares = compares_methods(options);
    std::optional<SavedRun> saved;
    if (!options.resume.empty()) {
        saved.emplace(options.resume);
    }
    std::optional<BudgetPlan> planned;
    if (saved && memory) {
        as_saved(options, *saved);
    } else if (compares) {
        planned = compare_methods(setup, *memory, ledger);
    } else if (memory) {
        until_planned(options);
    }
    auto method = method_options(options);
    options.method = method.method;
    (void)train_options(options);  // refused now rather than after loading
    (void)ranks_by_output(options);
    const std::int64_t budget = activation_budget(options);

    if (saved) {
        setup.model = saved->make_model(ledger);
        setup.origin = saved->origin();
        setup.data = load_data(options, setup.model->config().image, preprocessing_of(setup.origin));
        options.accumulate = saved->micro_batches();
    } else if (memory && !setup.model) {
        if (!planned) {
            planned = plan_for(options, *memory, setup.data);
        }
        ModelInBudget made = make_model_in_budget(options, std::move(*planned), ledger);
        std::fputs(memory_plan_text(made.plan).c_str(), stdout);
        setup.model = std::move(made.model);
        setup.origin = std::move(made.origin);
        options.method = made.method;
        options.accumulate = made.plan.memory.chosen.run.training.micro_batches;
        setup.memory_plan = std::move(made.plan.memory);
    } else if (!memory) {
        setup.model = make_model(options, method, ledger, setup.data, setup.origin);
    }
    check_data(setup, given, ledger);
    phases.end("load");
    setup.track.start(*setup.model, options.layers, options.track_subspaces,
                      wasi::train::calibration_images(setup.data.train.size(), setup.training, run_key(options, 3)));
    if (saved) {
        resume(setup, *saved, method, ledger);
        options.method = wasi::train::method(saved->method());
    } else {
        begin(setup, method, budget, ledger);
    }
    return setup;
}

}  // namespace wasi_examples
