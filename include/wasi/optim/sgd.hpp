#pragma once
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/linalg/decay.hpp"
#include "wasi/optim/compiled.hpp"
#include "wasi/optim/gradient_norms.hpp"
#include "wasi/optim/optimizer.hpp"
#include "wasi/subspace/tangent_velocity.hpp"

namespace wasi::optim {

template <Scalar T, class S>
class Sgd;

/// Names as torch.optim.SGD has them.
struct SgdOptions {
    static constexpr std::string_view name = "sgd";
    template <Scalar T, class S>
    using Made = Sgd<T, S>;

    double momentum = 0.0;      ///< in [0, 1)
    double weight_decay = 0.0;  ///< lambda, added to the gradient as lambda W, on every parameter
};

/// Stochastic gradient descent as in torch.optim.SGD:  v <- mu v + (g + lambda w),  w <- w - rate v.
///
/// A dense weight takes a factored gradient as one rank-r product in place. A low-rank weight of the method
/// (WeightSubspace) is moved without momentum by its own warm step with shrink = rate lambda, with momentum by
/// TangentVelocity, the same rule on the manifold of rank-K matrices. A parameter's share of the decay
/// (DenseParameter::decay_share) goes with lambda: two factors of 1/2 each let their product decay as a dense weight
/// would, to first order in rate lambda.
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

    void apply(const nn::ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) override
    {
        if (auto* subspace = parameter.subspace()) {
            move_subspace(parameter, subspace->factors, gradient, rate, scale);
            return;
        }
        autograd::DenseParameter<T>& dense = *parameter.dense();
        const T decay = static_cast<T>(dense.decay_share * options_.weight_decay);
        move(parameter, dense.matrix(), gradient, rate, decay, scale);
    }

    void state(State& state, const std::vector<nn::ParameterRef<T, S>>& parameters) override
    {
        if (options_.momentum == 0.0) {
            return;
        }
        for (const auto& parameter : parameters) {
            const State::Scope scope(state, parameter.name() + ".velocity");
            if (const auto* subspace = parameter.subspace()) {
                velocity_of(parameter, subspace->factors).state(state);
            } else {
                state.tensor("", velocity_[parameter.name()], *memory_, parameter.state_tag());
            }
        }
    }

private:
    [[nodiscard]] subspace::TangentVelocity<T, S>& velocity_of(const nn::ParameterRef<T, S>& parameter,
                                                               const subspace::WeightSubspace<T, S>& weight)
    {
        const auto found = tangent_.find(parameter.name());
        return found != tangent_.end()
                   ? found->second
                   : tangent_
                         .try_emplace(parameter.name(),
                                      subspace::TangentVelocity<T, S>(weight, *memory_, parameter.state_tag()))
                         .first->second;
    }

    void move_subspace(const nn::ParameterRef<T, S>& parameter, subspace::WeightSubspace<T, S>& weight,
                       const autograd::Gradient<T>& gradient, T rate, T scale)
    {
        const T decay = static_cast<T>(options_.weight_decay);
        const auto step = [&](const auto& form) {
            if (options_.momentum == 0.0) {
                weight.update(rate * scale, rate * decay, form);
                return;
            }
            velocity_of(parameter, weight).step(weight, form, {rate, static_cast<T>(options_.momentum), decay, scale});
        };
        if (const auto* factored = std::get_if<linalg::Factored<T>>(&gradient)) {
            step(*factored);
        } else if (const auto* partial = std::get_if<linalg::FactorGradients<T>>(&gradient)) {
            step(*partial);
        } else {
            throw argument_error(message("Sgd: a dense gradient for the low-rank weight ", parameter.name()));
        }
    }

    void move(const nn::ParameterRef<T, S>& parameter, MatrixView<T> values, const autograd::Gradient<T>& gradient,
              T rate, T decay, T scale)
    {
        if (options_.momentum == 0.0) {
            linalg::decay<S>(values, rate * decay);
            add(values, T(1), -rate * scale, gradient);
            return;
        }
        Tensor<T>& v = velocity_[parameter.name()];
        const bool at_rest = v.empty();
        if (at_rest) {
            v = Tensor<T>(*memory_, parameter.state_tag(), Shape{values.rows, values.cols});
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
    std::map<std::string, Tensor<T>> velocity_;
    std::map<std::string, subspace::TangentVelocity<T, S>> tangent_;
};

WASI_COMPILED(WASI_OPTIM_SGD)

}  // namespace wasi::optim
