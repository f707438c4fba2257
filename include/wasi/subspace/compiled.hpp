#pragma once
#include "wasi/core/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_SUBSPACE_POLAR(TEMPLATE, S, T) \
    TEMPLATE void polar_factor<S, T>(MatrixView<T>, Memory&);
#define WASI_SUBSPACE_LOW_RANK_GRADIENT(TEMPLATE, S, T) \
    TEMPLATE Tensor<T> low_rank_gradient<S, T>(ConstTensorView<T, 3>, const tensor::Tucker<T, 3>&, ContractionOrder, Memory&);
#define WASI_SUBSPACE_WEIGHT_SUBSPACE(TEMPLATE, S, T) \
    TEMPLATE class WeightSubspace<T, S>;
#define WASI_SUBSPACE_FREE_FACTORS(TEMPLATE, S, T) \
    TEMPLATE class FreeFactors<T, S>;
#define WASI_SUBSPACE_ACTIVATION_SUBSPACE(TEMPLATE, S, T) \
    TEMPLATE class ActivationSubspace<T, S>;
#define WASI_SUBSPACE_INPUT_PROJECTION(TEMPLATE, S, T) \
    TEMPLATE class InputProjection<T, S>;
#define WASI_SUBSPACE_TANGENT_VELOCITY(TEMPLATE, S, T) \
    TEMPLATE class TangentVelocity<T, S>;
#define WASI_SUBSPACE(TEMPLATE, S, T) \
    WASI_SUBSPACE_POLAR(TEMPLATE, S, T) \
    WASI_SUBSPACE_LOW_RANK_GRADIENT(TEMPLATE, S, T) \
    WASI_SUBSPACE_WEIGHT_SUBSPACE(TEMPLATE, S, T) \
    WASI_SUBSPACE_FREE_FACTORS(TEMPLATE, S, T) \
    WASI_SUBSPACE_ACTIVATION_SUBSPACE(TEMPLATE, S, T) \
    WASI_SUBSPACE_INPUT_PROJECTION(TEMPLATE, S, T) \
    WASI_SUBSPACE_TANGENT_VELOCITY(TEMPLATE, S, T)
// clang-format on
