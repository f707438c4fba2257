// Orthonormal bases, singular values and eigenvalues in float, compiled here for all our programs; the others see
// `extern template`.
#define WASI_INSTANTIATE_FLOAT_FACTORIZATIONS
#include <wasi/storage/eigen.hpp>
