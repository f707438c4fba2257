#pragma once
#include <cmath>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wasi/autograd/stored_gradient.hpp"
#include "wasi/optim/compiled.hpp"
#include "wasi/optim/optimizer.hpp"

namespace wasi::optim {

/// The factor by which torch.nn.utils.clip_grad_norm_ scales gradients of norm `norm`: min(1, limit / (norm + 1e-6)); 1
/// when `limit` is 0 (off).
[[nodiscard]] inline double clip_factor(double norm, double limit)
{
    return limit <= 0.0 ? 1.0 : std::min(1.0, limit / (norm + 1e-6));
}

/// Updates each parameter the moment its gradient is finished, so that gradients are never stored. Clipping, if any, is
/// by parameter: each gradient's own norm is held under `clip_norm`, which is not the usual global clip.
template <Scalar T, class S>
class StreamSink final : public autograd::Sink<T> {
public:
    StreamSink(std::vector<ParameterRef<T, S>> parameters, Optimizer<T, S>& optimizer, Memory& memory,
               double clip_norm = 0.0)
        : optimizer_(&optimizer), memory_(&memory), clip_norm_(clip_norm)
    {
        for (auto& parameter : parameters) {
            parameters_.emplace(&parameter.identity(), parameter);
        }
    }

    void set_rate(double rate) { rate_ = rate; }

    /// Throws argument_error, and leaves the parameter alone, when its gradient is not finite.
    void take(autograd::Parameter& parameter, const autograd::Gradient<T>& gradient) override
    {
        const auto& held = parameters_.at(&parameter);
        require<argument_error>(all_finite<T, S>(gradient), "StreamSink: the gradient of ", parameter.name(),
                                " holds NaN or infinity");
        double factor = 1.0;
        if (clip_norm_ > 0.0) {
            factor = clip_factor(std::sqrt(squared_norm<T, S>(held, gradient, *memory_)), clip_norm_);
        }
        optimizer_->apply(held, gradient, static_cast<T>(rate_), static_cast<T>(factor));
    }

private:
    std::unordered_map<const autograd::Parameter*, ParameterRef<T, S>> parameters_;
    Optimizer<T, S>* optimizer_;
    Memory* memory_;
    double clip_norm_;
    double rate_ = 0.0;
};

/// Stores gradients in their own, small form until finish(): exact clipping by the global norm over all parameters, and
/// sums over micro-batches. With `accumulate`, a factored gradient of a low-rank weight is turned into the gradients of
/// its factors when it arrives: the factors stand still inside a step, so the sum needs constant memory.
template <Scalar T, class S>
class CollectSink final : public autograd::Sink<T> {
public:
    CollectSink(std::vector<ParameterRef<T, S>> parameters, Optimizer<T, S>& optimizer, Memory& memory,
                double clip_norm, bool accumulate)
        : optimizer_(&optimizer), memory_(&memory), clip_norm_(clip_norm), accumulate_(accumulate)
    {
        for (auto& parameter : parameters) {
            index_.emplace(&parameter.identity(), entries_.size());
            entries_.push_back({parameter, autograd::StoredGradient<T, S>(memory, parameter.state_tag().layer)});
        }
    }

    void take(autograd::Parameter& parameter, const autograd::Gradient<T>& gradient) override
    {
        Entry& entry = entries_[index_.at(&parameter)];
        const auto* factored = std::get_if<linalg::Factored<T>>(&gradient);
        if (accumulate_ && factored != nullptr) {
            if (const auto* subspace = entry.parameter.weight_subspace()) {
                add_partial(entry, *subspace, *factored);
                return;
            }
            if (const auto* free_factors = entry.parameter.free_factors()) {
                add_partial(entry, *free_factors, *factored);
                return;
            }
        }
        entry.gradient.add(gradient);
    }

    /// Applies what was collected, clipped by the global norm, and forgets it. Returns the norm before clipping.
    /// Throws wasi::argument_error when the norm is not finite; no parameter has changed then.
    double finish(double rate)
    {
        double squared = 0.0;
        for (const Entry& entry : entries_) {
            if (!entry.gradient.empty()) {
                squared += squared_norm<T, S>(entry.parameter, entry.gradient.view(), *memory_);
            }
        }
        const double norm = std::sqrt(squared);
        require<argument_error>(std::isfinite(norm), "CollectSink: the gradient norm is ", norm);
        const double factor = clip_factor(norm, clip_norm_);
        for (Entry& entry : entries_) {
            if (!entry.gradient.empty()) {
                optimizer_->apply(entry.parameter, entry.gradient.view(), static_cast<T>(rate), static_cast<T>(factor));
                entry.gradient.clear();
            }
        }
        return norm;
    }

private:
    struct Entry {
        ParameterRef<T, S> parameter;
        autograd::StoredGradient<T, S> gradient;
    };

    template <class Factors>
    void add_partial(Entry& entry, const Factors& factors, const linalg::Factored<T>& gradient)
    {
        Tensor<T> d_left = workspace<T>(*memory_, factors.outputs(), factors.rank());
        Tensor<T> d_right = workspace<T>(*memory_, factors.rank(), factors.inputs());
        factors.partial_gradients(d_left.matrix(), d_right.matrix(), gradient);
        entry.gradient.add(linalg::FactorGradients<T>{std::as_const(d_left).matrix(), std::as_const(d_right).matrix()});
    }

    std::unordered_map<const autograd::Parameter*, std::size_t> index_;
    std::vector<Entry> entries_;
    Optimizer<T, S>* optimizer_;
    Memory* memory_;
    double clip_norm_;
    bool accumulate_;
};

WASI_COMPILED(WASI_OPTIM_SINKS)

}  // namespace wasi::optim
