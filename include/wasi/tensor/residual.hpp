#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "wasi/tensor/tucker.hpp"

/// The residual of a Tucker form, summed itself: the difference of two energies is blind below sqrt(epsilon).
namespace wasi::tensor::detail {

/// ||X - X~||², by blocks of rows: the modes in the middle are expanded once, the first and the last one a block at a
/// time. X is read once; 2 r_N |X| flops. Elements of ordinary size, order 2 or more.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double squared_residual_by_blocks(const TuckerView<T, N>& a, ConstTensorView<T, N> x, Memory& memory)
{
    if (x.size() == 0) {
        return 0.0;
    }
    std::array<std::optional<ConstMatrixView<T>>, N> middle;
    bool any = false;
    for (std::size_t m = 1; m + 1 < N; ++m) {
        if (a.has_basis(m)) {
            middle[m] = a.bases[m];
            any = true;
        }
    }
    Tensor<T> expanded;  // (r_1, n_2, .., n_{N-1}, r_N)
    auto half = a.core;
    if (any) {
        expanded = mode_products<S, T, N>(a.core, middle, memory);
        half = std::as_const(expanded).template view<N>();
    }
    const Index slices = x.shape[0];
    const Index last = x.shape[N - 1];
    const Index slice_rows = x.size() / (slices * last);
    const Index rank = half.shape[N - 1];
    constexpr Index block_rows = 64;
    const Index chunk = std::min(slices, (block_rows + slice_rows - 1) / slice_rows);  // slices expanded at a time
    const Index pieces = std::min<Index>(8, (slices + chunk - 1) / chunk);
    const Index rows = std::min(block_rows, chunk * slice_rows);
    Tensor<T> images = make_tensor<T, 2>(memory, {pieces, chunk * slice_rows * rank});
    Tensor<T> blocks = make_tensor<T, 2>(memory, {pieces, rows * last});
    std::vector<double> sums(static_cast<std::size_t>(pieces), 0.0);
    parallel_for(pieces, [&](Index piece) {
        const Index end = (piece + 1) * slices / pieces;
        for (Index slice = piece * slices / pieces; slice < end; slice += chunk) {
            const Index count = std::min(chunk, end - slice);
            T* image_data = images.data() + piece * chunk * slice_rows * rank;
            const auto here = MatrixView<T>::row_major(image_data, count, slice_rows * rank);
            if (a.has_basis(0)) {
                S::multiply(here, T(1), a.bases[0].row_block(slice, count), half.rows_by(1), T(0), memory);
            } else {
                S::copy(here, half.rows_by(1).row_block(slice, count));
            }
            const auto image = ConstMatrixView<T>::row_major(image_data, count * slice_rows, rank);
            for (Index row = 0; row < image.rows; row += rows) {
                const Index height = std::min(rows, image.rows - row);
                const auto rest = MatrixView<T>::row_major(blocks.data() + piece * rows * last, height, last);
                S::copy(rest, x.rows_by(N - 1).row_block(slice * slice_rows + row, height));
                if (a.has_basis(N - 1)) {
                    S::multiply(rest, T(-1), image.row_block(row, height), a.bases[N - 1].transposed(), T(1), memory);
                } else {
                    S::add_scaled(rest, T(1), T(-1), image.row_block(row, height));
                }
                sums[static_cast<std::size_t>(piece)] += S::dot(rest, ConstMatrixView<T>(rest));
            }
        }
    });
    double sum = 0.0;
    for (const double part : sums) {
        sum += part;
    }
    return sum;
}

/// ||X - X~||² for every order.
template <class S, Scalar T, std::size_t N>
requires StorageFor<S, T>
[[nodiscard]] double squared_residual(const TuckerView<T, N>& a, ConstTensorView<T, N> x, Memory& memory)
{
    if constexpr (N == 1) {  // a matrix of one column
        return squared_residual<S, T, 2>({{a.core.data, {a.core.shape[0], 1}}, {a.bases[0], {}}},
                                         {x.data, {x.shape[0], 1}}, memory);
    } else {
        return squared_residual_by_blocks<S, T, N>(a, x, memory);
    }
}

}  // namespace wasi::tensor::detail
