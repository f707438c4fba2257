#pragma once
#include "wasi/core/compiled.hpp"

// The model for which the templates of the floors above are compiled once.
#define WASI_COMPILED_MODEL(S, T) nn::VisionTransformer<T, S>
#if defined(WASI_EXTERN_FLOAT) || defined(WASI_EXTERN_DOUBLE)
#include "wasi/nn/models/vision_transformer.hpp"
#endif
