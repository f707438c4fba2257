#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "wasi/tensor/add.hpp"
#include "wasi/tensor/hosvd.hpp"

namespace wasi::tensor {

/// What `round` may do.
template <std::size_t N>
struct RoundOptions {
    /// One rule a mode, or one for all; energies and tolerances are shares of ||A~||². The default keeps all that is
    /// not rounding, that is, it takes out what sums have in common.
    ModeRules<N> ranks = linalg::Energy{1.0};
};

/// A~ in Tucker form with fewer ranks and orthonormal bases, without the full tensor: U_m = Q_m R_m, then a
/// sequentially truncated HOSVD of the small core S x_1 R_1 ... x_N R_N, whose bases V_m give Q_m V_m (De Lathauwer, De
/// Moor, Vandewalle 2000; for sums: Bader, Kolda 2007). The bases of A~ need not be orthonormal nor independent, and
/// may have more columns than rows. The Q_m keep lengths, so `error` is ||A~ - result|| / ||A~|| and the bounds and the
/// status are those of sequentially_truncated_hosvd. A mode with the rule `uncompressed` keeps its rank, and
/// loses its basis where that is not taller than wide; a mode without a basis gets one unless its rule is that. What
/// cancels in a sum leaves rounding of the size of the terms, and shares are of what is left. Cost: 4 n_m r_m² a mode
/// and a HOSVD of the core. Throws shape_error where core and bases do not fit or are empty, argument_error on NaN or
/// infinity. Example: examples/tucker.cpp
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Tucker<T, N> round(const TuckerView<T, N>& a, const ModeRules<N>& rules, Memory& memory)
{
    detail::require_fits(a, "round");
    detail::require_finite_form<S, T, N>(a, "round", "a");
    const auto core = detail::at_ordinary_size<S, T, N>(a.core, "round", memory);
    std::array<Tensor<T>, N> outer;     // Q (n, r), where the basis is taller than wide
    std::array<Tensor<T>, N> triangle;  // R = QᵀU
    std::array<std::optional<ConstMatrixView<T>>, N> moves;
    for (std::size_t m = 0; m < N; ++m) {
        if (!a.has_basis(m)) {
            continue;
        }
        const Index n = a.bases[m].rows;
        const Index r = a.bases[m].cols;
        if (r >= n) {  // the unit vectors are a basis too, and not longer
            moves[m] = a.bases[m];
            continue;
        }
        outer[m] = workspace<T>(memory, n, r);
        S::copy(outer[m].matrix(), a.bases[m]);
        static_cast<void>(S::orthonormalize(outer[m].matrix(), memory));
        triangle[m] = workspace<T>(memory, r, r);
        S::multiply(triangle[m].matrix(), T(1), std::as_const(outer[m]).matrix().transposed(), a.bases[m], T(0),
                    memory);
        moves[m] = std::as_const(triangle[m]).matrix();
    }
    const Tensor<T> moved = detail::products_or_copy<S, T, N>(core.view, moves, memory);
    Tucker<T, N> result =
        sequentially_truncated_hosvd<S, T, N>(std::as_const(moved).template view<N>(), rules, {}, memory);
    for (std::size_t m = 0; m < N; ++m) {
        if (outer[m].empty()) {
            continue;
        }
        if (result.bases[m].empty()) {
            result.bases[m] = std::move(outer[m]);
            continue;
        }
        Tensor<T> basis = workspace<T>(memory, outer[m].shape()[0], result.bases[m].shape()[1]);
        S::multiply(basis.matrix(), T(1), std::as_const(outer[m]).matrix(), std::as_const(result.bases[m]).matrix(),
                    T(0), memory);
        result.bases[m] = std::move(basis);
    }
    detail::back_to_size<S, T, N>(result, core.exponent, "round");
    return result;
}

/// round for users' types: round(add(a, b), {.ranks = Tolerance{1e-6}}).
template <class F>
[[nodiscard]] TuckerOf<F> round(const TuckerOf<F>& a, const RoundOptions<F::order>& options = {},
                                Memory& memory = plain_memory())
{
    ModeRules<F::order> rules = options.ranks;
    if constexpr (F::reversed) {
        auto by_mode = rules.by_mode();
        auto left = rules.uncompressed_modes();
        std::reverse(by_mode.begin(), by_mode.end());
        std::reverse(left.begin(), left.end());
        rules = ModeRules<F::order>(by_mode).without(left);
    }
    return as_family<F>(round<typename F::Storage, typename F::Scalar, F::order>(view_of(a), rules, memory));
}

}  // namespace wasi::tensor
