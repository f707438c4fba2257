#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/linalg/decay.hpp"
#include "wasi/linalg/factored.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/subspace/compiled.hpp"
#include "wasi/subspace/partial_gradients.hpp"
#include "wasi/subspace/plain_update.hpp"
#include "wasi/subspace/polar.hpp"
#include "wasi/subspace/rank_r_update.hpp"
#include "wasi/subspace/tangent_direction.hpp"
#include "wasi/subspace/update_form.hpp"

namespace wasi::subspace {

/// A weight W (O,I) held as L R, L (O,K) with orthonormal columns, R = LᵀW (K,I), and kept there by warm-started
/// subspace iteration (WSI; WASI, arXiv 2510.09160). Unlike the published code it never keeps W, and always pairs R
/// with the new L: the orthonormalisation may flip and mix columns, so coefficients of the old basis do not belong to
/// the new one. Letters: O outputs, I inputs, K rank, eta the step, alpha = 1 - shrink. Weight decay lambda enters as
/// shrink = eta lambda, a number of its own, so that a tiny one is not lost in 1 - shrink before it has to be. Memory:
/// L and R are booked as they came and stay where they are; rank-r steps keep R Rᵀ (K,K) in double beside them, booked
/// as optimiser state of the same layer. Thread safety: one object, one thread at a time. Example:
/// examples/subspaces_without_autograd.cpp
template <Scalar T, class S>
requires StorageFor<S, T> && StorageFor<S, double>
class WeightSubspace {
public:
    /// The best rank-K approximation of W, K by explained variance or any other rule: L = U_K, R = L_KᵀW.
    /// Throws argument_error on NaN or infinity, shape_error on an empty W. Cost of a dense SVD, paid once.
    [[nodiscard]] static WeightSubspace start(ConstMatrixView<T> w, const linalg::RankRule& rule, Memory& memory,
                                              Tag tag)
    {
        linalg::SvdFactors<T> svd = linalg::truncated_svd<S, T>(w, {.rank = rule}, memory);
        Tensor<T> right(memory, tag, Shape{svd.info.rank, w.cols});
        S::multiply(right.matrix(), T(1), std::as_const(svd.u).matrix().transposed(), w, T(0), memory);
        svd.u.rebook(tag);
        return WeightSubspace(std::move(svd.u), std::move(right), svd.info.captured_energy);
    }

    /// Takes factors as they are, e.g. from a file. Throws shape_error unless L (O,K) and R (K,I) fit and K <= min(O,
    /// I), argument_error unless they are finite and LᵀL = 1 to 1e-3.
    [[nodiscard]] static WeightSubspace from_factors(Tensor<T> left, Tensor<T> right)
    {
        require<shape_error>(left.shape().order() == 2 && right.shape().order() == 2 &&
                                 left.shape()[1] == right.shape()[0] && left.shape()[1] >= 1 &&
                                 left.shape()[1] <= std::min(left.shape()[0], right.shape()[1]),
                             "WeightSubspace: factors L ", shape_text(left.shape()), " and R ",
                             shape_text(right.shape()), " do not fit");
        linalg::require_finite<S, T>(std::as_const(left).matrix(), "WeightSubspace", "L");
        linalg::require_finite<S, T>(std::as_const(right).matrix(), "WeightSubspace", "R");
        WeightSubspace result(std::move(left), std::move(right), 1.0);
        const double defect = result.orthogonality_defect();
        require<argument_error>(defect < 1e-3, "WeightSubspace: the columns of L are not orthonormal, ||LᵀL - 1|| is ",
                                defect);
        return result;
    }

    /// The same product, of any L (O,K) and R (K,I), with orthonormal columns: q and T R for L = q T. O(O K²).
    [[nodiscard]] static WeightSubspace orthonormal(ConstMatrixView<T> left, ConstMatrixView<T> right, Memory& memory,
                                                    Tag tag)
    {
        Tensor<T> turn = workspace<T>(memory, left.cols, left.cols);
        Tensor<T> q(memory, tag, Shape{left.rows, left.cols});
        S::copy(q.matrix(), left);
        linalg::orthonormalize_columns<S, T>(q.matrix(), memory);
        S::multiply(turn.matrix(), T(1), std::as_const(q).matrix().transposed(), left, T(0), memory);
        Tensor<T> turned(memory, tag, Shape{right.rows, right.cols});
        S::multiply(turned.matrix(), T(1), std::as_const(turn).matrix(), right, T(0), memory);
        return from_factors(std::move(q), std::move(turned));
    }

