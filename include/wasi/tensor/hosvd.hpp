#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "wasi/linalg/rank_rule.hpp"
#include "wasi/tensor/compiled.hpp"
#include "wasi/tensor/energy.hpp"
#include "wasi/tensor/leading_basis.hpp"
#include "wasi/tensor/mode_rules.hpp"
#include "wasi/tensor/ordinary_size.hpp"
#include "wasi/tensor/refusal.hpp"
#include "wasi/tensor/tucker_of.hpp"

namespace wasi::tensor {

namespace detail {

/// The basis of a mode goes into the result, and its status with it.
template <Scalar T, std::size_t N>
void take_basis(Tucker<T, N>& result, std::size_t mode, ModeBasis<T> basis)
{
    result.bases[mode] = std::move(basis.u);
    if (basis.status != Status::ok) {
        result.status = basis.status;
    }
}

/// The transposed bases; nothing for modes that are not compressed.
template <Scalar T, std::size_t N>
[[nodiscard]] std::array<std::optional<ConstMatrixView<T>>, N> projections(const Tucker<T, N>& x)
{
    std::array<std::optional<ConstMatrixView<T>>, N> result;
    for (std::size_t m = 0; m < N; ++m) {
        if (!x.bases[m].empty()) {
            result[m] = x.bases[m].matrix().transposed();
        }
    }
    return result;
}

/// Throws argument_error when `modes` is not a permutation.
template <std::size_t N>
void require_permutation(const std::array<std::size_t, N>& modes, std::string_view who)
{
    auto sorted = modes;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t m = 0; m < N; ++m) {
        require<argument_error>(sorted[m] == m, who, ": order ", shape_text(modes),
                                " is not a permutation of the modes");
    }
}

}  // namespace detail

/// What `hosvd` may do.
template <std::size_t N>
struct HosvdOptions {
    /// One rule a mode, or one for all. The default keeps all that is not rounding.
    ModeRules<N> ranks = linalg::Energy{1.0};
};

/// Truncated higher-order SVD (De Lathauwer, De Moor, Vandewalle 2000): every basis from the full tensor, then the core
/// S = X x_1 U_1ᵀ ... x_N U_Nᵀ. ||X - X~||² <= sum over modes of the discarded squares <= N times the best possible.
/// Accuracy: bases are orthonormal to rounding. Grams are summed in double, which float data loses nothing by; in
/// double, where a rule looks below sqrt(n epsilon) of the largest value of a mode (n its extent), the SVD of the
/// unfolding decides. The error returned is right to a percent or better at any size, see docs/tensor.md; status
/// rule_not_met when it is above the root of the sum of what the rules let go. Any order from 1 on (order 1: X = s u)
/// and any size of elements. Throws shape_error on an empty tensor, argument_error on NaN or infinity and where the
/// type cannot hold a core, whose largest element may be ||X||. Example: examples/tucker.cpp
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> hosvd(ConstTensorView<T, N> x, const ModeRules<N>& rules, Memory& memory)
{
    const auto from = detail::at_ordinary_size<S, T, N>(x, "hosvd", memory);
    Tucker<T, N> result;
    for (std::size_t m = 0; m < N; ++m) {
        if (!rules.is_uncompressed(m)) {
            detail::take_basis(result, m, detail::mode_basis<S, T, N>(from.view, m, rules[m], from.total, memory));
        }
    }
    result.core = detail::products_or_copy<S, T, N>(from.view, detail::projections(result), memory);
    detail::set_energy<S, T, N>(result, from.total);
    detail::judge<S, T, N>(result, from.view, from.total, rules, memory);
    detail::back_to_size<S, T, N>(result, from.exponent, "hosvd");
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
    constexpr std::string_view who = "sequentially_truncated_hosvd";
    detail::require_permutation<N>(modes, who);
    const auto from = detail::at_ordinary_size<S, T, N>(x, who, memory);
    Tucker<T, N> result;
    for (const std::size_t m : modes) {
        if (rules.is_uncompressed(m)) {
            continue;
        }
        const auto left = result.core.empty() ? from.view : std::as_const(result.core).template view<N>();
        detail::take_basis(result, m, detail::mode_basis<S, T, N>(left, m, rules[m], from.total, memory));
        result.core = mode_product<S, T, N>(left, std::as_const(result.bases[m]).matrix().transposed(), m, memory);
    }
    if (result.core.empty()) {
        result.core = detail::products_or_copy<S, T, N>(from.view, {}, memory);
    }
    detail::set_energy<S, T, N>(result, from.total);
    detail::judge<S, T, N>(result, from.view, from.total, rules, memory);
    detail::back_to_size<S, T, N>(result, from.exponent, who);
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
        const ModeRules<F::order> rules = view_rules<X>(options.ranks);
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
        const ModeRules<F::order> rules = view_rules<X>(options.ranks);
        return as_family<F>(sequentially_truncated_hosvd<typename F::Storage, T, F::order>(
            view, rules, view_modes<X>(options.order, view.shape, options.ranks), memory));
    });
}

WASI_COMPILED(WASI_TENSOR_HOSVD)

}  // namespace wasi::tensor
