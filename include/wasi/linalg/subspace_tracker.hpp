#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/principal_angles.hpp"
#include "wasi/linalg/randomized_svd.hpp"
#include "wasi/linalg/subspace_iteration.hpp"
#include "wasi/linalg/tracking_policy.hpp"

namespace wasi::linalg {

/// Which singular vectors of A (m,n) a tracker follows.
enum class Side {
    right,  ///< V (n,r); the number of rows of A may change from step to step
    left,   ///< U (m,r); the number of columns may
};

struct SubspaceTrackerOptions {
    /// The rank: fixed, or by a rule that is asked at every step, of the values that the tracker sees.
    RankRule rank = Energy{0.9};
    Index max_rank = std::numeric_limits<Index>::max();
    Side side = Side::right;
    /// Columns carried beyond the rank. They make a step converge by (s_{r+p+1}/s_r)² instead of (s_{r+1}/s_r)², and a
    /// rule sees in them that it needs more; without them the rank can only fall between restarts.
    Index oversampling = 5;
    RestartPolicy restart = {};
    /// How slowly the rank follows the rule. Fixed ranks do not move.
    RankHysteresis hysteresis = {};
};

/// What the last step did, and how far the tracker has come.
struct TrackingInfo {
    Status status = Status::ok;    ///< rank_limit: the rule wants more than max_rank
    Index rank = 0;                ///< columns of the basis
    Index wanted = 0;              ///< what the rule asked for; at the width of the block it may want more
    double captured_energy = 0.0;  ///< ||A V||² / ||A||²; 1 for a zero matrix
    double drift = 0.0;            ///< sine of the largest principal angle between the old and the new basis
    bool restarted = false;
    bool rank_changed = false;
    Index steps = 0;
    Index restarts = 0;  ///< the first step is one
    Index rank_changes = 0;
};

/// Follows the leading singular subspace of a sequence A_1, A_2, ... that changes little from one to the next. A step
/// is one subspace iteration V <- orth(AᵀA V) (see subspace_step) and a Rayleigh-Ritz rotation to the singular vectors
/// inside that span, in two reads of A and 6 m n w flops, w = rank + oversampling. What a warm step with w = r discards
/// is at most tail² (1 + (s_{r+1}/s_r)² tan² theta), theta the largest angle of the old basis to the leading subspace.
/// A stale basis is noticed by its captured energy and replaced by a randomized SVD. Holds (n, w) scalars, booked as
/// given. Deterministic: same key, same matrices, same bits, for any number of threads. Thread safety: one object, one
/// thread at a time. Example: examples/warm_subspace.cpp
template <Scalar T, class S = EigenStorage>
requires StorageFor<S, T> && StorageFor<S, double>
class SubspaceTracker {
public:
    /// Throws argument_error for options out of range. `tag` is where the basis is booked.
    explicit SubspaceTracker(SubspaceTrackerOptions options, RandomKey key, Memory& memory = plain_memory(),
                             Tag tag = {})
        : options_(std::move(options)), key_(key), memory_(&memory), tag_(tag), rank_(options_.hysteresis)
    {
        require<argument_error>(options_.max_rank >= 1, "SubspaceTracker: max_rank is ", options_.max_rank);
        require<argument_error>(options_.oversampling >= 0, "SubspaceTracker: oversampling is ", options_.oversampling);
        require<argument_error>(!options_.rank.needs_all_values(),
                                "SubspaceTracker: a rule that needs every singular value cannot be asked of a few");
        options_.restart.check();
    }

