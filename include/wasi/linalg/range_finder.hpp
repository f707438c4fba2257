#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/guarded_operator.hpp"
#include "wasi/linalg/orthonormalize.hpp"

namespace wasi::linalg {

namespace detail {

/// Y -= H (Hᵀ Y) for orthonormal columns H; returns ||Hᵀ Y||_F.
template <class S, Scalar T>
double project_off(MatrixView<T> y, ConstMatrixView<T> head, Memory& memory)
{
    Tensor<T> coefficients = workspace<T>(memory, head.cols, y.cols);
    S::multiply(coefficients.matrix(), T(1), head.transposed(), y, T(0), memory);
    S::multiply(y, T(-1), head, std::as_const(coefficients).matrix(), T(1), memory);
    return std::sqrt(S::dot(std::as_const(coefficients).matrix(), coefficients.matrix()));
}

/// Columns [0, old) of q are orthonormal; makes columns [old, old + added) so too and orthogonal to the old ones.
/// Projecting twice is enough for orthogonality to rounding (Giraud, Langou, Rozložník 2005), unless so little was left
/// the first time that it was rounding itself: then what is left of that has large parts along the old columns again,
/// which are looked at. False when a new column had to be made up: A has no more directions, and what was made up may
/// repeat old columns.
template <class S, Scalar T>
[[nodiscard]] bool append_orthonormal(MatrixView<T> q, Index old, Index added, Memory& memory)
{
    const auto head = q.col_block(0, old);
    const auto block = q.col_block(old, added);
    if (old == 0) {
        return orthonormalize_columns<S, T>(block, memory).status == Status::ok;
    }
    bool complete = true;
    constexpr int most_sweeps = 6;
    for (int sweep = 0; sweep < most_sweeps; ++sweep) {
        const double along = project_off<S, T>(block, head, memory);
        complete = orthonormalize_columns<S, T>(block, memory).status == Status::ok && complete;
        if (sweep > 0 && along < 0.1) {  // of columns of length 1
            break;
        }
    }
    return complete;
}

/// How often new columns go through A Aᵀ: at least `least` times, then until the energy that they capture grows by less
/// than the share `settled`, at most `most` times.
struct PowerIterations {
    Index least;
    Index most;
    double settled = 0.0;
};

/// The growing orthonormal basis Q (m,w) of the range of A, with Aᵀ Q, and an estimate of what it misses.
template <class S, Scalar T, class Operator>
class RangeFinder {
public:
    using Guarded = GuardedOperator<S, T, Operator>;

    RangeFinder(Guarded& a, Index probes, RandomKey key, Memory& memory)
        : a_(&a),
          key_(key),
          memory_(&memory),
          q_(workspace<T>(memory, 0, 0)),
          projected_(workspace<T>(memory, 0, 0)),
          probes_(workspace<T>(memory, a.rows(), probes))
    {
    }

    [[nodiscard]] ConstMatrixView<T> basis() const { return q_.matrix().col_block(0, have_); }
    [[nodiscard]] ConstMatrixView<T> projected() const { return projected_.matrix().col_block(0, have_); }
    [[nodiscard]] Index width() const { return have_; }
    [[nodiscard]] Index probes() const { return probes_.shape()[1]; }
    /// By how much, relative to itself, the captured energy grew in the last power iteration or Krylov step; 1 before.
    [[nodiscard]] double growth() const { return growth_; }

    /// ||(1 - Q Qᵀ) A Ω||² / probes, an unbiased estimate of ||A - Q QᵀA||_F²; 0 without probes.
    [[nodiscard]] double residual_squared() const
    {
        if (probes() == 0) {
            return 0.0;
        }
        Tensor<T> rest = clone<S>(probes_, Tag{});
        Tensor<T> coefficients = workspace<T>(*memory_, have_, probes());
        for (int sweep = 0; sweep < 2; ++sweep) {  // twice: what is left may be tiny beside what is taken away
            S::multiply(coefficients.matrix(), T(1), basis().transposed(), std::as_const(rest).matrix(), T(0),
                        *memory_);
            S::multiply(rest.matrix(), T(-1), basis(), std::as_const(coefficients).matrix(), T(1), *memory_);
        }
        return S::dot(std::as_const(rest).matrix(), rest.matrix()) / static_cast<double>(probes());
    }

    /// The squares of the singular values of QᵀA, descending, as its Gram matrix in double has them.
    [[nodiscard]] std::vector<double> squared_values() const
    {
        Tensor<double> gram = workspace<double>(*memory_, have_, have_);
        Tensor<double> squares = host_row<double>(*memory_, have_);
        S::gram(gram.matrix(), 0.0, projected(), *memory_);
        static_cast<void>(S::eigh_leading(
            gram.matrix(), squares.span(), [](std::span<const double>) { return Index{0}; }, *memory_));
        return {squares.span().begin(), squares.span().end()};
    }

