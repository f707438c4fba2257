#pragma once
#include <cmath>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wasi/autograd/stored_gradient.hpp"
#include "wasi/optim/compiled.hpp"
#include "wasi/optim/gradient_norms.hpp"
#include "wasi/optim/optimizer.hpp"

namespace wasi::optim {

/// A sink that a training step goes to: begin, any number of backward passes, end.
template <Scalar T>
class StepSink : public autograd::Sink<T> {
public:
    /// A step with this learning rate begins.
    virtual void begin(double rate) = 0;
    /// All gradients of the step are there.
    virtual void end() = 0;
};

/// Updates each parameter the moment its gradient is finished, so that gradients are never stored. Clipping, if any, is
/// by parameter: each gradient's own norm is held under `clip_norm`, which is not the usual global clip.
template <Scalar T, class S>
class StreamSink final : public StepSink<T> {
public:
    StreamSink(std::vector<nn::ParameterRef<T, S>> parameters, Optimizer<T, S>& optimizer, Memory& memory,
               double clip_norm = 0.0)
        : optimizer_(&optimizer), memory_(&memory), clip_norm_(clip_norm)
    {
        for (auto& parameter : parameters) {
            parameters_.emplace(&parameter.identity(), parameter);
        }
    }

    void begin(double rate) override { rate_ = rate; }
    void end() override {}

    /// Throws divergence_error, and leaves the parameter alone, when its gradient is not finite.
    void take(autograd::Parameter& parameter, const autograd::Gradient<T>& gradient) override
    {
        const auto& held = parameters_.at(&parameter);
        require<divergence_error>(all_finite<T, S>(gradient), "the gradient of ", parameter.name(),
                                  " holds NaN or infinity");
        double factor = 1.0;
        if (clip_norm_ > 0.0) {
            factor = clip_factor(std::sqrt(squared_norm<T, S>(held, gradient, *memory_)), clip_norm_);
        }
        optimizer_->apply(held, gradient, static_cast<T>(rate_), static_cast<T>(factor));
    }

private:
    std::unordered_map<const autograd::Parameter*, nn::ParameterRef<T, S>> parameters_;
    Optimizer<T, S>* optimizer_;
    Memory* memory_;
    double clip_norm_;
    double rate_ = 0.0;
};

/// Stores gradients in their own, small form until end(): exact clipping by the global norm over all parameters, and
/// sums over micro-batches. With `accumulate`, a factored gradient of a low-rank weight is turned into the gradients of
/// its factors when it arrives: the factors stand still inside a step, so the sum needs constant memory.
template <Scalar T, class S>
class CollectSink final : public StepSink<T> {
public:
    CollectSink(std::vector<nn::ParameterRef<T, S>> parameters, Optimizer<T, S>& optimizer, Memory& memory,
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
            if (const auto* subspace = entry.parameter.subspace()) {
                add_partial(entry, subspace->factors, *factored);
                return;
            }
        }
        entry.gradient.add(gradient);
    }

    void begin(double rate) override { rate_ = rate; }

    /// Applies what was collected, clipped by the global norm, and forgets it. Throws divergence_error when the norm is
    /// not finite; no parameter has changed then.
    void end() override
    {
        memory_->mark("update");
        double squared = 0.0;
        for (const Entry& entry : entries_) {
            if (!entry.gradient.empty()) {
                squared += squared_norm<T, S>(entry.parameter, entry.gradient.view(), *memory_);
            }
        }
        norm_ = std::sqrt(squared);
        require<divergence_error>(std::isfinite(norm_), "the norm of the gradient is ", norm_);
        const double factor = clip_factor(norm_, clip_norm_);
        for (Entry& entry : entries_) {
            if (!entry.gradient.empty()) {
                optimizer_->apply(entry.parameter, entry.gradient.view(), static_cast<T>(rate_),
                                  static_cast<T>(factor));
                entry.gradient.clear();
            }
        }
    }
    /// The global norm before clipping, of the last step.
    [[nodiscard]] double norm() const { return norm_; }

private:
    struct Entry {
        nn::ParameterRef<T, S> parameter;
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
    double rate_ = 0.0;
    double norm_ = 0.0;
};

/// When a sink clips, and whether it waits.
struct SinkOptions {
    double clip_norm = 0.0;   ///< 0: off
    bool collect = true;      ///< wait for all gradients of a step: for a global clip, and for micro-batches; else each
                              ///< gradient is used the moment it is finished, and clipped by its own norm
    bool accumulate = false;  ///< several backward passes a step; needs collect
};

/// A StreamSink or a CollectSink. Throws argument_error for accumulation without collecting.
template <Scalar T, class S>
[[nodiscard]] std::unique_ptr<StepSink<T>> make_sink(std::vector<nn::ParameterRef<T, S>> parameters,
                                                     Optimizer<T, S>& optimizer, Memory& memory,
                                                     const SinkOptions& options)
{
    require<argument_error>(options.collect || !options.accumulate, "make_sink: gradients that add up are collected");
    if (options.collect) {
        return std::make_unique<CollectSink<T, S>>(std::move(parameters), optimizer, memory, options.clip_norm,
                                                   options.accumulate);
    }
    return std::make_unique<StreamSink<T, S>>(std::move(parameters), optimizer, memory, options.clip_norm);
}

WASI_COMPILED(WASI_OPTIM_SINKS)

}  // namespace wasi::optim
