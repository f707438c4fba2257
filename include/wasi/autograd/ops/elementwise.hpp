#pragma once
#include <memory>
#include <string>
#include <utility>

#include "wasi/autograd/saved.hpp"

namespace wasi::autograd {

/// y = a + b, shapes equal. Saves nothing: both terms are handed the same gradient. Works in the elements of a term
/// that nobody else holds. A term without a value makes a sum without one.
template <Scalar T, class S>
[[nodiscard]] Variable<T> add(const Context<T, S>& context, Variable<T> a, Variable<T> b)
{
    const bool readable = a.has_value() && b.has_value();
    require<shape_error>(!readable || a.shape() == b.shape(), "add: shapes ",
                         readable ? shape_text(a.shape()) : std::string(), " and ",
                         readable ? shape_text(b.shape()) : std::string(), " differ");
    SharedTensor<T> y;
    if (readable) {
        bool first_is_target = false;
        y = b.take_exclusive();
        if (!y) {
            first_is_target = true;
            y = a.take_exclusive();
        }
        if (!y) {
            y = std::make_shared<Tensor<T>>(context.make(a.shape()));
            S::copy(y->matrix(), a.value().matrix());
        }
        S::add_scaled(y->matrix(), T(1), T(1), (first_is_target ? b : a).value().matrix());
    }
    if (context.tape == nullptr || !(a.wants_gradient() || b.wants_gradient())) {
        return {std::move(y), nullptr};
    }
    return context.tape->record(std::move(y), {},
                                [slot_a = a.slot(), slot_b = b.slot()](SharedTensor<T> dy, auto& pass) {
                                    pass.add(slot_a, dy);
                                    pass.add(slot_b, std::move(dy));
                                });
}

/// y = a * b element by element. Saves both.
template <Scalar T, class S>
[[nodiscard]] Variable<T> multiply(const Context<T, S>& context, const Variable<T>& a, const Variable<T>& b)
{
    require<shape_error>(a.shape() == b.shape(), "multiply: shapes ", shape_text(a.shape()), " and ",
                         shape_text(b.shape()), " differ");
    Tensor<T> y = context.make(a.shape());
    S::copy(y.matrix(), a.value().matrix());
    S::multiply_elements(y.matrix(), b.value().matrix());
    if (context.tape == nullptr || !(a.wants_gradient() || b.wants_gradient())) {
        return Variable<T>(std::move(y));
    }
    return context.tape->record(
        std::move(y), {},
        [first = Saved<T, S>(context, a), second = Saved<T, S>(context, b), slot_a = a.slot(), slot_b = b.slot()](
            SharedTensor<T> dy, auto& pass) {
            const auto give = [&](const std::shared_ptr<GradientSlot<T>>& to, const Saved<T, S>& other) {
                if (to) {
                    Tensor<T> gradient = clone<S>(*dy, Tag{Use::gradient, 0});
                    S::multiply_elements(gradient.matrix(), std::as_const(*other.get(pass.memory())).matrix());
                    pass.add(to, std::move(gradient));
                }
            };
            give(slot_a, second);
            give(slot_b, first);
        });
}

namespace detail {

/// An elementwise y = f(x) that saves x; `forward(y, x)`, `backward(dx, dy, x)` are the storage's kernels. Where
/// nothing of x is kept and nobody else holds it, y takes its place.
template <Scalar T, class S, class Forward, class Backward>
[[nodiscard]] Variable<T> elementwise(const Context<T, S>& context, Variable<T> x, Forward forward, Backward backward,
                                      Output output)
{
    const auto slot = x.slot();
    const bool record = context.tape != nullptr && slot != nullptr;
    std::shared_ptr<Saved<T, S>> saved;
    if (record) {
        saved = std::make_shared<Saved<T, S>>(context, x);
    }
    SharedTensor<T> y = x.take_exclusive();
    if (y) {
        forward(y->matrix(), std::as_const(*y).matrix());
    } else {
        y = std::make_shared<Tensor<T>>(context.make(x.shape()));
        forward(y->matrix(), x.value().matrix());
    }
    if (!record) {
        return {std::move(y), nullptr};
    }
    auto result = context.tape->record(std::move(y), {}, [saved, slot, backward](SharedTensor<T> dy, auto& pass) {
        SharedTensor<T> dx = pass.writable(std::move(dy));
        const SharedTensor<T> source = saved->get(pass.memory());
        backward(dx->matrix(), std::as_const(*dx).matrix(), std::as_const(*source).matrix());
        pass.add(slot, std::move(dx));
    });
    if (output == Output::keep) {
        return result;
    }
    return std::move(result).with_recipe([saved, forward](Memory& memory) {
        const SharedTensor<T> source = saved->get(memory);
        auto again = std::make_shared<Tensor<T>>(memory, Tag{}, source->shape());
        forward(again->matrix(), std::as_const(*source).matrix());
        return again;
    });
}

}  // namespace detail

/// y = x Phi(x), the exact GELU with erf (Hendrycks, Gimpel 2016). Saves x.
template <Scalar T, class S>
[[nodiscard]] Variable<T> gelu(const Context<T, S>& context, Variable<T> x, Output output = Output::keep)
{
    return detail::elementwise<T, S>(
        context, std::move(x), [](auto y, auto in) { S::gelu(y, in); },
        [](auto dx, auto dy, auto in) { S::gelu_backward(dx, dy, in); }, output);
}

/// y = x / (1 + exp(-1.702 x)), the quick approximation of GELU that CLIP was trained with. Saves x.
template <Scalar T, class S>
[[nodiscard]] Variable<T> quick_gelu(const Context<T, S>& context, Variable<T> x, Output output = Output::keep)
{
    return detail::elementwise<T, S>(
        context, std::move(x), [](auto y, auto in) { S::quick_gelu(y, in); },
        [](auto dx, auto dy, auto in) { S::quick_gelu_backward(dx, dy, in); }, output);
}

/// y = max(x, 0). Saves x.
template <Scalar T, class S>
[[nodiscard]] Variable<T> relu(const Context<T, S>& context, Variable<T> x, Output output = Output::keep)
{
    return detail::elementwise<T, S>(
        context, std::move(x), [](auto y, auto in) { S::relu(y, in); },
        [](auto dx, auto dy, auto in) { S::relu_backward(dx, dy, in); }, output);
}

}  // namespace wasi::autograd
