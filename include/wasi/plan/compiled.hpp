#pragma once
#include "wasi/nn/models/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_PLAN_SAVED_INPUTS(TEMPLATE, S, T) \
    TEMPLATE std::vector<InputChoices> calibrate_inputs(WASI_COMPILED_MODEL(S, T)&, const nn::Source<T>&, std::span<const std::int64_t>, nn::Layers, rank::PerplexityOptions);
#define WASI_PLAN(TEMPLATE, S, T) \
    WASI_PLAN_SAVED_INPUTS(TEMPLATE, S, T)
// clang-format on
