#pragma once
#include "wasi/core/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_NN_WEIGHTS_DENSE(TEMPLATE, S, T) \
    TEMPLATE class DenseWeight<T, S>;
#define WASI_NN_WEIGHTS_SUBSPACE(TEMPLATE, S, T) \
    TEMPLATE class ProductWeight<T, S>; \
    TEMPLATE class SubspaceWeight<T, S>;
#define WASI_NN_WEIGHTS_FACTORS(TEMPLATE, S, T) \
    TEMPLATE class FactorsWeight<T, S>;
#define WASI_NN_WEIGHTS_ADAPTER(TEMPLATE, S, T) \
    TEMPLATE class AdapterWeight<T, S>;
#define WASI_NN_WEIGHTS_DORA(TEMPLATE, S, T) \
    TEMPLATE class DoraWeight<T, S>;
#define WASI_NN_LINEAR_WEIGHT(TEMPLATE, S, T) \
    TEMPLATE class LinearWeight<T, S>;
#define WASI_NN_LINEAR(TEMPLATE, S, T) \
    TEMPLATE class Linear<T, S>;
#define WASI_NN_ENCODER_BLOCK(TEMPLATE, S, T) \
    TEMPLATE class EncoderBlock<T, S>;
#define WASI_NN_VISION_TRANSFORMER(TEMPLATE, S, T) \
    TEMPLATE class VisionTransformer<T, S>;
#define WASI_NN(TEMPLATE, S, T) \
    WASI_NN_WEIGHTS_DENSE(TEMPLATE, S, T) \
    WASI_NN_WEIGHTS_SUBSPACE(TEMPLATE, S, T) \
    WASI_NN_WEIGHTS_FACTORS(TEMPLATE, S, T) \
    WASI_NN_WEIGHTS_ADAPTER(TEMPLATE, S, T) \
    WASI_NN_WEIGHTS_DORA(TEMPLATE, S, T) \
    WASI_NN_LINEAR_WEIGHT(TEMPLATE, S, T) \
    WASI_NN_LINEAR(TEMPLATE, S, T) \
    WASI_NN_ENCODER_BLOCK(TEMPLATE, S, T) \
    WASI_NN_VISION_TRANSFORMER(TEMPLATE, S, T)
// clang-format on
