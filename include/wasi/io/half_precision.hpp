#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

#include "wasi/core/language.hpp"

/// Bits of the two 16-bit floating-point formats, for which C++20 has no type.
namespace wasi::io::detail {

enum class HalfBits : std::uint16_t {};
enum class BrainBits : std::uint16_t {};

/// The value of an IEEE 754 binary16 number, exactly: 1 sign, 5 exponent (bias 15) and 10 mantissa bits.
[[nodiscard]] inline float to_float(HalfBits half) noexcept
{
    const auto bits = static_cast<std::uint32_t>(half);
    const std::uint32_t sign = (bits & 0x8000U) << 16U;
    const std::uint32_t exponent = (bits >> 10U) & 0x1fU;
    const std::uint32_t mantissa = bits & 0x3ffU;
    if (exponent == 0) {  // zero and subnormals: mantissa 2^-24, which a float holds as a normal number
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
        return sign != 0 ? -magnitude : magnitude;
    }
    // The bias of a float is 127; infinity and NaN have the largest exponent of either format.
    const std::uint32_t wide_exponent = exponent == 0x1fU ? 0xffU : exponent + (127U - 15U);
    return std::bit_cast<float>(sign | (wide_exponent << 23U) | (mantissa << 13U));
}

/// The value of a bfloat16 number, exactly: the upper half of a float.
[[nodiscard]] inline float to_float(BrainBits brain) noexcept
{
    return std::bit_cast<float>(static_cast<std::uint32_t>(brain) << 16U);
}

/// The nearest of two neighbours at distance 2^bits below, the even one of two that are as near.
[[nodiscard]] inline std::uint32_t rounded_down(std::uint32_t value, std::uint32_t bits) noexcept
{
    const std::uint32_t half = 1U << (bits - 1U);
    const std::uint32_t odd = (value >> bits) & 1U;
    return (value + (half - 1U) + odd) >> bits;
}

/// The nearest binary16 number, to even; infinity from 65520 on; NaN stays NaN.
[[nodiscard]] inline HalfBits to_half(float value) noexcept
{
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16U) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) {  // NaN
        return static_cast<HalfBits>(sign | 0x7e00U);
    }
    if (magnitude >= 0x477ff000U) {  // 65520, half way between the largest number and what would be the next
        return static_cast<HalfBits>(sign | 0x7c00U);
    }
    if (magnitude >= 0x38800000U) {  // 2^-14, the least normal number; a carry from the mantissa is right, too
        return static_cast<HalfBits>(sign | (rounded_down(magnitude, 13U) - ((127U - 15U) << 10U)));
    }
    if (magnitude < 0x33000000U) {  // below half of 2^-24, the least number
        return static_cast<HalfBits>(sign);
    }
    const std::uint32_t exponent = magnitude >> 23U;  // 102 to 112
    const std::uint32_t mantissa = (magnitude & 0x7fffffU) | 0x800000U;
    return static_cast<HalfBits>(sign | rounded_down(mantissa, 126U - exponent));
}

/// The nearest bfloat16 number, to even; infinity where that overflows; NaN stays NaN.
[[nodiscard]] inline BrainBits to_brain(float value) noexcept
{
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) {
        return static_cast<BrainBits>((bits >> 16U) | 0x40U);
    }
    return static_cast<BrainBits>(rounded_down(bits, 16U));
}

/// One stored element as the type that was asked for.
template <class T, class Stored>
[[nodiscard]] T converted(Stored value) noexcept
{
    if constexpr (std::is_enum_v<Stored>) {
        return static_cast<T>(to_float(value));
    } else {
        return static_cast<T>(value);
    }
}

}  // namespace wasi::io::detail
