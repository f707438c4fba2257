#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/storage/dynamic_code.hpp"
#include "wasi/storage/eigen/elementwise.hpp"
#include "wasi/storage/packing.hpp"

/// Numbers in 16, 8 or 4 bits: see storage/packing.hpp. Those in 16 bits by Eigen's own types for them.
namespace wasi::eigen {

static_assert(sizeof(Eigen::half) == sizeof(std::uint16_t) && sizeof(Eigen::bfloat16) == sizeof(std::uint16_t));

/// body(numbers) with `count` codes of 16 bits seen as an array of the precision's type.
template <class Byte, class Body>
void with_packed_map(Byte* codes, Index count, Precision precision, Body&& body)
{
    const auto see = [&]<class Number>() {
        using Array = Eigen::Array<Number, 1, Eigen::Dynamic>;
        if constexpr (std::is_const_v<Byte>) {
            body(Eigen::Map<const Array>(reinterpret_cast<const Number*>(codes), count));
        } else {
            body(Eigen::Map<Array>(reinterpret_cast<Number*>(codes), count));
        }
    };
    if (precision == Precision::half) {
        see.template operator()<Eigen::half>();
    } else {
        see.template operator()<Eigen::bfloat16>();
    }
}

/// Places in [0, 1) for rounding at random, one of 2^16, which is what a float at 255 can tell apart: a function of the
/// key and the place of the number.
class RandomOffsets {
public:
    RandomOffsets(RandomKey key, Index place) : key_(key), place_(place), words_(words_of(place)) {}

    [[nodiscard]] float next()
    {
        const Index lane = place_ % per_draw;
        if (lane == 0) {
            words_ = words_of(place_);
        }
        ++place_;
        const std::uint32_t word = words_[static_cast<std::size_t>(lane / 2)];
        const std::uint32_t bits = lane % 2 == 0 ? word & 0xffffU : word >> 16U;
        return (static_cast<float>(bits) + 0.5F) * 0x1p-16F;
    }

private:
    static constexpr Index per_draw = 8;
    [[nodiscard]] std::array<std::uint32_t, 4> words_of(Index place) const
    {
        return key_.words(static_cast<std::uint64_t>(place / per_draw));
    }

