#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "wasi/data/batches.hpp"
#include "wasi/data/dataset.hpp"
#include "wasi/data/in_order.hpp"
#include "wasi/measure/compiled.hpp"
#include "wasi/measure/confusion.hpp"
#include "wasi/nn/model.hpp"

namespace wasi::measure {

/// f(i, logits) for each example i in its order, with its logits (classes) for the host to read as long as f runs. In
/// batches, without a tape: takes a forward pass of one batch, and where the host cannot read the model's memory the
/// logits of one batch once more. Throws argument_error for a batch_size below 1, and what f does.
template <nn::Model M, data::Batches<typename M::Value> D, class F>
void for_each_logits(M& model, const D& data, Index batch_size, const F& f)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    require<argument_error>(batch_size >= 1, "predict: batch_size is ", batch_size);
    Memory& memory = model.memory();
    const autograd::Context<T, S> context{memory, nullptr};
    const auto classes = static_cast<std::size_t>(model.config().classes);
    std::vector<Index> all(static_cast<std::size_t>(data.size()));
    std::iota(all.begin(), all.end(), Index{0});
    data::for_each_batch(data, all, batch_size, [&](const auto& batch) {
        const auto logits = model.forward(context, nn::Source<T>(batch));
        const Tensor<T>& there = logits.value();
        Tensor<T> copy;
        if (&memory.host() != &memory) {
            copy = Tensor<T>(memory.host(), Tag{}, there.shape());
            memory.read(copy.data(), there.data(), there.bytes());
        }
        const T* row = copy.empty() ? there.data() : copy.data();
        for (const Index i : batch.examples()) {
            f(i, std::span<const T>(row, classes));
            row += classes;
        }
    });
}

/// Logits (count, classes) of all examples in their order, for the host to read. Throws what for_each_logits does.
template <nn::Model M, data::Batches<typename M::Value> D>
[[nodiscard]] Tensor<typename M::Value> predict(M& model, const D& data, Index batch_size = 64)
{
    using T = typename M::Value;
    Tensor<T> result(model.memory().host(), Tag{}, Shape{data.size(), model.config().classes});
    for_each_logits(model, data, batch_size, [&](Index i, std::span<const T> logits) {
        std::copy(logits.begin(), logits.end(), result.data() + i * std::ssize(logits));
    });
    return result;
}

/// What every example is taken for, the class of its largest logit (of equal ones the first), against its label. Takes
/// what for_each_logits takes, a label an example, and the matrix. Throws what for_each_logits does, argument_error for
/// a label that is no class.
template <nn::Model M, data::Batches<typename M::Value> D>
[[nodiscard]] ConfusionMatrix confusion(M& model, const D& data, Index batch_size = 64)
{
    using T = typename M::Value;
    std::vector<Index> all(static_cast<std::size_t>(data.size()));
    std::iota(all.begin(), all.end(), Index{0});
    const std::vector<std::int64_t> labels = data.gather_labels(all);
    ConfusionMatrix matrix(model.config().classes);
    for_each_logits(model, data, batch_size, [&](Index i, std::span<const T> logits) {
        matrix.add(labels[static_cast<std::size_t>(i)],
                   std::max_element(logits.begin(), logits.end()) - logits.begin());
    });
    return matrix;
}

/// How many examples get their label as the largest logit. Throws what confusion does.
template <nn::Model M, data::Batches<typename M::Value> D>
[[nodiscard]] Index count_correct(M& model, const D& data, Index batch_size = 64)
{
    return confusion(model, data, batch_size).correct();
}

/// 95 % confidence interval of a proportion (Wilson 1927).
[[nodiscard]] inline std::pair<double, double> wilson_interval(Index correct, Index count)
{
    constexpr double z = 1.959963984540054;
    const auto n = static_cast<double>(count);
    const double p = static_cast<double>(correct) / n;
    const double centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    const double half = z / (1.0 + z * z / n) * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
    return {centre - half, centre + half};
}

WASI_COMPILED(WASI_MEASURE)

}  // namespace wasi::measure
