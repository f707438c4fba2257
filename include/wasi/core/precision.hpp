#pragma once
#include <cstdint>
#include <string_view>

#include "wasi/core/language.hpp"

namespace wasi {

/// In which format numbers are kept that are read again later: as they are; rounded to 16 bits (to nearest, ties to
/// even); or in 8 or 4 bits, as steps from the least number of a group (storage/packing.hpp). bfloat16 has the range of
/// a float and 8 significant bits, half (IEEE 754 binary16) 11 and nothing above 65504.
enum class Precision : std::uint8_t { full, bfloat16, half, int8, int4 };

[[nodiscard]] constexpr std::string_view to_string(Precision precision) noexcept
{
    switch (precision) {
        case Precision::full:
            return "full";
        case Precision::bfloat16:
            return "bfloat16";
        case Precision::half:
            return "half";
        case Precision::int8:
            return "int8";
        case Precision::int4:
            return "int4";
    }
    return "unknown";
}

/// How numbers are rounded to 8 or 4 bits: to the nearest step, or at random to one of the two neighbours so that the
/// mean is the number itself.
enum class Rounding : std::uint8_t { nearest, stochastic };

[[nodiscard]] constexpr std::string_view to_string(Rounding rounding) noexcept
{
    return rounding == Rounding::nearest ? "nearest" : "stochastic";
}

}  // namespace wasi
