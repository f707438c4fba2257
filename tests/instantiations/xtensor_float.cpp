// The kernels of XtensorStorage in float, compiled here for all our programs; the others see `extern template`.
#define WASI_INSTANTIATE_FLOAT_XTENSOR
#include <wasi/xtensor/storage.hpp>
