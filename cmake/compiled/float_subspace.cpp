// Subspaces of weights and activations in float.
#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/activation_subspace.hpp>
#include <wasi/subspace/free_factors.hpp>
#include <wasi/subspace/input_projection.hpp>
#include <wasi/subspace/low_rank_gradient.hpp>
#include <wasi/subspace/polar.hpp>
#include <wasi/subspace/tangent_velocity.hpp>
#include <wasi/subspace/weight_subspace.hpp>

namespace wasi::subspace {

WASI_SUBSPACE(template, EigenStorage, float)

}  // namespace wasi::subspace