    [[nodiscard]] ConstMatrixView<T> left() const { return left_.matrix(); }
    [[nodiscard]] ConstMatrixView<T> right() const { return right_.matrix(); }
    [[nodiscard]] Index outputs() const { return left_.shape()[0]; }
    [[nodiscard]] Index inputs() const { return right_.shape()[1]; }
    [[nodiscard]] Index rank() const { return left_.shape()[1]; }
    /// Bytes of L and R: the parameters, and what a file holds.
    [[nodiscard]] std::size_t bytes() const { return left_.bytes() + right_.bytes(); }
    /// Bytes of R Rᵀ (K² doubles) while rank-r steps use it, else 0.
    [[nodiscard]] std::size_t state_bytes() const { return gram_.bytes(); }
    /// Where L and R are booked.
    [[nodiscard]] Tag tag() const { return left_.tag(); }
    /// How the updates so far were computed.
    [[nodiscard]] const UpdateCounts& updates() const { return updates_; }
    /// Share of ||W||² that the start kept.
    [[nodiscard]] double energy_at_start() const { return energy_at_start_; }

    /// ||LᵀL - 1||_F. 2 O K² flops.
    [[nodiscard]] double orthogonality_defect() const
    {
        Memory& memory = left_.memory();
        Tensor<T> gram = workspace<T>(memory, rank(), rank());
        S::multiply(gram.matrix(), T(1), left().transposed(), left(), T(0), memory);
        for (Index k = 0; k < rank(); ++k) {
            gram.matrix()(k, k) -= T(1);
        }
        return std::sqrt(S::dot(std::as_const(gram).matrix(), gram.matrix()));
    }

    /// One warm step towards the best rank-K approximation of W+ = alpha L R - eta P Qᵀ, which is never formed:
    ///
    ///     Z  = W+ᵀ L  = alpha Rᵀ - eta Q (PᵀL)            (I,K)
    ///     Y  = W+ Z   = alpha L (R Z) - eta P (QᵀZ)       (O,K)
    ///     L+ = orth(Y),   R+ = L+ᵀ W+ = alpha (L+ᵀL) R - eta (L+ᵀP) Qᵀ
    ///
    /// Equal to the truncated SVD of W+ up to O(eta³), and to a Riemannian gradient step up to O(eta²). Q need not be
    /// orthonormal. This plain form costs plain_update_flops, about (10 O + 4 I) K², and a workspace of
    /// (2 O + 2 I) K. For thin gradients the same weight comes from rank_r_update in O((O+I) K r); `automatic` takes
    /// the cheaper one (cheaper_update), and every form falls back to the plain one where rank_r_update declines. The
    /// rank-r form changes L and R in place and lets rounding add up in LᵀL: every 256 such steps it is measured
    /// (2 O K² flops) and repaired as a pair, L <- q, R <- T R for L = q T. Throws shape_error unless P is (O,r),
    /// Q (I,r).
    void update(T step, T shrink, const linalg::Factored<T>& gradient, UpdateForm form = UpdateForm::automatic)
    {
        require<shape_error>(
            gradient.p.rows == outputs() && gradient.q.rows == inputs() && gradient.p.cols == gradient.q.cols,
            "WeightSubspace::update: a gradient P ", shape_text(gradient.p.shape()), " Qᵀ, Q ",
            shape_text(gradient.q.shape()), " does not fit W (", outputs(), ", ", inputs(), ")");
        if (form == UpdateForm::automatic) {
            form = cheaper_update({outputs(), inputs(), rank(), gradient.rank()});
        }
        if (form == UpdateForm::rank_r) {
            if (rank_r_update<S, T>(left_.matrix(), right_.matrix(), gram_, step, shrink, gradient, left_.memory())) {
                ++updates_.rank_r;
                if (updates_.rank_r % steps_between_checks == 0) {
                    repair();
                }
                return;
            }
            ++updates_.declined;
        }
        plain_update<S, T>(left_.matrix(), right_.matrix(), step, shrink, gradient, left_.memory());
        left_defect_ = 0.0;
        gram_.forget();
        ++updates_.plain;
    }

