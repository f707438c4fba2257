#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "wasi/pictures/picture.hpp"

namespace wasi::pictures {

/// The picture as it is to be looked at, by its EXIF orientation of 1 to 8: mirrored for even numbers up to 4 and odd
/// ones from 5, with width and height exchanged from 5. Cost: a copy, unless it is upright.
/// Source: Exif 2.3 (CIPA DC-008), tag 0x0112. Throws argument_error for another number.
[[nodiscard]] inline Picture oriented(Picture picture, int orientation)
{
    require<argument_error>(orientation >= 1 && orientation <= 8, "oriented: ", orientation,
                            " is no orientation of 1 to 8");
    if (orientation == 1) {
        return picture;
    }
    const bool turned = orientation >= 5;
    const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const auto [width, height] = picture.size();
    Picture result(turned ? Size{height, width} : Size{width, height});
    const auto source_row = [&, rows = height](Index y) { return picture.row(from_below ? rows - 1 - y : y); };
    if (!turned) {
        for (Index y = 0; y < height; ++y) {
            const std::uint8_t* from = source_row(y);
            std::uint8_t* to = result.row(y);
            if (!from_right) {
                std::memcpy(to, from, static_cast<std::size_t>(3 * width));
                continue;
            }
            for (Index x = 0; x < width; ++x) {
                std::memcpy(to + 3 * x, from + 3 * (width - 1 - x), 3);
            }
        }
        return result;
    }
    // Tiles, so that neither side runs through memory column by column.
    constexpr Index tile = 32;
    for (Index top = 0; top < width; top += tile) {
        for (Index left = 0; left < height; left += tile) {
            for (Index y = top; y < std::min(top + tile, width); ++y) {
                const Index column = from_right ? width - 1 - y : y;
                std::uint8_t* to = result.row(y) + 3 * left;
                for (Index x = left; x < std::min(left + tile, height); ++x, to += 3) {
                    std::memcpy(to, source_row(x) + 3 * column, 3);
                }
            }
        }
    }
    return result;
}

}  // namespace wasi::pictures
