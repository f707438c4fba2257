#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/tensor/inner_product.hpp"

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

/// ||X||² of a tensor that is not empty and has finite elements.
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

}  // namespace wasi::tensor::detail
