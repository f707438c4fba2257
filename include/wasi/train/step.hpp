#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "wasi/autograd/ops/cross_entropy.hpp"
#include "wasi/nn/model.hpp"
#include "wasi/optim/sinks.hpp"
#include "wasi/train/compiled.hpp"

namespace wasi::train {

/// The loss of classification: mean cross entropy of logits (rows, classes) and labels.
struct MeanCrossEntropy {
    double smoothing = 0.0;  ///< of labels: see autograd::cross_entropy

    template <Scalar T, class S>
    [[nodiscard]] autograd::Variable<T> operator()(const autograd::Context<T, S>& context,
                                                   const autograd::Variable<T>& logits,
                                                   std::span<const std::int64_t> labels) const
    {
        return autograd::cross_entropy(context, logits, labels, smoothing);
    }
};

namespace detail {

inline constexpr const char* cure = "; a smaller learning rate, a warm-up or clipping may help";

}  // namespace detail

/// One training step in its parts: `begin`, a forward and backward pass for each micro-batch, `end`. Gradients go to a
/// sink that is handed in. What train() does in a loop, for loops of other kinds.
template <nn::Model M, class Loss = MeanCrossEntropy>
class Step {
public:
    using T = typename M::Value;
    using S = typename M::Storage;

    /// loss(context, logits, labels) -> a Variable of one element. `key`: of what a step draws at random (rounding).
    Step(M& model, optim::StepSink<T>& sink, Loss loss = {}, RandomKey key = RandomKey(0))
        : model_(&model), sink_(&sink), loss_(std::move(loss)), key_(key)
    {
    }

    /// Step number `number` with this learning rate.
    void begin(Index number, double rate)
    {
        number_ = number;
        piece_ = 0;
        sink_->begin(rate);
    }

    /// The loss of some examples; gradients times `share`, the part of the batch that these examples are. The source is
    /// asked once now, and perhaps once more in the backward pass. Throws divergence_error when the loss or a gradient
    /// is not finite; no parameter of which the gradient was not finite has changed then.
    double micro_batch(const nn::Source<T>& source, std::span<const std::int64_t> labels, double share)
    {
        return explained([&] {
            Memory& memory = model_->memory();
            memory.mark("forward");
            autograd::Tape<T, S> tape(memory, key_.derive(number_, piece_++));
            const autograd::Context<T, S> context{memory, &tape};
            const auto loss = loss_(context, model_->forward(context, source), labels);
            T of_batch;
            memory.read(&of_batch, loss.value().data(), sizeof of_batch);
            const auto value = static_cast<double>(of_batch);
            // A loss whose square leaves T is lost, and the parameters, still finite here, would overflow next.
            require<divergence_error>(std::abs(value) < std::sqrt(static_cast<double>(std::numeric_limits<T>::max())),
                                      "the loss is ", value);
            memory.mark("backward");
            tape.backward(loss, *sink_, static_cast<T>(share));
            return value;
        });
    }

    /// All micro-batches are done. Throws divergence_error when the norm of the gradient is not finite; nothing has
    /// changed then.
    void end()
    {
        explained([&] {
            sink_->end();
            return 0;
        });
    }

private:
    template <class Body>
    auto explained(const Body& body)
    {
        try {
            return body();
        } catch (const divergence_error& failure) {
            throw divergence_error(message("training diverged at step ", number_, ": ", failure.what(), detail::cure));
        } catch (const error& failure) {
            if (nn::all_finite(*model_)) {
                throw;
            }
            throw divergence_error(message("training diverged at step ", number_, ": a parameter is not finite (",
                                           failure.what(), ")", detail::cure));
        }
    }

    M* model_;
    optim::StepSink<T>* sink_;
    Loss loss_;
    RandomKey key_;
    Index number_ = 0;
    Index piece_ = 0;
};

}  // namespace wasi::train
