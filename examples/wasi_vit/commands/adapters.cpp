#include "commands/adapters.hpp"

#include <cstdio>
#include <variant>

#include <wasi/files/adapter_file.hpp>
#include <wasi/plan/input_directions.hpp>

#include "commands/weights.hpp"
#include "options/run_options.hpp"
#include "plan/output_start.hpp"

namespace wasi_examples {

void read_adapter(RunModel& model, const FinetuneOptions& options, const wasi::train::MethodOptions& method)
{
    const auto wish = method.method.weight(method);
    wasi::require<wasi::argument_error>(
        std::holds_alternative<wasi::nn::DoraOptions>(wish) == wasi::files::read_adapter_config(options.adapter).dora,
        "--adapter: an adapter with use_dora is for --method dora, any other for lora and lora-fa");
    wasi::files::load_adapter(model, options.adapter, {.wish = *wasi::nn::adapter_options(wish)});
    wasi::nn::visit_layers(model, [&](wasi::nn::Place place, auto& layer) {
        if (wasi::nn::adapter_of(layer.weight) != nullptr) {
            return;
        }
        layer.weight.set_trainable(false);
        if (place.role != wasi::nn::Role::head && options.frozen_weights != wasi::Precision::full) {
            wasi::nn::set_up(layer.weight, wasi::nn::FrozenOptions{options.frozen_weights});
        }
    });
    wasi::nn::head_of(model)->weight.set_trainable(true);
}

void start_from_inputs(RunModel& model, const RunData& data, const FinetuneOptions& options,
                       const wasi::train::MethodOptions& method)
{
    const auto drawn = draw_examples(data.size(), calibration_images(options), calibration_key(options));
    const wasi::Index piece = (options.batch_size + options.accumulate - 1) / options.accumulate;
    const auto found = wasi::plan::input_directions(model, data, drawn, method.layers, method.adapter.rank, piece);
    std::size_t at = 0;
    for (auto* layer : wasi::nn::selected_layers(model, method.layers)) {
        const wasi::nn::LayerStatistics statistics = found[at++].statistics();
        wasi::nn::set_up(layer->weight, method.method.weight(method), &statistics);
    }
    std::printf("Adapters start from the inputs of their layers on %zu images.\n", drawn.size());
}

void write_adapter(TrainingSetup& setup, const std::filesystem::path& folder)
{
    const FinetuneOptions& options = setup.options;
    wasi::Ledger memory;  // before what lies in it
    wasi::files::AdapterBeginnings<float> beginnings;
    if (options.adapter_start == wasi::nn::AdapterStart::pissa_fast) {
        const auto method = method_options(options);
        static_cast<void>(load_weights({options.weights, options.heads, options.train_layer_scale, options.image},
                                       memory, true, [&](wasi::nn::Place place, auto& weight) {
                                           wasi::nn::set_up(weight,
                                                            wasi::train::layer_setup(method, place.role).weight);
                                           wasi::files::take_beginning(weight, beginnings);
                                       }));
    }
    wasi::files::save_adapter(*setup.model, folder, beginnings);
}

}  // namespace wasi_examples
