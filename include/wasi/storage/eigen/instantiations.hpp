// No include guard needed: storage/eigen.hpp reads this file once, under WASI_EXTERN_TEMPLATES or one of the
// WASI_INSTANTIATE_ macros. Each group below is declared `extern template`, or compiled here if this source file is the
// one that asks for it.
// clang-format off
#define WASI_EIGEN_FACTORIZATIONS(TEMPLATE, T) \
    TEMPLATE Index orthonormalize<T>(MatrixView<T>, Memory&); \
    TEMPLATE Index cholesky_orthonormalize<T>(MatrixView<T>, Memory&); \
    TEMPLATE void gram<T>(MatrixView<double>, double, ConstMatrixView<T>, Memory&); \
    TEMPLATE bool svd<T>(ConstMatrixView<T>, MatrixView<T>, std::span<T>, MatrixView<T>, Memory&); \
    TEMPLATE bool eigh<T>(MatrixView<T>, std::span<T>, Memory&); \
    TEMPLATE bool solve_spd<T>(MatrixView<T>, MatrixView<T>, Memory&);
#define WASI_EIGEN_KERNELS(TEMPLATE, T) \
    TEMPLATE void multiply<T>(MatrixView<T>, T, ConstMatrixView<T>, ConstMatrixView<T>, T, Memory&); \
    TEMPLATE void copy<T>(MatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE void convert<T, float>(MatrixView<T>, ConstMatrixView<float>); \
    TEMPLATE void convert<T, double>(MatrixView<T>, ConstMatrixView<double>); \
    TEMPLATE void add_scaled<T>(MatrixView<T>, T, T, ConstMatrixView<T>); \
    TEMPLATE double dot<T>(ConstMatrixView<T>, ConstMatrixView<T>); \
    TEMPLATE bool all_finite<T>(ConstMatrixView<T>); \
    TEMPLATE double largest<T>(ConstMatrixView<T>); \
    TEMPLATE void fill_normal<T>(MatrixView<T>, RandomKey); \
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
    TEMPLATE double cross_entropy<T>(MatrixView<T>, ConstMatrixView<T>, std::span<const std::int64_t>); \
    TEMPLATE void pack<T>(std::span<std::uint16_t>, ConstMatrixView<T>, Precision); \
    TEMPLATE void unpack<T>(MatrixView<T>, std::span<const std::uint16_t>, Precision);
// clang-format on

namespace wasi::eigen {

#if defined(WASI_INSTANTIATE_TEMPLATES) || defined(WASI_INSTANTIATE_FLOAT_KERNELS)
WASI_EIGEN_KERNELS(template, float)
#else
WASI_EIGEN_KERNELS(extern template, float)
#endif

#if defined(WASI_INSTANTIATE_TEMPLATES) || defined(WASI_INSTANTIATE_DOUBLE_KERNELS)
WASI_EIGEN_KERNELS(template, double)
#else
WASI_EIGEN_KERNELS(extern template, double)
#endif

#if defined(WASI_INSTANTIATE_TEMPLATES) || defined(WASI_INSTANTIATE_FLOAT_FACTORIZATIONS)
WASI_EIGEN_FACTORIZATIONS(template, float)
#else
WASI_EIGEN_FACTORIZATIONS(extern template, float)
#endif

#if defined(WASI_INSTANTIATE_TEMPLATES) || defined(WASI_INSTANTIATE_DOUBLE_FACTORIZATIONS)
WASI_EIGEN_FACTORIZATIONS(template, double)
template Index eigh_leading<double>(MatrixView<double>, std::span<double>, const ChooseCount&, Memory&);
#else
WASI_EIGEN_FACTORIZATIONS(extern template, double)
extern template Index eigh_leading<double>(MatrixView<double>, std::span<double>, const ChooseCount&, Memory&);
#endif

}  // namespace wasi::eigen

#undef WASI_EIGEN_FACTORIZATIONS
#undef WASI_EIGEN_KERNELS
