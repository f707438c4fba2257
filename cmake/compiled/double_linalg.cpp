// Bases, singular values, principal components and tracked subspaces in double.
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/principal_angles.hpp>
#include <wasi/linalg/qb.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/spectral_norm.hpp>
#include <wasi/linalg/subspace_iteration.hpp>
#include <wasi/linalg/subspace_tracker.hpp>

namespace wasi::linalg {

WASI_LINALG(template, EigenStorage, double)

}  // namespace wasi::linalg
