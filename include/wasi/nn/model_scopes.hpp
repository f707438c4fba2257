#pragma once
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi/nn/model.hpp"

/// What whoever measures changes of a model while it looks, and puts back.
namespace wasi::nn {

/// Takes gradients and forgets them.
template <Scalar T>
class NoSink final : public autograd::Sink<T> {
public:
    void take(autograd::Parameter&, const autograd::Gradient<T>&) override {}
};

/// Shows layers to observers while it lives.
template <Scalar T, class S>
class WatchScope {
public:
    WatchScope() = default;
    WatchScope(const WatchScope&) = delete;
    WatchScope& operator=(const WatchScope&) = delete;
    ~WatchScope()
    {
        for (auto* layer : layers_) {
            layer->observe(nullptr);
        }
    }
    void observe(Linear<T, S>& layer, LayerObserver<T> observer)
    {
        layer.observe(std::make_shared<const LayerObserver<T>>(std::move(observer)));
        layers_.push_back(&layer);
    }

private:
    std::vector<Linear<T, S>*> layers_;
};

/// Blocks keep their inputs alone, in this format.
template <class M>
class RecomputeScope {
public:
    explicit RecomputeScope(M& model, Precision saved_as = Precision::full)
    {
        model.visit([&](Place, auto& part) {
            if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, KeepOptions>) {
                before_.emplace_back(&part, part);
                part = {};
                part.recompute = Recompute::block;
                part.saved_as = saved_as;
            }
        });
    }
    RecomputeScope(const RecomputeScope&) = delete;
    RecomputeScope& operator=(const RecomputeScope&) = delete;
    ~RecomputeScope()
    {
        for (auto& [part, keep] : before_) {
            *part = keep;
        }
    }

private:
    std::vector<std::pair<KeepOptions*, KeepOptions>> before_;
};

/// No linear layer makes a gradient of its weight; all else is trained, so that gradients reach every layer.
template <class M>
class FreezeScope {
public:
    explicit FreezeScope(M& model)
    {
        model.visit([&](Place, auto& part) {
            if constexpr (requires { part.weight; }) {
                weights_.emplace_back(&part.weight, part.weight.trainable());
                part.weight.set_trainable(false);
                parameters_.emplace_back(&part.bias, part.bias.trainable());
                part.bias.set_trainable(true);
            } else if constexpr (requires { part.values; }) {
                parameters_.emplace_back(&part, part.trainable());
                part.set_trainable(true);
            }
        });
    }
    FreezeScope(const FreezeScope&) = delete;
    FreezeScope& operator=(const FreezeScope&) = delete;
    ~FreezeScope()
    {
        for (auto& [weight, trainable] : weights_) {
            weight->set_trainable(trainable);
        }
        for (auto& [parameter, trainable] : parameters_) {
            parameter->set_trainable(trainable);
        }
    }

private:
    using T = typename M::Value;
    std::vector<std::pair<LinearWeight<T, typename M::Storage>*, bool>> weights_;
    std::vector<std::pair<autograd::DenseParameter<T>*, bool>> parameters_;
};

}  // namespace wasi::nn
