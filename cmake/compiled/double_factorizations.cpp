// Orthonormal bases, singular values and eigenvalues in double.
#include <wasi/storage/eigen.hpp>
#include <wasi/storage/eigen/bodies.hpp>

namespace wasi::eigen {

WASI_EIGEN_FACTORIZATIONS(template, EigenStorage, double)
WASI_EIGEN_DOUBLE_FACTORIZATIONS(template)
}  // namespace wasi::eigen