    /// The step along the tangent space, from the partial gradients alone (dW itself is never needed):
    ///
    ///     D  = (1 - L Lᵀ) dL (R Rᵀ)⁻¹,   L+ = polar(L - eta D),   R+ = L+ᵀ (alpha L R - eta (L dR + D R))
    ///
    /// equal to `update` up to O(eta²). With E = eta² DᵀD this is L+ = (L - eta D) (1 + E)^-1/2,
    /// R+ = (1 + E)^-1/2 (alpha R - eta dR + E R): where E is next to nothing,
    ///
    ///     L+ = L - eta D,   R+ = alpha R - eta dR
    ///
    /// is the same step without the products that make L orthonormal. It is taken as long as ||D||_F² eta², summed over
    /// the steps since the last polar factor, is at most 16 sqrt(K) epsilon, and for 256 steps at most: LᵀL stays 1 to
    /// about that. The first step takes the polar factor, as do steps that are large for the smallest singular values of
    /// R. Directions in which R is zero get no step in L (R Rᵀ is damped by epsilon tr(R Rᵀ)). Cost 6 O K² + 2 I K² flops
    /// and K³/3; with the polar factor 10 O K² + 6 I K² and 4 O K² more for each of its two or three iterations.
    /// `outside`: Lᵀ dL = 0 already, 4 O K² less. Throws shape_error.
    void update(T step, T shrink, const FactorGradients<T>& gradient, bool outside = false)
    {
        require<shape_error>(gradient.d_left.shape() == left().shape() && gradient.d_right.shape() == right().shape(),
                             "WeightSubspace::update: partial gradients ", shape_text(gradient.d_left.shape()), " and ",
                             shape_text(gradient.d_right.shape()), " do not fit L ", shape_text(left().shape()),
                             " and R ", shape_text(right().shape()));
        Memory& memory = left_.memory();
        const Index k = rank();
        const auto move_right = [&](MatrixView<T> r) {  // alpha R - eta dR
            linalg::decay<S>(r, shrink);
            S::add_scaled(r, T(1), -step, gradient.d_right);
        };
        Tensor<T> direction = tangent_direction<S, T>(left(), right(), gradient.d_left, left_.memory(), outside);
        S::add_scaled(direction.matrix(), T(0), step, std::as_const(direction).matrix());  // eta D
        const double most = 16.0 * std::sqrt(static_cast<double>(k)) * static_cast<double>(epsilon<T>);
        const double defect = left_defect_ + most / static_cast<double>(steps_between_checks) +
                              S::dot(std::as_const(direction).matrix(), direction.matrix());
        ++updates_.tangent;
        if (defect <= most) {
            S::add_scaled(left_.matrix(), T(1), T(-1), std::as_const(direction).matrix());
            move_right(right_.matrix());
            left_defect_ = defect;
            gram_.forget();
            return;
        }
        Tensor<T> fresh = workspace<T>(memory, outputs(), k);
        S::copy(fresh.matrix(), left());
        S::add_scaled(fresh.matrix(), T(1), T(-1), std::as_const(direction).matrix());
        polar_factor<S, T>(fresh.matrix(), memory);

        // R+ = (L+ᵀL) (alpha R - eta dR) - (L+ᵀ eta D) R
        const auto fresh_left = std::as_const(fresh).matrix();
        Tensor<T> onto_left = workspace<T>(memory, k, k);
        Tensor<T> onto_direction = workspace<T>(memory, k, k);
        S::multiply(onto_left.matrix(), T(1), fresh_left.transposed(), left(), T(0), memory);
        S::multiply(onto_direction.matrix(), T(1), fresh_left.transposed(), std::as_const(direction).matrix(), T(0),
                    memory);
        Tensor<T> moved = workspace<T>(memory, k, inputs());
        S::copy(moved.matrix(), right());
        move_right(moved.matrix());
        Tensor<T> fresh_right = workspace<T>(memory, k, inputs());
        S::multiply(fresh_right.matrix(), T(1), onto_left.matrix(), moved.matrix(), T(0), memory);
        S::multiply(fresh_right.matrix(), T(-1), onto_direction.matrix(), right(), T(1), memory);
        replace(fresh_left, std::as_const(fresh_right).matrix());
        left_defect_ = 0.0;
        ++updates_.retracted;
    }

