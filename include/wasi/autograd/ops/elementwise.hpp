#pragma once
#include <utility>

#include "wasi/autograd/tape.hpp"

namespace wasi::autograd {

/// y = a + b, shapes equal. Saves nothing: both terms are handed the same gradient.
template <Scalar T, class S>
[[nodiscard]] Variable<T> add(const Context<T, S>& context, const Variable<T>& a, const Variable<T>& b)
{
    require<shape_error>(a.shape() == b.shape(), "add: shapes ", shape_text(a.shape()), " and ", shape_text(b.shape()),
                         " differ");
    Tensor<T> y = context.make(a.shape());
    S::copy(y.matrix(), a.value().matrix());
    S::add_scaled(y.matrix(), T(1), T(1), b.value().matrix());
    if (context.tape == nullptr || !(a.wants_gradient() || b.wants_gradient())) {
        return Variable<T>(std::move(y));
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
    book_saved(*a.shared());
    book_saved(*b.shared());
    return context.tape->record(std::move(y), {}, [a, b](SharedTensor<T> dy, auto& pass) {
        const auto give = [&](const Variable<T>& to, const Variable<T>& other) {
            if (to.wants_gradient()) {
                Tensor<T> gradient = dy->clone(Tag{Use::gradient, 0});
                S::multiply_elements(gradient.matrix(), other.value().matrix());
                pass.add(to.slot(), std::move(gradient));
            }
        };
        give(a, b);
        give(b, a);
    });
}

namespace detail {

/// An elementwise y = f(x) that saves x; `forward(y, x)`, `backward(dx, dy, x)` are the storage's kernels.
template <Scalar T, class S, class Forward, class Backward>
[[nodiscard]] Variable<T> elementwise(const Context<T, S>& context, const Variable<T>& x, Forward forward,
                                      Backward backward)
{
    Tensor<T> y = context.make(x.shape());
    forward(y.matrix(), x.value().matrix());
    if (context.tape == nullptr || !x.wants_gradient()) {
        return Variable<T>(std::move(y));
    }
    book_saved(*x.shared());
    return context.tape->record(std::move(y), {},
                                [saved = x.shared(), slot = x.slot(), backward](SharedTensor<T> dy, auto& pass) {
                                    SharedTensor<T> dx = pass.writable(std::move(dy));
                                    backward(dx->matrix(), std::as_const(*dx).matrix(), std::as_const(*saved).matrix());
                                    pass.add(slot, std::move(dx));
                                });
}

}  // namespace detail

/// y = x Phi(x), the exact GELU with erf (Hendrycks, Gimpel 2016). Saves x.
template <Scalar T, class S>
[[nodiscard]] Variable<T> gelu(const Context<T, S>& context, const Variable<T>& x)
{
    return detail::elementwise<T, S>(
        context, x, [](auto y, auto in) { S::gelu(y, in); },
        [](auto dx, auto dy, auto in) { S::gelu_backward(dx, dy, in); });
}

/// y = max(x, 0). Saves x.
template <Scalar T, class S>
[[nodiscard]] Variable<T> relu(const Context<T, S>& context, const Variable<T>& x)
{
    return detail::elementwise<T, S>(
        context, x, [](auto y, auto in) { S::relu(y, in); },
        [](auto dx, auto dy, auto in) { S::relu_backward(dx, dy, in); });
}

}  // namespace wasi::autograd
