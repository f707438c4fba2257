#pragma once
#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>

#include "wasi/linalg/randomized_svd_options.hpp"
#include "wasi/linalg/range_finder.hpp"

/// How the sketch of randomized_svd grows: by power iterations or by the blocks of a Krylov space, and when the values
/// of a fixed rank stand still.
namespace wasi::linalg::detail {

/// A fixed rank's captured energy counts as settled when a step adds less than this share.
inline constexpr double settled_share = 5e-3;

/// Columns of a block of a Krylov space that is to hold a sketch of `width` columns. `narrow`: as few as pay.
[[nodiscard]] inline Index krylov_block(const RandomizedSvdOptions& options, Index width, bool narrow)
{
    constexpr Index few = 16;  // measured: docs/linalg.md
    constexpr Index most_steps = 8;
    if (options.krylov_block != as_needed) {
        return std::min(options.krylov_block, width);
    }
    return narrow ? std::min(std::max(few, width / most_steps / few * few), width) : width;
}

/// Watches the energy of the wanted values while a sketch grows.
class Settling {
public:
    /// `narrow`: the steps are of fewer columns than the sketch had, and each adds little although much may be to come.
    Settling(Index rank, bool narrow) : rank_(rank), narrow_(narrow) {}

    /// The squared values after one more step, descending; true when the wanted ones stand still.
    bool add(std::span<const double> squares)
    {
        double energy = 0.0;
        for (const double square : squares.first(std::min(squares.size(), static_cast<std::size_t>(rank_)))) {
            energy += square;
        }
        const double grown = energy - energy_;
        const double before = grown_;
        const bool first = energy_ < 0.0;
        energy_ = energy;
        if (first) {
            return false;
        }
        grown_ = grown;
        if (!narrow_) {
            return grown <= settled_share * energy;
        }
        // Were growth to fall on as it fell in this step, so much would be to come: a geometric series. It need not.
        const double fall = before > 0.0 ? grown / before : 0.5;
        const double left = fall < 1.0 ? grown * fall / (1.0 - fall) : std::numeric_limits<double>::infinity();
        return grown <= 0.0 || left <= 0.1 * settled_share * energy;
    }

private:
    Index rank_;
    bool narrow_;
    double energy_ = -1.0;
    double grown_ = 0.0;
};

/// Whether values may come more often than they were found: of equal ones a Krylov space holds only as many as a block
/// has columns, so where fewer lie together none is missing.
[[nodiscard]] inline bool copies_may_be_missing(std::span<const double> squares, Index rank, Index block)
{
    constexpr double together = 0.98;
    constexpr double noise = 1e-12;  // of the Gram matrix that they come from
    const auto count = std::min(squares.size(), static_cast<std::size_t>(rank));
    const auto apart = static_cast<std::size_t>(block) - 1;
    for (std::size_t i = 0; i + apart < count; ++i) {
        if (squares[i] > noise * squares[0] && squares[i + apart] >= together * squares[i]) {
            return true;
        }
    }
    return false;
}

/// The widest sketch of A that the options' bytes have room for.
template <Scalar T, class Guarded>
[[nodiscard]] Index sketch_room(const Guarded& a, const RandomizedSvdOptions& options)
{
    const Index smaller = std::min(a.rows(), a.cols());
    if constexpr (has_matrix<std::remove_cvref_t<decltype(a.inner())>>) {
        return smaller;
    } else {
        return std::clamp<Index>(static_cast<Index>(options.memory_limit / sizeof(T)) / (a.rows() + a.cols()), 1,
                                 smaller);
    }
}

/// Grows the basis of a RangeFinder as the options say.
template <class S, Scalar T, class Operator>
class SketchGrowth {
public:
    /// `smaller`: the smaller side of A. `dense_from`: the width from which on the dense way is cheaper. `widest`: what
    /// there is memory for.
    SketchGrowth(RangeFinder<S, T, Operator>& finder, const RandomizedSvdOptions& options, Index smaller,
                 Index dense_from, Index widest)
        : finder_(&finder),
          options_(&options),
          fixed_(options.rank.fixed()),
          steps_chosen_(options.power_iterations != as_needed),
          smaller_(smaller),
          dense_from_(dense_from),
          widest_(widest)
    {
    }