    /// One step with the next matrix. Throws shape_error on an empty one and when its columns (rows, for the left side)
    /// are not as many as before, argument_error on NaN or infinity; the tracker is as before then.
    const TrackingInfo& follow(ConstMatrixView<T> matrix)
    {
        const ConstMatrixView<T> a = options_.side == Side::right ? matrix : matrix.transposed();
        require<shape_error>(a.size() > 0, "SubspaceTracker: empty matrix ", shape_text(matrix.shape()));
        require<shape_error>(block_.empty() || a.cols == block_.shape()[0], "SubspaceTracker: a matrix ",
                             shape_text(matrix.shape()), " after matrices with ",
                             block_.empty() ? 0 : block_.shape()[0],
                             options_.side == Side::right ? " columns" : " rows");
        require_finite<S, T>(a, "SubspaceTracker", "a");
        // In double, squares of doubles may leave their type: energies are then those of 2^shift A.
        double total = S::dot(a, a);
        const int shift = detail::is_ordinary<double>(total * total) ? 0 : detail::ordinary_shift<T>(S::largest(a));
        if (shift != 0) {
            total = detail::scaled_energy<S, T>(a, shift, *memory_);
        }
        TrackingInfo next = info_;
        ++next.steps;
        next.restarted = false;
        next.rank_changed = false;
        next.status = Status::ok;
        Tensor<T> block =
            block_.empty() || options_.restart.due(since_restart_) ? Tensor<T>() : warm(a, total, shift, next);
        if (block.empty() || options_.restart.stale(next.captured_energy, energy_at_restart_)) {
            block = restart(a, next);
        } else {
            ++since_restart_;
        }
        if (!block_.empty()) {
            next.drift =
                sine_of_largest_angle<S, T>(basis(), std::as_const(block).matrix().col_block(0, next.rank), *memory_);
            next.rank_changed = next.rank != info_.rank;
            next.rank_changes += next.rank_changed ? 1 : 0;
        }
        block_ = std::move(block);
        block_.rebook(tag_);
        info_ = next;
        return info_;
    }

    /// The same for a user's matrix.
    template <MatrixLike A>
    requires std::same_as<typename Family<A>::Scalar, T>
    const TrackingInfo& follow(const A& a)
    {
        Family<A>::with_view(a, [&](auto view) { follow(ConstMatrixView<T>(view)); });
        return info_;
    }

    [[nodiscard]] const TrackingInfo& info() const { return info_; }
    /// V (n, rank) with orthonormal columns, the estimated singular vectors from the largest value down; empty before
    /// the first step. Columns may flip and mix from one step to the next.
    [[nodiscard]] ConstMatrixView<T> basis() const
    {
        return block_.empty() ? ConstMatrixView<T>{} : block_.matrix().col_block(0, info_.rank);
    }
    /// A copy of the basis in a user's type.
    template <MatrixLike M>
    [[nodiscard]] M basis_as() const
    {
        M result = Family<M>::make_matrix(basis().rows, basis().cols);
        if (!block_.empty()) {
            S::copy(Family<M>::view(result), basis());
        }
        return result;
    }

private:
    /// The block after one step, rotated to its Ritz vectors; asks the rule. `total` is ||2^shift A||².
    [[nodiscard]] Tensor<T> warm(ConstMatrixView<T> a, double total, int shift, TrackingInfo& next)
    {
        const Index width = block_.shape()[1];
        Tensor<T> moved = workspace<T>(*memory_, a.cols, width);
        S::copy(moved.matrix(), std::as_const(block_).matrix());
        subspace_step<S, T>(a, moved.matrix(), *memory_);

        Tensor<T> image = workspace<T>(*memory_, a.rows, width);
        if (shift == 0) {
            S::multiply(image.matrix(), T(1), a, std::as_const(moved).matrix(), T(0), *memory_);
        } else {
            // Half of it before the product and half after, so that neither end of the type's range is near.
            const int half = shift / 2;
            detail::scale_to<S, T>(moved.matrix(), std::as_const(moved).matrix(), half);
            S::multiply(image.matrix(), detail::power_of_two_as<T>(shift - half), a, std::as_const(moved).matrix(),
                        T(0), *memory_);
            detail::scale_to<S, T>(moved.matrix(), std::as_const(moved).matrix(), -half);
        }
        Tensor<double> gram = workspace<double>(*memory_, width, width);
        Tensor<double> squares = host_row<double>(*memory_, width);
        S::gram(gram.matrix(), 0.0, std::as_const(image).matrix(), *memory_);
        if (!S::eigh(gram.matrix(), squares.span(), *memory_)) {
            return {};  // restart
        }
        Tensor<T> turn = workspace<T>(*memory_, width, width);
        S::convert(turn.matrix(), std::as_const(gram).matrix());
        Tensor<T> block = workspace<T>(*memory_, a.cols, width);
        S::multiply(block.matrix(), T(1), std::as_const(moved).matrix(), std::as_const(turn).matrix(), T(0), *memory_);

        std::vector<double> values;
        for (const double square : squares.span()) {
            values.push_back(std::sqrt(std::max(0.0, square)));
        }
        const double noise = detail::rounding_floor<T>(a.rows, a.cols, values);
        // A rule that is given every value that there is can want no more.
        next.wanted = options_.rank.choose({values, total, total, noise, a.rows, a.cols});
        if (next.wanted > options_.max_rank) {
            next.wanted = options_.max_rank;
            next.status = Status::rank_limit;
        }
        next.captured_energy = captured(values, rank_.rank(), total);
        if (!options_.rank.fixed() && !options_.restart.stale(next.captured_energy, energy_at_restart_)) {
            next.rank = rank_.follow(next.wanted);
            next.captured_energy = captured(values, next.rank, total);
            if (next.rank != info_.rank) {
                return resized(std::move(block), next);
            }
        }
        return block;
    }

