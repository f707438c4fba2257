#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/tensor/inner_product.hpp"
#include "wasi/tensor/mode_rank.hpp"
#include "wasi/tensor/mode_rules.hpp"

/// What every decomposition does at its two ends: check the tensor and take its energy; say what was captured.
namespace wasi::tensor::detail {

/// Throws argument_error when the tensor whose sum of squares is `total` holds NaN or infinity. A finite sum of squares
/// has finite terms, so the usual case costs no pass of its own.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void require_finite_energy(ConstTensorView<T, N> x, double total, std::string_view who)
{
    if (!std::isfinite(total)) {
        linalg::require_finite<S, T>(x.rows_by(N - 1), who, "x");
    }
}

/// ||X||² of a tensor that is not empty and has finite elements; infinite or 0 where squares leave the type (see
/// ordinary_size.hpp).
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double checked_energy(ConstTensorView<T, N> x, std::string_view who)
{
    require<shape_error>(x.size() > 0, who, ": empty tensor ", shape_text(x.shape));
    const double total = S::dot(x.rows_by(N - 1), x.rows_by(N - 1));
    require_finite_energy<S, T, N>(x, total, who);
    return total;
}

/// captured_energy and error from ||S||² and ||X||². The core is rounded to T, so an error below sqrt(epsilon) (3e-4
/// in float) is not seen: it comes out as something of that size, or zero.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void set_energy(Tucker<T, N>& result, double total)
{
    result.captured_energy =
        total > 0.0 ? S::dot(result.core.matrix(), std::as_const(result.core).matrix()) / total : 1.0;
    result.error = std::sqrt(std::max(0.0, 1.0 - result.captured_energy));
}

/// Takes a small error from the residual itself, where the difference of two energies cannot tell it: below
/// sqrt(1000 epsilon), 1% in float, 5e-7 in double. Costs one read of X then, nothing else.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void resolve_error(Tucker<T, N>& result, ConstTensorView<T, N> x, double total, Memory& memory)
{
    if (total > 0.0 && 1.0 - result.captured_energy < 1000.0 * static_cast<double>(epsilon<T>)) {
        result.error = std::sqrt(squared_residual<S, T, N>(result.view(), x, memory) / total);
    }
}

/// The relative error that the rules of a Tucker form of these ranks let go together, the root of the sum of what each
/// mode may lose; all that is not rounding counts as that. Nothing when no rule promises an error, or one that promises
/// none (a fixed rank) has cut: the whole error is then bounded by nothing that was asked for.
template <Scalar T, std::size_t N>
[[nodiscard]] std::optional<double> allowed_error(const ModeRules<N>& rules, const std::array<Index, N>& shape,
                                                  const std::array<Index, N>& ranks)
{
    double size = 1.0;
    for (const Index extent : shape) {
        size *= static_cast<double>(extent);
    }
    double allowed = 0.0;
    double rounding = 0.0;
    bool promised = false;
    for (std::size_t m = 0; m < N; ++m) {
        if (rules.is_uncompressed(m)) {
            continue;
        }
        const auto others = static_cast<Index>(size / static_cast<double>(shape[m]));
        const auto share = allowed_share(rules[m], shape[m], others, ranks[m]);
        const bool cut = ranks[m] < std::min(shape[m], others);
        if (cut && !share) {
            return std::nullopt;
        }
        promised = promised || share.has_value();
        allowed += share.value_or(0.0);
        if (share == 0.0) {  // values at rounding are not kept, and products round too
            rounding += 16.0 * static_cast<double>(std::min(shape[m], others));
        }
    }
    const auto unit = static_cast<double>(epsilon<T>);
    return promised ? std::optional<double>(std::sqrt(allowed + rounding * unit * unit)) : std::nullopt;
}

/// Status rule_not_met when the error is above what the rules let go.
template <Scalar T, std::size_t N>
void judge_error(Tucker<T, N>& result, const std::array<Index, N>& shape, const ModeRules<N>& rules)
{
    const auto allowed = allowed_error<T, N>(rules, shape, result.ranks());
    const auto unit = static_cast<double>(epsilon<T>);
    const double slack = 1.0 + 16.0 * unit;  // of factors rounded to T
    // An error this near rounding is measured with about one unit's rounding of its own.
    const double doubt = allowed && *allowed < 64.0 * unit ? unit : 0.0;
    if (allowed && result.error + doubt > *allowed * slack && result.status != Status::not_converged) {
        result.status = Status::rule_not_met;
    }
}

/// Sets the error, exactly where it decides, and the status by it. `x` and the core are at ordinary size.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void judge(Tucker<T, N>& result, ConstTensorView<T, N> x, double total, const ModeRules<N>& rules, Memory& memory)
{
    resolve_error<S, T, N>(result, x, total, memory);
    const auto allowed = allowed_error<T, N>(rules, x.shape, result.ranks());
    // Energies give the error to a percent; at the border it is measured.
    if (allowed && total > 0.0 && std::abs(result.error - *allowed) <= 0.02 * *allowed) {
        result.error = std::sqrt(squared_residual<S, T, N>(result.view(), x, memory) / total);
    }
    judge_error<T, N>(result, x.shape, rules);
}

}  // namespace wasi::tensor::detail