    /// ||P_T(dW)||_F², P_T the projection on the tangent space of rank-K matrices at L R: what of the gradient a step
    /// can use.
    [[nodiscard]] double squared_norm(const FactorGradients<T>& gradient) const
    {
        // ||L dR + D R||² = ||dR||² + tr(D R RᵀDᵀ) and D R Rᵀ = (1 - L Lᵀ) dL.
        const Tensor<T> direction = tangent_direction<S, T>(left(), right(), gradient.d_left, left_.memory());
        return S::dot(gradient.d_right, gradient.d_right) + std::max(0.0, S::dot(direction.matrix(), gradient.d_left));
    }

    /// The partial gradients of a factored dense gradient dW = P Qᵀ: d_left = P (QᵀRᵀ), d_right = (LᵀP) Qᵀ.
    void partial_gradients(MatrixView<T> d_left, MatrixView<T> d_right, const linalg::Factored<T>& gradient) const
    {
        add_partial_gradients<S, T>(d_left, d_right, T(0), T(1), left(), right(), gradient, left_.memory());
    }

    /// Orthonormal L again where rounding has added up, with the same product: L <- q, R <- T R for L = q T. q is the
    /// polar factor, so columns neither flip nor mix. `update` calls it when it is due.
    void repair()
    {
        const double enough = 8.0 * std::sqrt(static_cast<double>(rank())) * static_cast<double>(epsilon<T>);
        if (orthogonality_defect() <= enough) {
            return;
        }
        Memory& memory = left_.memory();
        const Tensor<T> before = clone<S>(left_, Tag{Use::workspace, left_.tag().layer});
        const Tensor<T> right_before = clone<S>(right_, Tag{Use::workspace, right_.tag().layer});
        polar_factor<S, T>(left_.matrix(), memory);
        Tensor<T> turn = workspace<T>(memory, rank(), rank());
        S::multiply(turn.matrix(), T(1), left().transposed(), before.matrix(), T(0), memory);
        S::multiply(right_.matrix(), T(1), std::as_const(turn).matrix(), right_before.matrix(), T(0), memory);
        left_defect_ = 0.0;
        gram_.forget();
        ++updates_.repairs;
    }

    /// L and R as `.left` and `.right`; and, unless values alone are asked for, R Rᵀ as it is kept and the counts of
    /// updates, on which the next repair depends.
    void state(State& visitor)
    {
        visitor.tensor(".left", left_, left_.memory(), left_.tag());
        visitor.tensor(".right", right_, right_.memory(), right_.tag());
        if (visitor.values_only()) {
            return;
        }
        const State::Scope scope(visitor, ".");
        gram_.state(visitor);
        updates_.state(visitor);
        visitor.number("left_defect", left_defect_);
        visitor.number("energy_at_start", energy_at_start_);
    }

    /// W = L R in full, for checks and export; training never calls it.
    [[nodiscard]] Tensor<T> dense(Memory& memory, Tag tag) const
    {
        Tensor<T> w(memory, tag, Shape{outputs(), inputs()});
        S::multiply(w.matrix(), T(1), left(), right(), T(0), memory);
        return w;
    }

private:
    WeightSubspace(Tensor<T> left, Tensor<T> right, double energy)
        : left_(std::move(left)),
          right_(std::move(right)),
          gram_(left_.memory(), Tag{Use::optimiser_state, left_.tag().layer}),
          energy_at_start_(energy)
    {
    }

    static constexpr Index steps_between_checks = 256;

    /// L and R stay where they are in memory from the first step to the last; new values are copied into them.
    void replace(ConstMatrixView<T> left, ConstMatrixView<T> right)
    {
        S::copy(left_.matrix(), left);
        S::copy(right_.matrix(), right);
        gram_.forget();
    }

    Tensor<T> left_;   // (O,K)
    Tensor<T> right_;  // (K,I)
    RightGram<T, S> gram_;
    UpdateCounts updates_;
    double energy_at_start_ = 1.0;
    double left_defect_ = 1.0;  // what ||LᵀL - 1|| may have become by tangent steps; 1: nothing is known
};

WASI_COMPILED(WASI_SUBSPACE_WEIGHT_SUBSPACE)

}  // namespace wasi::subspace