    /// Room for `width` columns from the next time on that the basis grows: narrow blocks need not move all that is
    /// there each time.
    void reserve(Index width) { reserved_ = width; }

    /// Grows the basis to `width` columns, from fresh random vectors.
    void widen(Index width, const PowerIterations& iterations)
    {
        const Index old = have_;
        const Index added = width - old;
        sample(width);
        const auto fresh = q_.matrix().col_block(old, added);
        if (iterations.most > 0) {
            Tensor<T> image = workspace<T>(*memory_, a_->cols(), added);
            // Aᵀ (A x) squares the condition of the sketch; as long as that leaves digits, one of the two half steps
            // may go without orthonormal columns. The first image tells; where it is bad it is made again.
            bool careful = false;
            double energy = 0.0;
            for (Index iteration = 0; iteration < iterations.most; ++iteration) {
                orthogonalize(fresh, old, careful);
                apply_adjoint(image.matrix(), fresh);
                if (iteration == 0 && ill_conditioned(std::as_const(image).matrix())) {
                    careful = true;
                    orthogonalize(fresh, old, careful);
                    apply_adjoint(image.matrix(), fresh);
                }
                (void)orthonormalize_columns<S, T>(image.matrix(), *memory_);
                a_->apply(fresh, std::as_const(image).matrix(), *memory_);
                const double captured = S::dot(ConstMatrixView<T>(fresh), fresh);
                growth_ = captured > 0.0 && iteration > 0 ? 1.0 - energy / captured : 1.0;
                energy = captured;
                if (iteration + 1 >= iterations.least && iteration > 0 && growth_ < iterations.settled) {
                    break;
                }
            }
        }
        finish(old, added);
    }

    /// Grows the basis by `added` columns, at most as many as the last block had, without new random vectors: by A
    /// times an orthonormal basis of Aᵀ times that block, which is at hand. So Q spans AΩ, (AAᵀ)AΩ, (AAᵀ)²AΩ, ..., the
    /// block Krylov space (Musco, Musco 2015), in two passes a block.
    void extend(Index added)
    {
        const Index old = have_;
        const Index last = std::min(last_block_, have_);
        added = std::min(added, last);
        Tensor<T> directions = workspace<T>(*memory_, a_->cols(), last);
        S::copy(directions.matrix(), projected().col_block(have_ - last, last));
        (void)orthonormalize_columns<S, T>(directions.matrix(), *memory_);
        Tensor<T> images = workspace<T>(*memory_, a_->rows(), added);
        Tensor<T> taken = workspace<T>(*memory_, a_->cols(), added);
        S::copy(taken.matrix(), std::as_const(directions).matrix().col_block(0, added));
        a_->apply(images.matrix(), std::as_const(taken).matrix(), *memory_);
        append(old + added, std::as_const(images).matrix());
        finish(old, added);
        last_block_ = added;
    }

private:
    /// Columns [old, old + added) of q_ become orthonormal, and projected_ follows.
    void finish(Index old, Index added)
    {
        const Index width = old + added;
        const bool complete = append_orthonormal<S, T>(q_.matrix(), old, added, *memory_);
        if (!complete && old > 0) {
            // A QR of all columns replaces those that repeat old ones; old ones change by rounding and sign only.
            (void)S::orthonormalize(q_.matrix().col_block(0, width), *memory_);
        }
        const Index keep = complete ? old : 0;
        make_room(projected_, keep, width, a_->cols());
        apply_adjoint(projected_.matrix().col_block(keep, width - keep),
                      std::as_const(q_).matrix().col_block(keep, width - keep));
        have_ = width;
        last_block_ = added;
    }

    [[nodiscard]] RandomKey probe_key() const { return key_.derive(std::uint64_t{1} << 32); }

    /// New columns of q_ become A times random vectors; the first time the probes ride along.
    void sample(Index width)
    {
        const Index added = width - have_;
        const Index riding = have_ == 0 ? probes() : 0;
        Tensor<T> random = workspace<T>(*memory_, a_->cols(), added + riding);
        Tensor<T> images = workspace<T>(*memory_, a_->rows(), added + riding);
        S::fill_normal(random.matrix().col_block(0, added), key_.derive(block_++));
        S::fill_normal(random.matrix().col_block(added, riding), probe_key());
        if (have_ == 0) {
            a_->apply_first(images.matrix(), std::as_const(random).matrix(), *memory_);
        } else {
            a_->apply(images.matrix(), std::as_const(random).matrix(), *memory_);
        }
        append(width, std::as_const(images).matrix().col_block(0, added));
        if (riding > 0) {
            S::copy(probes_.matrix(), std::as_const(images).matrix().col_block(added, riding));
        }
    }

