#include "options/options.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <string_view>
#include <thread>

#include <CLI/CLI.hpp>

#include <wasi/core/parallel.hpp>
#include <wasi/core/text_stream.hpp>

#include "options/option_text.hpp"
#include "plan/activation_budget.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::require;

void require_energy(double energy, std::string_view option)
{
    require<argument_error>(energy > 0.0 && energy <= 1.0, option, ": an energy must be in (0, 1], got ", energy);
}

[[nodiscard]] std::string text_of(double value)
{
    wasi::TextStream out;
    out << value;
    return out.str();
}

/// Of finetune and plan: what decides the memory of a run.
void add_run_options(CLI::App& command, FinetuneOptions& options)
{
    auto* model = command.add_option_group("Model");
    model->add_option("--weights", options.weights, "start from this safetensors file (torchvision names)")
        ->type_name("FILE")
        ->capture_default_str();
    model
        ->add_option("--config", options.config, "start from scratch: image=32,patch=4,dim=192,depth=6,heads=3,mlp=768")
        ->type_name("LIST");
    model->require_option(1);
    command
        .add_option("--classes", options.classes,
                    "number of classes; another head than the file's is made when it differs")
        ->type_name("C");
    command.add_option("--heads", options.heads, "attention heads (default: the file's metadata, else dim/64)")
        ->type_name("H");
    command.add_option("--data", options.data, "digits, digits:0-4 or tensors:FILE.safetensors (images, labels)")
        ->type_name("DATA")
        ->required();
    command.add_option("--layers", options.layers, "linear layers it applies to: mlp or all")->type_name("WHICH");
    command
        .add_option(
            "--memory-budget", options.memory_budget,
            "bytes for the whole process: 200MiB; how weights are held, what blocks keep and micro-batches follow")
        ->type_name("SIZE");
    command.add_option("--optimizer", options.optimizer, "sgd or adamw")->type_name("NAME");
    command.add_option("--momentum", options.momentum, "of SGD")->type_name("MU");
    command.add_option("--clip-norm", options.clip_norm, "largest gradient norm, 0 = off")->type_name("NORM");
    command.add_option("--clip-scope", options.clip_scope, "norm over all parameters (global) or of each (parameter)")
        ->type_name("SCOPE");
    command.add_option("--batch-size", options.batch_size, "images a step")->type_name("N");
    command.add_option("--accumulate", options.accumulate, "micro-batches that a batch is cut into")->type_name("N");
    command
        .add_option("--gradients", options.gradients,
                    "stream: used as soon as made; collect: first all of them; auto: stream where clipping allows")
        ->type_name("HOW");
    add_options(command, options.keep);
    command.add_option("--shuffle", options.shuffle, "on or off")->type_name("ON");
    command.add_option("--seed", options.seed, "of everything random")->type_name("N");
    command.add_option("--threads", options.threads, "0 = one for each processor; results do not depend on it")
        ->type_name("N");
}

}  // namespace

void add_options(CLI::App& command, FinetuneOptions& options)
{
    command.option_defaults()->always_capture_default();
    add_run_options(command, options);
    command.add_option("--method", options.method, "vanilla, head, wsi, asi, wasi or factors")
        ->type_name("METHOD")
        ->each([&options](const std::string&) { options.method_given = true; });
    command.add_option("--energy", options.energy, "share of a weight's spectral energy to keep")->type_name("E");
    command
        .add_option("--activation-energy", options.activation_energy,
                    "share to keep in each mode of a saved input (default: as --energy)")
        ->type_name("E");
    command
        .add_option("--activation-ranks", options.activation_ranks,
                    "fixed ranks instead, over batch,token,feature: 8,4,8")
        ->type_name("B,N,I");
    command
        .add_option("--activation-budget", options.activation_budget,
                    "bytes for all compressed saved inputs: 4MiB; ranks by layer are then chosen on the first batch")
        ->type_name("SIZE");
    command
        .add_option("--above-break-even", options.above_break_even,
                    "a weight whose factors would not be smaller: dense or low-rank")
        ->type_name("HOW");
    command
        .add_option("--restart-below", options.restart_below,
                    "fresh basis when captured energy falls below this share of its start")
        ->type_name("SHARE");
    command.add_option("--lr", options.learning_rate, "learning rate")->type_name("RATE");
    command.add_option("--weight-decay", options.weight_decay, "on every parameter")->type_name("LAMBDA");
    command.add_option("--schedule", options.schedule, "constant or cosine")->type_name("NAME");
    command.add_option("--warmup", options.warmup, "steps of linear warm-up")->type_name("STEPS");
    command.add_option("--epochs", options.epochs, "passes over the training images")->type_name("N");
    command.add_option("--out", options.out, "folder for metrics.csv, model.safetensors, report.json, report.html")
        ->type_name("DIR")
        ->required();
}

