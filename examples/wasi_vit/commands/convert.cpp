// export, compress and expand: a model in other names, as factors, dense again.
#include <cstdio>
#include <string>

#include <wasi/files/adapter_file.hpp>
#include <wasi/files/export_checkpoint.hpp>
#include <wasi/train/method.hpp>

#include "commands/commands.hpp"
#include "commands/weights.hpp"
#include "files/output_folder.hpp"
#include "options/run_options.hpp"
#include "plan/output_start.hpp"

namespace wasi_examples {
namespace {

void say_size(const std::string& what, std::size_t bytes, std::size_t dense_bytes)
{
    std::printf("%s: %.1f MB of parameters, %.1f MB dense\n", what.c_str(), static_cast<double>(bytes) / 1e6,
                static_cast<double>(dense_bytes) / 1e6);
}

/// The chosen weights as they are held, and as full matrices.
template <class M>
void say_factors(M& model, wasi::nn::Layers which)
{
    double held = 0.0;
    double dense = 0.0;
    const auto layers = wasi::nn::selected_layers(model, which);
    for (const auto* layer : layers) {
        held += static_cast<double>(layer->weight.bytes());
        dense += static_cast<double>(layer->weight.shape().size()) * sizeof(float);
    }
    std::printf("%td weights, %.1f MB in %.1f MB, %.2f times smaller.\n", std::ssize(layers), dense / 1e6, held / 1e6,
                dense / held);
}

/// Bytes of all parameters if every weight were a full matrix.
template <class M>
[[nodiscard]] std::size_t dense_bytes(M& model)
{
    std::size_t bytes = 0;
    wasi::nn::visit_weights(model, [&](wasi::nn::Place, auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            bytes += parameter.values.bytes();
        } else {
            bytes += static_cast<std::size_t>(parameter.shape().size()) * sizeof(float);
        }
    });
    return bytes;
}

/// --adapter and --without.
template <class M>
void change_adapters(M& model, const ExpandOptions& options)
{
    if (!options.without.empty()) {
        wasi::require<wasi::argument_error>(
            !wasi::nn::moves_weight(wasi::files::read_adapter_config(options.without).start),
            "--without: the start of this adapter has moved the weights; those before it are in no file of the two");
        wasi::files::load_adapter(model, options.without, {.merged = true});
        wasi::nn::visit_layers(model, [](wasi::nn::Place, auto& layer) { wasi::nn::drop_adapter(layer.weight); });
    }
    if (!options.adapter.empty()) {
        wasi::files::load_adapter(model, options.adapter);
        wasi::nn::visit_layers(model, [](wasi::nn::Place, auto& layer) { wasi::nn::make_dense(layer.weight); });
    }
}

}  // namespace

int export_model(const ExportCommandOptions& options)
{
    use_threads(options.threads);
    wasi::Ledger ledger;
    const auto loaded = load_weights({options.weights, options.heads, true}, ledger);
    using wasi::files::ExportAs;
    const ExportAs as = options.as == ExportName::torchvision ? ExportAs::torchvision
                        : options.as == ExportName::timm      ? ExportAs::timm
                                                              : ExportAs::huggingface;
    const auto notes =
        wasi::files::export_checkpoint(*loaded.model, options.out,
                                       {.as = as,
                                        .dense = options.dense,
                                        .stored_as = options.stored_as,
                                        .preprocessing = loaded.preprocessing.value_or(wasi::data::Preprocessing{}),
                                        .classes = loaded.classes});
    for (const std::string& note : notes) {
        std::printf("  %s\n", note.c_str());
    }
    std::printf("written to %s\n", options.out.c_str());
    return 0;
}

int compress(const CompressOptions& options)
{
    check_file(options.out);
    use_threads(options.threads);
    const bool asked = options.energy_of_output || options.size;
    wasi::require<wasi::argument_error>(!asked || !options.rank,
                                        "--rank does not go with --energy-of output and --size");
    wasi::require<wasi::argument_error>(asked || !options.calibration,
                                        "--calibration is for --energy-of output and --size");
    wasi::require<wasi::argument_error>(asked != options.data.empty(),
                                        "--energy-of output and --size find ranks on the images of --data: all three "
                                        "are left out, or --data and one of the two given");
    const bool by_output = ranks_by_output(options);
    wasi::linalg::RankRule rule = wasi::linalg::Energy{options.energy};
    if (options.rank) {
        rule = wasi::linalg::FixedRank{*options.rank};
    }
    const wasi::nn::ProductOptions product{rule, options.dense_above_break_even};
    const wasi::nn::WeightSetup setup = options.free ? wasi::nn::WeightSetup(wasi::nn::FactorsOptions{product})
                                                     : wasi::nn::WeightSetup(wasi::nn::SubspaceOptions{product});
    const auto hold = [&](wasi::nn::Place place, auto& weight) {
        if (wasi::nn::is_selected(place.role, options.layers)) {
            wasi::nn::set_up(weight, setup);
        }
    };
    wasi::Ledger ledger;
    const auto loaded = load_weights({options.weights, options.heads, false, options.image}, ledger, false,
                                     [&](wasi::nn::Place place, auto& weight) {
                                         if (!by_output) {  // which needs the whole model
                                             hold(place, weight);
                                         }
                                     });
    auto& model = *loaded.model;
    if (by_output) {
        const TrainAndTest data = load_data(options, model.config().image, preprocessing_of(loaded.origin));
        std::fputs(start_from_outputs(model, data.train, output_start(options), calibration_key(options)).c_str(),
                   stdout);
        if (options.free) {
            wasi::nn::visit_layers(model, [&](wasi::nn::Place place, auto& layer) {
                if (layer.weight.is_low_rank()) {
                    hold(place, layer.weight);
                }
            });
        }
    } else {
        say_factors(model, options.layers);
    }
    wasi::files::save_model(model, options.out, loaded.origin, options.stored_as);
    say_size(options.out, wasi::nn::parameter_bytes(model), dense_bytes(model));
    return 0;
}

int expand(const ExpandOptions& options)
{
    check_file(options.out);
    use_threads(options.threads);
    wasi::Ledger ledger;
    const auto loaded = load_weights({options.weights, options.heads, false}, ledger, false,
                                     [](wasi::nn::Place, auto& weight) { wasi::nn::make_dense(weight); });
    change_adapters(*loaded.model, options);
    wasi::files::save_model(*loaded.model, options.out, loaded.origin, options.stored_as);
    say_size(options.out, wasi::nn::parameter_bytes(*loaded.model), dense_bytes(*loaded.model));
    return 0;
}

}  // namespace wasi_examples