    void append(Index width, ConstMatrixView<T> columns)
    {
        make_room(q_, have_, width, a_->rows());
        S::copy(q_.matrix().col_block(have_, width - have_), columns);
    }

    /// Room for `width` columns, the first `keep` as they are.
    void make_room(Tensor<T>& columns, Index keep, Index width, Index height)
    {
        if (columns.shape()[1] >= width) {
            return;
        }
        Tensor<T> wider = workspace<T>(*memory_, height, std::max(width, reserved_));
        if (keep > 0) {
            S::copy(wider.matrix().col_block(0, keep), std::as_const(columns).matrix().col_block(0, keep));
        }
        columns = std::move(wider);
    }

    /// Y = Aᵀ X. The first time a few random vectors ride along, which tell whether this is the transpose of A at all.
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x)
    {
        const Index riding = has_matrix<Operator> || adjoint_checked_ ? 0 : std::min<Index>(probes(), 4);
        adjoint_checked_ = true;
        if (riding == 0) {
            a_->apply_adjoint(y, x, *memory_);
            return;
        }
        Tensor<T> argument = workspace<T>(*memory_, x.rows, x.cols + riding);
        Tensor<T> image = workspace<T>(*memory_, y.rows, x.cols + riding);
        Tensor<T> random = workspace<T>(*memory_, a_->cols(), probes());
        const auto extra = argument.matrix().col_block(x.cols, riding);
        S::copy(argument.matrix().col_block(0, x.cols), x);
        S::fill_normal(extra, key_.derive((std::uint64_t{1} << 32) + 1));
        S::fill_normal(random.matrix(), probe_key());
        a_->apply_adjoint(image.matrix(), std::as_const(argument).matrix(), *memory_);
        a_->check_adjoint(std::as_const(random).matrix().col_block(0, riding),
                          std::as_const(probes_).matrix().col_block(0, riding), ConstMatrixView<T>(extra),
                          std::as_const(image).matrix().col_block(x.cols, riding));
        S::copy(y, std::as_const(image).matrix().col_block(0, x.cols));
    }

    /// The new columns orthogonal to the old ones; also among themselves and of length 1 where that is needed.
    void orthogonalize(MatrixView<T> fresh, Index old, bool careful)
    {
        if (careful) {
            (void)append_orthonormal<S, T>(q_.matrix(), old, fresh.cols, *memory_);
        } else if (old > 0) {
            const auto head = ConstMatrixView<T>(q_.matrix()).col_block(0, old);
            const double before = std::sqrt(S::dot(ConstMatrixView<T>(fresh), fresh));
            (void)project_off<S, T>(fresh, head, *memory_);
            // Aᵀ blows up what rounding left along the old columns by s_1 / s_k.
            if (std::sqrt(S::dot(ConstMatrixView<T>(fresh), fresh)) < 0.1 * before) {
                (void)project_off<S, T>(fresh, head, *memory_);
            }
        }
    }

    /// Whether orthonormalising these columns, A x squared, would lose digits that A x had.
    [[nodiscard]] bool ill_conditioned(ConstMatrixView<T> block) const
    {
        Tensor<double> gram = workspace<double>(*memory_, block.cols, block.cols);
        Tensor<double> squares = host_row<double>(*memory_, block.cols);
        S::gram(gram.matrix(), 0.0, block, *memory_);
        const Index found = S::eigh_leading(
            gram.matrix(), squares.span(), [](std::span<const double>) { return Index{0}; }, *memory_);
        const double smallest = squares.span().back();
        const double least = std::max(1e3 * static_cast<double>(epsilon<T>), 1e-6);  // the Gram resolves no less
        return found < 0 || !(smallest > least * least * squares.span().front());
    }

    Guarded* a_;
    RandomKey key_;
    Memory* memory_;
    Tensor<T> q_;          // (m, w), or wider: the first `have_` columns count
    Tensor<T> projected_;  // (n, w), alike
    Tensor<T> probes_;     // (m, probes), A Ω
    Index have_ = 0;
    Index reserved_ = 0;
    Index last_block_ = 0;
    Index block_ = 0;
    double growth_ = 1.0;
    bool adjoint_checked_ = false;
};

}  // namespace detail

}  // namespace wasi::linalg
