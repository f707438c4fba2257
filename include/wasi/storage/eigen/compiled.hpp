#pragma once
#include "wasi/core/compiled.hpp"

// The kernels of EigenStorage as explicit instantiations: see core/compiled.hpp. S is not used.
// clang-format off
#define WASI_EIGEN_FACTORIZATIONS(TEMPLATE, S, T) \
    TEMPLATE Index orthonormalize<T>(MatrixView<T>, Memory&); \
    TEMPLATE Index cholesky_orthonormalize<T>(MatrixView<T>, Memory&); \
    TEMPLATE void gram<T>(MatrixView<double>, double, ConstMatrixView<T>, Memory&); \
    TEMPLATE bool svd<T>(ConstMatrixView<T>, MatrixView<T>, std::span<T>, MatrixView<T>, Memory&); \
    TEMPLATE bool eigh<T>(MatrixView<T>, std::span<T>, Memory&); \
    TEMPLATE bool solve_spd<T>(MatrixView<T>, MatrixView<T>, Memory&); \
    TEMPLATE bool cholesky<T>(MatrixView<T>, Memory&);
#define WASI_EIGEN_DOUBLE_FACTORIZATIONS(TEMPLATE) \
    TEMPLATE Index eigh_leading<double>(MatrixView<double>, std::span<double>, const ChooseCount&, Memory&);
#define WASI_EIGEN_KERNELS(TEMPLATE, S, T) \
    TEMPLATE void multiply<T>(MatrixView<T>, T, ConstMatrixView<T>, ConstMatrixView<T>, T, Memory&); \
    TEMPLATE void copy<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void convert<T, float>(MatrixView<T>, ConstMatrixView<float>); \
    TEMPLATE void convert<T, double>(MatrixView<T>, ConstMatrixView<double>); \
    TEMPLATE void add_scaled<T>(MatrixView<T>, T, T, ConstMatrixView<T>); \
    TEMPLATE double dot<T>(ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE bool all_finite<T>(ConstMatrixView<T>); \
    TEMPLATE double largest<T>(ConstMatrixView<T>); \
    TEMPLATE void fill<T>(MatrixView<T>, T); \
    TEMPLATE void add_constant<T>(MatrixView<T>, T); \
    TEMPLATE void fill_normal<T>(MatrixView<T>, RandomKey); \
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
    TEMPLATE double cross_entropy<T>(MatrixView<T>, ConstMatrixView<T>, std::span<const std::int64_t>); \
    TEMPLATE void pack<T>(PackedView, ConstMatrixView<T>, std::optional<RandomKey>); \
    TEMPLATE void unpack<T>(MatrixView<T>, ConstPackedView);
// clang-format on
