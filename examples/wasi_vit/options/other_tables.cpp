// The options of predict, compare and inspect.
#include "options/options.hpp"

namespace wasi_examples {
namespace {

/// Attention heads, threads: as finetune has them.
const Range<wasi::Index> head_count{.least = 1, .most = wasi::Index{1} << 20};
const Range<int> thread_count{.least = 0, .most = 4096};

[[nodiscard]] std::vector<double> parse_thresholds(const std::string& typed, const std::string& option)
{
    std::vector<double> thresholds;
    for (const std::string& part : split(typed, ',')) {
        const double threshold = parse_number<double>(part, option);
        wasi::require<wasi::argument_error>(threshold > 0.0 && threshold <= 1.0, option,
                                            ": an energy must be in (0, 1], got ", part);
        thresholds.push_back(threshold);
    }
    wasi::require<wasi::argument_error>(!thresholds.empty(), option, ": the list is empty");
    return thresholds;
}

[[nodiscard]] std::string show_thresholds(const std::vector<double>& thresholds)
{
    std::string shown;
    for (const double threshold : thresholds) {
        shown += (shown.empty() ? "" : ",") + number_text(threshold);
    }
    return shown;
}

}  // namespace

const OptionTable<PredictOptions>& predict_table()
{
    using Options = PredictOptions;
    static const OptionTable<Options> table{
        {.name = "--weights",
         .type = "FILE",
         .help = "model.safetensors of a run, or any file with torchvision names",
         .value = text(&Options::weights),
         .required = true},
        {.name = "--heads",
         .type = "H",
         .help = "attention heads (default: the file's metadata, else dim/64)",
         .value = number(head_count, &Options::heads)},
        {.name = "--images",
         .type = "FILE",
         .help = "safetensors file with images (n,3,H,W), already normalised",
         .value = text(&Options::images),
         .required = true},
        {.name = "--batch-size",
         .type = "N",
         .help = "images at a time",
         .value = number({.least = 1}, &Options::batch_size),
         .effect = Effect::cost},
        {.name = "--threads",
         .type = "N",
         .help = "0 = one for each processor",
         .value = number(thread_count, &Options::threads),
         .effect = Effect::cost},
        {.name = "--out",
         .type = "FILE",
         .help = "safetensors file to write: logits (n,classes)",
         .value = text(&Options::out),
         .effect = Effect::place,
         .required = true},
    };
    return table;
}

const OptionTable<CompareOptions>& compare_table()
{
    using Options = CompareOptions;
    static const OptionTable<Options> table{
        {.name = "runs",
         .type = "DIR",
         .help = "output folders of finished runs",
         .value = {
             [](Options& options, const std::string& typed, const std::string&) { options.runs.push_back(typed); },
             [](const Options&) { return std::string(); }},
         .required = true,
         .repeated = true},
        {.name = "--heading", .type = "TEXT", .help = "of the page", .value = text(&Options::heading)},
        {.name = "--out",
         .type = "FILE",
         .help = "page to write: compare.html",
         .value = text(&Options::out),
         .effect = Effect::place},
    };
    return table;
}

const OptionTable<InspectOptions>& inspect_table()
{
    using Options = InspectOptions;
    using wasi::nn::Layers;
    static const OptionTable<Options> table{
        {.name = "--weights",
         .type = "FILE",
         .help = "safetensors file (torchvision names), or model.safetensors of a run",
         .value = text(&Options::weights),
         .required = true},
        {.name = "--thresholds",
         .type = "LIST",
         .help = "shares of a weight's spectral energy, in (0, 1]",
         .value = parsed(parse_thresholds, show_thresholds, &Options::thresholds)},
        {.name = "--layers",
         .type = "WHICH",
         .help = "linear layers to look at",
         .value = word({{"mlp", Layers::mlp}, {"all", Layers::all}}, &Options::layers)},
        {.name = "--threads",
         .type = "N",
         .help = "0 = one for each processor",
         .value = number(thread_count, &Options::threads),
         .effect = Effect::cost},
        {.name = "--out",
         .type = "DIR",
         .help = "folder for inspect.csv, inspect.json, inspect.html",
         .value = text(&Options::out),
         .effect = Effect::place},
    };
    return table;
}

}  // namespace wasi_examples
