// The options of finetune and plan as tables.
#include <iterator>

#include "options/common_rows.hpp"
#include "options/memory_rows.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::train::Method;
using Kind = wasi::optim::Schedule::Kind;
using Ranks = std::array<Index, 3>;
using Options = FinetuneOptions;

const Range<double> share{.least = 0.0, .most = 1.0, .without_least = true};
const Range<Index> at_least_one{.least = 1};

[[nodiscard]] Ranks parse_ranks(const std::string& typed, const std::string& option)
{
    const auto parts = split(typed, ',');
    wasi::require<wasi::argument_error>(parts.size() == 3, option, ": '", typed,
                                        "' is not three numbers, over batch, token and feature");
    Ranks ranks{};
    for (std::size_t mode = 0; mode < 3; ++mode) {
        ranks[mode] = parse_number<Index>(parts[mode], option, at_least_one);
    }
    return ranks;
}

[[nodiscard]] std::string show_ranks(const Ranks& ranks)
{
    return std::to_string(ranks[0]) + "," + std::to_string(ranks[1]) + "," + std::to_string(ranks[2]);
}

/// The library's table of methods.
[[nodiscard]] Words<Method> method_words()
{
    Words<Method> words;
    for (const Method& method : wasi::train::methods) {
        words.emplace_back(method.name, method);
    }
    words.emplace_back(auto_method.name, auto_method);
    return words;
}

[[nodiscard]] Words<wasi::nn::AdapterStart> start_words()
{
    Words<wasi::nn::AdapterStart> words;
    for (const auto& [word, start] : wasi::nn::adapter_starts) {
        words.emplace_back(word, start);
    }
    return words;
}

[[nodiscard]] OptionTable<Options> training_rows()
{
    return {
        {.name = "--method",
         .type = "METHOD",
         .help = "what is trained, and how weights and inputs are held (default: wasi); auto: what errs least within "
                 "--memory-budget",
         .value = word(method_words(), &Options::method)},
        energy_row<Options>(),
        {.name = "--energy-of",
         .type = "WHAT",
         .help = "what --energy is a share of: the weight itself, or its output on training images, which keeps more "
                 "of what a pretrained model knows",
         .value = word({{"weight", false}, {"output", true}}, &Options::energy_of_output)},
        {.name = "--size",
         .type = "SHARE",
         .help = "bytes of the factorized weights, of the dense ones: ranks are dealt over layers by their outputs",
         .value = number({.least = 0.0, .most = 1.0, .without_least = true}, &Options::size)},
        {.name = "--calibration",
         .type = "N",
         .help = "training images for ranks by output, a quarter of which checks, and for --adapter-start eva "
                 "(default: 128)",
         .value = number({.least = 2}, &Options::calibration)},
        {.name = "--activation-energy",
         .type = "E",
         .help = "share to keep in each mode of a saved input (default: as --energy)",
         .value = number(share, &Options::activation_energy)},
        {.name = "--activation-ranks",
         .type = "B,N,I",
         .help = "fixed ranks instead, over batch,token,feature: 8,4,8",
         .value = parsed(parse_ranks, show_ranks, &Options::activation_ranks)},
        {.name = "--activation-budget",
         .type = "SIZE",
         .help = "bytes for all compressed saved inputs: 4MiB; ranks by layer are then chosen on the first batch",
         .value = bytes(&Options::activation_budget)},
        break_even_row<Options>(),
        {.name = "--rank",
         .type = "R",
         .help = "rank of a new adapter, for --method lora and its kin (default: 8)",
         .value = number(at_least_one, &Options::rank)},
        {.name = "--alpha",
         .type = "A",
         .help = "scale of a new adapter, W + A/R B A (default: 16)",
         .value = number({.least = 0.0}, &Options::alpha)},
        {.name = "--rslora",
         .type = "HOW",
         .help = "whether the scale of a new adapter is A/sqrt(R) instead (default: off)",
         .value = word({{"on", true}, {"off", false}}, &Options::rslora)},
        {.name = "--adapter-start",
         .type = "HOW",
         .help = "what the factors of a new adapter are: random and zero, or out of the weight or its inputs (default: "
                 "kaiming)",
         .value = word(start_words(), &Options::adapter_start)},
        {.name = "--precondition",
         .type = "DELTA",
         .help = "divide gradients of adapters and free factors by the Gram matrix of the partner + DELTA; 0: do not",
         .value = number({.least = 0.0}, &Options::precondition)},
        {.name = "--adapter",
         .type = "DIR",
         .help = "start from this adapter in PEFT's format (adapter_config.json, adapter_model.safetensors)",
         .value = text(&Options::adapter)},
        {.name = "--restart-below",
         .type = "SHARE",
         .help = "fresh basis when captured energy falls below this share of its start",
         .value = number({.least = 0.0, .most = 1.0}, &Options::restart_below)},
        {.name = "--lr",
         .type = "RATE",
         .help = "learning rate",
         .value = number({.least = 0.0}, &Options::learning_rate)},
        {.name = "--weight-decay",
         .type = "LAMBDA",
         .help = "on every parameter",
         .value = number({.least = 0.0}, &Options::weight_decay)},
        {.name = "--label-smoothing",
         .type = "SHARE",
         .help = "of each label that is dealt over all classes in the loss",
         .value = number({.least = 0.0, .most = 1.0, .without_most = true}, &Options::label_smoothing)},
        {.name = "--schedule",
         .type = "NAME",
         .help = "of the learning rate",
         .value = word({{"constant", Kind::constant}, {"cosine", Kind::cosine}}, &Options::schedule)},
        {.name = "--warmup",
         .type = "STEPS",
         .help = "steps of linear warm-up",
         .value = number({.least = 0}, &Options::warmup)},
        {.name = "--epochs",
         .type = "N",
         .help = "passes over the training images",
         .value = number(at_least_one, &Options::epochs)},
        {.name = "--keep",
         .type = "WHICH",
         .help = "the model that is written: of the last step, or of the epoch that did best on --validation",
         .value = word({{"last", false}, {"best", true}}, &Options::keep_best)},
        {.name = "--patience",
         .type = "EPOCHS",
         .help = "stop after so many epochs without a better one on --validation; 0: go on",
         .value = number({.least = 0}, &Options::patience)},
        {.name = "--track-subspaces",
         .type = "STEPS",
         .help = "measure every so many steps how far the subspaces of weights, inputs and gradients have moved, into "
                 "subspaces.csv and the report; 0: do not",
         .value = number({.least = 0}, &Options::track_subspaces)},
        {.name = "--save-every",
         .type = "STEPS",
         .help =
             "steps after which the run is written to run.safetensors, to be gone on with; 0: only when interrupted",
         .value = number({.least = 0}, &Options::save_every),
         .effect = Effect::cost},
        {.name = "--resume",
         .type = "DIR",
         .help = "go on with the run of this folder, to the same bits; --epochs, --out and --threads may differ",
         .value = text(&Options::resume),
         .effect = Effect::place},
        out_row<Options>("DIR", "folder for metrics.csv, model.safetensors, report.json, report.html", true),
        {.name = "--out-fallback",
         .type = "DIR",
         .help = "folder that takes the files when --out cannot be written at the end (default: a new temporary one)",
         .value = text(&Options::out_fallback),
         .effect = Effect::place},
    };
}

