#pragma once
#include <string>
#include <utility>

#include "options/options.hpp"

/// Rows that several commands have, for options structs with the members of those names.
namespace wasi_examples {

/// Attention heads, classes.
inline const Range<wasi::Index> head_count{.least = 1, .most = wasi::Index{1} << 20};

template <class Options>
[[nodiscard]] OptionRow<Options> weights_row(
    std::string help = "model.safetensors of a run, or a file or folder of any family (docs/files.md)")
{
    return {.name = "--weights",
            .type = "FILE",
            .help = std::move(help),
            .value = text(&Options::weights),
            .required = true};
}

template <class Options>
[[nodiscard]] OptionRow<Options> heads_row(
    std::string help = "attention heads (default: what the files say, else as published models of this width)")
{
    return {.name = "--heads", .type = "H", .help = std::move(help), .value = number(head_count, &Options::heads)};
}

template <class Options>
[[nodiscard]] OptionRow<Options> layers_row(std::string help)
{
    using wasi::nn::Layers;
    return {.name = "--layers",
            .type = "WHICH",
            .help = std::move(help),
            .value = word({{"mlp", Layers::mlp}, {"all", Layers::all}}, &Options::layers)};
}

template <class Options>
[[nodiscard]] OptionRow<Options> energy_row()
{
    return {.name = "--energy",
            .type = "E",
            .help = "share of a weight's spectral energy to keep",
            .value = number({.least = 0.0, .most = 1.0, .without_least = true}, &Options::energy)};
}

template <class Options>
[[nodiscard]] OptionRow<Options> break_even_row()
{
    return {.name = "--above-break-even",
            .type = "HOW",
            .help = "a weight whose factors would be no smaller",
            .value = word({{"dense", true}, {"low-rank", false}}, &Options::dense_above_break_even)};
}

template <class Options>
[[nodiscard]] OptionRow<Options> skip_broken_row(std::string help)
{
    return {.name = "--skip-broken",
            .type = "ON",
            .help = std::move(help),
            .value = word({{"on", true}, {"off", false}}, &Options::skip_broken)};
}

template <class Options>
[[nodiscard]] OptionRow<Options> threads_row()
{
    return {.name = "--threads",
            .type = "N",
            .help = "0 = one for each processor; results do not depend on it",
            .value = number({.least = 0, .most = 4096}, &Options::threads),
            .effect = Effect::cost};
}

template <class Options>
[[nodiscard]] OptionRow<Options> out_row(std::string type, std::string help, bool required = false)
{
    return {.name = "--out",
            .type = std::move(type),
            .help = std::move(help),
            .value = text(&Options::out),
            .effect = Effect::place,
            .required = required};
}

}  // namespace wasi_examples
