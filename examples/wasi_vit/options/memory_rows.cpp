// The options of finetune and plan that decide the memory of a run.
#include "options/memory_rows.hpp"

#include <algorithm>
#include <map>

#include "options/common_rows.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::require;
using wasi::autograd::Output;
using wasi::autograd::Probabilities;
using wasi::nn::KeepOptions;
using wasi::nn::Recompute;
using wasi::nn::VisionTransformerConfig;
using wasi::train::ClipScope;
using wasi::train::GradientFlow;
using Options = FinetuneOptions;

const Words<Output> keep_or_rebuild{{"keep", Output::keep}, {"rebuild", Output::rebuild}};
const Range<Index> at_least_one{.least = 1};

[[nodiscard]] std::map<std::string, Index*> fields(VisionTransformerConfig& config)
{
    return {{"image", &config.image}, {"patch", &config.patch}, {"dim", &config.dim},
            {"depth", &config.depth}, {"heads", &config.heads}, {"mlp", &config.mlp}};
}

/// "image=32,patch=4,dim=192,depth=6,heads=3,mlp=768"; what is left out keeps its default.
[[nodiscard]] VisionTransformerConfig parse_config(const std::string& typed, const std::string& option)
{
    VisionTransformerConfig config;
    const auto known = fields(config);
    std::vector<std::string> seen;
    for (const std::string& part : split(typed, ',')) {
        const auto equals = part.find('=');
        const std::string name = part.substr(0, equals);
        const auto field = known.find(name);
        require<argument_error>(equals != std::string::npos && field != known.end(), option, ": '", part,
                                "' is not NAME=NUMBER with a name out of image, patch, dim, depth, heads, mlp");
        require<argument_error>(std::find(seen.begin(), seen.end(), name) == seen.end(), option, ": ", name,
                                " is given twice");
        seen.push_back(name);
        *field->second = parse_number<Index>(std::string_view(part).substr(equals + 1), option + " " + name);
    }
    return config;
}

[[nodiscard]] std::string show_config(VisionTransformerConfig config)
{
    std::string shown;
    for (const char* name : {"image", "patch", "dim", "depth", "heads", "mlp"}) {
        shown += wasi::message(shown.empty() ? "" : ",", name, '=', *fields(config).at(name));
    }
    return shown;
}

/// "crop=0.3,flip,jitter=0.2".
[[nodiscard]] wasi::pictures::Augmentation parse_augmentation(const std::string& typed, const std::string& option)
{
    wasi::pictures::Augmentation result;
    constexpr double usual_jitter = 0.4;
    for (const std::string& part : split(typed, ',')) {
        const auto equals = part.find('=');
        const std::string name = part.substr(0, equals);
        const auto share = [&](double standard) {
            return equals == std::string::npos
                       ? standard
                       : parse_number<double>(std::string_view(part).substr(equals + 1), option + " " + name,
                                              {.least = 0.0, .most = 1.0, .without_least = true});
        };
        if (name == "crop") {
            result.crop = true;
            result.least_area = share(result.least_area);
        } else if (name == "jitter") {
            result.jitter = share(usual_jitter);
        } else {
            require<argument_error>(part == "flip", option, ": '", part,
                                    "' is none of crop, crop=SHARE, flip, jitter, jitter=SHARE");
            result.flip = true;
        }
    }
    return result;
}

[[nodiscard]] std::string show_augmentation(const wasi::pictures::Augmentation& augmentation)
{
    std::string shown;
    if (augmentation.crop) {
        shown += "crop=" + number_text(augmentation.least_area);
    }
    if (augmentation.flip) {
        shown += std::string(shown.empty() ? "" : ",") + "flip";
    }
    if (augmentation.jitter > 0.0) {
        shown += std::string(shown.empty() ? "" : ",") + "jitter=" + number_text(augmentation.jitter);
    }
    return shown;
}

/// A size in bytes that may be 0.
[[nodiscard]] std::int64_t parse_cache(const std::string& typed, const std::string& option)
{
    return typed == "0" ? 0 : parse_bytes(typed, option);
}

[[nodiscard]] std::string show_cache(std::int64_t held)
{
    return held == 0 ? "0" : bytes_option_text(held);
}

}  // namespace

