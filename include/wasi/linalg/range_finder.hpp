#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/linalg/orthonormalize.hpp"

namespace wasi::linalg::detail {

/// Columns [0, old) of q are orthonormal; makes columns [old, old + added) so too and orthogonal to the old ones.
/// Projecting twice is enough for orthogonality to rounding (Giraud, Langou, Rozložník 2005). False when a new column
/// had to be made up: A has no more directions, and what was made up may repeat old columns.
template <class S, Scalar T>
[[nodiscard]] bool append_orthonormal(MatrixView<T> q, Index old, Index added, Memory& memory)
{
    const auto head = q.col_block(0, old);
    const auto block = q.col_block(old, added);
    if (old == 0) {
        return orthonormalize_columns<S, T>(block, memory).status == Status::ok;
    }
    Tensor<T> coefficients = workspace<T>(memory, old, added);
    bool complete = true;
    for (int sweep = 0; sweep < 2; ++sweep) {
        S::multiply(coefficients.matrix(), T(1), head.transposed(), block, T(0), memory);
        S::multiply(block, T(-1), head, std::as_const(coefficients).matrix(), T(1), memory);
        complete = orthonormalize_columns<S, T>(block, memory).status == Status::ok && complete;
    }
    return complete;
}

/// The growing orthonormal basis Q (m,w) of the range of A, with Aᵀ Q, and an estimate of what it misses.
template <class S, Scalar T, class Operator>
class RangeFinder {
public:
    RangeFinder(const Operator& a, Index probes, RandomKey key, Memory& memory)
        : a_(&a),
          key_(key),
          memory_(&memory),
          q_(workspace<T>(memory, 0, 0)),
          projected_(workspace<T>(memory, 0, 0)),
          probes_(workspace<T>(memory, a.rows(), probes))
    {
    }

    [[nodiscard]] ConstMatrixView<T> basis() const { return q_.matrix(); }
    [[nodiscard]] ConstMatrixView<T> projected() const { return projected_.matrix(); }
    [[nodiscard]] Index passes() const { return passes_; }

    /// ||(1 - Q Qᵀ) A Ω||² / probes, an unbiased estimate of ||A - Q QᵀA||_F²; 0 without probes.
    [[nodiscard]] double residual_squared() const
    {
        const Index probes = probes_.shape()[1];
        if (probes == 0) {
            return 0.0;
        }
        Tensor<T> rest = probes_.clone({});
        Tensor<T> coefficients = workspace<T>(*memory_, have_, probes);
        for (int sweep = 0; sweep < 2; ++sweep) {  // twice: what is left may be tiny beside what is taken away
            S::multiply(coefficients.matrix(), T(1), basis().transposed(), std::as_const(rest).matrix(), T(0),
                        *memory_);
            S::multiply(rest.matrix(), T(-1), basis(), std::as_const(coefficients).matrix(), T(1), *memory_);
        }
        return S::dot(std::as_const(rest).matrix(), rest.matrix()) / static_cast<double>(probes);
    }

