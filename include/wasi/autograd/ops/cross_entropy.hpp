#pragma once
#include <cstdint>
#include <span>
#include <utility>

#include "wasi/autograd/saved.hpp"

namespace wasi::autograd {

/// Mean over the batch of -log softmax(x)[label], x (B, classes); a value of one element. Saves the gradient, B x
/// classes. Throws shape_error unless there is a label a row, argument_error when a label is not a class.
template <Scalar T, class S>
[[nodiscard]] Variable<T> cross_entropy(const Context<T, S>& context, const Variable<T>& logits,
                                        std::span<const std::int64_t> labels)
{
    const auto x = logits.value().matrix();
    require<shape_error>(static_cast<Index>(labels.size()) == x.rows && x.rows > 0, "cross_entropy: ", labels.size(),
                         " labels for logits ", shape_text(logits.shape()));
    for (const std::int64_t label : labels) {
        require<argument_error>(label >= 0 && label < x.cols, "cross_entropy: label ", label, " is outside the ",
                                x.cols, " classes");
    }
    Tensor<T> gradient = context.make(logits.shape());
    Tensor<T> loss = context.make(Shape{1});
    S::fill(loss.matrix(), static_cast<T>(S::cross_entropy(gradient.matrix(), x, labels)));
    if (context.tape == nullptr || !logits.wants_gradient()) {
        return Variable<T>(std::move(loss));
    }
    book_saved(gradient);
    return context.tape->record(
        std::move(loss), {},
        [slot = logits.slot(), gradient = std::move(gradient)](SharedTensor<T> dy, auto& pass) mutable {
            T upstream;
            pass.memory().read(&upstream, dy->data(), sizeof upstream);
            S::add_scaled(gradient.matrix(), upstream, T(0), std::as_const(gradient).matrix());
            gradient.rebook(Tag{Use::gradient, 0});
            pass.add(slot, std::move(gradient));
        });
}

}  // namespace wasi::autograd
