#pragma once
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wasi/optim/compiled.hpp"
#include "wasi/optim/parameter_ref.hpp"
#include "wasi/subspace/tangent_velocity.hpp"

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
///
/// A dense weight takes a factored gradient as one rank-r product in place. A low-rank weight of the method
/// (WeightSubspace) is moved without momentum by its own warm step with shrink = rate lambda, with momentum by
/// TangentVelocity, the same rule on the manifold of rank-K matrices. Free factors are two ordinary parameters, each
/// with decay lambda / 2, so that the product decays as a dense weight would, to first order in rate lambda.
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
        if (auto* weight = parameter.weight_subspace()) {
            move_subspace(parameter, *weight, gradient, rate, scale);
            return;
        }
        const T decay = static_cast<T>(options_.weight_decay);
        const Tag tag = parameter.state_tag();
        Velocities* velocity = options_.momentum > 0.0 ? &velocity_[&parameter.identity()] : nullptr;
        if (auto* factors = parameter.free_factors()) {
            const FreeGradients<T, S> gradients(parameter, gradient, *memory_);
            const T half = T(0.5) * decay;
            move(factors->left(), autograd::Dense<T>{gradients.d_left()}, velocity, 0, tag, rate, half, scale);
            move(factors->right(), autograd::Dense<T>{gradients.d_right()}, velocity, 1, tag, rate, half, scale);
            return;
        }
        move(parameter.dense(), gradient, velocity, 0, tag, rate, decay, scale);
    }

private:
    using Velocities = std::array<Tensor<T>, 2>;  // of a dense parameter the first; of free factors one each

    void move_subspace(const ParameterRef<T, S>& parameter, subspace::WeightSubspace<T, S>& weight,
                       const autograd::Gradient<T>& gradient, T rate, T scale)
    {
        const T decay = static_cast<T>(options_.weight_decay);
        const auto step = [&](const auto& form) {
            if (options_.momentum == 0.0) {
                weight.update(rate * scale, rate * decay, form);
                return;
            }
            auto found = tangent_.find(&parameter.identity());
            if (found == tangent_.end()) {
                found = tangent_
                            .try_emplace(&parameter.identity(),
                                         subspace::TangentVelocity<T, S>(weight, *memory_, parameter.state_tag()))
                            .first;
            }
            found->second.step(weight, form, {rate, static_cast<T>(options_.momentum), decay, scale});
        };
        if (const auto* factored = std::get_if<linalg::Factored<T>>(&gradient)) {
            step(*factored);
        } else if (const auto* partial = std::get_if<linalg::FactorGradients<T>>(&gradient)) {
            step(*partial);
        } else {
            throw argument_error(
                message("Sgd: a dense gradient for the low-rank weight ", parameter.identity().name()));
        }
    }

    /// One step on plain values; `velocity`, if any, is made on first use.
    void move(MatrixView<T> values, const autograd::Gradient<T>& gradient, Velocities* velocity, std::size_t which,
              Tag tag, T rate, T decay, T scale)
    {
        if (velocity == nullptr) {
            add(values, T(1) - rate * decay, -rate * scale, gradient);
            return;
        }
        Tensor<T>& v = (*velocity)[which];
        const bool at_rest = v.empty();
        if (at_rest) {
            v = Tensor<T>(*memory_, tag, Shape{values.rows, values.cols});
        }
        add(v.matrix(), at_rest ? T(0) : static_cast<T>(options_.momentum), scale, gradient);
        S::add_scaled(v.matrix(), T(1), decay, values);
        S::add_scaled(values, T(1), -rate, std::as_const(v).matrix());
    }

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
    std::unordered_map<const autograd::Parameter*, Velocities> velocity_;
    std::unordered_map<const autograd::Parameter*, subspace::TangentVelocity<T, S>> tangent_;
};

struct AdamWOptions {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0.01;
};

/// AdamW as in torch.optim.AdamW (Loshchilov, Hutter 2019):
///     w <- (1 - rate lambda) w,  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g²,
///     w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon).
///
/// For dense parameters, and for free factors as two of them, each of which decays by (1 - rate lambda)^1/2, so that
/// the product decays as a dense weight would. Low-rank weights of the method (WeightSubspace) are refused with
/// argument_error: elementwise moments of W need O x I state, which is what they avoid, and elementwise moments of
/// factors depend on the basis, which changes at every step.
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
        require<argument_error>(parameter.weight_subspace() == nullptr, "AdamW: the low-rank weight ",
                                parameter.identity().name(),
                                " cannot be trained by AdamW (its moments would be dense); use SGD, or free factors");
        const T shrink = rate * static_cast<T>(options_.weight_decay);
        const Tag tag = parameter.state_tag();
        if (auto* factors = parameter.free_factors()) {
            require<argument_error>(shrink <= T(1), "AdamW: rate ", rate, " times weight_decay ", options_.weight_decay,
                                    " is above 1");
            const FreeGradients<T, S> gradients(parameter, gradient, *memory_);
            auto& states = states_[&parameter.identity()];
            const T each = shrink / (T(1) + std::sqrt(T(1) - shrink));  // 1 - (1 - shrink)^1/2
            move(factors->left(), gradients.d_left(), states[0], tag, rate, each, scale);
            move(factors->right(), gradients.d_right(), states[1], tag, rate, each, scale);
            return;
        }
        const MatrixView<T> values = parameter.dense();
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
        move(values, g, states_[&parameter.identity()][0], tag, rate, shrink, scale);
    }

private:
    struct State {
        Index step = 0;
        Tensor<T> first;
        Tensor<T> second;
    };

    void move(MatrixView<T> values, ConstMatrixView<T> gradient, State& state, Tag tag, T rate, T shrink, T scale)
    {
        if (state.step == 0) {
            state.first = Tensor<T>(*memory_, tag, Shape{values.rows, values.cols});
            state.second = Tensor<T>(*memory_, tag, Shape{values.rows, values.cols});
            // 0, by the storage: a dry run must not touch the pages of so much state.
            S::add_scaled(state.first.matrix(), T(0), T(0), std::as_const(values));
            S::add_scaled(state.second.matrix(), T(0), T(0), std::as_const(values));
        }
        ++state.step;
        const AdamWStep<T> step{
            static_cast<T>(options_.beta1),
            static_cast<T>(options_.beta2),
            static_cast<T>(options_.epsilon),
            shrink,
            rate / static_cast<T>(1.0 - std::pow(options_.beta1, static_cast<double>(state.step))),
            static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, static_cast<double>(state.step)))),
            scale};
        S::adamw_step(values, state.first.matrix(), state.second.matrix(), gradient, step);
    }

    AdamWOptions options_;
    Memory* memory_;
    // Of a dense parameter the first is used; of free factors one each.
    std::unordered_map<const autograd::Parameter*, std::array<State, 2>> states_;
};

WASI_COMPILED(WASI_OPTIM_OPTIMIZER)

}  // namespace wasi::optim
