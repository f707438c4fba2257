#pragma once
#include <algorithm>
#include <cmath>

#include "wasi/core/random.hpp"
#include "wasi/storage/tensor.hpp"

/// The initial values that torchvision gives a Vision Transformer (the distributions, not the same numbers).
namespace wasi::nn {

/// Uniform in [-bound, bound].
template <Scalar T>
void fill_uniform(Tensor<T>& values, double bound, RandomKey key)
{
    for (Index i = 0; i < values.size(); ++i) {
        values.data()[i] = static_cast<T>(bound * (2.0 * key.uniform(static_cast<std::uint64_t>(i)) - 1.0));
    }
}

/// Normal with the given deviation; with `cut` above 0, values beyond cut deviations are drawn again (truncated
/// normal).
template <Scalar T>
void fill_normal(Tensor<T>& values, double deviation, RandomKey key, double cut = 0.0)
{
    for (Index i = 0; i < values.size(); ++i) {
        double value = key.normal(static_cast<std::uint64_t>(i));
        for (std::uint64_t retry = 1; cut > 0.0 && std::abs(value) > cut; ++retry) {
            value = key.derive(retry).normal(static_cast<std::uint64_t>(i));
        }
        values.data()[i] = static_cast<T>(deviation * value);
    }
}

/// Xavier: bound sqrt(6 / (fan_in + fan_out)) (Glorot, Bengio 2010).
[[nodiscard]] inline double xavier_bound(Index fan_in, Index fan_out)
{
    return std::sqrt(6.0 / static_cast<double>(fan_in + fan_out));
}

}  // namespace wasi::nn
