#pragma once
#include <concepts>
#include <cstddef>
#include <limits>

#include "wasi/core/language.hpp"

namespace wasi {

/// Every size and index in the library: signed, so that differences and reversed loops are safe.
using Index = std::ptrdiff_t;

/// The arithmetic types that algorithms are written for.
template <class T>
concept Scalar = std::same_as<T, float> || std::same_as<T, double>;

/// Unit roundoff of a scalar type, u = 2^-24 (float) or 2^-53 (double), times two: the gap after 1.
template <Scalar T>
inline constexpr T epsilon = std::numeric_limits<T>::epsilon();

}  // namespace wasi
