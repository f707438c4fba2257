#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "wasi/core/precision.hpp"

/// 16-bit floating-point numbers by arithmetic alone, from their definition (IEEE 754): sign, exponent, mantissa.
namespace wasi_tests::naive {

struct Format {
    int mantissa_bits;  ///< stored ones, without the leading 1
    int exponent_bits;
    [[nodiscard]] int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    [[nodiscard]] unsigned infinity() const { return ((1U << exponent_bits) - 1U) << mantissa_bits; }
};

[[nodiscard]] inline Format format_of(wasi::Precision precision)
{
    return precision == wasi::Precision::half ? Format{10, 5} : Format{7, 8};
}

[[nodiscard]] inline double from_16_bits(std::uint16_t bits, wasi::Precision precision)
{
    const Format format = format_of(precision);
    const int exponent = (bits >> format.mantissa_bits) & ((1 << format.exponent_bits) - 1);
    const int mantissa = bits & ((1 << format.mantissa_bits) - 1);
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << format.exponent_bits) - 1) {
        return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                             : std::numeric_limits<double>::quiet_NaN();
    }
    const int whole = exponent == 0 ? mantissa : mantissa + (1 << format.mantissa_bits);
    return sign * std::ldexp(whole, std::max(exponent, 1) - format.bias() - format.mantissa_bits);
}

/// To nearest, ties to even; beyond the largest number, infinity.
[[nodiscard]] inline std::uint16_t to_16_bits(double value, wasi::Precision precision)
{
    const Format format = format_of(precision);
    const unsigned sign = std::signbit(value) ? 0x8000U : 0U;
    if (std::isnan(value)) {
        return static_cast<std::uint16_t>(sign | format.infinity() | (1U << (format.mantissa_bits - 1)));
    }
    if (std::isinf(value)) {
        return static_cast<std::uint16_t>(sign | format.infinity());
    }
    const int least = 1 - format.bias();  // exponent of the smallest normal number
    const int exponent = value == 0.0 ? least : std::max(std::ilogb(value), least);
    // Counted in units of the last place at that exponent; a carry into the next binade is what addition does anyway.
    const double units = std::nearbyint(std::ldexp(std::abs(value), format.mantissa_bits - exponent));
    const unsigned biased = static_cast<unsigned>(exponent - least) << format.mantissa_bits;
    const unsigned magnitude = biased + static_cast<unsigned>(units);
    return static_cast<std::uint16_t>(sign | std::min(magnitude, format.infinity()));
}

}  // namespace wasi_tests::naive
