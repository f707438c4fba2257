// The kernels of XtensorStorage in float.
#include <wasi/xtensor/elementwise.hpp>
#include <wasi/xtensor/row_kernels.hpp>
#include <wasi/xtensor/storage.hpp>

namespace wasi::xtensor {

WASI_XTENSOR_KERNELS(template, XtensorStorage, float)

}  // namespace wasi::xtensor
