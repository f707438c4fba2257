#include "plan/planned_model.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include <wasi/core/process_memory.hpp>
#include <wasi/plan/method_errors.hpp>

#include "options/run_options.hpp"

namespace wasi_examples {

using wasi::EigenStorage;
using wasi::Index;

ModelWithOrigin make_or_load(const FinetuneOptions& options, const PlannedRun& run, wasi::Memory& memory)
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

GivenModel look_at_model(const FinetuneOptions& options, TrainAndTest& data,
                         const std::vector<wasi::Precision>& formats)
{
    GivenModel given;
    wasi::Ledger ledger;
    const auto look = [&](auto& weight) {
        given.spectra.push_back(wasi::plan::spectrum_of<EigenStorage>(weight, ledger));
        auto& rows = given.rounding.emplace_back();
        for (const wasi::Precision format : formats) {
            if (!weight.is_low_rank()) {
                rows.push_back(wasi::plan::rounding_rows<EigenStorage>(std::as_const(weight).matrix(), format, ledger));
            }
        }
    };
    if (options.weights.empty()) {
        given.config = model_config(options);
        data = load_data(options, given.config.image);
        given.config.classes = options.classes.value_or(data.class_count);
        PlannedModel model(given.config, ledger, wasi::RandomKey(options.seed).derive(1));
        for (auto* layer : wasi::nn::selected_layers(model, wasi::nn::Layers::all)) {
            look(layer->weight);
        }
    } else {
        const auto loaded = load_weights({options.weights, options.heads, options.train_layer_scale, options.image},
                                         ledger, false, [&](wasi::nn::Place place, auto& weight) {
                                             if (wasi::nn::is_selected(place.role, wasi::nn::Layers::all)) {
                                                 look(weight);
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
    }
    wasi::return_free_memory();
    return given;
}

PlannedRun describe_run(const FinetuneOptions& options, const wasi::nn::VisionTransformerConfig& config,
                        const TrainAndTest& data)
{
    PlannedRun run;
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

}  // namespace wasi_examples
