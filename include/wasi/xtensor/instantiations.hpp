// No include guard needed: xtensor/storage.hpp reads this file once, under WASI_EXTERN_TEMPLATES or one of the
// WASI_INSTANTIATE_ macros. The kernels are declared `extern template`, or compiled here if this source file is the one
// that asks for it.
// clang-format off
#define WASI_XTENSOR_KERNELS(TEMPLATE, T) \
    TEMPLATE void copy<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void add_scaled<T>(MatrixView<T>, T, T, ConstMatrixView<T>); \
    TEMPLATE double dot<T>(ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE bool all_finite<T>(ConstMatrixView<T>); \
    TEMPLATE double largest<T>(ConstMatrixView<T>); \
    TEMPLATE void adamw_step<T>(MatrixView<T>, MatrixView<T>, MatrixView<T>, ConstMatrixView<T>, const AdamWStep<T>&); \
    TEMPLATE void add_to_rows<T>(MatrixView<T>, std::span<const T>); \
    TEMPLATE void column_sums<T>(std::span<T>, ConstMatrixView<T>, Memory&); \
    TEMPLATE void multiply_elements<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void gelu<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void gelu_backward<T>(MatrixView<T>, ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void relu<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void relu_backward<T>(MatrixView<T>, ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void softmax<T>(MatrixView<T>, T); \
    TEMPLATE void softmax_backward<T>(MatrixView<T>, ConstMatrixView<T>, T); \
    TEMPLATE void layer_norm<T>(MatrixView<T>, std::span<T>, std::span<T>, ConstMatrixView<T>, std::span<const T>, std::span<const T>, T); \
    TEMPLATE void layer_norm_backward<T>(MatrixView<T>, std::span<T>, std::span<T>, ConstMatrixView<T>, ConstMatrixView<T>, \
                                         std::span<const T>, std::span<const T>, std::span<const T>, Memory&); \
    TEMPLATE double cross_entropy<T>(MatrixView<T>, ConstMatrixView<T>, std::span<const std::int64_t>);
// clang-format on

namespace wasi::xtensor {

#if defined(WASI_INSTANTIATE_TEMPLATES) || defined(WASI_INSTANTIATE_FLOAT_XTENSOR)
WASI_XTENSOR_KERNELS(template, float)
#else
WASI_XTENSOR_KERNELS(extern template, float)
#endif

#if defined(WASI_INSTANTIATE_TEMPLATES) || defined(WASI_INSTANTIATE_DOUBLE_XTENSOR)
WASI_XTENSOR_KERNELS(template, double)
#else
WASI_XTENSOR_KERNELS(extern template, double)
#endif

}  // namespace wasi::xtensor

#undef WASI_XTENSOR_KERNELS
