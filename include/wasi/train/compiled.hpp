#pragma once
#include "wasi/core/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_TRAIN_METHOD(TEMPLATE, S, T) \
    TEMPLATE void convert_weight<T, S>(nn::LinearWeight<T, S>&, Index, const MethodOptions&); \
    TEMPLATE void prepare_training<T, S>(nn::VisionTransformer<T, S>&, const MethodOptions&, RandomKey); \
    TEMPLATE void apply_method<T, S>(nn::VisionTransformer<T, S>&, const MethodOptions&, RandomKey);
#define WASI_TRAIN_TRAINER(TEMPLATE, S, T) \
    TEMPLATE class Step<T, S>; \
    TEMPLATE Index train<T, S>(nn::VisionTransformer<T, S>&, const Dataset<T>&, optim::Optimizer<T, S>&, const TrainOptions&, RandomKey); \
    TEMPLATE Tensor<T> predict<T, S>(nn::VisionTransformer<T, S>&, const Dataset<T>&, Index); \
    TEMPLATE Index count_correct<T, S>(nn::VisionTransformer<T, S>&, const Dataset<T>&, Index);
#define WASI_TRAIN_ACTIVATION_PLAN(TEMPLATE, S, T) \
    TEMPLATE std::vector<InputChoices> calibrate_inputs<T, S>(nn::VisionTransformer<T, S>&, const Tensor<T>&, std::span<const std::int64_t>, Layers, rank::PerplexityOptions); \
    TEMPLATE ActivationPlan plan_activations<T, S>(nn::VisionTransformer<T, S>&, const Dataset<T>&, std::span<const Index>, Layers, std::int64_t, const rank::PerplexityOptions&);
#define WASI_TRAIN(TEMPLATE, S, T) \
    WASI_TRAIN_METHOD(TEMPLATE, S, T) \
    WASI_TRAIN_TRAINER(TEMPLATE, S, T) \
    WASI_TRAIN_ACTIVATION_PLAN(TEMPLATE, S, T)
// clang-format on