void add_plan_options(CLI::App& command, FinetuneOptions& options)
{
    command.option_defaults()->always_capture_default();
    add_run_options(command, options);
    command.get_option("--memory-budget")->required();
    command.add_option("--out", options.out, "write every choice that nothing beats to this CSV file")
        ->type_name("FILE");
}

void add_options(CLI::App& command, PredictOptions& options)
{
    command.option_defaults()->always_capture_default();
    command.add_option("--weights", options.weights, "model.safetensors of a run, or any file with torchvision names")
        ->type_name("FILE")
        ->required();
    command.add_option("--heads", options.heads, "attention heads (default: the file's metadata, else dim/64)")
        ->type_name("H");
    command.add_option("--images", options.images, "safetensors file with images (n,3,H,W), already normalised")
        ->type_name("FILE")
        ->required();
    command.add_option("--batch-size", options.batch_size, "images at a time")->type_name("N");
    command.add_option("--threads", options.threads, "0 = one for each processor")->type_name("N");
    command.add_option("--out", options.out, "safetensors file to write: logits (n,classes)")
        ->type_name("FILE")
        ->required();
}

void add_options(CLI::App& command, CompareOptions& options)
{
    command.option_defaults()->always_capture_default();
    command.add_option("runs", options.runs, "output folders of finished runs")->type_name("DIR")->required();
    command.add_option("--heading", options.heading, "of the page")->type_name("TEXT");
    command.add_option("--out", options.out, "page to write: compare.html")->type_name("FILE");
}

void add_options(CLI::App& command, InspectOptions& options)
{
    command.option_defaults()->always_capture_default();
    command
        .add_option("--weights", options.weights, "safetensors file (torchvision names), or model.safetensors of a run")
        ->type_name("FILE")
        ->required();
    command.add_option("--thresholds", options.thresholds, "shares of a weight's spectral energy, in (0, 1]")
        ->delimiter(',')
        ->type_name("LIST");
    command.add_option("--layers", options.layers, "linear layers to look at: mlp or all")->type_name("WHICH");
    command.add_option("--threads", options.threads, "0 = one for each processor")->type_name("N");
    command.add_option("--out", options.out, "folder for inspect.csv, inspect.json, inspect.html")->type_name("DIR");
}

wasi::nn::VisionTransformerConfig parse_config(const std::string& text)
{
    wasi::nn::VisionTransformerConfig config;
    const std::map<std::string, Index*> fields{{"image", &config.image}, {"patch", &config.patch},
                                               {"dim", &config.dim},     {"depth", &config.depth},
                                               {"heads", &config.heads}, {"mlp", &config.mlp}};
    std::vector<std::string> seen;
    for (const std::string& part : split(text, ',')) {
        const auto equals = part.find('=');
        const std::string name = part.substr(0, equals);
        const auto field = fields.find(name);
        require<argument_error>(equals != std::string::npos && field != fields.end(), "--config: '", part,
                                "' is not NAME=NUMBER with a name out of image, patch, dim, depth, heads, mlp");
        require<argument_error>(std::find(seen.begin(), seen.end(), name) == seen.end(), "--config: ", name,
                                " is given twice");
        seen.push_back(name);
        *field->second = parse_index(std::string_view(part).substr(equals + 1), "--config " + name);
    }
    config.check();
    return config;
}

wasi::train::MethodOptions method_options(const FinetuneOptions& options)
{
    using wasi::nn::Layers;
    using wasi::train::method;
    using wasi::train::Method;
    require_energy(options.energy, "--energy");
    wasi::train::MethodOptions result;
    result.method = one_of<Method>(options.method, "--method",
                                   {{"vanilla", method("vanilla")},
                                    {"head", method("head")},
                                    {"wsi", method("wsi")},
                                    {"asi", method("asi")},
                                    {"wasi", method("wasi")},
                                    {"factors", method("factors")}});
    result.layers = one_of<Layers>(options.layers, "--layers", {{"mlp", Layers::mlp}, {"all", Layers::all}});
    result.weight_rank = wasi::linalg::Energy{options.energy};
    result.keep_dense_above_break_even =
        one_of<bool>(options.above_break_even, "--above-break-even", {{"dense", true}, {"low-rank", false}});
    require<argument_error>(options.restart_below >= 0.0 && options.restart_below <= 1.0,
                            "--restart-below: must be in [0, 1], got ", options.restart_below);
    result.activation.restart_below = options.restart_below;
    if (!options.activation_ranks.empty()) {
        require<argument_error>(!options.activation_energy,
                                "--activation-ranks and --activation-energy exclude each other");
        const auto parts = split(options.activation_ranks, ',');
        require<argument_error>(parts.size() == 3, "--activation-ranks: '", options.activation_ranks,
                                "' is not three numbers, over batch, token and feature");
        std::array<Index, 3> ranks{};
        for (std::size_t mode = 0; mode < 3; ++mode) {
            ranks[mode] = parse_index(parts[mode], "--activation-ranks");
            require<argument_error>(ranks[mode] >= 1, "--activation-ranks: a rank must be at least 1, got ",
                                    ranks[mode]);
        }
        result.activation.ranks = ranks;
    } else {
        const double energy = options.activation_energy.value_or(options.energy);
        require_energy(energy, "--activation-energy");
        result.activation.ranks = wasi::linalg::Energy{energy};
    }
    require<argument_error>(!wasi::train::has_weight_subspaces(result.method) || options.optimizer != "adamw",
                            "--optimizer adamw does not go with --method ", options.method,
                            ": elementwise moments of a low-rank weight would be as large as the dense weight; use "
                            "sgd, or --method factors");
    return result;
}

