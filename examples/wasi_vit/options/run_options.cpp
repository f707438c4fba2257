#include "options/run_options.hpp"

#include <algorithm>
#include <limits>
#include <thread>

#include <wasi/core/parallel.hpp>
#include <wasi/nn/adapters.hpp>

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::require;

/// How inputs are saved in place of the method's own way, and onto what they are projected.
void set_projection(wasi::train::MethodOptions& result, const FinetuneOptions& options)
{
    result.inputs = options.saved_inputs.value_or(nullptr);
    wasi::subspace::InputProjectionOptions& projection = result.projection;
    projection.projection = options.projection.value_or(projection.projection);
    projection.rank = options.projection_rank.value_or(projection.rank);
    projection.principal_rank = options.principal_rank.value_or(projection.principal_rank);
    projection.refresh_every = options.projection_refresh.value_or(projection.refresh_every);
    projection.scale = options.projection_scale.value_or(projection.scale);
    const bool asked = options.projection || options.projection_rank || options.principal_rank ||
                       options.projection_refresh || options.projection_scale;
    const auto setup = wasi::train::input_setup(result);
    const auto* projected = std::get_if<wasi::nn::ProjectedOptions>(&setup);
    require<argument_error>(projected != nullptr || !asked,
                            "--projection and what belongs to it are for --saved-inputs projected, or --method compact "
                            "or prac");
    require<argument_error>(projected == nullptr || !options.projection || projected->projection == *options.projection,
                            "--projection does not go with --method ", result.method.name,
                            ", which has its own; leave it out, or use --saved-inputs projected");
    const bool principal = projected != nullptr && projected->projection == wasi::subspace::Projection::prac;
    require<argument_error>(principal || !options.principal_rank, "--principal-rank is for --projection prac");
    require<argument_error>(!principal || (projected->rank > 1 && projected->principal_rank < projected->rank),
                            "--principal-rank must be below --projection-rank, which must be 2 or more");
    const bool velora = projected != nullptr && projected->projection == wasi::subspace::Projection::velora;
    require<argument_error>(velora || !options.projection_scale, "--projection-scale is for --projection velora");
    require<argument_error>(!options.saved_inputs || result.method.trains_layers,
                            "--saved-inputs does not go with --method ", result.method.name, ", which saves none");
}

}  // namespace

wasi::nn::VisionTransformerConfig model_config(const FinetuneOptions& options)
{
    require<argument_error>(!options.image, "--image is for --weights; --config has an image size of its own");
    auto config = options.config.value();
    config.heads = options.heads.value_or(config.heads);
    config.classes = options.classes.value_or(config.classes);
    config.check();
    return config;
}

namespace {

void set_adapter_options(wasi::train::MethodOptions& result, const FinetuneOptions& options)
{
    const bool adapts = wasi::nn::adapter_options(result.method.weight(result)) != nullptr;
    const bool any = options.rank || options.alpha || options.rslora || options.adapter_start;
    require<argument_error>(
        adapts || (!any && options.adapter.empty()),
        "--rank, --alpha, --rslora, --adapter-start and --adapter are for --method lora and its kin");
    require<argument_error>(options.adapter.empty() || !any,
                            "--adapter has a rank, a scale and a start of its own: leave out --rank, --alpha, --rslora "
                            "and --adapter-start");
    const bool factors = result.method == wasi::train::method("factors");
    require<argument_error>(options.precondition == 0.0 || adapts || factors,
                            "--precondition is for adapters and --method factors");
    result.precondition = options.precondition;
    result.adapter.rank = options.rank.value_or(8);
    result.adapter.alpha = options.alpha.value_or(16.0);
    result.adapter.rank_stabilized = options.rslora.value_or(false);
    result.adapter.start = options.adapter_start.value_or(wasi::nn::AdapterStart::kaiming);
    result.adapter.precondition = options.precondition;
    result.adapter.seed = options.seed;
    require<argument_error>(options.precondition == 0.0 || result.method != wasi::train::method("lora-fa"),
                            "--precondition is for two trained factors; --method lora-fa freezes one");
    require<argument_error>(result.adapter.start != wasi::nn::AdapterStart::pissa_fast || !options.weights.empty(),
                            "--adapter-start pissa-fast writes its adapter by help of the --weights it started on");
    const bool mica = result.adapter.start == wasi::nn::AdapterStart::mica;
    require<argument_error>(!mica || (options.precondition == 0.0 && result.method != wasi::train::method("lora-fa")),
                            "--adapter-start mica freezes B: it goes with neither --method lora-fa nor --precondition");
}

}  // namespace

