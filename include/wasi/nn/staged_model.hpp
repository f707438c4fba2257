#pragma once
#include <concepts>
#include <utility>

#include "wasi/nn/model.hpp"

namespace wasi::nn {

// clang-format off

/// A model whose forward pass goes block by block, for whoever keeps what is between blocks:
///
///   embed(context, source)       what enters block 0
///   stages()                     blocks; the parts of block i are shown with Place{.., i}
///   stage(context, i, x)         what block i makes of x
///   features(context, x)         what the head reads, (rows, features), of what the last block puts out
template <class M>
concept StagedModel = Model<M> &&
    requires(M& model, const autograd::Context<typename M::Value, typename M::Storage>& context,
             const Source<typename M::Value>& source, autograd::Variable<typename M::Value> x, Index i) {
        { model.embed(context, source) } -> std::same_as<autograd::Variable<typename M::Value>>;
        { model.stages() } -> std::same_as<Index>;
        { model.stage(context, i, std::move(x)) } -> std::same_as<autograd::Variable<typename M::Value>>;
        { model.features(context, std::move(x)) } -> std::same_as<autograd::Variable<typename M::Value>>;
    };

// clang-format on

/// What the head of a staged model reads of a batch, (rows, features); of any other model its logits.
template <Model M>
[[nodiscard]] autograd::Variable<typename M::Value> features_of(
    M& model, const autograd::Context<typename M::Value, typename M::Storage>& context,
    const Source<typename M::Value>& source)
{
    if constexpr (StagedModel<M>) {
        auto x = model.embed(context, source);
        for (Index i = 0; i < model.stages(); ++i) {
            x = model.stage(context, i, std::move(x));
        }
        return model.features(context, std::move(x));
    } else {
        return model.forward(context, source);
    }
}

}  // namespace wasi::nn
