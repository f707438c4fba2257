#pragma once
#include <algorithm>
#include <cstddef>
#include <utility>

#include "wasi/plan/choices.hpp"

namespace wasi::plan {

/// What plans order choices by for the time of a step: its flops, and more the fewer rows its products have,
/// flops (1 + 64 / m) with m tokens in a micro-batch. The 64 is fitted to measured steps of a ViT-B/32 with 800, 200
/// and 50 tokens at a time (1 : 1.4 : 2.2), which is what packing a weight for few rows costs.
template <nn::Model M>
[[nodiscard]] double work_of(const RunDescription<M>& run, const Forecast& forecast)
{
    const Index pieces = run.training.micro_batches;
    const Index images = run.images > 0 ? std::min(run.training.batch_size, run.images) : run.training.batch_size;
    const Index rows = (images + pieces - 1) / pieces * run.model.tokens();
    return forecast.flops * (1.0 + 64.0 / static_cast<double>(rows));
}

/// One way to train, with what it takes and what it costs.
template <nn::Model M>
struct PlanChoice {
    double energy = 1.0;
    KeepPreset keep;
    RunDescription<M> run;  ///< layers, micro-batches and keep as chosen
    Forecast forecast;
    double weight_error = 0.0;  ///< mean over the layers of ||W - L R|| / ||W||
    double input_share = 1.0;   ///< bytes of saved inputs of the chosen layers, of what exact ones take
    double input_error = 0.0;   ///< mean over the layers of ||dW~ - dW|| / ||dW|| on the calibration batch
    std::size_t process = 0;    ///< predicted peak of the process

    /// What choices are ordered by first: the mean relative error of weights plus the relative errors of their
    /// gradients.
    [[nodiscard]] double error() const { return weight_error + keep.error() + input_error; }

    /// What they are ordered by next.
    [[nodiscard]] double work() const { return work_of(run, forecast); }

    /// Does a plan prefer this one, memory aside?
    [[nodiscard]] bool is_better_than(const PlanChoice& other) const
    {
        return std::pair{error(), work()} < std::pair{other.error(), other.work()};
    }
};

}  // namespace wasi::plan