    void grow(Index width)
    {
        using enum SketchMethod;
        const Index iterations = steps_chosen_ ? options_->power_iterations : 2;
        krylov_ = fixed_ && (options_->method == block_krylov || krylov_pays(width));
        if (krylov_) {
            grow_krylov_space(width);
        } else if (options_->method == block_krylov) {
            if (finder_->width() == 0) {
                finder_->widen(std::min(width, options_->first_block), {0, 0});
            }
            while (finder_->width() < width) {
                finder_->extend(width - finder_->width());
            }
        } else if (fixed_ && !steps_chosen_ && options_->method == subspace_iteration) {
            finder_->widen(width, {2, 8, settled_share});
        } else {
            finder_->widen(width, {iterations, iterations});
        }
    }

    /// Krylov steps until the values of a fixed rank stand still, as long as that is cheaper than the dense way.
    void settle()
    {
        if (steps_chosen_ || options_->method == SketchMethod::subspace_iteration) {
            return;
        }
        const Index width = finder_->width();
        if (!krylov_) {
            if (finder_->growth() >= settled_share) {
                settle_by(width, width);
            }
            return;
        }
        settle_by(block_, width);
        const Index wider = std::min({finder_->width() + width, smaller_, widest_});
        if (block_ < width && wider > finder_->width() &&
            copies_may_be_missing(finder_->squared_values(), *fixed_, block_)) {
            finder_->widen(wider, {2, 2});
            settle_by(width, width);
        }
    }

private:
    /// Whether a fixed rank that leaves the method open goes into a Krylov space from the first column on: an operator
    /// in narrow blocks, and large enough that they settle before the dense way is cheaper.
    [[nodiscard]] bool krylov_pays(Index width) const
    {
        constexpr Index room = 4;  // sketches
        return !has_matrix<Operator> && !steps_chosen_ && options_->method == SketchMethod::automatic &&
               room * width <= dense_from_ && krylov_block(*options_, width, true) < width;
    }

    /// A fixed rank's sketch from the first column on.
    void grow_krylov_space(Index width)
    {
        const Index steps = steps_chosen_ ? options_->power_iterations : 0;
        // Narrow blocks need room to settle, and for the copies that they may miss.
        block_ = krylov_block(*options_, width, !has_matrix<Operator> && !steps_chosen_ && 2 * width <= widest_);
        finder_->reserve(std::min(std::max(width, (steps + 1) * block_), smaller_));
        finder_->widen(block_, {0, 0});
        for (Index step = 0; finder_->width() < width || (step < steps && finder_->width() < widest_); ++step) {
            finder_->extend(std::min(block_, smaller_ - finder_->width()));
        }
    }

    /// Steps of `block` columns, of a sketch that was `width` columns wide.
    void settle_by(Index block, Index width)
    {
        Settling settling(*fixed_, block < width);
        settling.add(finder_->squared_values());
        const Index most = std::min({std::max(dense_from_, 2 * width), smaller_, std::max(widest_, width)});
        while (finder_->width() + block <= most) {
            finder_->reserve(std::min((finder_->width() + block + width - 1) / width * width, most));
            finder_->extend(block);
            if (settling.add(finder_->squared_values())) {
                break;
            }
        }
    }

    RangeFinder<S, T, Operator>* finder_;
    const RandomizedSvdOptions* options_;
    std::optional<Index> fixed_;
    bool steps_chosen_;
    bool krylov_ = false;
    Index smaller_;
    Index dense_from_;
    Index widest_;
    Index block_ = 0;
};

}  // namespace wasi::linalg::detail
