#pragma once
#include "wasi/core/scalar.hpp"
#include "wasi/storage/state.hpp"

namespace wasi::subspace {

/// How WeightSubspace takes a step along a gradient P Qᵀ of rank r. Both forms compute the same weight.
enum class UpdateForm {
    automatic,  ///< the one with fewer flops (cheaper_update)
    plain,      ///< one sweep of subspace iteration, O((O+I) K²)
    rank_r,     ///< the same subspace in O((O+I) K r)
};

/// How the updates of a weight were computed.
struct UpdateCounts {
    Index plain = 0;
    Index rank_r = 0;
    Index tangent = 0;   ///< along partial gradients
    Index declined = 0;  ///< of the plain ones: where the rank-r form was tried first
    Index repairs = 0;   ///< how often L was made orthonormal again
    Index retracted = 0;  ///< of the tangent ones: where L was made orthonormal by its polar factor at once

    /// All steps: whoever remembers this number can tell that the factors have changed.
    [[nodiscard]] Index steps() const { return plain + rank_r + tangent; }

    void state(State& visitor)
    {
        visitor.number("plain", plain);
        visitor.number("rank_r", rank_r);
        visitor.number("tangent", tangent);
        visitor.number("declined", declined);
        visitor.number("repairs", repairs);
        visitor.number("retracted", retracted);
    }
};

/// Extents of an update: W (O,I) of rank K, a gradient of rank r.
struct UpdateExtents {
    Index outputs;
    Index inputs;
    Index rank;
    Index gradient_rank;
};

/// Flops of the plain form, 2 a multiply-add: 4 (O + I) K² + 6 (O + I) K r, and to make L+ orthonormal 6 O K² + 2 K³ by
/// CholeskyQR2 where O >= 2 K, else 4 O K² by Householder.
[[nodiscard]] inline double plain_update_flops(const UpdateExtents& e)
{
    const auto o = static_cast<double>(e.outputs);
    const auto i = static_cast<double>(e.inputs);
    const auto k = static_cast<double>(e.rank);
    const auto r = static_cast<double>(e.gradient_rank);
    const double orthonormal = e.outputs >= 2 * e.rank ? 6.0 * o * k * k + 2.0 * k * k * k : 4.0 * o * k * k;
    return 4.0 * (o + i) * k * k + 6.0 * (o + i) * k * r + orthonormal;
}

/// Flops of the rank-r form, 2 a multiply-add: (12 O + 8 I) K r + (16 O + 2 I) r² + 22 r³ on the factors and P, and in
/// double, which counts twice, 12 K² r + 18 K r² + 30 r³ on the small matrices, K³/3 for the Cholesky
/// factorisation of M = R Rᵀ and K² I / 64 for its share of computing M.
[[nodiscard]] inline double rank_r_update_flops(const UpdateExtents& e)
{
    const auto o = static_cast<double>(e.outputs);
    const auto i = static_cast<double>(e.inputs);
    const auto k = static_cast<double>(e.rank);
    const auto r = static_cast<double>(e.gradient_rank);
    const double factors = (12.0 * o + 8.0 * i) * k * r + (16.0 * o + 2.0 * i) * r * r + 22.0 * r * r * r;
    const double small = 12.0 * k * k * r + 18.0 * k * r * r + 30.0 * r * r * r;
    return factors + 2.0 * (small + k * k * k / 3.0 + k * k * i / 64.0);
}

/// The form that `automatic` takes: rank_r where it has fewer flops, which is for r below about K/2. A gradient of more
/// columns than K or I always takes the plain form.
[[nodiscard]] inline UpdateForm cheaper_update(const UpdateExtents& e)
{
    const bool thin = e.gradient_rank <= e.rank && e.gradient_rank <= e.inputs;
    return thin && rank_r_update_flops(e) < plain_update_flops(e) ? UpdateForm::rank_r : UpdateForm::plain;
}

}  // namespace wasi::subspace
