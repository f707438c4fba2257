// The options of predict, compare, inspect, export and expand.
#include "options/common_rows.hpp"

namespace wasi_examples {
namespace {

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

/// What the commands that write models have in common.
template <class Options>
[[nodiscard]] OptionTable<Options> model_rows()
{
    using wasi::io::Dtype;
    return {
        weights_row<Options>("a model: file or folder of any family"),
        heads_row<Options>("attention heads, where no file tells them"),
        {.name = "--dtype",
         .type = "TYPE",
         .help = "of the numbers in the file",
         .value = word({{"f32", Dtype::f32}, {"f16", Dtype::f16}, {"bf16", Dtype::bf16}}, &Options::stored_as)},
        threads_row<Options>(),
    };
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
        weights_row<Options>(),
        heads_row<Options>(),
        {.name = "pictures",
         .type = "PICTURE",
         .help = "JPEG and PNG files, and folders of them",
         .value = list_of_texts(&Options::pictures),
         .repeated = true},
        {.name = "--top",
         .type = "N",
         .help = "classes to print for a picture",
         .value = number({.least = 1}, &Options::top)},
        {.name = "--json",
         .type = "SWITCH",
         .help = "print JSON",
         .value = word({{"off", false}, {"on", true}}, &Options::json),
         .alone = "on",
         .flag = true},
        skip_broken_row<Options>("pictures that cannot be read: named and left out, or the end"),
        {.name = "--images",
         .type = "FILE",
         .help = "instead of pictures: a safetensors file with images (n,3,H,W), already normalised",
         .value = text(&Options::images)},
        {.name = "--batch-size",
         .type = "N",
         .help = "images at a time",
         .value = number({.least = 1}, &Options::batch_size),
         .effect = Effect::cost},
        threads_row<Options>(),
        out_row<Options>("FILE", "safetensors file to write for --images: logits (n,classes)"),
    };
    return table;
}

const OptionTable<ExportCommandOptions>& export_table()
{
    using Options = ExportCommandOptions;
    static const OptionTable<Options> table = [] {
        auto rows = model_rows<Options>();
        rows.push_back(
            {.name = "--as",
             .type = "PACKAGE",
             .help = "whose names and files",
             .value =
                 word({{"torchvision", ExportName::torchvision}, {"timm", ExportName::timm}, {"hf", ExportName::hf}},
                      &Options::as),
             .required = true});
        rows.push_back({.name = "--dense",
                        .type = "SWITCH",
                        .help = "multiply weights out that are factors, which this program alone reads",
                        .value = word({{"off", false}, {"on", true}}, &Options::dense),
                        .alone = "on"});
        rows.push_back(out_row<Options>("DIR", "folder to write", true));
        return rows;
    }();
    return table;
}

const OptionTable<ExpandOptions>& expand_table()
{
    using Options = ExpandOptions;
    static const OptionTable<Options> table = [] {
        auto rows = model_rows<Options>();
        rows.push_back({.name = "--adapter",
                        .type = "DIR",
                        .help = "an adapter in PEFT's format, merged into the weights it was started on; with its head",
                        .value = text(&Options::adapter)});
        rows.push_back({.name = "--without",
                        .type = "DIR",
                        .help = "an adapter that was merged into the weights, taken out of them again but for its head",
                        .value = text(&Options::without)});
        rows.push_back(out_row<Options>("FILE", "safetensors file to write", true));
        return rows;
    }();
    return table;
}

const OptionTable<CompareOptions>& compare_table()
{
    using Options = CompareOptions;
    static const OptionTable<Options> table{
        {.name = "runs",
         .type = "DIR",
         .help = "output folders of finished runs",
         .value = list_of_texts(&Options::runs),
         .required = true,
         .repeated = true},
        {.name = "--heading", .type = "TEXT", .help = "of the page", .value = text(&Options::heading)},
        out_row<Options>("FILE", "page to write: compare.html"),
    };
    return table;
}

const OptionTable<InspectOptions>& inspect_table()
{
    using Options = InspectOptions;
    static const OptionTable<Options> table{
        weights_row<Options>(),
        {.name = "--thresholds",
         .type = "LIST",
         .help = "shares of a weight's spectral energy, in (0, 1]",
         .value = parsed(parse_thresholds, show_thresholds, &Options::thresholds)},
        layers_row<Options>("linear layers to look at"),
        threads_row<Options>(),
        out_row<Options>("DIR", "folder for inspect.csv, inspect.json, inspect.html"),
    };
    return table;
}

}  // namespace wasi_examples
