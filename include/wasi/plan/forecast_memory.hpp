#pragma once
#include <algorithm>
#include <cstddef>
#include <optional>
#include <variant>
#include <vector>

#include "wasi/core/memory.hpp"
#include "wasi/optim/optimizer.hpp"
#include "wasi/storage/dry.hpp"

/// What a dry run of training steps is booked on.
namespace wasi::plan::detail {

/// A ledger that hears of unbooked memory.
class ForecastMemory final : public Memory {
public:
    explicit ForecastMemory(Index threads) : threads_(threads) {}
    [[nodiscard]] void* allocate(std::size_t bytes, Tag tag) override { return ledger_.allocate(bytes, tag); }
    void release(void* block, std::size_t bytes, Tag tag) noexcept override { ledger_.release(block, bytes, tag); }
    void rebook(std::size_t bytes, Tag from, Tag to) noexcept override { ledger_.rebook(bytes, from, to); }
    void count_flops(double flops) noexcept override { ledger_.count_flops(flops); }
    [[nodiscard]] std::ptrdiff_t concurrency() const noexcept override { return threads_; }
    void unbooked(std::size_t bytes) noexcept override
    {
        // The pages of the arena stay with the process up to its high-water mark.
        process_ =
            std::max(process_, ledger_.total().current - std::min(ledger_.total().current, ledger_.arena_used()) +
                                   ledger_.arena_high_water() + bytes);
    }

    /// What the process holds while no arena is open.
    [[nodiscard]] std::size_t process_without_arena() const { return std::max(process_, ledger_.total().peak); }
    /// From here on: what training takes.
    void begin_training()
    {
        ledger_.open_arena();
        ledger_.reset_peaks();
        process_ = 0;
    }
    [[nodiscard]] const Ledger& ledger() const { return ledger_; }
    [[nodiscard]] std::size_t process() const { return process_; }

private:
    Ledger ledger_;
    Index threads_;
    std::size_t process_ = 0;
};

/// An optimiser that after each step repairs low-rank weights, as they do every few hundred steps.
template <class S>
class RepairingOptimizer final : public optim::Optimizer<float, S> {
public:
    RepairingOptimizer(optim::Optimizer<float, S>& inner, Memory& memory) : inner_(&inner), memory_(&memory) {}

    void apply(const nn::ParameterRef<float, S>& parameter, const autograd::Gradient<float>& gradient, float rate,
               float scale) override
    {
        inner_->apply(parameter, gradient, rate, scale);
        auto* subspace = parameter.subspace();
        if (subspace != nullptr && std::holds_alternative<linalg::Factored<float>>(gradient)) {
            // Steps of rank r, which are those that need repair, keep R Rᵀ; in a worst run they are declined.
            auto& factors = subspace->factors;
            std::optional<Tensor<double>> gram;
            if (factors.state_bytes() == 0) {
                gram.emplace(*memory_, parameter.state_tag(), Shape{factors.rank(), factors.rank()});
            }
            factors.repair();
        }
    }

    void state(State&, const std::vector<nn::ParameterRef<float, S>>&) override {}

private:
    optim::Optimizer<float, S>* inner_;
    Memory* memory_;
};

}  // namespace wasi::plan::detail
