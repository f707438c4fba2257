#pragma once
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wasi/optim/adamw_moments.hpp"
#include "wasi/optim/compiled.hpp"
#include "wasi/optim/gradient_matrix.hpp"
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
    MomentOptions state{};
};

/// AdamW as in torch.optim.AdamW (Loshchilov, Hutter 2019):
///     w <- (1 - rate lambda) w,  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g²,
///     w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon).
///
/// MomentFormat::int8 keeps m and v in 8 bits (AdamWMoments), 2 bytes a number in place of 8; this is the AdamW8bit of
/// torchao and bitsandbytes.
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
        const GradientMatrix<T, S> g(gradient, values, parameter.name());
        const Tensor<T> expanded = g.expanded(*memory_);  // moments are elementwise
        const double own = decay_of_share(shrink, dense.decay_share);
        move(values, g.dense_or(expanded), moments_[parameter.name()], parameter.state_tag(), rate,
             static_cast<T>(own), scale);
    }

    void state(State& state, const std::vector<nn::ParameterRef<T, S>>& parameters) override
    {
        for (const auto& parameter : parameters) {
            const State::Scope scope(state, parameter.name());
            Moments& moments = moments_[parameter.name()];
            moments.both.state(state, *memory_, parameter.state_tag());
            state.number(".steps", moments.step);
        }
    }

private:
    struct Moments {
        Index step = 0;
        AdamWMoments<T, S> both;
    };

    void move(MatrixView<T> values, ConstMatrixView<T> gradient, Moments& state, Tag tag, T rate, T shrink, T scale)
    {
        if (state.step == 0) {
            state.both.make(*memory_, tag, values.rows, values.cols, options_.state);
        }
        ++state.step;
        const AdamWStep<T> step{
            options_.beta1,
            options_.beta2,
            static_cast<T>(options_.epsilon),
            shrink,
            rate / static_cast<T>(1.0 - std::pow(options_.beta1, static_cast<double>(state.step))),
            static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, static_cast<double>(state.step)))),
            scale};
        state.both.step(values, gradient, step, *memory_);
    }

    AdamWOptions options_;
    Memory* memory_;
    std::map<std::string, Moments> moments_;
};

WASI_COMPILED(WASI_OPTIM_ADAMW)

}  // namespace wasi::optim
