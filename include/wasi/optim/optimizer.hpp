#pragma once
#include <cmath>
#include <vector>

#include "wasi/autograd/gradient.hpp"
#include "wasi/nn/parameters.hpp"
#include "wasi/storage/state.hpp"

namespace wasi::optim {

/// Turns one parameter's gradient, in whatever form it comes, into a change of the parameter. Parameters are of two
/// kinds, dense and subspaces; an optimiser knows nothing else of how a model holds its weights. State is made on first
/// use and kept by the parameter's name. Thread safety: one object, one thread.
template <Scalar T, class S>
class Optimizer {
public:
    Optimizer() = default;
    Optimizer(const Optimizer&) = delete;
    Optimizer& operator=(const Optimizer&) = delete;
    virtual ~Optimizer() = default;

    /// One step on one parameter with learning rate `rate` and gradient scale * gradient (scale: what clipping leaves).
    /// Throws argument_error, naming the parameter, for a form of gradient or a kind of parameter that it cannot take.
    virtual void apply(const nn::ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, T rate,
                       T scale) = 0;
    /// What is kept of these parameters, which are all that it has seen, each under the parameter's name.
    virtual void state(State& state, const std::vector<nn::ParameterRef<T, S>>& parameters) = 0;
};

/// What a parameter with this share of the decay (DenseParameter::decay_share) loses in a step in which one with all of
/// it loses the part `full`: 1 - (1 - full)^share, without loss where `full` is tiny.
[[nodiscard]] inline double decay_of_share(double full, double share)
{
    return share == 1.0 ? full : -std::expm1(share * std::log1p(-full));
}

}  // namespace wasi::optim
