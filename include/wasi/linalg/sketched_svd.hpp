#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/linalg/dense_route.hpp"
#include "wasi/linalg/randomized_svd_options.hpp"
#include "wasi/linalg/range_finder.hpp"
#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/sketch_error.hpp"
#include "wasi/linalg/sketch_growth.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

namespace detail {

/// A dense SVD is cheaper than a sketch once the sketch is about this share of the smaller side: measured by
/// bench/linalg/dense_crossover.cpp, see docs/linalg.md.
inline constexpr double dense_share = 0.3;

/// The sketch of an operator, grown until a rank rule is met. See randomized_svd.
template <class S, Scalar T, class Operator>
class SketchedSvd {
public:
    using Guarded = GuardedOperator<S, T, Operator>;

    SketchedSvd(const SketchedSvd&) = delete;  // the parts know one another
    SketchedSvd& operator=(const SketchedSvd&) = delete;

    /// `squared_norm`: ||A||² of A as the operator is scaled now; not positive: unknown.
    SketchedSvd(Guarded& a, double squared_norm, const RandomizedSvdOptions& options, RandomKey key, Memory& memory)
        : a_(&a),
          squared_norm_(squared_norm),
          norm_exponent_(a.exponent()),
          options_(&options),
          memory_(&memory),
          fixed_(options.rank.fixed()),
          share_(options.rank.allowed_share()),
          smaller_(std::min(a.rows(), a.cols())),
          limit_(std::min(options.max_rank, smaller_)),
          extra_(std::min(options.oversampling, smaller_)),
          dense_from_(static_cast<Index>(dense_share * static_cast<double>(smaller_))),
          widest_(sketch_room<T>(a, options)),
          finder_(a, probe_count<Operator>(options), key, memory),
          growth_(finder_, options, smaller_, dense_from_, widest_)
    {
    }

    [[nodiscard]] SvdFactors<T> run()
    {
        // One column above the limit tells a rule that is met at the limit from one that is not, also without
        // oversampling.
        Index width =
            std::min(fixed_ ? std::min(*fixed_, limit_ + 1) + extra_ : std::min(options_->first_block, limit_) + extra_,
                     smaller_);
        if (goes_dense(width) || options_->rank.needs_all_values()) {
            return dense();
        }
        // Products of a multiple of 16 columns cost no more than what is left of one.
        width = std::max(width, std::min((width + 15) / 16 * 16, dense_from_));
        if (!fixed_) {
            width = std::min(width, widest_);
        }
        for (;;) {
            growth_.grow(width);
            if (fixed_) {
                growth_.settle();
            }
            look();
            SvdFactors<T> result = choose();
            if (wider_ > 0) {
                if (goes_dense(wider_)) {
                    return dense();
                }
                width = std::min(wider_, widest_);
                continue;
            }
            finish(result);
            return result;
        }
    }

private:
    /// Whether a sketch of this width costs more than the dense way, which is open.
    [[nodiscard]] bool goes_dense(Index width) const
    {
        return width > dense_from_ && (has_matrix<Operator> || dense_bytes<T>(*a_) <= options_->memory_limit);
    }

    [[nodiscard]] SvdFactors<T> dense()
    {
        const TruncatedSvdOptions options{
            .rank = options_->rank, .max_rank = options_->max_rank, .signs = options_->signs};
        const Index before = a_->passes();
        SvdFactors<T> result = dense_svd<S, T>(*a_, options, options_->memory_limit, *memory_);
        result.info.passes += before;
        return result;
    }

    void look() { seen_ = look_at<S, T>(*a_, finder_, squared_norm_, norm_exponent_, share_); }

    /// The triplets that the rule keeps; or none, and `wider_` is the width that the sketch needs first.
    [[nodiscard]] SvdFactors<T> choose()
    {
        const Index width = finder_.width();
        wider_ = 0;
        return leading_svd<S, T>(
            finder_.projected(),
            [&](std::span<const double> values) {
                const Spectrum found = spectrum_of<T>(*a_, seen_, values);
                wanted_ = options_->rank.choose(found);
                double tail = found.beyond;
                for (const double value : values.subspan(static_cast<std::size_t>(wanted_))) {
                    tail += value * value;
                }
                const double error = std::sqrt(tail) + found.rounding;
                met_ = options_->rank.met(error * error, wanted_, found);
                // A rule that wants every value of the sketch may want fewer of a better one, unless nothing is beyond.
                const bool crowded = wanted_ >= width && error > found.noise + 2.0 * found.rounding;
                if (!fixed_ && (!met_ || crowded)) {
                    widen_for(found);
                }
                return wider_ > 0 ? 0 : std::min(wanted_, options_->max_rank);
            },
            *memory_);
    }

