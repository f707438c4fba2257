#pragma once
#include <utility>
#include <variant>

#include "wasi/nn/layer_setup.hpp"

/// What forms with a low-rank adapter (AdapterWeight, DoraWeight) have in common.
namespace wasi::nn {

/// The options of its adapter; nullptr for a weight set up in another way.
[[nodiscard]] inline const AdapterOptions* adapter_options(const WeightSetup& setup)
{
    if (const auto* dora = std::get_if<DoraOptions>(&setup)) {
        return dora;
    }
    return std::get_if<AdapterOptions>(&setup);
}

/// W0, A and B of a weight; nullptr where it has no adapter.
template <Scalar T, class S>
[[nodiscard]] AdapterWeight<T, S>* adapter_of(LinearWeight<T, S>& weight)
{
    if (auto* plain = weight.template held_as<AdapterOptions>()) {
        return plain;
    }
    auto* dora = weight.template held_as<DoraOptions>();
    return dora != nullptr ? &dora->adapter() : nullptr;
}

/// W0 alone, as a full matrix from now on; the adapter is gone. Nothing of a weight without an adapter.
template <Scalar T, class S>
void drop_adapter(LinearWeight<T, S>& weight)
{
    if (auto* adapter = adapter_of(weight)) {
        Tensor<T> values = adapter->base.release(weight.memory(), weight.tag());
        weight.hold(empty_form(weight, DenseOptions::kind));
        weight.template held_as<DenseOptions>()->parameter.values = std::move(values);
    }
}

}  // namespace wasi::nn
