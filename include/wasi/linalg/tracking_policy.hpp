#pragma once
#include <algorithm>
#include <cmath>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::linalg {

/// When whoever follows a subspace throws the basis away and takes a fresh one.
struct RestartPolicy {
    /// When the captured energy falls below this share of what it was right after the last restart. A share, not an
    /// absolute value: a small rank captures little even when the basis is perfect. 0 = never.
    double below = 0.9;
    /// Every so many steps. 0 = never.
    Index period = 0;

    [[nodiscard]] static RestartPolicy when_below(double share) { return {share, 0}; }
    [[nodiscard]] static RestartPolicy every(Index steps) { return {0.0, steps}; }
    [[nodiscard]] static RestartPolicy never() { return {0.0, 0}; }

    /// Throws argument_error for a share outside [0, 1] or a negative period.
    void check() const
    {
        require<argument_error>(below >= 0.0 && below <= 1.0, "RestartPolicy: below must be in [0, 1], got ", below);
        require<argument_error>(period >= 0, "RestartPolicy: period is ", period);
    }
    /// `steps_with_this_basis` counts the restart itself.
    [[nodiscard]] bool due(Index steps_with_this_basis) const { return period > 0 && steps_with_this_basis >= period; }
    [[nodiscard]] bool stale(double captured, double captured_at_restart) const
    {
        return captured < below * captured_at_restart;
    }
};

/// How slowly a rank follows the rank that a rule wants: it changes only after the rule has wanted a rank outside the
/// band around it, on one side of it, for `patience` steps in a row; then it becomes the nearest to the present one
/// among the ranks wanted in those steps. So noise does not make it flutter, and a real change gets through.
struct RankHysteresis {
    /// Half width of the band, as a share of the rank: with 0.1 a rank of 50 ignores wishes from 45 to 55. In [0, 1).
    double band = 0.1;
    /// Steps in a row, at least 1. 1 follows every wish outside the band at once.
    Index patience = 3;

    void check() const
    {
        require<argument_error>(band >= 0.0 && band < 1.0, "RankHysteresis: band must be in [0, 1), got ", band);
        require<argument_error>(patience >= 1, "RankHysteresis: patience is ", patience);
    }
};

/// A rank under hysteresis. Thread safety: a value.
class FollowedRank {
public:
    FollowedRank() = default;
    /// Throws argument_error for a band outside [0, 1) or a patience below 1.
    explicit FollowedRank(RankHysteresis hysteresis) : hysteresis_(hysteresis) { hysteresis_.check(); }

    [[nodiscard]] Index rank() const { return rank_; }
    /// Sets the rank and forgets what was wanted.
    void reset(Index rank)
    {
        rank_ = rank;
        run_ = 0;
    }
    /// One step's wish; returns the rank from now on.
    Index follow(Index wanted)
    {
        const double gap = static_cast<double>(wanted - rank_);
        if (std::abs(gap) <= hysteresis_.band * static_cast<double>(rank_)) {
            run_ = 0;
            return rank_;
        }
        const bool up = wanted > rank_;
        if (run_ == 0 || up != up_) {
            run_ = 0;
            up_ = up;
            nearest_ = wanted;
        }
        nearest_ = up ? std::min(nearest_, wanted) : std::max(nearest_, wanted);
        if (++run_ >= hysteresis_.patience) {
            reset(nearest_);
        }
        return rank_;
    }

private:
    RankHysteresis hysteresis_;
    Index rank_ = 0;
    Index nearest_ = 0;
    Index run_ = 0;
    bool up_ = false;
};

}  // namespace wasi::linalg
