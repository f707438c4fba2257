#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "wasi/data/in_order.hpp"
#include "wasi/nn/staged_model.hpp"

namespace wasi::measure {

/// What the head reads (nn::features_of), (count, features), of these examples in their order, for the host to read; in
/// batches, without a tape. Throws argument_error for no examples and for a batch_size below 1.
template <nn::Model M, class D>
requires data::Batches<D, typename M::Value>
[[nodiscard]] Tensor<typename M::Value> features(M& model, const D& data, std::span<const Index> which,
                                                 Index batch_size = 64)
{
    using T = typename M::Value;
    require<argument_error>(!which.empty() && batch_size >= 1, "features: ", which.size(), " examples, ", batch_size,
                            " at a time");
    Memory& memory = model.memory();
    const autograd::Context<T, typename M::Storage> context{memory, nullptr};
    Tensor<T> result;
    Index done = 0;
    data::for_each_batch(data, which, batch_size, [&](const auto& batch) {
        const auto found = nn::features_of(model, context, nn::Source<T>(batch));
        const auto values = found.value().matrix();
        if (result.empty()) {
            result = Tensor<T>(memory.host(), Tag{}, Shape{std::ssize(which), values.cols});
        }
        memory.read(result.data() + done * values.cols, found.value().data(), found.value().bytes());
        done += values.rows;
    });
    return result;
}

/// How well features agree with others of the same examples, (count, features) both: the mean over examples of the
/// cosine between the two, from both of which the others' mean is taken off. 1: the same up to lengths; 0: nothing in
/// common. Host memory. Throws shape_error for unlike matrices.
template <Scalar T>
[[nodiscard]] double agreement(ConstMatrixView<T> features, ConstMatrixView<T> others)
{
    require<shape_error>(features.shape() == others.shape() && others.rows >= 1, "agreement: features (", features.rows,
                         ", ", features.cols, ") and (", others.rows, ", ", others.cols, ")");
    std::vector<double> mean(static_cast<std::size_t>(others.cols), 0.0);
    for (Index i = 0; i < others.rows; ++i) {
        for (Index j = 0; j < others.cols; ++j) {
            mean[static_cast<std::size_t>(j)] += static_cast<double>(others(i, j)) / static_cast<double>(others.rows);
        }
    }
    double sum = 0.0;
    for (Index i = 0; i < others.rows; ++i) {
        double both = 0.0;
        double first = 0.0;
        double second = 0.0;
        for (Index j = 0; j < others.cols; ++j) {
            const double a = static_cast<double>(features(i, j)) - mean[static_cast<std::size_t>(j)];
            const double b = static_cast<double>(others(i, j)) - mean[static_cast<std::size_t>(j)];
            both += a * b;
            first += a * a;
            second += b * b;
        }
        sum += first > 0.0 && second > 0.0 ? both / std::sqrt(first * second) : 0.0;
    }
    return sum / static_cast<double>(others.rows);
}

}  // namespace wasi::measure
