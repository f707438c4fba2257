#pragma once
#include "wasi/core/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_OPTIM_SGD(TEMPLATE, S, T) \
    TEMPLATE class Sgd<T, S>;
#define WASI_OPTIM_ADAMW(TEMPLATE, S, T) \
    TEMPLATE class AdamW<T, S>;
#define WASI_OPTIM_GALORE(TEMPLATE, S, T) \
    TEMPLATE class Galore<T, S>;
#define WASI_OPTIM_MOFASGD(TEMPLATE, S, T) \
    TEMPLATE class Mofasgd<T, S>;
#define WASI_OPTIM_SINKS(TEMPLATE, S, T) \
    TEMPLATE class StreamSink<T, S>; \
    TEMPLATE class CollectSink<T, S>;
#define WASI_OPTIM(TEMPLATE, S, T) \
    WASI_OPTIM_SGD(TEMPLATE, S, T) \
    WASI_OPTIM_ADAMW(TEMPLATE, S, T) \
    WASI_OPTIM_GALORE(TEMPLATE, S, T) \
    WASI_OPTIM_MOFASGD(TEMPLATE, S, T) \
    WASI_OPTIM_SINKS(TEMPLATE, S, T)
// clang-format on
