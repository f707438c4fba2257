#include "commands/adapters.hpp"

#include <variant>

#include <wasi/files/adapter_file.hpp>

#include "commands/weights.hpp"
#include "options/run_options.hpp"

namespace wasi_examples {

bool has_adapter(const FinetuneOptions& options)
{
    return options.method && wasi::nn::adapter_options(options.method->weight({})) != nullptr;
}

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

void write_adapter(TrainingSetup& setup, const std::filesystem::path& folder)
{
    const FinetuneOptions& options = setup.options;
    wasi::files::AdapterBeginnings<float> beginnings;
    wasi::Ledger memory;
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
