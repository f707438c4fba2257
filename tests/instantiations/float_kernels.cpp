// Products, elementwise and row kernels in float, compiled here for all our programs; the others see `extern template`.
#define WASI_INSTANTIATE_FLOAT_KERNELS
#include <wasi/storage/eigen.hpp>
