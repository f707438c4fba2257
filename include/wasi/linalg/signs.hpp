#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/host_matrix.hpp"

namespace wasi::linalg {

/// u s vᵀ = (-u) s (-v)ᵀ: which of the two a decomposition returns.
enum class Signs {
    largest_right_positive,  ///< in each column of V the element largest in magnitude is positive
    as_computed,             ///< whatever came out; may change with the key, the method, the processor
};

/// Makes the element largest in magnitude of each column of V (n,k) positive; where that flips a column, the same one
/// of U (m,k) flips along, so that U diag(s) Vᵀ stays what it was. Of elements whose magnitudes are within a thousandth
/// of the largest the first counts: which of two equals rounding makes the larger does not matter. What a sign is then
/// depends on V alone, so a matrix and a taller one with the same directions agree (scikit-learn's svd_flip with
/// u_based_decision=False, but for the ties). U may have no rows. n k comparisons, exact.
template <class S, Scalar T>
requires StorageFor<S, T>
void settle_signs(MatrixView<T> u, MatrixView<T> v, Memory& memory = plain_memory())
{
    const HostMatrix<S, T> host(v, memory);
    const ConstMatrixView<T> elements = host.view();
    constexpr T nearly = T(1) - T(1e-3);
    const auto count = static_cast<std::size_t>(v.cols);
    std::vector<T> largest(count, T(0));
    std::vector<T> deciding(count, T(0));
    const auto for_each_element =
        [v = elements](auto&& visit) {  // in the order in which they lie in memory; of a column, from the top
            const Index outer = v.is_row_major() ? v.rows : v.cols;
            const Index inner = v.is_row_major() ? v.cols : v.rows;
            for (Index i = 0; i < outer; ++i) {
                for (Index j = 0; j < inner; ++j) {
                    const Index row = v.is_row_major() ? i : j;
                    const Index col = v.is_row_major() ? j : i;
                    visit(static_cast<std::size_t>(col), v(row, col));
                }
            }
        };
    for_each_element([&](std::size_t col, T value) { largest[col] = std::max(largest[col], std::abs(value)); });
    for_each_element([&](std::size_t col, T value) {
        if (deciding[col] == T(0) && std::abs(value) >= nearly * largest[col]) {
            deciding[col] = value;
        }
    });
    for (Index j = 0; j < v.cols; ++j) {
        if (deciding[static_cast<std::size_t>(j)] < T(0)) {
            for (const MatrixView<T>& side : {u, v}) {
                const auto column = side.col_block(j, 1);
                if (column.rows > 0) {
                    S::add_scaled(column, T(0), T(-1), ConstMatrixView<T>(column));
                }
            }
        }
    }
}

}  // namespace wasi::linalg
