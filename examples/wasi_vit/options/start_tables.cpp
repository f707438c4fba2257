// The options of compress and probe: finetune's that say which model, data and ranks, and some of their own.
#include <iterator>

#include "options/options.hpp"

namespace wasi_examples {

const OptionTable<CompressOptions>& compress_table()
{
    using Options = CompressOptions;
    using wasi::io::Dtype;
    static const OptionTable<Options> table = [] {
        auto rows = rows_of<Options>(
            finetune_table(),
            {"--weights", "--heads", "--image", "--data", "--data-cache", "--skip-broken", "--layers", "--energy",
             "--energy-of", "--size", "--calibration", "--above-break-even", "--batch-size", "--seed", "--threads"});
        for (auto& row : rows) {
            row.required = row.name == "--weights";
            if (row.name == "--data") {
                row.help = "for ranks by output: digits, a folder of pictures, ... (docs/data.md)";
            }
        }
        OptionTable<Options> own{
            {.name = "--rank",
             .type = "K",
             .help = "the same rank for every weight, in place of --energy",
             .value = {
                 [](Options& options, const std::string& typed, const std::string& option) {
                     options.rank = parse_number<wasi::Index>(typed, option, {.least = 1});
                 },
                 [](const Options& options) { return options.rank ? number_text(*options.rank) : std::string(); }}},
            {.name = "--form",
             .type = "FORM",
             .help = "how factors are held: subspace (L orthonormal) or factors (free, for AdamW)",
             .value = word({{"subspace", false}, {"factors", true}}, &Options::free)},
            {.name = "--dtype",
             .type = "TYPE",
             .help = "of the numbers in the file",
             .value = word({{"f32", Dtype::f32}, {"f16", Dtype::f16}, {"bf16", Dtype::bf16}}, &Options::stored_as)},
            {.name = "--out",
             .type = "FILE",
             .help = "safetensors file to write",
             .value = {[](Options& options, const std::string& typed, const std::string&) { options.out = typed; },
                       [](const Options& options) { return options.out; }},
             .effect = Effect::place,
             .required = true},
        };
        std::move(own.begin(), own.end(), std::back_inserter(rows));
        return rows;
    }();
    return table;
}

const OptionTable<ProbeOptions>& probe_table()
{
    using Options = ProbeOptions;
    static const OptionTable<Options> table = [] {
        auto rows = rows_of<Options>(finetune_table(), {"--weights", "--heads", "--image", "--data", "--data-cache",
                                                        "--skip-broken", "--batch-size", "--seed", "--threads"});
        for (auto& row : rows) {
            row.required = row.name == "--weights" || row.name == "--data";
        }
        OptionTable<Options> own{
            {.name = "--against",
             .type = "FILE",
             .help = "a model whose features those of --weights are compared with",
             .value = text(&Options::against)},
            {.name = "--train-examples",
             .type = "N",
             .help = "training images that the classifier is fitted to, drawn by --seed",
             .value = number({.least = 2}, &Options::train_examples)},
            {.name = "--test-examples",
             .type = "N",
             .help = "test images that it is measured on, drawn by --seed",
             .value = number({.least = 1}, &Options::test_examples)},
        };
        std::move(own.begin(), own.end(), std::back_inserter(rows));
        return rows;
    }();
    return table;
}

}  // namespace wasi_examples