wasi::train::MethodOptions method_options(const FinetuneOptions& options)
{
    wasi::train::MethodOptions result;
    result.method = options.method.value_or(wasi::train::method("wasi"));
    result.layers = options.layers;
    result.weight_rank = wasi::linalg::Energy{options.energy};
    result.keep_dense_above_break_even = options.dense_above_break_even;
    result.activation.restart_below = options.restart_below;
    require<argument_error>(!options.activation_ranks || !options.activation_energy,
                            "--activation-ranks and --activation-energy exclude each other");
    if (options.activation_ranks) {
        result.activation.ranks = *options.activation_ranks;
    } else {
        result.activation.ranks = wasi::linalg::Energy{options.activation_energy.value_or(options.energy)};
    }
    set_adapter_options(result, options);
    result.frozen_weights = options.frozen_weights;
    set_projection(result, options);
    require<argument_error>(options.frozen_weights == wasi::Precision::full || !result.method.trains_rest,
                            "--frozen-weights does not go with --method ", result.method.name,
                            ", which trains every weight; use lora or head");
    require<argument_error>(!options.calibration || options.energy_of_output || options.size ||
                                result.adapter.start == wasi::nn::AdapterStart::eva,
                            "--calibration is for --energy-of output, --size and --adapter-start eva");
    check_optimizer(options, wasi::nn::kind_of(result.method.weight(result)) == wasi::nn::SubspaceOptions::kind);
    return result;
}

wasi::Index calibration_images(const FinetuneOptions& options)
{
    return options.calibration.value_or(128);
}

bool ranks_by_output(const FinetuneOptions& options)
{
    if (!options.energy_of_output && !options.size) {
        return false;
    }
    const auto method = method_options(options);
    require<argument_error>(wasi::nn::kind_of(method.method.weight(method)) == wasi::nn::SubspaceOptions::kind ||
                                wasi::nn::kind_of(method.method.weight(method)) == wasi::nn::FactorsOptions::kind,
                            "--energy-of output and --size do not go with --method ", method.method.name,
                            ", whose weights have no ranks to be found");
    require<argument_error>(options.dense_above_break_even,
                            "--above-break-even low-rank does not go with ranks by output: they end at break-even");
    return true;
}

std::int64_t activation_budget(const FinetuneOptions& options)
{
    if (!options.activation_budget) {
        return 0;
    }
    const auto method = method_options(options);
    require<argument_error>(wasi::nn::kind_of(wasi::train::input_setup(method)) == wasi::nn::TuckerOptions::kind,
                            "--activation-budget does not go with --method ", method.method.name,
                            ", which compresses no saved inputs; use asi or wasi");
    require<argument_error>(!options.activation_ranks && !options.activation_energy,
                            "--activation-budget chooses the ranks: leave out --activation-ranks and "
                            "--activation-energy");
    return *options.activation_budget;
}

std::optional<std::size_t> memory_budget(const FinetuneOptions& options)
{
    const bool compares = options.method == auto_method;
    require<argument_error>(!compares || options.memory_budget,
                            "--method auto chooses what fits: give --memory-budget SIZE");
    if (!options.memory_budget) {
        return std::nullopt;
    }
    require<argument_error>(!options.method || compares,
                            "--memory-budget chooses how weights and inputs are held: leave out --method, or let it be "
                            "auto");
    require<argument_error>(
        !options.activation_budget && !options.activation_ranks && !options.activation_energy && !options.saved_inputs,
        "--memory-budget chooses how inputs are saved: leave out the options of compressed inputs");
    require<argument_error>(options.track_subspaces == 0,
                            "--track-subspaces does not go with --memory-budget, which counts no bases of its own");
    return static_cast<std::size_t>(*options.memory_budget);
}

