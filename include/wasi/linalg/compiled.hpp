#pragma once
#include "wasi/core/compiled.hpp"

// The templates of this folder that are compiled once: see core/compiled.hpp. Each list is named in WASI_COMPILED(...)
// at the end of its header. A signature that is not the header's does not compile; a list that is not in WASI_LINALG is
// an undefined reference.
// clang-format off
#define WASI_LINALG_ORTHONORMALIZE(TEMPLATE, S, T) \
    TEMPLATE void require_finite<S, T>(ConstMatrixView<T>, std::string_view, std::string_view); \
    TEMPLATE OrthonormalizeInfo orthonormalize_columns<S, T>(MatrixView<T>, Memory&, OrthonormalizeOptions);
#define WASI_LINALG_SVD(TEMPLATE, S, T) \
    TEMPLATE SvdFactors<T> thin_svd<S, T>(ConstMatrixView<T>, Memory&); \
    TEMPLATE SvdFactors<T> leading_svd<S, T>(ConstMatrixView<T>, const ChooseRank&, Memory&); \
    TEMPLATE SvdFactors<T> truncated_svd<S, T>(ConstMatrixView<T>, const TruncatedSvdOptions&, Memory&);
#define WASI_LINALG_RANDOMIZED_SVD(TEMPLATE, S, T) \
    TEMPLATE SvdFactors<T> randomized_svd<S, T>(ConstMatrixView<T>, const RandomizedSvdOptions&, RandomKey, Memory&); \
    TEMPLATE SvdFactors<T> randomized_svd<S, T>(const MatrixOperator<S, T>&, const RandomizedSvdOptions&, RandomKey, Memory&);
#define WASI_LINALG_QB(TEMPLATE, S, T) \
    TEMPLATE QbFactors<T> qb<S, T>(ConstMatrixView<T>, const QbOptions&, RandomKey, Memory&);
#define WASI_LINALG_SPECTRAL_NORM(TEMPLATE, S, T) \
    TEMPLATE SpectralNorm spectral_norm<S, T>(ConstMatrixView<T>, const SpectralNormOptions&, RandomKey, Memory&);
#define WASI_LINALG_PCA(TEMPLATE, S, T) \
    TEMPLATE PcaFactors<T> pca<S, T>(ConstMatrixView<T>, const PcaOptions&, RandomKey, Memory&);
#define WASI_LINALG_SUBSPACE_ITERATION(TEMPLATE, S, T) \
    TEMPLATE void normal_product<S, T>(MatrixView<T>, ConstMatrixView<T>, ConstMatrixView<T>, Memory&); \
    TEMPLATE void subspace_step<S, T>(ConstMatrixView<T>, MatrixView<T>, Memory&);
#define WASI_LINALG_PRINCIPAL_ANGLES(TEMPLATE, S, T) \
    TEMPLATE double sine_of_largest_angle<S, T>(ConstMatrixView<T>, ConstMatrixView<T>, Memory&); \
    TEMPLATE std::vector<double> principal_angles<S, T>(ConstMatrixView<T>, ConstMatrixView<T>, Memory&);
#define WASI_LINALG_SUBSPACE_TRACKER(TEMPLATE, S, T) \
    TEMPLATE class SubspaceTracker<T, S>;
#define WASI_LINALG(TEMPLATE, S, T) \
    WASI_LINALG_ORTHONORMALIZE(TEMPLATE, S, T) \
    WASI_LINALG_SVD(TEMPLATE, S, T) \
    WASI_LINALG_RANDOMIZED_SVD(TEMPLATE, S, T) \
    WASI_LINALG_QB(TEMPLATE, S, T) \
    WASI_LINALG_SPECTRAL_NORM(TEMPLATE, S, T) \
    WASI_LINALG_PCA(TEMPLATE, S, T) \
    WASI_LINALG_SUBSPACE_ITERATION(TEMPLATE, S, T) \
    WASI_LINALG_PRINCIPAL_ANGLES(TEMPLATE, S, T) \
    WASI_LINALG_SUBSPACE_TRACKER(TEMPLATE, S, T)
// clang-format on
