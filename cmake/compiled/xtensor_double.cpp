// The kernels of XtensorStorage in double.
#include <wasi/xtensor/elementwise.hpp>
#include <wasi/xtensor/row_kernels.hpp>
#include <wasi/xtensor/storage.hpp>

namespace wasi::xtensor {

WASI_XTENSOR_KERNELS(template, XtensorStorage, double)

}  // namespace wasi::xtensor
