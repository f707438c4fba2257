#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "wasi/linalg/rank_rule.hpp"
#include "wasi/tensor/energy.hpp"
#include "wasi/tensor/leading_basis.hpp"
#include "wasi/tensor/mode_rules.hpp"
#include "wasi/tensor/refusal.hpp"
#include "wasi/tensor/tucker_of.hpp"

namespace wasi::tensor {

/// What `hosvd` may do.
template <std::size_t N>
struct HosvdOptions {
    /// One rule a mode, or one for all. The default keeps all that is not rounding.
    ModeRules<N> ranks = linalg::Energy{1.0};
};

/// Truncated higher-order SVD (De Lathauwer, De Moor, Vandewalle 2000): every basis from the full tensor, then the core
/// S = X x_1 U_1ᵀ ... x_N U_Nᵀ. ||X - X~||² <= sum over modes of the discarded squares <= N times the best possible.
/// Accuracy: bases are orthonormal to rounding. Grams are summed in double: in float, singular values down to n epsilon
/// of a mode's largest count (n its extent); in double those below sqrt(n epsilon) of it are lost in the squares and
/// are not kept. The error returned is right to a percent or better at any size, see docs/tensor.md. Throws shape_error
/// on an empty tensor, argument_error on NaN or infinity. Example: examples/tucker.cpp
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> hosvd(ConstTensorView<T, N> x, const ModeRules<N>& rules, Memory& memory)
{
    const double total = detail::checked_energy<S, T, N>(x, "hosvd");
    Tucker<T, N> result;
    std::array<std::optional<ConstMatrixView<T>>, N> projections;
    for (std::size_t m = 0; m < N; ++m) {
        result.bases[m] = detail::leading_basis<S, T, N>(x, m, rules[m], total, memory);
        projections[m] = std::as_const(result.bases[m]).matrix().transposed();
    }
    result.core = mode_products<S, T, N>(x, projections, memory);
    detail::set_energy<S, T, N>(result, total);
    detail::resolve_error<S, T, N>(result, x, total, memory);
    return result;
}

/// What `sequentially_truncated_hosvd` may do.
template <std::size_t N>
struct SequentialHosvdOptions {
    /// One rule a mode, or one for all. The default keeps all that is not rounding.
    ModeRules<N> ranks = linalg::Energy{1.0};
    /// Which mode is truncated first, second, ...: {2, 0, 1}. The default is the order of `cheapest_order`.
    ModeOrder<N> order = {};
};

/// Sequentially truncated HOSVD (Vannieuwenhoven, Vandebril, Meerbergen 2012): each mode is truncated in what the modes
/// before it, in `order`, have left. The same error bound as hosvd at a fraction of the cost, and
/// ||X - X~||² = sum over modes of what that mode discarded, exactly.
/// Throws argument_error if `order` is not a permutation; else like hosvd.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> sequentially_truncated_hosvd(ConstTensorView<T, N> x, const ModeRules<N>& rules,
                                                        const ModeOrder<N>& order, Memory& memory)
{
    const auto modes = order.is_chosen() ? order.modes() : cheapest_order<N>(x.shape, rules);
    auto sorted = modes;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t m = 0; m < N; ++m) {
        require<argument_error>(sorted[m] == m, "sequentially_truncated_hosvd: order ", shape_text(modes),
                                " is not a permutation of the modes");
    }
    const double total = detail::checked_energy<S, T, N>(x, "sequentially_truncated_hosvd");
    Tucker<T, N> result;
    for (std::size_t step = 0; step < N; ++step) {
        const std::size_t m = modes[step];
        const auto from = step == 0 ? x : std::as_const(result.core).template view<N>();
        result.bases[m] = detail::leading_basis<S, T, N>(from, m, rules[m], total, memory);
        result.core = mode_product<S, T, N>(from, std::as_const(result.bases[m]).matrix().transposed(), m, memory);
    }
    detail::set_energy<S, T, N>(result, total);
    detail::resolve_error<S, T, N>(result, x, total, memory);
    return result;
}

/// What is no tensor of float or double is refused when compiling, with one sentence.
TuckerOf<TensorFamily<ConstTensorView<double, 3>>> hosvd(wasi::detail::NotATensor x,
                                                         const wasi::detail::AnyTuckerOptions& options = {},
                                                         Memory& memory = plain_memory());
TuckerOf<TensorFamily<ConstTensorView<double, 3>>> sequentially_truncated_hosvd(
    wasi::detail::NotATensor x, const wasi::detail::AnyTuckerOptions& options = {}, Memory& memory = plain_memory());

/// hosvd for users' tensors: wasi::TensorView, of_order<3>(tensor), Eigen::Tensor (storage/eigen/tensor_family.hpp).
/// Core and bases are of the same kind. hosvd(x, {.ranks = {Energy{0.9}, Energy{0.9}, 16}}). Example:
/// examples/tucker.cpp
template <TensorLike X>
[[nodiscard]] auto hosvd(const X& x, const HosvdOptions<order_of<X>>& options = {}, Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using T = typename F::Scalar;
    return F::with_view(x, [&](ConstTensorView<T, F::order> view) {
        const ModeRules<F::order> rules(view_order<X>(options.ranks.by_mode()));
        return as_family<F>(hosvd<typename F::Storage, T, F::order>(view, rules, memory));
    });
}

/// sequentially_truncated_hosvd for users' tensors; modes are counted as the user does.
template <TensorLike X>
[[nodiscard]] auto sequentially_truncated_hosvd(const X& x, const SequentialHosvdOptions<order_of<X>>& options = {},
                                                Memory& memory = plain_memory())
{
    using F = TensorFamily<X>;
    using T = typename F::Scalar;
    return F::with_view(x, [&](ConstTensorView<T, F::order> view) {
        const ModeRules<F::order> rules(view_order<X>(options.ranks.by_mode()));
        return as_family<F>(sequentially_truncated_hosvd<typename F::Storage, T, F::order>(
            view, rules, view_modes<X>(options.order, view.shape, options.ranks), memory));
    });
}

}  // namespace wasi::tensor