    [[nodiscard]] Tensor<T> restart(ConstMatrixView<T> a, TrackingInfo& next)
    {
        const SvdFactors<T> svd =
            randomized_svd<S, T>(a, {.rank = options_.rank, .max_rank = options_.max_rank, .probes = 0},
                                 key_.derive(next.steps).derive(0), *memory_);
        next.status = svd.info.status;
        next.rank = svd.info.rank;
        next.wanted = svd.info.rank;
        next.captured_energy = svd.info.captured_energy;
        next.restarted = true;
        ++next.restarts;
        rank_.reset(next.rank);
        energy_at_restart_ = next.captured_energy;
        since_restart_ = 1;
        Tensor<T> block = workspace<T>(*memory_, a.cols, next.rank);
        S::copy(block.matrix(), svd.v.matrix());
        return resized(std::move(block), next);
    }

    /// As many columns as the rank and the oversampling want: the leading ones are kept, new ones are random, made
    /// orthogonal to them, and find their way in the next steps.
    [[nodiscard]] Tensor<T> resized(Tensor<T> block, const TrackingInfo& next)
    {
        const Index rows = block.shape()[0];
        const Index have = block.shape()[1];
        const Index width = std::min(rows, next.rank + options_.oversampling);
        if (width == have) {
            return block;
        }
        const Index kept = std::min(width, have);
        Tensor<T> result = workspace<T>(*memory_, rows, width);
        S::copy(result.matrix().col_block(0, kept), std::as_const(block).matrix().col_block(0, kept));
        if (width > have) {
            Tensor<T> fresh = workspace<T>(*memory_, rows, width - have);
            S::fill_normal(fresh.matrix(), key_.derive(next.steps).derive(1));
            S::copy(result.matrix().col_block(have, width - have), std::as_const(fresh).matrix());
            orthonormalize_columns<S, T>(result.matrix(), *memory_);
        }
        return result;
    }

    [[nodiscard]] static double captured(const std::vector<double>& values, Index rank, double total)
    {
        double sum = 0.0;
        for (Index j = 0; j < rank; ++j) {
            sum += values[static_cast<std::size_t>(j)] * values[static_cast<std::size_t>(j)];
        }
        return total > 0.0 ? std::min(1.0, sum / total) : 1.0;
    }

    SubspaceTrackerOptions options_;
    RandomKey key_;
    Memory* memory_;
    Tag tag_;
    FollowedRank rank_;
    TrackingInfo info_;
    Tensor<T> block_;  // (n, rank + oversampling), orthonormal, leading directions first
    double energy_at_restart_ = 0.0;
    Index since_restart_ = 0;  // steps taken with this basis, the restart included
};

WASI_COMPILED(WASI_LINALG_SUBSPACE_TRACKER)

}  // namespace wasi::linalg
