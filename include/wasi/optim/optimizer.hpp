#pragma once
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wasi/optim/parameter_ref.hpp"

namespace wasi::optim {

/// Turns one parameter's gradient, in whatever form it comes, into a change of the parameter. State is made on first
/// use. Thread safety: one object, one thread.
template <Scalar T, class S>
class Optimizer {
public:
    Optimizer() = default;
    Optimizer(const Optimizer&) = delete;
    Optimizer& operator=(const Optimizer&) = delete;
    virtual ~Optimizer() = default;

    /// One step on one parameter with learning rate `rate` and gradient scale * gradient (scale: what clipping leaves).
    virtual void apply(const ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) = 0;
};

struct SgdOptions {
    double momentum = 0.0;      ///< in [0, 1)
    double weight_decay = 0.0;  ///< lambda, added to the gradient as lambda W, on every parameter
};

/// Stochastic gradient descent as in torch.optim.SGD:  v <- mu v + (g + lambda w),  w <- w - rate v.
/// A dense weight takes a factored gradient as one rank-r product in place. A low-rank weight is moved by its own warm
/// subspace step with shrink = rate lambda. Momentum of low-rank weights is refused with argument_error: mixing a
/// velocity of the old basis with factors of the new one diverges.
template <Scalar T, class S>
class Sgd final : public Optimizer<T, S> {
public:
    /// Throws argument_error for a momentum outside [0, 1) or a negative or non-finite decay.
    Sgd(SgdOptions options, Memory& memory) : options_(options), memory_(&memory)
    {
        require<argument_error>(options.momentum >= 0.0 && options.momentum < 1.0,
                                "Sgd: momentum must be in [0, 1), got ", options.momentum);
        require<argument_error>(options.weight_decay >= 0.0 && std::isfinite(options.weight_decay),
                                "Sgd: weight_decay is ", options.weight_decay);
    }

    void apply(const ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) override
    {
        if (auto* factors = parameter.low_rank()) {
            require<argument_error>(options_.momentum == 0.0, "Sgd: momentum ", options_.momentum,
                                    " on the low-rank weight ", parameter.identity().name(),
                                    " is not supported; use 0");
            const T shrink = rate * static_cast<T>(options_.weight_decay);
            if (const auto* factored = std::get_if<linalg::Factored<T>>(&gradient)) {
                factors->update(rate * scale, shrink, *factored);
            } else if (const auto* partial = std::get_if<linalg::FactorGradients<T>>(&gradient)) {
                factors->update(rate * scale, shrink, *partial);
            } else {
                throw argument_error(
                    message("Sgd: a dense gradient for the low-rank weight ", parameter.identity().name()));
            }
            return;
        }
        const MatrixView<T> values = parameter.dense();
        const T decay = static_cast<T>(options_.weight_decay);
        if (options_.momentum == 0.0) {
            add(values, T(1) - rate * decay, -rate * scale, gradient);
            return;
        }
        auto [found, fresh] = velocity_.try_emplace(&parameter.identity());
        Tensor<T>& velocity = found->second;
        if (fresh) {
            velocity = Tensor<T>(*memory_, parameter.state_tag(), Shape{values.rows, values.cols});
            velocity.fill(T(0));
        }
        add(velocity.matrix(), static_cast<T>(options_.momentum), scale, gradient);
        S::add_scaled(velocity.matrix(), T(1), decay, values);
        S::add_scaled(values, T(1), -rate, std::as_const(velocity).matrix());
    }

private:
    /// y = beta y + alpha gradient
    void add(MatrixView<T> y, T beta, T alpha, const autograd::Gradient<T>& gradient)
    {
        if (const auto* dense = std::get_if<autograd::Dense<T>>(&gradient)) {
            S::add_scaled(y, beta, alpha, shaped_like<T>(dense->values, y));
        } else if (const auto* factored = std::get_if<linalg::Factored<T>>(&gradient)) {
            S::multiply(y, alpha, factored->p, factored->q.transposed(), beta, *memory_);
        } else {
            throw argument_error("Sgd: factor gradients for a dense parameter");
        }
    }

    SgdOptions options_;
    Memory* memory_;
    std::unordered_map<const autograd::Parameter*, Tensor<T>> velocity_;
};

struct AdamWOptions {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0.01;
};

/// AdamW as in torch.optim.AdamW (Loshchilov, Hutter 2019), for dense parameters:
///     w <- (1 - rate lambda) w,  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g²,
///     w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon).
/// Low-rank weights are refused with argument_error: elementwise moments of W need O x I state, which is what they
/// avoid.
template <Scalar T, class S>
requires OptimizerStorageFor<S, T>
class AdamW final : public Optimizer<T, S> {
public:
    /// Throws argument_error for betas outside [0, 1), a non-positive epsilon, a negative decay.
    AdamW(AdamWOptions options, Memory& memory) : options_(options), memory_(&memory)
    {
        require<argument_error>(
            options.beta1 >= 0.0 && options.beta1 < 1.0 && options.beta2 >= 0.0 && options.beta2 < 1.0,
            "AdamW: betas must be in [0, 1), got ", options.beta1, " and ", options.beta2);
        require<argument_error>(options.epsilon > 0.0, "AdamW: epsilon is ", options.epsilon);
        require<argument_error>(options.weight_decay >= 0.0 && std::isfinite(options.weight_decay),
                                "AdamW: weight_decay is ", options.weight_decay);
    }

    void apply(const ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) override
    {
        require<argument_error>(parameter.low_rank() == nullptr, "AdamW: the low-rank weight ",
                                parameter.identity().name(),
                                " cannot be trained by AdamW (its moments would be dense); use SGD");
        const MatrixView<T> values = parameter.dense();
        State& state = states_[&parameter.identity()];
        if (state.step == 0) {
            state.first = Tensor<T>(*memory_, parameter.state_tag(), Shape{values.rows, values.cols});
            state.second = Tensor<T>(*memory_, parameter.state_tag(), Shape{values.rows, values.cols});
            state.first.fill(T(0));
            state.second.fill(T(0));
        }
        ++state.step;
        Tensor<T> expanded;  // moments are elementwise, so a factored gradient must be multiplied out here
        ConstMatrixView<T> g;
        if (const auto* dense = std::get_if<autograd::Dense<T>>(&gradient)) {
            g = shaped_like<T>(dense->values, values);
        } else if (const auto* factored = std::get_if<linalg::Factored<T>>(&gradient)) {
            expanded = Tensor<T>(*memory_, Tag{Use::gradient, 0}, Shape{values.rows, values.cols});
            S::multiply(expanded.matrix(), T(1), factored->p, factored->q.transposed(), T(0), *memory_);
            g = std::as_const(expanded).matrix();
        } else {
            throw argument_error("AdamW: factor gradients for a dense parameter");
        }
        const AdamWStep<T> step{
            static_cast<T>(options_.beta1),
            static_cast<T>(options_.beta2),
            static_cast<T>(options_.epsilon),
            rate * static_cast<T>(options_.weight_decay),
            rate / static_cast<T>(1.0 - std::pow(options_.beta1, static_cast<double>(state.step))),
            static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, static_cast<double>(state.step)))),
            scale};
        S::adamw_step(values, state.first.matrix(), state.second.matrix(), g, step);
    }

private:
    struct State {
        Index step = 0;
        Tensor<T> first;
        Tensor<T> second;
    };

    AdamWOptions options_;
    Memory* memory_;
    std::unordered_map<const autograd::Parameter*, State> states_;
};

}  // namespace wasi::optim
