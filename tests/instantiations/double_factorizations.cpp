// Orthonormal bases, singular values and eigenvalues in double, compiled here for all our programs; the others see
// `extern template`.
#define WASI_INSTANTIATE_DOUBLE_FACTORIZATIONS
#include <wasi/storage/eigen.hpp>
