// Products, elementwise and row kernels in float.
#include <wasi/storage/eigen.hpp>
#include <wasi/storage/eigen/bodies.hpp>

namespace wasi::eigen {

WASI_EIGEN_KERNELS(template, EigenStorage, float)

}  // namespace wasi::eigen
