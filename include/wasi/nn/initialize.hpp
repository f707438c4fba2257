#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "wasi/core/random.hpp"
#include "wasi/storage/tensor.hpp"

/// The initial values that torchvision gives a Vision Transformer (the distributions, not the same numbers).
namespace wasi::nn {

namespace detail {

/// Element i becomes of(i), piece by piece: the tensor's memory need not be the host's.
template <Scalar T, class F>
void generate(Tensor<T>& values, const F& of)
{
    std::array<T, 1024> piece;
    for (Index first = 0; first < values.size(); first += static_cast<Index>(piece.size())) {
        const Index count = std::min(static_cast<Index>(piece.size()), values.size() - first);
        for (Index i = 0; i < count; ++i) {
            piece[static_cast<std::size_t>(i)] = static_cast<T>(of(static_cast<std::uint64_t>(first + i)));
        }
        values.memory().write(values.data() + first, piece.data(), static_cast<std::size_t>(count) * sizeof(T));
    }
}

}  // namespace detail

/// Uniform in [-bound, bound].
template <Scalar T>
void fill_uniform(Tensor<T>& values, double bound, RandomKey key)
{
    detail::generate(values, [&](std::uint64_t i) { return bound * (2.0 * key.uniform(i) - 1.0); });
}

/// Normal with the given deviation; with `cut` above 0, values beyond cut deviations are drawn again (truncated
/// normal).
template <Scalar T>
void fill_normal(Tensor<T>& values, double deviation, RandomKey key, double cut = 0.0)
{
    detail::generate(values, [&](std::uint64_t i) {
        double value = key.normal(i);
        for (std::uint64_t retry = 1; cut > 0.0 && std::abs(value) > cut; ++retry) {
            value = key.derive(retry).normal(i);
        }
        return deviation * value;
    });
}

/// Xavier: bound sqrt(6 / (fan_in + fan_out)) (Glorot, Bengio 2010).
[[nodiscard]] inline double xavier_bound(Index fan_in, Index fan_out)
{
    return std::sqrt(6.0 / static_cast<double>(fan_in + fan_out));
}

}  // namespace wasi::nn
