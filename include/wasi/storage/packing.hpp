#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "wasi/core/precision.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi {

/// What the codes of a group stand for: see Packing.
enum class Codes : std::uint8_t { steps, symmetric, dynamic, dynamic_positive };

[[nodiscard]] constexpr std::string_view to_string(Codes codes) noexcept
{
    switch (codes) {
        case Codes::steps:
            return "steps";
        case Codes::symmetric:
            return "symmetric";
        case Codes::dynamic:
            return "dynamic";
        case Codes::dynamic_positive:
            return "dynamic_positive";
    }
    return "unknown";
}

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
///   int8, dynamic     a group has one float, a = largest |w|; a code stands for a times one of the 256 numbers of
///                     storage/dynamic_code.hpp, half of them between a/10 and a, a quarter in the decade below, and
///                     so on. Error: at most 0.0071 a for |w| >= a/10, 0.0015 a for |w| in the next decade; a fifth
///                     of that a decade further down. Below a/10^7 zero. For numbers of many magnitudes, such as an
///                     optimiser's moments. dynamic_positive: twice as many codes, none negative; what is negative
///                     becomes 0, and nothing else: what is positive is at least a/3,100,000.
///
/// A group that holds NaN or infinity, or numbers further apart than the largest float, comes back as NaN: what went
/// wrong is not hidden.
struct Packing {
    Precision precision = Precision::int8;
    Index group = 256;
    Codes codes = Codes::steps;  ///< others than steps of int8 alone

    /// Whether codes are steps of a group, with scales beside them.
    [[nodiscard]] constexpr bool grouped() const
    {
        return precision == Precision::int8 || precision == Precision::int4;
    }
    [[nodiscard]] constexpr bool dynamic() const
    {
        return codes == Codes::dynamic || codes == Codes::dynamic_positive;
    }
    /// Bytes of the codes of one group.
    [[nodiscard]] constexpr Index group_bytes() const { return precision == Precision::int4 ? (group + 1) / 2 : group; }
    /// L: the largest code there is.
    [[nodiscard]] constexpr int largest_code() const
    {
        return precision == Precision::int4 ? 15 : codes == Codes::symmetric ? 127 : 255;
    }
    [[nodiscard]] constexpr Index scales_per_group() const { return codes == Codes::steps ? 2 : 1; }

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
