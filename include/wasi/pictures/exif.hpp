#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "wasi/core/language.hpp"

namespace wasi::pictures {

/// The orientation, 1 to 8, that a block of EXIF data (a TIFF header and its first directory) gives; 1, upright, where
/// it gives none or makes no sense: many cameras and programs write such blocks wrongly, and the picture is fine.
/// Source: Exif 2.3 (CIPA DC-008), tag 0x0112; TIFF 6.0 for the layout. Cost: the entries of one directory.
[[nodiscard]] inline int exif_orientation(std::span<const std::uint8_t> block) noexcept
{
    constexpr int upright = 1;
    constexpr std::size_t header = 8;
    constexpr std::size_t entry = 12;
    if (block.size() < header) {
        return upright;
    }
    const bool little = block[0] == 'I' && block[1] == 'I';
    if (!little && !(block[0] == 'M' && block[1] == 'M')) {
        return upright;
    }
    // `bytes` of them at `at`, which is inside.
    const auto number = [&](std::size_t at, std::size_t bytes) {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) {
            value = value << 8U | block[at + (little ? bytes - 1 - i : i)];
        }
        return value;
    };
    const std::size_t directory = number(4, 4);
    if (number(2, 2) != 42 || directory > block.size() - 2) {
        return upright;
    }
    const std::size_t count = number(directory, 2);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = directory + 2 + i * entry;
        if (at + entry > block.size()) {
            break;
        }
        constexpr std::uint32_t orientation = 0x0112;
        constexpr std::uint32_t short_type = 3;
        if (number(at, 2) == orientation && number(at + 2, 2) == short_type && number(at + 4, 4) >= 1) {
            const std::uint32_t value = number(at + 8, 2);
            return value >= 1 && value <= 8 ? static_cast<int>(value) : upright;
        }
    }
    return upright;
}

}  // namespace wasi::pictures
