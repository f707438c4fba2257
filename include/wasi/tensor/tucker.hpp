#pragma once
#include <array>
#include <cstddef>
#include <utility>

#include "wasi/tensor/mode_product.hpp"

namespace wasi::tensor {

/// A tensor in Tucker form, X ~ S x_1 U_1 ... x_N U_N: a core (r_1, .., r_N) and one basis (n_m, r_m) with orthonormal
/// columns for each mode. Owning and move-only, like Tensor.
template <Scalar T, std::size_t N>
struct Tucker {
    Tensor<T> core;
    std::array<Tensor<T>, N> bases;
    double captured_energy = 0.0;  ///< ||S||² / ||X||², which is 1 - ||X - X~||² / ||X||²; 1 for a zero tensor

    [[nodiscard]] std::array<Index, N> ranks() const { return core.template view<N>().shape; }
    [[nodiscard]] std::array<Index, N> shape() const
    {
        std::array<Index, N> result{};
        for (std::size_t m = 0; m < N; ++m) {
            result[m] = bases[m].shape()[0];
        }
        return result;
    }
    [[nodiscard]] std::size_t bytes() const
    {
        std::size_t sum = core.bytes();
        for (const auto& basis : bases) {
            sum += basis.bytes();
        }
        return sum;
    }
    void rebook(Tag tag) noexcept
    {
        core.rebook(tag);
        for (auto& basis : bases) {
            basis.rebook(tag);
        }
    }
};

/// The full tensor S x_1 U_1 ... x_N U_N, for checks and for users who need it back; training never calls it.
/// Expands the mode that grows least first.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> reconstruct(const Tucker<T, N>& x, Memory& memory)
{
    std::array<bool, N> done{};
    Tensor<T> result = x.core.clone({});
    for (std::size_t step = 0; step < N; ++step) {
        std::size_t next = N;
        double least = 0.0;
        for (std::size_t m = 0; m < N; ++m) {
            const double growth =
                static_cast<double>(x.bases[m].shape()[0]) / static_cast<double>(x.bases[m].shape()[1]);
            if (!done[m] && (next == N || growth < least)) {
                next = m;
                least = growth;
            }
        }
        done[next] = true;
        result = mode_product<S, T, N>(std::as_const(result).template view<N>(), x.bases[next].matrix(), next, memory);
    }
    return result;
}

}  // namespace wasi::tensor
