#pragma once
#include <string>

#include "wasi/core/scalar.hpp"

namespace wasi::measure {

/// A subspace against the one of the start and against the last one seen. An overlap ||U0ᵀ U||_F² / K is the mean of
/// the squared cosines of the principal angles: 1 for the same subspace.
struct SubspaceDrift {
    double overlap = 1.0;        ///< with the start
    double largest_angle = 0.0;  ///< to the start, in degrees
    double overlap_last = 1.0;   ///< with the last one
};

/// What one measurement found of one linear layer. Shares lie in [0, 1]. A random subspace of rank K in n dimensions
/// has an overlap of K/n with any other, a random gradient a share of 1 - (1 - K/O)(1 - K/I) in a tangent space.
struct LayerSubspaces {
    std::string layer;  ///< the weight's name
    Index block = -1;
    Index outputs = 0;
    Index inputs = 0;
    Index rank = 0;         ///< K of the weight
    SubspaceDrift left;     ///< of the K leading left singular vectors of W
    SubspaceDrift right;    ///< of the right ones
    double held = 1.0;      ///< share of ||W_K||² inside U0 (..) V0ᵀ, the subspaces of the start
    double spectrum = 0.0;  ///< sqrt(Σ (s - s0)² / Σ s0²) of the K leading singular values
    double gradient = 0.0;  ///< ||dW|| on the examples that are looked at
    /// Share of ||dW||² in the tangent space of the matrices of rank K at W_K, and at the start's: what an update that
    /// keeps the rank, and one that keeps the start's subspaces in its tangent, can follow. Negative: no gradient.
    double tangent = -1.0;
    double tangent_of_start = -1.0;
    Index input_rank = 0;
    SubspaceDrift input;        ///< of the leading right singular vectors of X (rows of all tokens)
    double input_energy = 0.0;  ///< share of ||X||² inside them
    double input_held = 0.0;    ///< share of ||X||² inside those of the start
};

}  // namespace wasi::measure
