#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/storage/packing.hpp"

/// 16-bit floating-point numbers by arithmetic alone, from their definition (IEEE 754): sign, exponent, mantissa; and
/// numbers of 8 and 4 bits, one at a time.
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

using wasi::Index;

/// 0, 1 and the middles of parts of [0.1, 1], of [0.01, 0.1] and so on: twice as many parts from decade to decade.
[[nodiscard]] inline std::vector<double> dynamic_numbers(bool positive)
{
    std::vector<double> numbers{0.0, 1.0};
    int parts = positive ? 128 : 64;
    for (double top = 1.0; parts >= (positive ? 2 : 1); top /= 10.0, parts /= 2) {
        for (int part = 0; part < parts; ++part) {
            const double width = (top - top / 10.0) / parts;
            const double middle = top / 10.0 + width * part + width / 2.0;
            numbers.push_back(middle);
            if (!positive) {
                numbers.push_back(-middle);
            }
        }
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}
/// The place of the number nearest to `share`, by looking at all.
[[nodiscard]] inline int nearest_of(const std::vector<double>& numbers, double share)
{
    const auto nearer = [&](double a, double b) { return std::abs(a - share) < std::abs(b - share); };
    return static_cast<int>(std::min_element(numbers.begin(), numbers.end(), nearer) - numbers.begin());
}

/// The number of this place of a run of packed ones.
[[nodiscard]] inline double unpacked_number(const wasi::ConstPackedView& from, Index place)
{
    const auto byte = [&](Index at) { return std::to_integer<int>(from.codes[static_cast<std::size_t>(at)]); };
    const wasi::Packing& packing = from.packing;
    if (!packing.grouped()) {
        return from_16_bits(static_cast<std::uint16_t>(byte(2 * place) | byte(2 * place + 1) << 8), packing.precision);
    }
    const Index group = place / packing.group;
    const Index within = place % packing.group;
    const float* scales = from.scales.data() + group * packing.scales_per_group();
    const Index begin = group * packing.group_bytes();
    if (packing.dynamic()) {
        const auto table = dynamic_numbers(packing.codes == wasi::Codes::dynamic_positive);
        return static_cast<double>(scales[0]) * table[static_cast<std::size_t>(byte(begin + within))];
    }
    if (packing.codes == wasi::Codes::symmetric) {
        const int code = byte(begin + within);
        return static_cast<double>(scales[0]) * (code < 128 ? code : code - 256);
    }
    const int both = byte(begin + (packing.precision == wasi::Precision::int4 ? within / 2 : within));
    const int code = packing.precision == wasi::Precision::int8 ? both : within % 2 == 0 ? both % 16 : both / 16;
    return static_cast<double>(scales[0]) + code * static_cast<double>(scales[1]);
}

/// Groups by their definition, in double. `key`: rounds up by chance.
inline void pack_numbers(const wasi::PackedView& to, const std::vector<double>& numbers,
                         const std::optional<wasi::RandomKey>& key)
{
    const wasi::Packing& packing = to.packing;
    const auto put = [&](Index at, int byte) { to.codes[static_cast<std::size_t>(at)] = static_cast<std::byte>(byte); };
    const auto count = static_cast<Index>(numbers.size());
    if (!packing.grouped()) {
        for (Index i = 0; i < count; ++i) {
            const int bits = to_16_bits(numbers[static_cast<std::size_t>(i)], packing.precision);
            put(2 * i, bits % 256);
            put(2 * i + 1, bits / 256);
        }
        return;
    }
    std::fill(to.codes.begin(), to.codes.end(), std::byte{});
    for (Index group = 0; group * packing.group < count; ++group) {
        const Index first = group * packing.group;
        const Index last = std::min(first + packing.group, count);
        float least = static_cast<float>(numbers[static_cast<std::size_t>(first)]);
        float most = least;
        bool finite = true;
        for (Index i = first; i < last; ++i) {
            const auto value = static_cast<float>(numbers[static_cast<std::size_t>(i)]);
            finite = finite && std::isfinite(value);
            least = std::min(least, value);
            most = std::max(most, value);
        }
        finite = finite && std::isfinite(most - least);
        const float nothing = std::numeric_limits<float>::quiet_NaN();
        float* scales = to.scales.data() + group * packing.scales_per_group();
        const auto levels = static_cast<float>(packing.largest_code());
        if (packing.dynamic()) {
            const auto table = dynamic_numbers(packing.codes == wasi::Codes::dynamic_positive);
            const double largest = packing.codes == wasi::Codes::dynamic
                                       ? std::max(std::abs(static_cast<double>(least)), static_cast<double>(most))
                                       : std::max(static_cast<double>(most), 0.0);
            scales[0] = finite ? static_cast<float>(largest) : nothing;
            for (Index i = first; i < last && finite; ++i) {
                const auto number = static_cast<double>(static_cast<float>(numbers[static_cast<std::size_t>(i)]));
                const double share = largest > 0.0 ? number / largest : 0.0;
                const bool up = packing.codes == wasi::Codes::dynamic_positive && share > 0.0;  // never to 0
                put(group * packing.group + i - first, std::max(nearest_of(table, share), up ? 1 : 0));
            }
            continue;
        }
        const float step =
            packing.codes == wasi::Codes::symmetric ? std::max(std::abs(least), std::abs(most)) / levels : (most - least) / levels;
        scales[packing.codes == wasi::Codes::symmetric ? 0 : 1] = finite ? step : nothing;
        if (packing.codes == wasi::Codes::steps) {
            scales[0] = finite ? least : nothing;
        }
        for (Index i = first; i < last && finite && step >= std::numeric_limits<float>::min(); ++i) {
            const double value = static_cast<float>(numbers[static_cast<std::size_t>(i)]);
            const double steps =
                (value - (packing.codes == wasi::Codes::symmetric ? 0.0 : static_cast<double>(least))) / static_cast<double>(step);
            const double chance = key ? key->uniform(static_cast<std::uint64_t>(i)) : 0.5;
            const int code = std::min(static_cast<int>(std::floor(steps + chance)), packing.largest_code());
            const Index begin = group * packing.group_bytes();
            if (packing.precision == wasi::Precision::int8) {
                put(begin + i - first, code & 255);
            } else {
                const Index at = begin + (i - first) / 2;
                const int before = std::to_integer<int>(to.codes[static_cast<std::size_t>(at)]);
                put(at, (i - first) % 2 == 0 ? code : before + 16 * code);
            }
        }
    }
}

}  // namespace wasi_tests::naive
