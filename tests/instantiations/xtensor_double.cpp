// The kernels of XtensorStorage in double, compiled here for all our programs; the others see `extern template`.
#define WASI_INSTANTIATE_DOUBLE_XTENSOR
#include <wasi/xtensor/storage.hpp>
