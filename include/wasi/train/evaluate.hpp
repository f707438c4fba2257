#pragma once
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "wasi/data/batches.hpp"
#include "wasi/data/dataset.hpp"
#include "wasi/nn/model.hpp"
#include "wasi/train/compiled.hpp"

namespace wasi::train {

/// Logits (count, classes) of all examples in their order, for the host to read; in batches, without a tape. Throws
/// argument_error for a batch_size below 1.
template <nn::Model M, data::Batches<typename M::Value> D>
[[nodiscard]] Tensor<typename M::Value> predict(M& model, const D& data, Index batch_size = 64)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    require<argument_error>(batch_size >= 1, "predict: batch_size is ", batch_size);
    Memory& memory = model.memory();
    const autograd::Context<T, S> context{memory, nullptr};
    const Index count = data.size();
    batch_size = std::min(batch_size, std::max<Index>(count, 1));
    Tensor<T> result(memory.host(), Tag{}, Shape{count, model.config().classes});
    const auto batch_from = [&](Index first) {
        std::vector<Index> which(static_cast<std::size_t>(std::clamp<Index>(count - first, 0, batch_size)));
        std::iota(which.begin(), which.end(), first);
        return which;
    };
    for (Index first = 0; first < count; first += batch_size) {
        const std::vector<Index> which = batch_from(first);
        const auto logits = model.forward(context, nn::Source<T>([&](Memory& where) {
                                              auto examples = data.gather(which, RandomKey(0), where);
                                              data::expect(data, batch_from(first + batch_size), RandomKey(0));
                                              return examples;
                                          }));
        memory.read(result.data() + first * result.shape()[1], logits.value().data(), logits.value().bytes());
    }
    return result;
}

/// How many examples get their label as the largest logit. Throws what predict does.
template <nn::Model M, data::Batches<typename M::Value> D>
[[nodiscard]] Index count_correct(M& model, const D& data, Index batch_size = 64)
{
    const Tensor<typename M::Value> logits = predict(model, data, batch_size);
    std::vector<Index> all(static_cast<std::size_t>(data.size()));
    std::iota(all.begin(), all.end(), Index{0});
    const auto labels = data.gather_labels(all);
    const Index classes = model.config().classes;
    Index correct = 0;
    for (Index i = 0; i < data.size(); ++i) {
        const auto row =
            logits.span().subspan(static_cast<std::size_t>(i * classes), static_cast<std::size_t>(classes));
        const auto best = std::max_element(row.begin(), row.end()) - row.begin();
        correct += best == labels[static_cast<std::size_t>(i)] ? 1 : 0;
    }
    return correct;
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

WASI_COMPILED(WASI_TRAIN_EVALUATE)

}  // namespace wasi::train
