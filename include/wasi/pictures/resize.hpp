#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <Eigen/Core>

#include "wasi/data/interpolation.hpp"
#include "wasi/pictures/picture.hpp"

namespace wasi::pictures {

using data::Interpolation;

namespace detail {

/// Weights are whole numbers of 2^-22: a sum of 8-bit values times weights, whose sizes add up to less than 2, fits.
inline constexpr int weight_bits = 22;

/// The kernel at x: a triangle, or Keys's cubic with a = -1/2.
[[nodiscard]] inline double kernel(Interpolation how, double x)
{
    x = std::abs(x);
    if (how == Interpolation::bilinear) {
        return x < 1.0 ? 1.0 - x : 0.0;
    }
    return data::keys_cubic(x, -0.5);
}

/// Which elements of a line go into each element of the resized one, and how much of each.
struct Taps {
    struct Run {
        Index first = 0;  ///< in the line
        Index count = 0;
        std::size_t weights = 0;  ///< where they begin
    };
    std::vector<Run> runs;
    std::vector<std::int32_t> weights;
};

/// Of the elements first .. first+count-1 of a line of `from` elements that is resized to `to`.
[[nodiscard]] inline Taps taps_of(Index from, Index to, Index first, Index count, Interpolation how)
{
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    const double stretch = std::max(scale, 1.0);  // of the kernel where the line shrinks: antialiasing
    const double support = (how == Interpolation::bilinear ? 1.0 : 2.0) * stretch;
    Taps taps;
    std::vector<double> exact;
    for (Index i = first; i < first + count; ++i) {
        const double centre = (static_cast<double>(i) + 0.5) * scale;
        const Index begin = std::max<Index>(static_cast<Index>(std::floor(centre - support + 0.5)), 0);
        const Index end = std::min<Index>(static_cast<Index>(std::floor(centre + support + 0.5)), from);
        exact.clear();
        double sum = 0.0;
        for (Index x = begin; x < end; ++x) {
            exact.push_back(kernel(how, (static_cast<double>(x) - centre + 0.5) * (1.0 / stretch)));
            sum += exact.back();
        }
        taps.runs.push_back({begin, end - begin, taps.weights.size()});
        for (const double weight : exact) {
            const double scaled = (sum != 0.0 ? weight / sum : weight) * (1 << weight_bits);
            taps.weights.push_back(static_cast<std::int32_t>(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5));
        }
    }
    return taps;
}

inline constexpr std::int32_t one_half = std::int32_t{1} << (weight_bits - 1);

[[nodiscard]] inline std::uint8_t rounded(std::int32_t sum)
{
    return static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
}

/// Rows of `from` to rows of the width that `taps` has. Two rows at once, four lanes for the colours of each.
[[nodiscard]] inline Picture resize_rows(PictureView from, const Taps& taps)
{
    using Lanes = Eigen::Array<std::int32_t, 8, 1>;
    Picture result({static_cast<Index>(taps.runs.size()), from.size.height});
    std::vector<Lanes, Eigen::aligned_allocator<Lanes>> wide(static_cast<std::size_t>(from.size.width));
    for (Index y = 0; y < from.size.height; y += 2) {
        const Index second = std::min(y + 1, from.size.height - 1);
        const std::uint8_t* above = from.row(y);
        const std::uint8_t* below = from.row(second);
        for (Lanes& pixel : wide) {
            pixel << above[0], above[1], above[2], 0, below[0], below[1], below[2], 0;
            above += 3;
            below += 3;
        }
        std::uint8_t* to_above = result.row(y);
        std::uint8_t* to_below = result.row(second);
        for (const Taps::Run& run : taps.runs) {
            Lanes sum = Lanes::Constant(one_half);
            const std::int32_t* weight = taps.weights.data() + run.weights;
            const Lanes* pixel = wide.data() + run.first;
            for (Index i = 0; i < run.count; ++i) {
                sum += pixel[i] * weight[i];
            }
            for (Index c = 0; c < 3; ++c) {
                *to_above++ = rounded(sum[c]);
                *to_below++ = rounded(sum[c + 4]);
            }
        }
    }
    return result;
}

/// The same downwards.
[[nodiscard]] inline Picture resize_columns(PictureView from, const Taps& taps)
{
    Picture result({from.size.width, static_cast<Index>(taps.runs.size())});
    const Index values = 3 * from.size.width;
    std::vector<std::int32_t> sums(static_cast<std::size_t>(values));
    for (std::size_t y = 0; y < taps.runs.size(); ++y) {
        const Taps::Run& run = taps.runs[y];
        std::fill(sums.begin(), sums.end(), one_half);
        for (Index i = 0; i < run.count; ++i) {
            const std::int32_t weight = taps.weights[run.weights + static_cast<std::size_t>(i)];
            const std::uint8_t* row = from.row(run.first + i);
            std::int32_t* sum = sums.data();
            for (Index x = 0; x < values; ++x) {
                sum[x] += weight * row[x];
            }
        }
        std::uint8_t* to = result.row(static_cast<Index>(y));
        for (Index x = 0; x < values; ++x) {
            to[x] = rounded(sums[static_cast<std::size_t>(x)]);
        }
    }
    return result;
}

}  // namespace detail

/// The part (x, y, part.width, part.height) of the picture that comes from resizing `from` to `whole`; what lies
/// outside the part is not computed. In each direction
///
///     out[i] = sum_x k((x + 1/2 - (i + 1/2) s) / max(s, 1)) in[x] / (the sum of those weights),   s = from / to,
///
/// with k a triangle (bilinear) or Keys's cubic with a = -1/2 (bicubic): the kernel widens with the shrinking, which is
/// what keeps fine patterns from aliasing. First along rows, then along columns (the other way round where the picture
/// grows wider and shrinks in height), in weights of 22 bits, rounded to 8 bits after each: what the resize of Pillow
/// 13 gives, bit for bit. Whole numbers from the weights on. Cost: from.height x from.width x 3 x (2 or 4) products
/// when it shrinks; from.height x part.width x 3 bytes beside the result. Throws argument_error for an empty picture or
/// a part outside.
[[nodiscard]] inline Picture resize_part(PictureView from, Size whole, Index x, Index y, Size part, Interpolation how)
{
    require<argument_error>(from.size.width >= 1 && from.size.height >= 1 && part.width >= 1 && part.height >= 1,
                            "resize: from ", from.size.width, " x ", from.size.height, " to ", part.width, " x ",
                            part.height, " pixels");
    require<argument_error>(x >= 0 && y >= 0 && x <= whole.width - part.width && y <= whole.height - part.height,
                            "resize: ", part.width, " x ", part.height, " pixels at (", x, ", ", y, ") of ",
                            whole.width, " x ", whole.height);
    detail::Taps down = detail::taps_of(from.size.height, whole.height, y, part.height, how);
    const detail::Taps along = detail::taps_of(from.size.width, whole.width, x, part.width, how);
    if (whole.width > from.size.width && whole.height < from.size.height) {
        return detail::resize_rows(detail::resize_columns(from, down).view(), along);
    }
    // Only the rows that are asked for below.
    const Index top = down.runs.front().first;
    const Index bottom = down.runs.back().first + down.runs.back().count;
    const Picture rows = detail::resize_rows(from.part(0, top, {from.size.width, bottom - top}), along);
    for (auto& run : down.runs) {
        run.first -= top;
    }
    return detail::resize_columns(rows.view(), down);
}

/// The whole of it.
[[nodiscard]] inline Picture resize(PictureView from, Size to, Interpolation how)
{
    return resize_part(from, to, 0, 0, to, how);
}

}  // namespace wasi::pictures
