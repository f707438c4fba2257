#pragma once
#include <cstddef>
#include <span>

#include "wasi/core/precision.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi {

/// How a run of numbers is kept in fewer bits than a float has. Numbers are rounded to float first.
///
///   bfloat16, half    a code of 16 bits a number: its bits in that format
///   int8, int4        groups of `group` numbers that follow one another, the last perhaps smaller, each with two
///                     floats, its least number m and a step s = (largest - m) / L, L = 255 or 15; a code q, 0 <= q <=
///                     L, a number, which stands for m + q s. Error: at most s/2 rounded to nearest, less than s
///                     rounded at random. Two codes of 4 bits a byte, the first in the low half; a group begins with a
///                     new byte.
///   int8, symmetric   a group has one float, s = largest |w| / 127; a signed code q, -127 <= q <= 127, stands for q s.
///                     Error: at most s/2. Zero stays zero.
///
/// A group that holds NaN or infinity, or numbers further apart than the largest float, comes back as NaN: what went
/// wrong is not hidden.
struct Packing {
    Precision precision = Precision::int8;
    Index group = 256;
    bool symmetric = false;  ///< of int8 alone

    /// Whether codes are steps of a group, with scales beside them.
    [[nodiscard]] constexpr bool grouped() const
    {
        return precision == Precision::int8 || precision == Precision::int4;
    }
    /// Bytes of the codes of one group.
    [[nodiscard]] constexpr Index group_bytes() const { return precision == Precision::int4 ? (group + 1) / 2 : group; }
    /// L: the largest code there is.
    [[nodiscard]] constexpr int largest_code() const
    {
        return precision == Precision::int4 ? 15 : symmetric ? 127 : 255;
    }
    [[nodiscard]] constexpr Index scales_per_group() const { return symmetric ? 1 : 2; }

    /// Bytes of the codes of `count` numbers.
    [[nodiscard]] constexpr std::size_t code_bytes(Index count) const
    {
        const Index rest = count % group;
        const Index bytes =
            !grouped() ? 2 * count
                       : count / group * group_bytes() + (precision == Precision::int4 ? (rest + 1) / 2 : rest);
        return static_cast<std::size_t>(bytes);
    }
    /// Floats beside the codes of `count` numbers.
    [[nodiscard]] constexpr std::size_t scale_count(Index count) const
    {
        return static_cast<std::size_t>(grouped() ? (count + group - 1) / group * scales_per_group() : 0);
    }

    friend constexpr bool operator==(const Packing&, const Packing&) = default;
};

/// Packed numbers, from the first of a group on: a view.
struct PackedView {
    std::span<std::byte> codes;
    std::span<float> scales;
    Packing packing;
};
struct ConstPackedView {
    std::span<const std::byte> codes;
    std::span<const float> scales;
    Packing packing;
};

}  // namespace wasi