    /// Grows the basis to `width` columns.
    void widen(Index width, Index power_iterations)
    {
        const Index old = have_;
        const Index added = width - old;
        sample(width);
        const auto fresh = q_.matrix().col_block(old, added);
        if (power_iterations > 0) {
            Tensor<T> image = workspace<T>(*memory_, a_->cols(), added);
            // Aᵀ (A x) squares the condition of the sketch; as long as that leaves digits, one of the two half steps
            // may go without orthonormal columns. The first image tells; where it is bad it is made again.
            bool careful = false;
            for (Index iteration = 0; iteration < power_iterations; ++iteration) {
                orthogonalize(fresh, old, careful);
                apply_adjoint(image.matrix(), fresh);
                if (iteration == 0 && ill_conditioned(std::as_const(image).matrix())) {
                    careful = true;
                    orthogonalize(fresh, old, careful);
                    apply_adjoint(image.matrix(), fresh);
                }
                (void)orthonormalize_columns<S, T>(image.matrix(), *memory_);
                a_->apply(fresh, std::as_const(image).matrix(), *memory_);
                ++passes_;
            }
        }
        const bool complete = append_orthonormal<S, T>(q_.matrix(), old, added, *memory_);
        if (!complete && old > 0) {
            // A QR of all columns replaces those that repeat old ones; old ones change by rounding and sign only.
            (void)S::orthonormalize(q_.matrix(), *memory_);
        }
        Tensor<T> wider = workspace<T>(*memory_, a_->cols(), width);
        const Index keep = complete ? old : 0;
        if (keep > 0) {
            S::copy(wider.matrix().col_block(0, keep), std::as_const(projected_).matrix());
        }
        apply_adjoint(wider.matrix().col_block(keep, width - keep), basis().col_block(keep, width - keep));
        projected_ = std::move(wider);
        have_ = width;
    }

private:
    /// New columns of q_ become A times random vectors; the first time the probes ride along.
    void sample(Index width)
    {
        const Index added = width - have_;
        const Index probes = have_ == 0 ? probes_.shape()[1] : 0;
        Tensor<T> random = workspace<T>(*memory_, a_->cols(), added + probes);
        Tensor<T> images = workspace<T>(*memory_, a_->rows(), added + probes);
        S::fill_normal(random.matrix().col_block(0, added), key_.derive(block_++));
        S::fill_normal(random.matrix().col_block(added, probes), key_.derive(std::uint64_t{1} << 32));
        a_->apply(images.matrix(), std::as_const(random).matrix(), *memory_);
        ++passes_;
        require<argument_error>(S::all_finite(std::as_const(images).matrix()),
                                "randomized_svd: A applied to finite vectors gave NaN or infinity");
        Tensor<T> wider = workspace<T>(*memory_, a_->rows(), width);
        if (have_ > 0) {
            S::copy(wider.matrix().col_block(0, have_), std::as_const(q_).matrix());
        }
        S::copy(wider.matrix().col_block(have_, added), std::as_const(images).matrix().col_block(0, added));
        if (probes > 0) {
            S::copy(probes_.matrix(), std::as_const(images).matrix().col_block(added, probes));
        }
        q_ = std::move(wider);
    }

    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x)
    {
        a_->apply_adjoint(y, x, *memory_);
        ++passes_;
    }

    /// The new columns orthogonal to the old ones; also among themselves and of length 1 where that is needed.
    void orthogonalize(MatrixView<T> fresh, Index old, bool careful)
    {
        if (careful) {
            (void)append_orthonormal<S, T>(q_.matrix(), old, fresh.cols, *memory_);
        } else if (old > 0) {
            const auto head = q_.matrix().col_block(0, old);
            Tensor<T> coefficients = workspace<T>(*memory_, old, fresh.cols);
            S::multiply(coefficients.matrix(), T(1), head.transposed(), fresh, T(0), *memory_);
            S::multiply(fresh, T(-1), head, std::as_const(coefficients).matrix(), T(1), *memory_);
        }
    }

    /// Whether orthonormalising these columns, A x squared, would lose digits that A x had.
    [[nodiscard]] bool ill_conditioned(ConstMatrixView<T> block) const
    {
        Tensor<double> gram = workspace<double>(*memory_, block.cols, block.cols);
        Tensor<double> squares = workspace<double>(*memory_, 1, block.cols);
        S::gram(gram.matrix(), 0.0, block, *memory_);
        const Index found = S::eigh_leading(
            gram.matrix(), squares.span(), [](std::span<const double>) { return Index{0}; }, *memory_);
        const double smallest = squares.span().back();
        const double least = std::max(1e3 * static_cast<double>(epsilon<T>), 1e-6);  // the Gram resolves no less
        return found < 0 || !(smallest > least * least * squares.span().front());
    }

    const Operator* a_;
    RandomKey key_;
    Memory* memory_;
    Tensor<T> q_;          // (m, w)
    Tensor<T> projected_;  // (n, w)
    Tensor<T> probes_;     // (m, probes), A Ω
    Index have_ = 0;
    Index block_ = 0;
    Index passes_ = 0;
};

}  // namespace wasi::linalg::detail
