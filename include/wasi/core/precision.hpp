#pragma once
#include <cstdint>
#include <string_view>

#include "wasi/core/language.hpp"

namespace wasi {

/// In which format numbers are kept that are read again later: as they are, or rounded to 16 bits (to nearest, ties to
/// even). bfloat16 has the range of a float and 8 significant bits, half (IEEE 754 binary16) 11 and nothing above
/// 65504.
enum class Precision : std::uint8_t { full, bfloat16, half };

[[nodiscard]] constexpr std::string_view to_string(Precision precision) noexcept
{
    switch (precision) {
        case Precision::full:
            return "full";
        case Precision::bfloat16:
            return "bfloat16";
        case Precision::half:
            return "half";
    }
    return "unknown";
}

}  // namespace wasi
