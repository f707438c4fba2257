// Products, elementwise and row kernels in double.
#include <wasi/storage/eigen.hpp>
#include <wasi/storage/eigen/bodies.hpp>

namespace wasi::eigen {

WASI_EIGEN_KERNELS(template, EigenStorage, double)

}  // namespace wasi::eigen
