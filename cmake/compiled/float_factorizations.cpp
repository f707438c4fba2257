// Orthonormal bases, singular values and eigenvalues in float.
#include <wasi/storage/eigen.hpp>
#include <wasi/storage/eigen/bodies.hpp>

namespace wasi::eigen {

WASI_EIGEN_FACTORIZATIONS(template, EigenStorage, float)

}  // namespace wasi::eigen
