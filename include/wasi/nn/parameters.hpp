#pragma once
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "wasi/autograd/parameter.hpp"
#include "wasi/subspace/weight_subspace.hpp"

namespace wasi::nn {

/// A low-rank weight that is moved as one matrix, L orthonormal.
template <Scalar T, class S>
class SubspaceParameter final : public autograd::Parameter {
public:
    SubspaceParameter(std::string name, subspace::WeightSubspace<T, S> taken)
        : Parameter(std::move(name)), factors(std::move(taken))
    {
    }
    subspace::WeightSubspace<T, S> factors;
};

/// A parameter of one of the two kinds that there are: what an optimiser needs to change it.
template <Scalar T, class S>
class ParameterRef {
public:
    explicit ParameterRef(autograd::DenseParameter<T>& parameter) : held_(&parameter) {}
    explicit ParameterRef(SubspaceParameter<T, S>& parameter) : held_(&parameter) {}

    [[nodiscard]] autograd::Parameter& identity() const
    {
        return std::visit([](auto* held) -> autograd::Parameter& { return *held; }, held_);
    }
    [[nodiscard]] const std::string& name() const { return identity().name(); }

    /// nullptr when it is the other kind.
    [[nodiscard]] autograd::DenseParameter<T>* dense() const
    {
        auto* const* held = std::get_if<autograd::DenseParameter<T>*>(&held_);
        return held != nullptr ? *held : nullptr;
    }
    [[nodiscard]] SubspaceParameter<T, S>* subspace() const
    {
        auto* const* held = std::get_if<SubspaceParameter<T, S>*>(&held_);
        return held != nullptr ? *held : nullptr;
    }

    /// Where an optimiser books its state of this parameter.
    [[nodiscard]] Tag state_tag() const
    {
        return {Use::optimiser_state,
                dense() != nullptr ? dense()->values.tag().layer : subspace()->factors.tag().layer};
    }

private:
    std::variant<autograd::DenseParameter<T>*, SubspaceParameter<T, S>*> held_;
};

}  // namespace wasi::nn