[[nodiscard]] OptionTable<Options> make_finetune_table()
{
    auto table = memory_rows();
    for (const auto& more : {training_rows(), saving_rows()}) {
        table.insert(table.end(), more.begin(), more.end());
    }
    return table;
}

[[nodiscard]] OptionTable<Options> make_plan_table()
{
    auto table = memory_rows();
    for (auto& row : table) {
        row.required = row.required || row.name == "--memory-budget";
    }
    for (auto& row : rows_of<Options>(finetune_table(), {"--method", "--energy-of", "--size", "--calibration", "--rank",
                                                         "--alpha", "--rslora"})) {
        row.help = row.name == "--method" ? "auto: methods are compared; left out: weights and inputs alone" : row.help;
        table.push_back(std::move(row));
    }
    table.push_back(out_row<Options>("FILE", "write every choice that nothing beats to this CSV file"));
    return table;
}

[[nodiscard]] OptionTable<Options> make_evaluate_table()
{
    auto table =
        rows_of<Options>(finetune_table(), {"--weights", "--heads", "--image", "--data", "--validation", "--data-cache",
                                            "--skip-broken", "--batch-size", "--seed", "--threads"});
    for (auto& row : table) {
        row.required = row.name == "--weights" || row.name == "--data";
    }
    table.push_back(out_row<Options>("DIR", "folder for evaluate.json and evaluate.html, with the surest mistakes"));
    return table;
}

}  // namespace

const OptionTable<FinetuneOptions>& evaluate_table()
{
    static const auto table = make_evaluate_table();
    return table;
}

const OptionTable<FinetuneOptions>& finetune_table()
{
    static const auto table = make_finetune_table();
    return table;
}

const OptionTable<FinetuneOptions>& plan_table()
{
    static const auto table = make_plan_table();
    return table;
}

std::vector<std::pair<std::string, std::string>> shown_options(const FinetuneOptions& options)
{
    std::vector<std::pair<std::string, std::string>> shown;
    for (const auto& row : finetune_table()) {
        if (std::string value = row.value.show(options); row.effect != Effect::place && !value.empty()) {
            shown.emplace_back(row.name.substr(row.name.find_first_not_of('-')), std::move(value));
        }
    }
    return shown;
}

}  // namespace wasi_examples
