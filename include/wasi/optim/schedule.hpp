#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::optim {

/// The learning rate of a step (from 0): rises linearly over `warmup_steps`, then stays, or falls along half a cosine
/// to `final_rate` at `total_steps` (Loshchilov, Hutter 2017).
struct Schedule {
    enum class Kind { constant, cosine };

    Kind kind = Kind::cosine;
    double rate = 0.05;
    double final_rate = 0.0;
    Index warmup_steps = 0;
    Index total_steps = 1;

    /// Throws argument_error for a rate that is not finite and at least 0, negative steps, or a warm-up longer than the
    /// run.
    void check() const
    {
        require<argument_error>(std::isfinite(rate) && rate >= 0.0, "Schedule: rate is ", rate);
        require<argument_error>(std::isfinite(final_rate) && final_rate >= 0.0, "Schedule: final_rate is ", final_rate);
        require<argument_error>(warmup_steps >= 0 && total_steps >= 1 && warmup_steps <= total_steps,
                                "Schedule: ", warmup_steps, " warm-up steps of ", total_steps, " in all");
    }

    [[nodiscard]] double operator()(Index step) const
    {
        if (step < warmup_steps) {
            return rate * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
        }
        if (kind == Kind::constant || total_steps <= warmup_steps) {
            return rate;
        }
        const double progress =
            std::min(1.0, static_cast<double>(step - warmup_steps) / static_cast<double>(total_steps - warmup_steps));
        return final_rate + 0.5 * (rate - final_rate) * (1.0 + std::cos(std::numbers::pi * progress));
    }
};

}  // namespace wasi::optim
