#pragma once
#include "wasi/core/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp and linalg/compiled.hpp.
// clang-format off
#define WASI_TENSOR_MODE_PRODUCT(TEMPLATE, S, T) \
    TEMPLATE void mode_product<S, T, 3>(TensorView<T, 3>, ConstTensorView<T, 3>, ConstMatrixView<T>, std::size_t, Memory&); \
    TEMPLATE Tensor<T> mode_products<S, T, 3>(ConstTensorView<T, 3>, const std::array<std::optional<ConstMatrixView<T>>, 3>&, Memory&); \
    TEMPLATE void mode_product<S, T, 4>(TensorView<T, 4>, ConstTensorView<T, 4>, ConstMatrixView<T>, std::size_t, Memory&); \
    TEMPLATE Tensor<T> mode_products<S, T, 4>(ConstTensorView<T, 4>, const std::array<std::optional<ConstMatrixView<T>>, 4>&, Memory&);
#define WASI_TENSOR_HOSVD(TEMPLATE, S, T) \
    TEMPLATE Tucker<T, 3> hosvd<S, T, 3>(ConstTensorView<T, 3>, const ModeRules<3>&, Memory&); \
    TEMPLATE Tucker<T, 3> sequentially_truncated_hosvd<S, T, 3>(ConstTensorView<T, 3>, const ModeRules<3>&, const ModeOrder<3>&, Memory&); \
    TEMPLATE Tucker<T, 4> hosvd<S, T, 4>(ConstTensorView<T, 4>, const ModeRules<4>&, Memory&); \
    TEMPLATE Tucker<T, 4> sequentially_truncated_hosvd<S, T, 4>(ConstTensorView<T, 4>, const ModeRules<4>&, const ModeOrder<4>&, Memory&);
#define WASI_TENSOR_HOOI(TEMPLATE, S, T) \
    TEMPLATE Tucker<T, 3> hooi<S, T, 3>(ConstTensorView<T, 3>, Tucker<T, 3>, const HooiSweeps&, Memory&); \
    TEMPLATE Tucker<T, 3> hooi<S, T, 3>(ConstTensorView<T, 3>, const HooiOptions<3>&, Memory&); \
    TEMPLATE Tucker<T, 4> hooi<S, T, 4>(ConstTensorView<T, 4>, Tucker<T, 4>, const HooiSweeps&, Memory&); \
    TEMPLATE Tucker<T, 4> hooi<S, T, 4>(ConstTensorView<T, 4>, const HooiOptions<4>&, Memory&);
#define WASI_TENSOR_INNER_PRODUCT(TEMPLATE, S, T) \
    TEMPLATE double inner_product<S, T, 3>(const TuckerView<T, 3>&, const TuckerView<T, 3>&, Memory&); \
    TEMPLATE double inner_product<S, T, 3>(const TuckerView<T, 3>&, ConstTensorView<T, 3>, Memory&); \
    TEMPLATE double distance<S, T, 3>(const TuckerView<T, 3>&, const TuckerView<T, 3>&, Memory&); \
    TEMPLATE double distance<S, T, 3>(const TuckerView<T, 3>&, ConstTensorView<T, 3>, Memory&); \
    TEMPLATE double relative_error<S, T, 3>(const TuckerView<T, 3>&, ConstTensorView<T, 3>, Memory&); \
    TEMPLATE double inner_product<S, T, 4>(const TuckerView<T, 4>&, const TuckerView<T, 4>&, Memory&); \
    TEMPLATE double inner_product<S, T, 4>(const TuckerView<T, 4>&, ConstTensorView<T, 4>, Memory&); \
    TEMPLATE double distance<S, T, 4>(const TuckerView<T, 4>&, const TuckerView<T, 4>&, Memory&); \
    TEMPLATE double distance<S, T, 4>(const TuckerView<T, 4>&, ConstTensorView<T, 4>, Memory&); \
    TEMPLATE double relative_error<S, T, 4>(const TuckerView<T, 4>&, ConstTensorView<T, 4>, Memory&);
#define WASI_TENSOR_WARM_TUCKER(TEMPLATE, S, T) \
    TEMPLATE Tucker<T, 3> tucker_from_feature_basis<S, T, 3>(ConstTensorView<T, 3>, Tensor<T>, const ModeRules<3 - 1>&, double, Memory&); \
    TEMPLATE Tucker<T, 3> warm_tucker_step<S, T, 3>(ConstTensorView<T, 3>, ConstMatrixView<T>, const ModeRules<3 - 1>&, Memory&); \
    TEMPLATE Tucker<T, 4> tucker_from_feature_basis<S, T, 4>(ConstTensorView<T, 4>, Tensor<T>, const ModeRules<4 - 1>&, double, Memory&); \
    TEMPLATE Tucker<T, 4> warm_tucker_step<S, T, 4>(ConstTensorView<T, 4>, ConstMatrixView<T>, const ModeRules<4 - 1>&, Memory&);
#define WASI_TENSOR(TEMPLATE, S, T) \
    WASI_TENSOR_MODE_PRODUCT(TEMPLATE, S, T) \
    WASI_TENSOR_HOSVD(TEMPLATE, S, T) \
    WASI_TENSOR_HOOI(TEMPLATE, S, T) \
    WASI_TENSOR_INNER_PRODUCT(TEMPLATE, S, T) \
    WASI_TENSOR_WARM_TUCKER(TEMPLATE, S, T)
// clang-format on
