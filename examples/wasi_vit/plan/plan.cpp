#include "plan/plan.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <wasi/core/process_memory.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/plan/fit.hpp>

#include "commands/commands.hpp"
#include "commands/weights.hpp"
#include "files/output_folder.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"
#include "plan/activation_budget.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::EigenStorage;
using wasi::Index;
using wasi::require;
using wasi::plan::WeightSpectrum;
using Run = wasi::plan::RunDescription<PlannedModel>;

/// What a plan starts from: the model's shape and spectra.
struct Given {
    wasi::nn::VisionTransformerConfig config;
    std::vector<WeightSpectrum> spectra;
};

/// The model that the options name, its weights held as the layers say.
[[nodiscard]] ModelWithOrigin make_or_load(const FinetuneOptions& options, const Run& run, wasi::Memory& memory)
{
    auto setup = run.layers.begin();
    if (options.weights.empty()) {
        auto model = std::make_unique<PlannedModel>(run.model, memory, wasi::RandomKey(options.seed).derive(1));
        wasi::nn::visit_layers(
            *model, [&](wasi::nn::Place, auto& layer) { wasi::nn::set_up(layer.weight, (setup++)->weight); });
        return {std::move(model), {}, {}, {}};
    }
    auto loaded = load_weights({options.weights, options.heads, options.train_layer_scale, options.image}, memory, true,
                               [&](wasi::nn::Place, auto& weight) { wasi::nn::set_up(weight, (setup++)->weight); });
    if (run.model.classes != loaded.model->config().classes || !loaded.model->config().head) {
        loaded.model->replace_head(run.model.classes);
    }
    return loaded;
}

/// Of a new model, all at once; of a weights file weight by weight: of the dense ones in blocks only the singular
/// values stay. `data` is loaded too.
[[nodiscard]] Given look_at_model(const FinetuneOptions& options, wasi::Ledger& ledger, TrainAndTest& data)
{
    Given given;
    if (options.weights.empty()) {
        given.config = model_config(options);
        data = load_data(options, given.config.image);
        given.config.classes = options.classes.value_or(data.class_count);
        PlannedModel model(given.config, ledger, wasi::RandomKey(options.seed).derive(1));
        given.spectra = wasi::plan::weight_spectra(model);
        return given;
    }
    const auto loaded =
        load_weights({options.weights, options.heads, options.train_layer_scale, options.image}, ledger, false,
                     [&](wasi::nn::Place place, auto& weight) {
                         if (wasi::nn::is_selected(place.role, wasi::nn::Layers::all)) {
                             given.spectra.push_back(wasi::plan::spectrum_of<EigenStorage>(weight, ledger));
                             if (!weight.is_low_rank()) {
                                 weight.dense().reset();
                             }
                         }
                     });
    given.config = loaded.model->config();
    data = load_data(options, given.config.image, preprocessing_of(loaded.origin));
    given.config.classes = class_count(options, data, given.config.head ? given.config.classes : 0);
    require_head(given.config.classes > 0);
    given.config.head = true;
    return given;
}

[[nodiscard]] Run describe_run(const FinetuneOptions& options, const wasi::nn::VisionTransformerConfig& config,
                               const TrainAndTest& data)
{
    Run run;
    run.model = config;
    const bool sgd = options.optimizer == OptimizerName::sgd;
    run.layers = wasi::plan::wished_layers<PlannedModel>(
        config, sgd ? wasi::nn::WeightSetup(wasi::nn::SubspaceOptions{}) : wasi::nn::FactorsOptions{});
    run.optimizer = optimizer_options(options);
    run.training = train_options(options);
    run.images = data.train.size();
    run.evaluated = std::max(data.test().size(), data.validation ? data.validation->size() : Index{0});
    run.dense_first = options.weights.empty();
    return run;
}

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
    wasi::plan::FitRequest<PlannedModel> request;
    {
        wasi::Ledger ledger;
        Given given = look_at_model(options, ledger, data);
        request.run = describe_run(options, given.config, data);
        request.spectra = std::move(given.spectra);
    }
    wasi::return_free_memory();
    request.budget = budget;
    request.options.layers = options.layers;
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

ModelInBudget make_model_in_budget(const FinetuneOptions& options, std::size_t budget, wasi::Ledger& ledger,
                                   TrainAndTest& data)
{
    ModelInBudget result;
    result.plan = plan_for(options, budget, data);
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
    const BudgetPlan result = plan_for(options, *budget, data);
    std::fputs(batch_note(options, data.train.size()).c_str(), stdout);
    std::fputs(memory_plan_text(result).c_str(), stdout);
    if (!options.out.empty()) {
        wasi::io::write_file_atomically(options.out, frontier_csv(result.memory));
    }
    return 0;
}

}  // namespace wasi_examples
