#pragma once
#include "wasi/nn/models/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_TRAIN_METHOD(TEMPLATE, S, T) \
    TEMPLATE void prepare_training(WASI_COMPILED_MODEL(S, T)&, const MethodOptions&, RandomKey); \
    TEMPLATE void apply_method(WASI_COMPILED_MODEL(S, T)&, const MethodOptions&, RandomKey);
#define WASI_TRAIN_TRAINER(TEMPLATE, S, T) \
    TEMPLATE class Step<WASI_COMPILED_MODEL(S, T)>; \
    TEMPLATE Index train(WASI_COMPILED_MODEL(S, T)&, const data::Dataset<T>&, optim::Optimizer<T, S>&, const TrainOptions&, RandomKey, MeanCrossEntropy);
#define WASI_TRAIN(TEMPLATE, S, T) \
    WASI_TRAIN_METHOD(TEMPLATE, S, T) \
    WASI_TRAIN_TRAINER(TEMPLATE, S, T)
// clang-format on
