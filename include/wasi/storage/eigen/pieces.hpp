#pragma once
#include <algorithm>

#include "wasi/core/scalar.hpp"

/// How EigenStorage cuts its work: functions of shapes alone, so that rounding and booked workspaces are the same for
/// any number of threads. Without Eigen, for whoever only wants to know what a primitive takes (storage/dry.hpp).
namespace wasi::eigen {

/// How a product (m,k) x (k,n) is cut. A function of the shape alone, so that the rounding is the same for any number
/// of threads.
struct ProductTiles {
    Index tile_rows;
    Index tile_cols;
    Index depth_chunks;  // above 1 the sum over k is cut too, for small results of long sums
};

[[nodiscard]] inline ProductTiles product_tiles(Index m, Index n, Index k)
{
    // Below this many multiply-adds starting threads costs more than the product.
    constexpr Index small_product = Index{1} << 18;
    if (m * n * k <= small_product || m == 0 || n == 0) {
        return {std::max<Index>(m, 1), std::max<Index>(n, 1), 1};
    }
    // A small result of a long sum: eight partial sums, added in order.
    if (m * n <= 128 * 128 && k >= 2048) {
        return {m, n, 8};
    }
    constexpr Index pieces = 8;  // enough to balance up to four cores, few enough to amortise Eigen's packing
    const auto cut = [](Index extent) { return std::clamp<Index>((extent / pieces + 47) / 48 * 48, 48, 768); };
    if (m >= n) {
        return {cut(m), std::min<Index>(n, 2048), 1};
    }
    return {std::min<Index>(m, 2048), cut(n), 1};
}

/// Rows that an elementwise or row kernel handles as one piece of work: about 2^15 elements.
[[nodiscard]] inline Index rows_per_piece(Index cols)
{
    return std::max<Index>(1, (Index{1} << 15) / std::max<Index>(cols, 1));
}

/// Extent of the tiles in which a Gram matrix (n,n) is computed.
inline constexpr Index gram_tile = 96;

/// Partial sums of a Gram matrix AᵀA, A (m,n), that is one tile; 0 where there are more tiles, which need none.
[[nodiscard]] inline Index gram_pieces(Index m, Index n)
{
    return n > gram_tile ? 0 : std::clamp<Index>(m * n * n / (Index{1} << 18), 1, 8);
}

/// Columns of Q = A R⁻¹ that CholeskyQR computes at a time.
inline constexpr Index triangle_block = 96;

}  // namespace wasi::eigen
