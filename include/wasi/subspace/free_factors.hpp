#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/linalg/product_svd.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/subspace/compiled.hpp"
#include "wasi/subspace/partial_gradients.hpp"
#include "wasi/subspace/weight_subspace.hpp"

namespace wasi::subspace {

/// A weight W (O,I) held as L R with free factors, L (O,K) and R (K,I) two ordinary parameters: nothing keeps L
/// orthonormal, any optimiser of dense parameters moves each by its own gradient, dL = dW Rᵀ and dR = LᵀdW. They start
/// balanced, LᵀL = R Rᵀ, where steps of one size suit both. This is another parametrisation than WeightSubspace, not
/// another way to compute its steps: a gradient step on the factors moves W by -rate (dW RᵀR + L LᵀdW), which depends
/// on the factors and not on W alone. It is here because elementwise methods (AdamW) have an honest low-rank form on
/// it. A singular value of zero at the start stays zero: both factors' gradients vanish there. Memory: L and R, booked
/// as they came. Thread safety: one object, one thread at a time.
template <Scalar T, class S>
requires StorageFor<S, T> && StorageFor<S, double>
class FreeFactors {
public:
    /// The best rank-K approximation of W = U diag(s) Vᵀ, K by any rule: L = U_K diag(s)^1/2, R = diag(s)^1/2 V_Kᵀ.
    /// Throws argument_error on NaN or infinity, shape_error on an empty W. Cost of a dense SVD, paid once.
    [[nodiscard]] static FreeFactors start(ConstMatrixView<T> w, const linalg::RankRule& rule, Memory& memory, Tag tag)
    {
        linalg::SvdFactors<T> svd = linalg::truncated_svd<S, T>(w, {.rank = rule}, memory);
        Tensor<T> right = split(svd.u, svd.s, svd.v, memory, tag);
        svd.u.rebook(tag);
        return FreeFactors(std::move(svd.u), std::move(right), svd.info.captured_energy);
    }

    /// The same product L R, balanced: L R = U diag(s) Vᵀ, then U diag(s)^1/2 and diag(s)^1/2 Vᵀ. O((O + I) K²) and an
    /// SVD of (K,K): see linalg::product_svd.
    [[nodiscard]] static FreeFactors balanced(ConstMatrixView<T> left, ConstMatrixView<T> right, Memory& memory,
                                              Tag tag)
    {
        linalg::SvdFactors<T> svd = linalg::product_svd<S, T>({left, right.transposed()}, {.rank = left.cols}, memory);
        Tensor<T> new_right = split(svd.u, svd.s, svd.v, memory, tag);
        svd.u.rebook(tag);
        return FreeFactors(std::move(svd.u), std::move(new_right), 1.0);
    }

    /// Takes factors as they are, e.g. from a file. Throws shape_error unless L (O,K) and R (K,I) fit and K <= min(O,
    /// I), argument_error unless they are finite.
    [[nodiscard]] static FreeFactors from_factors(Tensor<T> left, Tensor<T> right)
    {
        require<shape_error>(
            left.shape().order() == 2 && right.shape().order() == 2 && left.shape()[1] == right.shape()[0] &&
                left.shape()[1] >= 1 && left.shape()[1] <= std::min(left.shape()[0], right.shape()[1]),
            "FreeFactors: factors L ", shape_text(left.shape()), " and R ", shape_text(right.shape()), " do not fit");
        linalg::require_finite<S, T>(std::as_const(left).matrix(), "FreeFactors", "L");
        linalg::require_finite<S, T>(std::as_const(right).matrix(), "FreeFactors", "R");
        return FreeFactors(std::move(left), std::move(right), 1.0);
    }

    /// L (O,K); the writable one is for optimisers.
    [[nodiscard]] MatrixView<T> left() { return left_.matrix(); }
    [[nodiscard]] ConstMatrixView<T> left() const { return left_.matrix(); }
    /// R (K,I); the writable one is for optimisers.
    [[nodiscard]] MatrixView<T> right() { return right_.matrix(); }
    [[nodiscard]] ConstMatrixView<T> right() const { return right_.matrix(); }
    [[nodiscard]] Index outputs() const { return left_.shape()[0]; }
    [[nodiscard]] Index inputs() const { return right_.shape()[1]; }
    [[nodiscard]] Index rank() const { return left_.shape()[1]; }
    /// Bytes of L and R: the parameters, and what a file holds.
    [[nodiscard]] std::size_t bytes() const { return left_.bytes() + right_.bytes(); }
    /// Share of ||W||² that the start kept.
    [[nodiscard]] double energy_at_start() const { return energy_at_start_; }

    /// dL = P (QᵀRᵀ) and dR = (LᵀP) Qᵀ of a factored gradient dW = P Qᵀ. See add_partial_gradients.
    void partial_gradients(MatrixView<T> d_left, MatrixView<T> d_right, const linalg::Factored<T>& gradient) const
    {
        add_partial_gradients<S, T>(d_left, d_right, T(0), T(1), left(), right(), gradient, left_.memory());
    }

    /// L and R themselves, for whoever trains them on.
    [[nodiscard]] std::pair<Tensor<T>, Tensor<T>> release() && { return {std::move(left_), std::move(right_)}; }

    /// W = L R in full, for checks and export; training never calls it.
    [[nodiscard]] Tensor<T> dense(Memory& memory, Tag tag) const
    {
        Tensor<T> w(memory, tag, Shape{outputs(), inputs()});
        S::multiply(w.matrix(), T(1), left(), right(), T(0), memory);
        return w;
    }

private:
    FreeFactors(Tensor<T> left, Tensor<T> right, double energy)
        : left_(std::move(left)), right_(std::move(right)), energy_at_start_(energy)
    {
    }

    /// U becomes U diag(s)^1/2; returns diag(s)^1/2 Vᵀ.
    [[nodiscard]] static Tensor<T> split(Tensor<T>& u, const Tensor<T>& s, const Tensor<T>& v, Memory& memory, Tag tag)
    {
        const Index rank = s.size();
        Tensor<T> right(memory, tag, Shape{rank, v.shape()[0]});
        for (Index k = 0; k < rank; ++k) {
            const T root = std::sqrt(s.data()[k]);
            const auto column = u.matrix().col_block(k, 1);
            S::add_scaled(column, root, T(0), ConstMatrixView<T>(column));
            S::add_scaled(right.matrix().row_block(k, 1), T(0), root, v.matrix().col_block(k, 1).transposed());
        }
        return right;
    }

    Tensor<T> left_;   // (O,K)
    Tensor<T> right_;  // (K,I)
    double energy_at_start_;
};

WASI_COMPILED(WASI_SUBSPACE_FREE_FACTORS)

}  // namespace wasi::subspace
