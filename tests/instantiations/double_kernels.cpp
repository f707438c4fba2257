// Products, elementwise and row kernels in double, compiled here for all our programs; the others see `extern
// template`.
#define WASI_INSTANTIATE_DOUBLE_KERNELS
#include <wasi/storage/eigen.hpp>
