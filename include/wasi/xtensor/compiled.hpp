#pragma once
#include "wasi/core/compiled.hpp"

// The kernels of XtensorStorage as explicit instantiations: see core/compiled.hpp. S is not used.
// clang-format off
#define WASI_XTENSOR_KERNELS(TEMPLATE, S, T) \
    TEMPLATE void copy<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void add_scaled<T>(MatrixView<T>, T, T, ConstMatrixView<T>); \
    TEMPLATE double dot<T>(ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE bool all_finite<T>(ConstMatrixView<T>); \
    TEMPLATE double largest<T>(ConstMatrixView<T>); \
    TEMPLATE void adamw_step<T>(MatrixView<T>, MatrixView<T>, MatrixView<T>, ConstMatrixView<T>, const AdamWStep<T>&); \
    TEMPLATE void add_to_rows<T>(MatrixView<T>, std::span<const T>); \
    TEMPLATE void column_sums<T>(std::span<T>, ConstMatrixView<T>, Memory&); \
    TEMPLATE void multiply_elements<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void scale_columns<T>(MatrixView<T>, std::span<const T>); \
    TEMPLATE void divide_by_root<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void gelu<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void gelu_backward<T>(MatrixView<T>, ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void quick_gelu<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void quick_gelu_backward<T>(MatrixView<T>, ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void relu<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void relu_backward<T>(MatrixView<T>, ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void softmax<T>(MatrixView<T>, T); \
    TEMPLATE void softmax_backward<T>(MatrixView<T>, ConstMatrixView<T>, T); \
    TEMPLATE void layer_norm<T>(MatrixView<T>, std::span<T>, std::span<T>, ConstMatrixView<T>, std::span<const T>, std::span<const T>, T); \
    TEMPLATE void layer_norm_backward<T>(MatrixView<T>, std::span<T>, std::span<T>, ConstMatrixView<T>, ConstMatrixView<T>, \
                                         std::span<const T>, std::span<const T>, std::span<const T>, Memory&); \
    TEMPLATE double cross_entropy<T>(MatrixView<T>, ConstMatrixView<T>, std::span<const std::int64_t>);
// clang-format on