std::int64_t activation_budget(const FinetuneOptions& options)
{
    if (options.activation_budget.empty()) {
        return 0;
    }
    require<argument_error>(wasi::train::has_compressed_inputs(method_options(options).method),
                            "--activation-budget does not go with --method ", options.method,
                            ", which compresses no saved inputs; use asi or wasi");
    require<argument_error>(options.activation_ranks.empty() && !options.activation_energy,
                            "--activation-budget chooses the ranks: leave out --activation-ranks and "
                            "--activation-energy");
    return parse_bytes(options.activation_budget, "--activation-budget");
}

wasi::train::TrainOptions train_options(const FinetuneOptions& options)
{
    using Kind = wasi::optim::Schedule::Kind;
    using wasi::train::ClipScope;
    require<argument_error>(options.epochs >= 1, "--epochs: must be at least 1, got ", options.epochs);
    require<argument_error>(options.batch_size >= 1, "--batch-size: must be at least 1, got ", options.batch_size);
    require<argument_error>(options.accumulate >= 1 && options.accumulate <= options.batch_size,
                            "--accumulate: must be between 1 and --batch-size ", options.batch_size, ", got ",
                            options.accumulate);
    wasi::train::TrainOptions result;
    result.epochs = options.epochs;
    result.batch_size = options.batch_size;
    result.micro_batches = options.accumulate;
    result.shuffle = one_of<bool>(options.shuffle, "--shuffle", {{"on", true}, {"off", false}});
    result.schedule =
        one_of<Kind>(options.schedule, "--schedule", {{"constant", Kind::constant}, {"cosine", Kind::cosine}});
    result.rate = options.learning_rate;
    result.warmup_steps = options.warmup;
    result.clip_norm = options.clip_norm;
    result.clip_scope = one_of<ClipScope>(options.clip_scope, "--clip-scope",
                                          {{"global", ClipScope::global}, {"parameter", ClipScope::parameter}});
    using wasi::train::GradientFlow;
    result.gradients = one_of<GradientFlow>(
        options.gradients, "--gradients",
        {{"auto", GradientFlow::automatic}, {"stream", GradientFlow::stream}, {"collect", GradientFlow::collect}});
    (void)one_of<int>(options.optimizer, "--optimizer", {{"sgd", 0}, {"adamw", 1}});
    result.check();
    return result;
}

std::vector<std::pair<std::string, std::string>> option_table(const FinetuneOptions& options)
{
    std::vector<std::pair<std::string, std::string>> table;
    const auto add = [&](std::string name, std::string value) {
        table.emplace_back(std::move(name), std::move(value));
    };
    if (options.weights.empty()) {
        add("config", options.config);
    } else {
        add("weights", options.weights);
    }
    add("data", options.data);
    add("method", options.method);
    add("layers", options.layers);
    add("energy", text_of(options.energy));
    if (!options.activation_budget.empty()) {
        add("activation-budget", options.activation_budget);
    } else if (options.activation_ranks.empty()) {
        add("activation-energy", text_of(options.activation_energy.value_or(options.energy)));
    } else {
        add("activation-ranks", options.activation_ranks);
    }
    if (!options.memory_budget.empty()) {
        add("memory-budget", options.memory_budget);
    }
    add("above-break-even", options.above_break_even);
    add("restart-below", text_of(options.restart_below));
    add("optimizer", options.optimizer);
    add("lr", text_of(options.learning_rate));
    add("momentum", text_of(options.momentum));
    add("weight-decay", text_of(options.weight_decay));
    add("clip-norm", text_of(options.clip_norm));
    add("clip-scope", options.clip_scope);
    add("schedule", options.schedule);
    add("warmup", std::to_string(options.warmup));
    add("epochs", std::to_string(options.epochs));
    add("batch-size", std::to_string(options.batch_size));
    add("accumulate", std::to_string(options.accumulate));
    add("gradients", options.gradients);
    append_to_table(options.keep, table);
    add("shuffle", options.shuffle);
    add("seed", std::to_string(options.seed));
    return table;
}

void use_threads(int threads)
{
    require<argument_error>(threads >= 0 && threads <= 4096, "--threads: must be between 0 and 4096, got ", threads);
    wasi::set_thread_count(threads > 0 ? threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
}

}  // namespace wasi_examples