    void widen_for(const Spectrum& found)
    {
        const Index width = finder_.width();
        if (width >= std::min(limit_ + std::max<Index>(extra_, 1), smaller_)) {
            return;
        }
        // What the products' own rounding leaves cannot be seen through, however wide the sketch is.
        constexpr double blur = 64.0 * static_cast<double>(epsilon<T>);
        const bool blind = share_ && !seen_.exact && seen_.estimate <= blur * blur * seen_.total;
        if (width >= widest_ || (blind && !goes_dense(smaller_))) {
            return;
        }
        const Index needed = std::min(least_rank(options_->rank, found), limit_) + extra_;
        wider_ = blind ? smaller_ : std::min(std::max(2 * width, needed), smaller_);
        if (wider_ > dense_from_ && needed <= dense_from_ && 4 * width <= 3 * dense_from_ && !blind) {
            wider_ = dense_from_;  // less than twice as wide, and it may do
        }
        if (wider_ > dense_from_ && !goes_dense(wider_)) {
            wider_ = std::min(wider_, std::max(width + width / 2, needed));
        }
    }

    void finish(SvdFactors<T>& result)
    {
        const bool near_rounding = share_ && *share_ > 0.0 && !seen_.exact;
        bool measured = false;
        if constexpr (has_matrix<Operator>) {
            if (near_rounding) {
                if (!measure_rule(result)) {
                    return;  // the dense way was taken, and is complete
                }
                measured = true;
            }
        }
        if (!measured) {
            lift(result);
        }
        account(result, seen_.total, wanted_);
        SvdInfo& info = result.info;
        info.passes = a_->passes() + (squared_norm_ > 0.0 ? 1 : 0);
        info.route = Route::randomized;
        if (!measured) {
            estimate_residual<T>(info, seen_, finder_.probes());
        }
        if (info.status == Status::ok && !met_) {
            info.status = finder_.width() >= widest_ && widest_ < smaller_ ? Status::rank_limit : Status::rule_not_met;
        }
        rescale(result, a_->exponent(), a_->who());
        if (options_->signs == Signs::largest_right_positive) {
            settle_signs<S, T>(result.u.matrix(), result.v.matrix(), *memory_);
        }
    }

    /// So far `u` holds right and `v` small left vectors.
    void lift(SvdFactors<T>& result)
    {
        Tensor<T> left = workspace<T>(*memory_, a_->rows(), result.s.size());
        S::multiply(left.matrix(), T(1), finder_.basis(), std::as_const(result.v).matrix(), T(0), *memory_);
        result.v = std::move(result.u);
        result.u = std::move(left);
    }

    /// The energies are blind at this error, so the difference of the matrix and the factors is formed: what it says of
    /// the part outside the sketch replaces the estimate, until the rule is met. The sketch grows where all of it is
    /// not enough. False where that ended in the dense SVD.
    [[nodiscard]] bool measure_rule(SvdFactors<T>& result)
    {
        const MatrixAtScale<S, T> matrix(a_->inner().dense(), a_->exponent(), *memory_);
        for (;;) {
            const double tail = result.info.residual_estimate;
            lift(result);
            const double error = measured_residual<S, T>(matrix.view(), result, *memory_);
            const std::vector<double> values(result.s.span().begin(), result.s.span().end());
            const Spectrum found = spectrum_of<T>(*a_, seen_, values);
            met_ = options_->rank.met(error * error, result.info.rank, found) || wanted_ > options_->max_rank;
            if (met_) {
                result.info.residual_estimate = error;
                result.info.residual_bound = error;
                result.info.bound_failure = 0.0;
                return true;
            }
            const double outside = std::max(error * error - tail * tail, 2.0 * seen_.beyond);
            seen_.beyond = outside;
            result = choose();
            while (wider_ > 0) {
                if (goes_dense(wider_)) {
                    result = dense();
                    return false;
                }
                growth_.grow(wider_);
                look();
                result = choose();
            }
            if (!met_) {  // nothing wider to be had
                lift(result);
                const double last = measured_residual<S, T>(matrix.view(), result, *memory_);
                result.info.residual_estimate = last;
                result.info.residual_bound = last;
                return true;
            }
        }
    }

    Guarded* a_;
    double squared_norm_;
    int norm_exponent_;
    const RandomizedSvdOptions* options_;
    Memory* memory_;
    std::optional<Index> fixed_;
    std::optional<double> share_;
    Index smaller_;
    Index limit_;
    Index extra_;
    Index dense_from_;
    Index widest_;
    RangeFinder<S, T, Operator> finder_;
    SketchGrowth<S, T, Operator> growth_;
    Seen seen_;
    Index wanted_ = 0;
    Index wider_ = 0;
    bool met_ = true;
};

}  // namespace detail

}  // namespace wasi::linalg
