#pragma once
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

#include "wasi/linalg/ordinary_size.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/storage/scale.hpp"
#include "wasi/tensor/tucker.hpp"

/// Decompositions square elements, and squares of very large or very small ones leave the type. So what comes in is
/// brought to ordinary size by a power of two, which rounds nothing, and the core is brought back at the end: ranks,
/// energies and relative errors are the same at every size that the type holds.
namespace wasi::tensor::detail {

/// True when the sum of squares alone says that `scale_exponent` would be 0, so that no second look at the elements is
/// needed.
template <Scalar T>
[[nodiscard]] bool is_ordinary(double total, Index size)
{
    constexpr int bound = sizeof(T) < sizeof(double) ? 30 : 200;
    const double most = std::sqrt(total);                               // no element is above this
    const double least = std::sqrt(total / static_cast<double>(size));  // and the largest is not below that
    return most < power_of_two(bound) && least > power_of_two(-bound);  // false for NaN
}

/// X, or 2^-exponent X in memory of its own, with its sum of squares.
template <Scalar T, std::size_t N>
struct Ordinary {
    ConstTensorView<T, N> view;
    double total = 0.0;
    int exponent = 0;
    Tensor<T> copy = {};
};

/// X times 2^-exponent.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Ordinary<T, N> scaled_down(ConstTensorView<T, N> x, int exponent, Memory& memory)
{
    Ordinary<T, N> result{x, 0.0, exponent};
    if (exponent != 0) {
        result.copy = make_tensor<T>(memory, x.shape);
        linalg::detail::scale_to<S, T>(result.copy.matrix(), x.rows_by(N - 1), -exponent);
        result.view = std::as_const(result.copy).template view<N>();
    }
    return result;
}

/// X at ordinary size once its sum of squares is known (NaN, infinite or 0 where squares left the type). Throws
/// argument_error when X holds NaN or infinity; the usual case costs no pass of its own.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Ordinary<T, N> at_ordinary_size(ConstTensorView<T, N> x, double total, std::string_view who,
                                              Memory& memory)
{
    if (is_ordinary<T>(total, x.size())) {
        return {x, total};
    }
    if (!std::isfinite(total)) {
        linalg::require_finite<S, T>(x.rows_by(N - 1), who, "x");
    }
    const int exponent = scale_exponent<T>(S::largest(x.rows_by(N - 1)));
    if (exponent == 0) {
        return {x, total};
    }
    auto result = scaled_down<S, T, N>(x, exponent, memory);
    result.total = S::dot(result.view.rows_by(N - 1), result.view.rows_by(N - 1));
    return result;
}

/// X at ordinary size, with its sum of squares. Throws shape_error on an empty X, argument_error on NaN or infinity.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] Ordinary<T, N> at_ordinary_size(ConstTensorView<T, N> x, std::string_view who, Memory& memory)
{
    require<shape_error>(x.size() > 0, who, ": empty tensor ", shape_text(x.shape));
    return at_ordinary_size<S, T, N>(x, S::dot(x.rows_by(N - 1), x.rows_by(N - 1)), who, memory);
}

/// The core times 2^exponent. Throws argument_error where the type does not hold it: ||X|| is above its largest number.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
void back_to_size(Tucker<T, N>& result, int exponent, std::string_view who)
{
    if (exponent != 0) {
        linalg::detail::scale_to<S, T>(result.core.matrix(), std::as_const(result.core).matrix(), exponent);
        require<argument_error>(S::all_finite(std::as_const(result.core).matrix()), who,
                                ": the core of x is too large for the type; scale x");
    }
}

}  // namespace wasi::tensor::detail
