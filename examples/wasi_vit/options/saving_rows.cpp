// The options of finetune that hold frozen weights in fewer bits and save inputs in other ways than the method's own.
#include "options/memory_rows.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using Options = FinetuneOptions;

const Range<Index> at_least_one{.least = 1};

[[nodiscard]] Words<wasi::nn::InputSetup (*)(const wasi::train::MethodOptions&)> saved_input_words()
{
    Words<wasi::nn::InputSetup (*)(const wasi::train::MethodOptions&)> words;
    for (const auto& way : wasi::train::saved_inputs) {
        words.emplace_back(way.name, way.input);
    }
    return words;
}

[[nodiscard]] Words<wasi::subspace::Projection> projection_words()
{
    using wasi::subspace::Projection;
    Words<Projection> words;
    for (const auto projection :
         {Projection::gaussian, Projection::orthonormal, Projection::principal, Projection::prac, Projection::velora}) {
        words.emplace_back(to_string(projection), projection);
    }
    return words;
}

}  // namespace

OptionTable<FinetuneOptions> saving_rows()
{
    return {
        {.name = "--saved-inputs",
         .type = "HOW",
         .help = "how inputs of the method's layers are saved (default: as the method does)",
         .value = word(saved_input_words(), &Options::saved_inputs)},
        {.name = "--projection",
         .type = "WHICH",
         .help =
             "onto what projected inputs go: random (gaussian, orthonormal), principal, both (prac), or the mean of "
             "groups of features (velora)",
         .value = word(projection_words(), &Options::projection)},
        {.name = "--projection-rank",
         .type = "R",
         .help = "directions that an input is projected onto (default: 64)",
         .value = number(at_least_one, &Options::projection_rank)},
        {.name = "--principal-rank",
         .type = "R",
         .help = "of them, principal ones of prac (default: half)",
         .value = number(at_least_one, &Options::principal_rank)},
        {.name = "--projection-refresh",
         .type = "N",
         .help = "inputs after which there are other directions, 0 = never (default: 50)",
         .value = number({.least = 0}, &Options::projection_refresh)},
        {.name = "--projection-scale",
         .type = "SCALE",
         .help = "of velora's gradient (default: 1)",
         .value = number({.least = 0.0}, &Options::projection_scale)},
        {.name = "--frozen-weights",
         .type = "FORMAT",
         .help = "of weights of linear layers that are not trained, an adapter's base too (lora, head)",
         .value = word({{"float32", wasi::Precision::full},
                        {"bfloat16", wasi::Precision::bfloat16},
                        {"half", wasi::Precision::half},
                        {"int8", wasi::Precision::int8}},
                       &Options::frozen_weights)},
    };
}

}  // namespace wasi_examples
