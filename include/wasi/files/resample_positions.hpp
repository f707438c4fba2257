#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/core/memory.hpp"
#include "wasi/data/interpolation.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::files {

/// How learned positions are brought to another number of patches: bicubic each, as the family's own code does it.
enum class PositionResampling : std::uint8_t {
    antialiased,  ///< timm: half-pixel centres, a = -1/2, the kernel widened by the factor where the grid shrinks
    half_pixel,   ///< Hugging Face: half-pixel centres, a = -3/4, no antialiasing
    corners,      ///< torchvision: corner on corner, a = -3/4, no antialiasing
};

[[nodiscard]] constexpr std::string_view to_string(PositionResampling form) noexcept
{
    switch (form) {
        case PositionResampling::antialiased:
            return "bicubic, antialiased";
        case PositionResampling::half_pixel:
            return "bicubic, half-pixel centres, not antialiased";
        case PositionResampling::corners:
            break;
    }
    return "bicubic, corner on corner, not antialiased";
}

namespace detail {

/// The old points and their weights of each new point along one axis.
[[nodiscard]] inline std::vector<std::vector<std::pair<Index, double>>> axis_weights(Index from, Index to,
                                                                                     PositionResampling form)
{
    std::vector<std::vector<std::pair<Index, double>>> result(static_cast<std::size_t>(to));
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    for (Index i = 0; i < to; ++i) {
        auto& own = result[static_cast<std::size_t>(i)];
        if (form == PositionResampling::antialiased) {
            const double widened = std::max(scale, 1.0);
            const double centre = (static_cast<double>(i) + 0.5) * scale;
            const auto first = std::max<Index>(0, static_cast<Index>(std::floor(centre - 2.0 * widened + 0.5)));
            const auto last = std::min<Index>(from, static_cast<Index>(std::floor(centre + 2.0 * widened + 0.5)));
            double sum = 0.0;
            for (Index k = first; k < last; ++k) {
                own.emplace_back(k, data::keys_cubic(std::abs(static_cast<double>(k) + 0.5 - centre) / widened, -0.5));
                sum += own.back().second;
            }
            for (auto& [at, weight] : own) {
                weight /= sum;
            }
            continue;
        }
        double x = (static_cast<double>(i) + 0.5) * scale - 0.5;
        if (form == PositionResampling::corners) {
            x = to > 1 ? static_cast<double>(i * (from - 1)) / static_cast<double>(to - 1) : 0.0;
        }
        const auto left = static_cast<Index>(std::floor(x));
        for (Index k = left - 1; k < left + 3; ++k) {
            own.emplace_back(std::clamp<Index>(k, 0, from - 1),
                             data::keys_cubic(std::abs(x - static_cast<double>(k)), -0.75));
        }
    }
    return result;
}

}  // namespace detail

/// Positions (to², D) of a grid of to x to patches from those (from², D) of a grid of from x from: along columns, then
/// along rows, sums in double. Workspace (to from) D numbers; 16 to² D multiplications and more where antialiased.
template <Scalar T>
void resample_positions(MatrixView<T> to_grid, ConstMatrixView<T> from_grid, Index to, Index from,
                        PositionResampling form, Memory& memory)
{
    require<shape_error>(to_grid.rows == to * to && from_grid.rows == from * from && to_grid.cols == from_grid.cols,
                         "resample_positions: ", from_grid.rows, " rows for a grid of ", from, ", ", to_grid.rows,
                         " for one of ", to);
    const auto weights = detail::axis_weights(from, to, form);
    const Index dim = to_grid.cols;
    Tensor<T> across = workspace<T>(memory, from * to, dim);  // rows as they were, columns new
    const auto mix = [&](auto out, const auto& own, const auto& row_of) {
        for (Index d = 0; d < dim; ++d) {
            double sum = 0.0;
            for (const auto& [at, weight] : own) {
                sum += weight * static_cast<double>(row_of(at, d));
            }
            out(0, d) = static_cast<T>(sum);
        }
    };
    for (Index row = 0; row < from; ++row) {
        for (Index col = 0; col < to; ++col) {
            mix(across.matrix().row_block(row * to + col, 1), weights[static_cast<std::size_t>(col)],
                [&](Index at, Index d) { return from_grid(row * from + at, d); });
        }
    }
    const ConstMatrixView<T> middle = std::as_const(across).matrix();
    for (Index row = 0; row < to; ++row) {
        for (Index col = 0; col < to; ++col) {
            mix(to_grid.row_block(row * to + col, 1), weights[static_cast<std::size_t>(row)],
                [&](Index at, Index d) { return middle(at * to + col, d); });
        }
    }
}

}  // namespace wasi::files