bool compares_methods(const FinetuneOptions& options)
{
    const bool by_output = options.energy_of_output || options.size;
    if (!options.memory_budget || !(options.method == auto_method || by_output)) {
        return false;
    }
    require<argument_error>(!options.method || !by_output,
                            "--method auto looks at ranks by output too: leave out --energy-of and --size");
    require<argument_error>(options.layers == wasi::nn::Layers::all || !by_output,
                            "--energy-of output and --size go with --memory-budget for --layers all");
    require<argument_error>(
        options.adapter.empty() && !options.adapter_start && options.precondition == 0.0 &&
            options.frozen_weights == wasi::Precision::full && options.dense_above_break_even,
        "--method auto makes new adapters and chooses formats: leave out --adapter, --adapter-start, "
        "--precondition, --frozen-weights and --above-break-even");
    require<argument_error>(!options.projection && !options.projection_rank && !options.principal_rank &&
                                !options.projection_refresh && !options.projection_scale,
                            "--method auto saves inputs as they are: leave out --projection and what belongs to it");
    return true;
}

bool has_adapter(const FinetuneOptions& options)
{
    return options.method && wasi::nn::adapter_options(options.method->weight({})) != nullptr;
}

void without_adapter(FinetuneOptions& options)
{
    options.rank.reset();
    options.alpha.reset();
    options.rslora.reset();
}

std::string command_text(const FinetuneOptions& options)
{
    static const std::vector<std::string> names{"--method",      "--energy",         "--size",        "--rank",
                                                "--alpha",       "--frozen-weights", "--recompute",   "--probabilities",
                                                "--norm-output", "--gelu-input",     "--gelu-output", "--saved-as",
                                                "--accumulate"};
    const FinetuneOptions standard;
    std::string text;
    for (const auto& row : rows_of<FinetuneOptions>(finetune_table(), names)) {
        const std::string value = row.value.show(options);
        if (!value.empty() && value != row.value.show(standard)) {
            text += (text.empty() ? "" : " ") + row.name + " " + value;
        }
    }
    return text;
}

wasi::train::TrainOptions train_options(const FinetuneOptions& options)
{
    require<argument_error>(options.validation || (!options.keep_best && options.patience == 0),
                            "--keep best and --patience compare epochs by --validation SHARE, images that are held out "
                            "for it");
    require<argument_error>(options.accumulate <= options.batch_size,
                            "--accumulate: must be between 1 and --batch-size ", options.batch_size, ", got ",
                            options.accumulate);
    wasi::train::TrainOptions result;
    result.epochs = options.epochs;
    result.batch_size = options.batch_size;
    result.micro_batches = options.accumulate;
    result.shuffle = options.shuffle;
    result.schedule = options.schedule;
    result.rate = options.learning_rate;
    result.warmup_steps = options.warmup;
    result.clip_norm = options.clip_norm;
    result.clip_scope = options.clip_scope;
    result.gradients = options.gradients;
    result.check();
    return result;
}

FinetuneOptions fit_to_images(FinetuneOptions options, Index images)
{
    options.batch_size = std::min(options.batch_size, images);
    options.accumulate = std::min(options.accumulate, options.batch_size);
    const Index steps = (images - 1) / options.batch_size + 1;
    require<argument_error>(options.epochs <= std::numeric_limits<Index>::max() / steps, "--epochs: ", options.epochs,
                            " times ", steps, " steps are more than can be counted");
    return options;
}

std::string batch_note(const FinetuneOptions& options, Index images)
{
    return options.batch_size <= images ? std::string()
                                        : wasi::message("--batch-size ", options.batch_size, " is more than the ",
                                                        images, " images: a batch is all of them.\n");
}

void use_threads(int threads)
{
    wasi::set_thread_count(threads > 0 ? threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
}

}  // namespace wasi_examples
