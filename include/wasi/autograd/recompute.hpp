#pragma once
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "wasi/autograd/saved.hpp"

namespace wasi::autograd {

/// Whether somebody will read the value of what is computed. `gradient_only` in the second run of `recomputed`: the
/// last operation then need not compute it (an operation that does not know of this computes it all the same).
enum class Wanted { value, gradient_only };

namespace detail {

/// Hands gradients from a tape inside a node on to the tape around it.
template <Scalar T, class Pass>
class InnerSink final : public Sink<T> {
public:
    explicit InnerSink(Pass& pass) : pass_(&pass) {}
    void take(Parameter& parameter, const Gradient<T>& gradient) override
    {
        delivered_.push_back(&parameter);
        pass_->deliver(parameter, gradient);
    }
    [[nodiscard]] bool delivered(const Parameter* parameter) const
    {
        return std::find(delivered_.begin(), delivered_.end(), parameter) != delivered_.end();
    }

private:
    Pass* pass_;
    std::vector<const Parameter*> delivered_;
};

}  // namespace detail

/// y = f(x) as one node that saves x and nothing else: f runs without a tape now, and once more, recording, when the
/// backward pass arrives (Chen, Xu, Zhang, Guestrin 2016). f(context, x, Wanted) -> Variable computes the same bits
/// both times if it draws no random numbers; what moves only while a tape records (the basis of a compressed input)
/// moves once. `parameters` are all that f may deliver gradients of, each once. Costs f once more. The gradients are
/// exact for the x that is saved; in fewer bits (Context::saved_as) the second run starts from the rounded x.
template <Scalar T, class S, class Function>
[[nodiscard]] Variable<T> recomputed(const Context<T, S>& context, const Variable<T>& x,
                                     std::vector<Parameter*> parameters, Function f)
{
    if (context.tape == nullptr) {
        return f(context, x, Wanted::value);
    }
    std::erase_if(parameters, [](const Parameter* parameter) { return !parameter->trainable(); });
    if (!x.wants_gradient() && parameters.empty()) {
        return f(Context<T, S>{context.memory}, x, Wanted::value);
    }
    SharedTensor<T> y = f(Context<T, S>{context.memory}, Variable<T>(x.shared(), nullptr), Wanted::value).shared();
    auto for_node = parameters;
    return context.tape->record(
        std::move(y), std::move(for_node),
        [saved = Saved<T, S>(context, x), slot = x.slot(), saved_as = context.saved_as, rounding = context.rounding,
         key = context.tape->next_key(), parameters = std::move(parameters),
         f = std::move(f)](SharedTensor<T> dy, auto& pass) mutable {
            Tape<T, S> tape(pass.memory(), key);
            const auto gradient = slot ? std::make_shared<GradientSlot<T>>() : nullptr;
            const Variable<T> root = f(Context<T, S>{pass.memory(), &tape, saved_as, rounding},
                                       Variable<T>(saved.get(pass.memory()), gradient), Wanted::gradient_only);
            saved = {};
            detail::InnerSink<T, std::remove_reference_t<decltype(pass)>> sink(pass);
            if (root.wants_gradient()) {
                tape.backward(root, sink, std::move(dy));
            }
            for (Parameter* parameter : parameters) {
                if (!sink.delivered(parameter)) {
                    pass.skip(*parameter);
                }
            }
            if (gradient && gradient->gradient) {
                pass.add(slot, std::move(gradient->gradient));
            }
        });
}

}  // namespace wasi::autograd
