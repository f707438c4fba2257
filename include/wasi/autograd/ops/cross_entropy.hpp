#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "wasi/autograd/saved.hpp"

namespace wasi::autograd {

namespace detail {

/// What smoothing s adds to the mean loss, s (x[label] - mean x) a row, and to its gradient, s (1[label] - 1/classes) /
/// rows. Logits are few: row by row on the host.
template <Scalar T>
[[nodiscard]] double smooth_labels(Tensor<T>& gradient, const Tensor<T>& logits, std::span<const std::int64_t> labels,
                                   double smoothing, Memory& memory)
{
    const Index classes = logits.matrix().cols;
    const double share = smoothing / static_cast<double>(labels.size());
    std::vector<T> x(static_cast<std::size_t>(classes));
    std::vector<T> dx(x.size());
    const std::size_t bytes = x.size() * sizeof(T);
    double added = 0.0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        const auto at = static_cast<Index>(i) * classes;
        memory.read(x.data(), logits.data() + at, bytes);
        memory.read(dx.data(), gradient.data() + at, bytes);
        double sum = 0.0;
        for (std::size_t c = 0; c < x.size(); ++c) {
            sum += static_cast<double>(x[c]);
            const double label = static_cast<std::int64_t>(c) == labels[i] ? 1.0 : 0.0;
            dx[c] += static_cast<T>(share * (label - 1.0 / static_cast<double>(classes)));
        }
        added +=
            share * (static_cast<double>(x[static_cast<std::size_t>(labels[i])]) - sum / static_cast<double>(classes));
        memory.write(gradient.data() + at, dx.data(), bytes);
    }
    return added;
}

}  // namespace detail

/// Mean over the batch of -log softmax(x)[label], x (B, classes); a value of one element. With `smoothing` s each label
/// counts 1 - s and every class s / classes beside it (Szegedy et al. 2016). Saves the gradient, B x classes. Throws
/// shape_error unless there is a label a row, argument_error when a label is not a class and unless 0 <= s < 1.
template <Scalar T, class S>
[[nodiscard]] Variable<T> cross_entropy(const Context<T, S>& context, const Variable<T>& logits,
                                        std::span<const std::int64_t> labels, double smoothing = 0.0)
{
    require<argument_error>(smoothing >= 0.0 && smoothing < 1.0, "cross_entropy: smoothing is ", smoothing);
    const auto x = logits.value().matrix();
    require<shape_error>(static_cast<Index>(labels.size()) == x.rows && x.rows > 0, "cross_entropy: ", labels.size(),
                         " labels for logits ", shape_text(logits.shape()));
    for (const std::int64_t label : labels) {
        require<argument_error>(label >= 0 && label < x.cols, "cross_entropy: label ", label, " is outside the ",
                                x.cols, " classes");
    }
    Tensor<T> gradient = context.make(logits.shape());
    Tensor<T> loss = context.make(Shape{1});
    double mean = S::cross_entropy(gradient.matrix(), x, labels);
    if (smoothing > 0.0) {
        mean += detail::smooth_labels(gradient, logits.value(), labels, smoothing, context.memory);
    }
    S::fill(loss.matrix(), static_cast<T>(mean));
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
