#pragma once
#include <cmath>
#include <utility>

#include "wasi/subspace/compiled.hpp"
#include "wasi/subspace/partial_gradients.hpp"
#include "wasi/subspace/weight_subspace.hpp"

namespace wasi::subspace {

/// The numbers of one step of TangentVelocity.
template <Scalar T>
struct MomentumStep {
    T rate;
    T momentum;  ///< mu
    T decay;     ///< lambda, added to the gradient as lambda W
    T scale;     ///< of the gradient: what clipping leaves
};

/// Momentum for a weight W = L R, L orthonormal: a velocity in the tangent space of the rank-K matrices at L R, carried
/// along from step to step. In coordinates m_L (O,K) with Lᵀ m_L = 0 and m_R (K,I):
///
///     m_L <- mu m_L + (1 - L Lᵀ) dL                transport to L and the new gradient's tangent part
///     m_R <- mu m_R + dR + lambda R                lambda W = L (lambda R) lies in the tangent space
///     D   = m_L (R Rᵀ)⁻¹,  L+ = polar(L - rate D),  R+ = L+ᵀ (L R - rate (L m_R + D R))
///
/// This is v <- mu v + (g + lambda w), w <- w - rate v of torch.optim.SGD on the manifold of rank-K matrices: one step
/// differs from dense momentum followed by truncation to rank K by O(rate²). Coordinates of the old L are wrong ones
/// for the new: what of m_L points into span(L+) is projected away (the transport; it is done together with the
/// projection of the next dL), and the polar factor neither flips nor mixes columns, so that m_R needs no rotation.
/// State: (O + I) K numbers, booked as given. Thread safety: one object, one thread at a time.
template <Scalar T, class S>
requires StorageFor<S, T> && StorageFor<S, double>
class TangentVelocity {
public:
    /// At rest. The velocity belongs to this weight as it is now.
    TangentVelocity(const WeightSubspace<T, S>& weight, Memory& memory, Tag tag)
        : left_(memory, tag, Shape{weight.outputs(), weight.rank()}),
          right_(memory, tag, Shape{weight.rank(), weight.inputs()}),
          weight_steps_(weight.updates().steps())
    {
        // 0, by the storage: a dry run must not touch the pages of so much state.
        S::add_scaled(left_.matrix(), T(0), T(0), weight.left());
        S::add_scaled(right_.matrix(), T(0), T(0), weight.right());
    }

    /// m_L (O,K) as of the last step, not yet transported to the new L.
    [[nodiscard]] ConstMatrixView<T> left() const { return left_.matrix(); }
    /// m_R (K,I).
    [[nodiscard]] ConstMatrixView<T> right() const { return right_.matrix(); }
    [[nodiscard]] std::size_t bytes() const { return left_.bytes() + right_.bytes(); }

    void state(State& visitor)
    {
        visitor.tensor(".left", left_, left_.memory(), left_.tag());
        visitor.tensor(".right", right_, right_.memory(), right_.tag());
        visitor.number(".weight_steps", weight_steps_);
    }

    /// One step along partial gradients. Cost: that of the weight's tangent update. Throws
    /// shape_error for shapes that do not fit, argument_error when anything else has changed the weight since the last
    /// step: the velocity is a direction at factors that are no longer there.
    void step(WeightSubspace<T, S>& weight, const FactorGradients<T>& gradient, const MomentumStep<T>& step)
    {
        require_mine(weight);
        require<shape_error>(gradient.d_left.shape() == left().shape() && gradient.d_right.shape() == right().shape(),
                             "TangentVelocity: partial gradients ", shape_text(gradient.d_left.shape()), " and ",
                             shape_text(gradient.d_right.shape()), " do not fit L ", shape_text(left().shape()),
                             " and R ", shape_text(right().shape()));
        S::add_scaled(left_.matrix(), step.momentum, step.scale, gradient.d_left);
        S::add_scaled(right_.matrix(), step.momentum, step.scale, gradient.d_right);
        move(weight, step);
    }

    /// One step along a factored gradient P Qᵀ, through its partial gradients: 4 (O + I) K r flops more.
    void step(WeightSubspace<T, S>& weight, const linalg::Factored<T>& gradient, const MomentumStep<T>& step)
    {
        require_mine(weight);
        add_partial_gradients<S, T>(left_.matrix(), right_.matrix(), step.momentum, step.scale, weight.left(),
                                    weight.right(), gradient, left_.memory());
        move(weight, step);
    }

private:
    void require_mine(const WeightSubspace<T, S>& weight) const
    {
        require<argument_error>(weight.left().shape() == left().shape() && weight.right().shape() == right().shape() &&
                                    weight.updates().steps() == weight_steps_,
                                "TangentVelocity: L ", shape_text(weight.left().shape()), " and R ",
                                shape_text(weight.right().shape()), " after ", weight.updates().steps(),
                                " steps are not those that the velocity belongs to (", weight_steps_, " steps)");
    }

    void move(WeightSubspace<T, S>& weight, const MomentumStep<T>& step)
    {
        Memory& memory = left_.memory();
        {
            Tensor<T> inside = workspace<T>(memory, weight.rank(), weight.rank());  // Lᵀ m_L
            S::multiply(inside.matrix(), T(1), weight.left().transposed(), left(), T(0), memory);
            S::multiply(left_.matrix(), T(-1), weight.left(), std::as_const(inside).matrix(), T(1), memory);
        }
        S::add_scaled(right_.matrix(), T(1), step.decay, weight.right());
        weight.update(step.rate, T(0), FactorGradients<T>{left(), right()}, true);
        weight_steps_ = weight.updates().steps();
    }

    Tensor<T> left_;      // m_L (O,K)
    Tensor<T> right_;     // m_R (K,I)
    Index weight_steps_;  // steps of the weight when the velocity was last right for it
};

WASI_COMPILED(WASI_SUBSPACE_TANGENT_VELOCITY)

}  // namespace wasi::subspace