OptionTable<FinetuneOptions> memory_rows()
{
    OptionTable<FinetuneOptions> table{
        {.name = "--weights",
         .type = "FILE",
         .help = "start from this file or folder (torchvision, timm, Hugging Face or CLIP names; docs/files.md)",
         .value = text(&Options::weights),
         .one_of_group = "Model"},
        {.name = "--config",
         .type = "LIST",
         .help = "start from scratch: image=32,patch=4,dim=192,depth=6,heads=3,mlp=768",
         .value = parsed(parse_config, show_config, &Options::config),
         .one_of_group = "Model"},
        {.name = "--classes",
         .type = "C",
         .help = "number of classes; another head than the file's is made when it differs",
         .value = number(head_count, &Options::classes)},
        heads_row<Options>(
            "attention heads (default: what the files or --config say, else as published models of this width)"),
        {.name = "--image",
         .type = "PIXELS",
         .help = "image size of --weights; positions are resampled where it is another (default: what the files say)",
         .value = number({.least = 1, .most = Index{1} << 20}, &Options::image)},
        {.name = "--train-layer-scale",
         .type = "SWITCH",
         .help = "train the layer scale of files that have it; else it is folded into the weights",
         .value = word({{"off", false}, {"on", true}}, &Options::train_layer_scale),
         .alone = "on"},
        {.name = "--data",
         .type = "DATA",
         .help = "a folder of pictures (a subfolder for each class; or train/ and test/ with those), cifar10:DIR, "
                 "cifar100:DIR, idx:DIR (cifar10:DIR:0-4 for some classes), digits, digits:0-4 or "
                 "tensors:FILE.safetensors (images, labels)",
         .value = text(&Options::data),
         .required = true},
        {.name = "--validation",
         .type = "SHARE",
         .help = "share of each class's training images to hold out and measure on, drawn from --seed",
         .value =
             number({.least = 0.0, .most = 1.0, .without_least = true, .without_most = true}, &Options::validation)},
        {.name = "--augment",
         .type = "LIST",
         .help = "what is done to pictures at random: crop, flip, jitter; crop=0.3 for parts of at least that share, "
                 "jitter=0.2 for colours within 20 %",
         .value = parsed(parse_augmentation, show_augmentation, &Options::augmentation)},
        {.name = "--data-cache",
         .type = "SIZE",
         .help = "bytes that decoded pictures are kept in; the others are decoded each time (default: 64MiB, or an "
                 "eighth of --memory-budget)",
         .value = parsed(parse_cache, show_cache, &Options::data_cache),
         .effect = Effect::cost},
        skip_broken_row<Options>(
            "pictures that cannot be read: counted and left out, or the end before anything is trained"),
        layers_row<Options>("linear layers that the method applies to"),
        {.name = "--memory-budget",
         .type = "SIZE",
         .help = "bytes for the whole process: 200MiB; how weights are held, what blocks keep and micro-batches follow",
         .value = bytes(&Options::memory_budget)},
        {.name = "--clip-norm",
         .type = "NORM",
         .help = "largest gradient norm, 0 = off",
         .value = number({.least = 0.0}, &Options::clip_norm)},
        {.name = "--clip-scope",
         .type = "SCOPE",
         .help = "norm over all parameters, or of each",
         .value = word({{"global", ClipScope::global}, {"parameter", ClipScope::parameter}}, &Options::clip_scope)},
        {.name = "--batch-size",
         .type = "N",
         .help = "images a step; no more than there are",
         .value = number(at_least_one, &Options::batch_size)},
        {.name = "--accumulate",
         .type = "N",
         .help = "micro-batches that a batch is cut into",
         .value = number(at_least_one, &Options::accumulate)},
        {.name = "--gradients",
         .type = "HOW",
         .help = "when they are used; stream: as soon as made, collect: once all are there, auto: stream where "
                 "clipping allows",
         .value = word(
             {{"auto", GradientFlow::automatic}, {"stream", GradientFlow::stream}, {"collect", GradientFlow::collect}},
             &Options::gradients),
         .effect = Effect::cost},
        {.name = "--recompute",
         .type = "WHAT",
         .help = "what of a block runs again in the backward pass",
         .value = word({{"nothing", Recompute::nothing},
                        {"attention", Recompute::attention},
                        {"mlp", Recompute::mlp},
                        {"halves", Recompute::halves},
                        {"block", Recompute::block}},
                       &Options::keep, &KeepOptions::recompute),
         .effect = Effect::cost},
        {.name = "--probabilities",
         .type = "HOW",
         .help = "of attention",
         .value = word({{"keep", Probabilities::keep}, {"recompute", Probabilities::recompute}}, &Options::keep,
                       &KeepOptions::probabilities),
         .effect = Effect::cost},
        {.name = "--norm-output",
         .type = "HOW",
         .help = "of layer norms, where a linear layer saves it exactly",
         .value = word(keep_or_rebuild, &Options::keep, &KeepOptions::norm_output),
         .effect = Effect::cost},
        {.name = "--gelu-input",
         .type = "HOW",
         .help = "of a low-rank fc1, from X R^T",
         .value = word(keep_or_rebuild, &Options::keep, &KeepOptions::gelu_input),
         .effect = Effect::cost},
        {.name = "--gelu-output",
         .type = "HOW",
         .help = "where fc2 saves it exactly",
         .value = word(keep_or_rebuild, &Options::keep, &KeepOptions::gelu_output),
         .effect = Effect::cost},
        {.name = "--saved-as",
         .type = "FORMAT",
         .help = "of what is saved between the passes; 16 bits are not exact, 8 and 4 (by groups of 256) less so",
         .value = word({{"float", wasi::Precision::full},
                        {"bfloat16", wasi::Precision::bfloat16},
                        {"half", wasi::Precision::half},
                        {"int8", wasi::Precision::int8},
                        {"int4", wasi::Precision::int4}},
                       &Options::keep, &KeepOptions::saved_as)},
        {.name = "--saved-rounding",
         .type = "HOW",
         .help = "to 8 and 4 bits; stochastic: at random, so that the gradients of weights are right in the mean",
         .value = word({{"nearest", wasi::Rounding::nearest}, {"stochastic", wasi::Rounding::stochastic}},
                       &Options::keep, &KeepOptions::rounding)},
        {.name = "--shuffle",
         .type = "ON",
         .help = "another order of the images each epoch",
         .value = word({{"on", true}, {"off", false}}, &Options::shuffle)},
        {.name = "--seed", .type = "N", .help = "of everything random", .value = number({}, &Options::seed)},
        threads_row<Options>(),
    };
    const auto more = optimizer_rows();
    table.insert(table.end(), more.begin(), more.end());
    return table;
}

}  // namespace wasi_examples