    RandomKey key_;
    Index place_;
    std::array<std::uint32_t, 4> words_;
};

/// The least and the largest of some numbers as floats; NaN where one of them is not finite or they lie too far apart.
template <Scalar T>
[[nodiscard]] std::pair<float, float> ends_of(const T* x, Index count)
{
    const Eigen::Map<const Eigen::Array<T, 1, Eigen::Dynamic>> numbers(x, count);
    const auto least = static_cast<float>(numbers.minCoeff());
    const auto largest = static_cast<float>(numbers.maxCoeff());
    // 0 of finite numbers alone: a NaN may get lost among the least and the largest.
    if ((numbers * T(0)).sum() == T(0) && largest - least <= std::numeric_limits<float>::max()) {
        return {least, largest};
    }
    return {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
}

/// 1 / step, or 0 where that would not be finite: all codes are then 0.
[[nodiscard]] inline float inverse_of(float step)
{
    return step >= std::numeric_limits<float>::min() ? 1.0F / step : 0.0F;
}

/// put(i, code) for the numbers of one group: the whole part of steps from `low` and offset(), at most L.
template <Scalar T, class Offset, class Put>
void quantise(const T* x, Index count, float low, float inverse, int largest, Offset&& offset, const Put& put)
{
    const auto most = static_cast<float>(largest);
    for (Index i = 0; i < count; ++i) {
        const float steps = std::min((static_cast<float>(x[i]) - low) * inverse, most) + offset();
        put(i, static_cast<std::uint8_t>(static_cast<int>(std::min(steps, most + 0.5F))));
    }
}

/// The codes of one group, each the nearest of 256 numbers times the group's largest.
template <Scalar T>
void pack_dynamic_group(std::byte* codes, float* scales, const T* x, Index count, Codes kind)
{
    const auto [lowest, most] = ends_of(x, count);
    if (std::isnan(lowest)) {
        std::fill_n(codes, count, std::byte{});
        scales[0] = lowest;
        return;
    }
    const float largest = kind == Codes::dynamic ? std::max(-lowest, most) : std::max(most, 0.0F);
    scales[0] = largest;
    const float by = largest > 0.0F ? largest : 1.0F;  // all are 0
    const DynamicCode& code = DynamicCode::of(kind);
    for (Index i = 0; i < count; ++i) {
        const auto number = static_cast<float>(x[i]);
        // What is not 0 stays so, whatever it is divided by.
        const float least = number > 0.0F ? std::numeric_limits<float>::min() : -1.0F;
        codes[i] = static_cast<std::byte>(code.nearest(std::max(number / by, least)));
    }
}

/// The codes of one group by steps of its own; `place` is that of its first number among all.
template <Scalar T>
void pack_group(std::byte* codes, float* scales, const T* x, Index count, Index place, const Packing& packing,
                const std::optional<RandomKey>& key)
{
    const std::pair<float, float> ends = ends_of(x, count);
    const float least = ends.first;
    const float most = ends.second;
    const bool lost = std::isnan(least);
    const auto largest = static_cast<float>(packing.largest_code());
    const float step = packing.codes == Codes::symmetric ? std::max(-least, most) / largest : (most - least) / largest;
    const float inverse = lost ? 0.0F : inverse_of(step);
    scales[0] = packing.codes == Codes::symmetric ? step : least;
    if (lost) {
        std::fill_n(codes, packing.code_bytes(count), std::byte{});
    }
    if (packing.codes == Codes::steps) {
        scales[1] = inverse > 0.0F || lost ? step : 0.0F;
    }
    if (lost) {
        return;
    }
    const auto with_offsets = [&](const auto& put) {
        if (key) {
            RandomOffsets offsets(*key, place);
            quantise(
                x, count, least, inverse, packing.largest_code(), [&] { return offsets.next(); }, put);
        } else {
            quantise(
                x, count, least, inverse, packing.largest_code(), [] { return 0.5F; }, put);
        }
    };
    if (packing.codes == Codes::symmetric) {
        for (Index i = 0; i < count; ++i) {  // 128: what is cut is above zero
            const int code = static_cast<int>(static_cast<float>(x[i]) * inverse + 128.5F) - 128;
            codes[i] = static_cast<std::byte>(static_cast<std::int8_t>(code));
        }
    } else if (packing.precision == Precision::int8) {
        with_offsets([&](Index i, std::uint8_t code) { codes[i] = static_cast<std::byte>(code); });
    } else {
        with_offsets([&](Index i, std::uint8_t code) {
            const auto byte = static_cast<std::byte>(code);
            codes[i / 2] = i % 2 == 0 ? byte : codes[i / 2] | byte << 4;
        });
    }
}

/// The numbers of one group.
template <Scalar T>
void unpack_group(T* y, const std::byte* codes, const float* scales, Index count, const Packing& packing)
{
    if (packing.codes == Codes::symmetric) {
        const float step = scales[0];
        for (Index i = 0; i < count; ++i) {
            y[i] = static_cast<T>(static_cast<float>(static_cast<std::int8_t>(codes[i])) * step);
        }
        return;
    }
    if (packing.dynamic()) {
        const DynamicCode& code = DynamicCode::of(packing.codes);
        for (Index i = 0; i < count; ++i) {
            y[i] = static_cast<T>(code.number(std::to_integer<std::uint8_t>(codes[i])) * scales[0]);
        }
        return;
    }
    const float least = scales[0];
    const float step = scales[1];
    const auto number = [&](int code) { return static_cast<T>(least + static_cast<float>(code) * step); };
    if (packing.precision == Precision::int8) {
        for (Index i = 0; i < count; ++i) {
            y[i] = number(static_cast<std::uint8_t>(codes[i]));
        }
        return;
    }
    for (Index pair = 0; pair < count / 2; ++pair) {
        const auto both = static_cast<std::uint8_t>(codes[pair]);
        y[2 * pair] = number(both & 15);
        y[2 * pair + 1] = number(both >> 4);
    }
    if (count % 2 != 0) {
        y[count - 1] = number(static_cast<std::uint8_t>(codes[count / 2]) & 15);
    }
}

/// body(first number, how many, its codes, its scales) for each group of a run, threaded over runs of groups.
template <class View, class Body>
void for_groups(const View& packed, Index count, const Body& body)
{
    const Packing& packing = packed.packing;
    const Index groups = (count + packing.group - 1) / packing.group;
    for_row_pieces(groups, packing.group, [&](Index first, Index many, Index) {
        for (Index group = first; group < first + many; ++group) {
            const Index place = group * packing.group;
            body(place, std::min(packing.group, count - place), packed.codes.data() + group * packing.group_bytes(),
                 packed.scales.data() + group * packing.scales_per_group());
        }
    });
}

/// to = from rounded, row by row.
template <Scalar T>
void pack(PackedView to, ConstMatrixView<T> from, std::optional<RandomKey> key)
{
    const Packing& packing = to.packing;
    if (packing.grouped()) {
        for_groups(to, from.size(), [&](Index place, Index count, std::byte* codes, float* scales) {
            if (packing.dynamic()) {
                pack_dynamic_group(codes, scales, from.data + place, count, packing.codes);
                return;
            }
            pack_group(codes, scales, from.data + place, count, place, packing, key);
        });
        return;
    }
    for_row_pieces(from.rows, from.cols, [&](Index first, Index count, Index) {
        const Index begin = first * from.cols;
        const Eigen::Map<const Eigen::Array<T, 1, Eigen::Dynamic>> numbers(from.data + begin, count * from.cols);
        with_packed_map(to.codes.data() + 2 * begin, count * from.cols, packing.precision, [&](auto packed) {
            packed = numbers.template cast<float>().template cast<typename decltype(packed)::Scalar>();
        });
    });
}

/// to = from in full, row by row.
template <Scalar T>
void unpack(MatrixView<T> to, ConstPackedView from)
{
    const Packing& packing = from.packing;
    if (packing.grouped()) {
        for_groups(from, to.size(), [&](Index place, Index count, const std::byte* codes, const float* scales) {
            unpack_group(to.data + place, codes, scales, count, packing);
        });
        return;
    }
    for_row_pieces(to.rows, to.cols, [&](Index first, Index count, Index) {
        const Index begin = first * to.cols;
        Eigen::Map<Eigen::Array<T, 1, Eigen::Dynamic>> numbers(to.data + begin, count * to.cols);
        with_packed_map(from.codes.data() + 2 * begin, count * to.cols, packing.precision,
                        [&](auto packed) { numbers = packed.template cast<float>().template cast<T>(); });
    });
}

}  // namespace wasi::eigen
