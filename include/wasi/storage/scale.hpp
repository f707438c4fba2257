#pragma once
#include <algorithm>
#include <cmath>

#include "wasi/core/scalar.hpp"

namespace wasi {

/// The exponent e for which numbers up to `largest`, times 2^-e, can be multiplied, squared and summed without leaving
/// the type: 0 for ordinary sizes, which then keep their bits, else what brings `largest` to [1/2, 1). Scaling by a
/// power of two rounds nothing, so that algorithms which begin with it answer alike at every size that the type holds.
/// Ordinary: within 2^30 of 1 in float, 2^200 in double. |e| is at most 126 in float, 1022 in double, so that 2^e and
/// 2^-e are ordinary numbers too.
template <Scalar T>
[[nodiscard]] int scale_exponent(double largest)
{
    constexpr int ordinary = sizeof(T) < sizeof(double) ? 30 : 200;
    constexpr int most = sizeof(T) < sizeof(double) ? 126 : 1022;
    if (!(largest > 0.0) || !std::isfinite(largest)) {
        return 0;
    }
    int exponent = 0;
    static_cast<void>(std::frexp(largest, &exponent));
    return exponent >= -ordinary && exponent <= ordinary ? 0 : std::clamp(exponent, -most, most);
}

/// 2^exponent.
[[nodiscard]] inline double power_of_two(int exponent)
{
    return std::ldexp(1.0, exponent);
}

}  // namespace wasi
