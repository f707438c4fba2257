#pragma once
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/optim/compiled.hpp"
#include "wasi/optim/gradient_norms.hpp"
#include "wasi/optim/optimizer.hpp"

namespace wasi::optim {

template <Scalar T, class S>
requires OptimizerStorageFor<S, T>
class AdamW;

/// Names and defaults as torch.optim.AdamW has them.
struct AdamWOptions {
    static constexpr std::string_view name = "adamw";
    template <Scalar T, class S>
    using Made = AdamW<T, S>;

    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0.01;
};

/// AdamW as in torch.optim.AdamW (Loshchilov, Hutter 2019):
///     w <- (1 - rate lambda) w,  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g²,
///     w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon).
///
/// A parameter's share of the decay (DenseParameter::decay_share) is an exponent, (1 - rate lambda)^share: two factors
/// of 1/2 each let their product decay as a dense weight would. Subspaces (WeightSubspace) are refused with
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

    void apply(const nn::ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate, T scale) override
    {
        require<argument_error>(parameter.subspace() == nullptr, "AdamW: the low-rank weight ", parameter.name(),
                                " cannot be trained by AdamW (its moments would be dense); use SGD, or free factors");
        autograd::DenseParameter<T>& dense = *parameter.dense();
        const double shrink = static_cast<double>(rate * static_cast<T>(options_.weight_decay));
        require<argument_error>(dense.decay_share == 1.0 || shrink <= 1.0, "AdamW: rate ", rate, " times weight_decay ",
                                options_.weight_decay, " is above 1");
        const MatrixView<T> values = dense.matrix();
        Tensor<T> expanded;  // moments are elementwise, so a factored gradient must be multiplied out here
        ConstMatrixView<T> g;
        if (const auto* plain = std::get_if<autograd::Dense<T>>(&gradient)) {
            g = shaped_like<T>(plain->values, values);
        } else if (const auto* factored = std::get_if<linalg::Factored<T>>(&gradient)) {
            expanded = Tensor<T>(*memory_, Tag{Use::gradient, 0}, Shape{values.rows, values.cols});
            S::multiply(expanded.matrix(), T(1), factored->p, factored->q.transposed(), T(0), *memory_);
            g = std::as_const(expanded).matrix();
        } else {
            throw argument_error("AdamW: factor gradients for a dense parameter");
        }
        const double own = decay_of_share(shrink, dense.decay_share);
        move(values, g, moments_[parameter.name()], parameter.state_tag(), rate, static_cast<T>(own), scale);
    }

    void state(State& state, const std::vector<nn::ParameterRef<T, S>>& parameters) override
    {
        for (const auto& parameter : parameters) {
            const State::Scope scope(state, parameter.name());
            Moments& moments = moments_[parameter.name()];
            state.tensor(".first_moment", moments.first, *memory_, parameter.state_tag());
            state.tensor(".second_moment", moments.second, *memory_, parameter.state_tag());
            state.number(".steps", moments.step);
        }
    }

private:
    struct Moments {
        Index step = 0;
        Tensor<T> first;
        Tensor<T> second;
    };

    void move(MatrixView<T> values, ConstMatrixView<T> gradient, Moments& state, Tag tag, T rate, T shrink, T scale)
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
    std::map<std::string, Moments> moments_;
};

WASI_COMPILED(WASI_OPTIM_ADAMW)

}  // namespace wasi::optim
