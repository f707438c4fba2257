#pragma once
#include <algorithm>
#include <array>
#include <utility>

#include "wasi/subspace/compiled.hpp"
#include "wasi/tensor/tucker.hpp"

namespace wasi::subspace {

/// The order in which dY, the core S and the bases U_1, U_2 are contracted.
enum class ContractionOrder {
    feature_first,     ///< T = S x_1 U_1 x_2 U_2 in full, then dYᵀ T
    batch_token_core,  ///< dY onto U_1, onto U_2, onto S
    batch_then_core,   ///< dY onto U_1, then onto S x_2 U_2
    token_batch_core,  ///< dY onto U_2, onto U_1, onto S
    token_then_core,   ///< dY onto U_2, then onto S x_1 U_1
};

/// Extents of the product: batch B, tokens N, outputs O, ranks (r1, r2, r3).
struct GradientExtents {
    Index batch;
    Index tokens;
    Index outputs;
    std::array<Index, 3> ranks;
};

/// Flops of one order, 2 a multiply-add. The least of the five is the least over all pairwise orders.
[[nodiscard]] inline double contraction_flops(ContractionOrder order, const GradientExtents& e)
{
    const auto [b, n, o] =
        std::array{static_cast<double>(e.batch), static_cast<double>(e.tokens), static_cast<double>(e.outputs)};
    const auto [r1, r2, r3] =
        std::array{static_cast<double>(e.ranks[0]), static_cast<double>(e.ranks[1]), static_cast<double>(e.ranks[2])};
    switch (order) {
        case ContractionOrder::feature_first: {
            const double token_first = r1 * r2 * r3 * n + b * r1 * n * r3;
            const double batch_first = r1 * r2 * r3 * b + b * r2 * n * r3;
            return 2.0 * (b * n * o * r3 + std::min(token_first, batch_first));
        }
        case ContractionOrder::batch_token_core:
            return 2.0 * (b * n * o * r1 + r1 * r2 * n * o + r1 * r2 * r3 * o);
        case ContractionOrder::batch_then_core:
            return 2.0 * (b * n * o * r1 + r1 * r2 * r3 * n + r1 * n * r3 * o);
        case ContractionOrder::token_batch_core:
            return 2.0 * (b * n * o * r2 + b * r1 * r2 * o + r1 * r2 * r3 * o);
        case ContractionOrder::token_then_core:
            return 2.0 * (b * n * o * r2 + r1 * r2 * r3 * b + b * r2 * r3 * o);
    }
    return 0.0;
}

[[nodiscard]] inline ContractionOrder cheapest_order(const GradientExtents& extents)
{
    constexpr std::array orders{ContractionOrder::feature_first, ContractionOrder::batch_token_core,
                                ContractionOrder::batch_then_core, ContractionOrder::token_batch_core,
                                ContractionOrder::token_then_core};
    return *std::min_element(orders.begin(), orders.end(), [&](ContractionOrder a, ContractionOrder b) {
        return contraction_flops(a, extents) < contraction_flops(b, extents);
    });
}

/// P (O, r3) of the weight gradient dW = dYᵀ X ~ P U_3ᵀ, where X (B,N,I) ~ S x_1 U_1 x_2 U_2 x_3 U_3 and dY (B,N,O):
/// P = sum over b, n of dY[b,n,:] T[b,n,:]ᵀ with T = S x_1 U_1 x_2 U_2. U_3 has orthonormal columns, so ||dW||_F =
/// ||P||_F. Nothing of size O x I is formed. dY is exact, so the only error is that of X. Cost: contraction_flops of
/// the order (the cheapest by default), against 2 BNOI of the dense product. Throws shape_error. Source: ASI (arXiv
/// 2505.05086); the choice among five orders is ours. Example: examples/subspaces_without_autograd.cpp
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> low_rank_gradient(ConstTensorView<T, 3> dy, const tensor::Tucker<T, 3>& x,
                                          ContractionOrder order, Memory& memory)
{
    using tensor::mode_product;
    const auto [r1, r2, r3] = x.ranks();
    const auto shape = x.shape();
    require<shape_error>(dy.shape[0] == shape[0] && dy.shape[1] == shape[1], "low_rank_gradient: dY ",
                         shape_text(dy.shape), " and X ", shape_text(shape), " differ in batch or tokens");
    const auto u1 = x.bases[0].matrix();
    const auto u2 = x.bases[1].matrix();
    const auto core = x.core.template view<3>();
    Tensor<T> p = workspace<T>(memory, dy.shape[2], r3);
    // sum over the first two indices of left[.,.,o] right[.,.,k]
    const auto contract = [&](ConstTensorView<T, 3> left, ConstTensorView<T, 3> right) {
        S::multiply(p.matrix(), T(1), left.rows_by(2).transposed(), right.rows_by(2), T(0), memory);
    };
    const auto view = [](const Tensor<T>& t) { return t.template view<3>(); };
    switch (order) {
        case ContractionOrder::feature_first: {
            const bool token_first = r1 * r2 * r3 * shape[1] + shape[0] * r1 * shape[1] * r3 <=
                                     r1 * r2 * r3 * shape[0] + shape[0] * r2 * shape[1] * r3;
            const Tensor<T> half =
                token_first ? mode_product<S, T, 3>(core, u2, 1, memory) : mode_product<S, T, 3>(core, u1, 0, memory);
            const Tensor<T> full = token_first ? mode_product<S, T, 3>(view(half), u1, 0, memory)
                                               : mode_product<S, T, 3>(view(half), u2, 1, memory);
            contract(dy, view(full));
            break;
        }
        case ContractionOrder::batch_token_core: {
            const Tensor<T> half = mode_product<S, T, 3>(dy, u1.transposed(), 0, memory);
            contract(view(mode_product<S, T, 3>(view(half), u2.transposed(), 1, memory)), core);
            break;
        }
        case ContractionOrder::batch_then_core: {
            const Tensor<T> half = mode_product<S, T, 3>(dy, u1.transposed(), 0, memory);
            contract(view(half), view(mode_product<S, T, 3>(core, u2, 1, memory)));
            break;
        }
        case ContractionOrder::token_batch_core: {
            const Tensor<T> half = mode_product<S, T, 3>(dy, u2.transposed(), 1, memory);
            contract(view(mode_product<S, T, 3>(view(half), u1.transposed(), 0, memory)), core);
            break;
        }
        case ContractionOrder::token_then_core: {
            const Tensor<T> half = mode_product<S, T, 3>(dy, u2.transposed(), 1, memory);
            contract(view(half), view(mode_product<S, T, 3>(core, u1, 0, memory)));
            break;
        }
    }
    return p;
}

/// The same in the cheapest order.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] Tensor<T> low_rank_gradient(ConstTensorView<T, 3> dy, const tensor::Tucker<T, 3>& x, Memory& memory)
{
    return low_rank_gradient<S, T>(dy, x, cheapest_order({dy.shape[0], dy.shape[1], dy.shape[2], x.ranks()}), memory);
}

WASI_COMPILED(WASI_SUBSPACE_LOW_RANK_GRADIENT)

}  // namespace wasi::subspace
