#pragma once
#include "wasi/nn/models/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_MEASURE(TEMPLATE, S, T) \
    TEMPLATE Tensor<T> predict(WASI_COMPILED_MODEL(S, T)&, const data::Dataset<T>&, Index); \
    TEMPLATE ConfusionMatrix confusion(WASI_COMPILED_MODEL(S, T)&, const data::Dataset<T>&, Index); \
    TEMPLATE Index count_correct(WASI_COMPILED_MODEL(S, T)&, const data::Dataset<T>&, Index);
// clang-format on
