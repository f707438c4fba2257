#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/spectra.hpp"

/// What the tests of decompositions by columns and rows share: hard matrices at every size, and errors in long double.
namespace wasi_tests {

/// Sizes that a type holds and whose squares it does not.
template <class T>
[[nodiscard]] std::vector<double> extreme_sizes()
{
    return sizeof(T) == sizeof(double) ? std::vector<double>{1.0, 1e-150, 1e150}
                                       : std::vector<double>{1.0, 1e-30, 1e30};
}

/// all_spectra and what tight tolerances are about: a steep decay, a gap down to 1e-8, equal values in groups.
[[nodiscard]] inline std::vector<NamedSpectrum> spectra_for_rules(Index count)
{
    auto result = all_spectra(count);
    result.push_back({"steep", exponential(count, 0.5)});
    result.push_back({"gap", step(count, std::max<Index>(1, count / 4), 1e-8)});
    result.push_back({"flat", Values(static_cast<std::size_t>(count), 1.0)});
    return result;
}

/// A copy times `size`.
template <class T>
[[nodiscard]] Matrix<T> times(const Matrix<T>& a, double size)
{
    Matrix<T> result(a);
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            result(i, j) = static_cast<T>(static_cast<double>(a(i, j)) * size);
        }
    }
    return result;
}

/// ||A - B diag(s) C||_F / ||A||_F in long double, whatever the sizes; 0 where both are 0. An empty s is all ones.
template <class T>
[[nodiscard]] double relative_error(ConstMatrixView<T> a, ConstMatrixView<T> b, ConstMatrixView<T> c,
                                    std::span<const T> s = {})
{
    long double lost = 0;
    long double whole = 0;
    std::vector<long double> row(static_cast<std::size_t>(a.cols));
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            row[static_cast<std::size_t>(j)] = static_cast<long double>(a(i, j));
            whole += row[static_cast<std::size_t>(j)] * row[static_cast<std::size_t>(j)];
        }
        for (Index p = 0; p < b.cols; ++p) {
            const long double factor = static_cast<long double>(b(i, p)) *
                                       (s.empty() ? 1.0L : static_cast<long double>(s[static_cast<std::size_t>(p)]));
            for (Index j = 0; j < a.cols; ++j) {
                row[static_cast<std::size_t>(j)] -= factor * static_cast<long double>(c(p, j));
            }
        }
        for (const long double value : row) {
            lost += value * value;
        }
    }
    if (!(whole > 0)) {
        return lost > 0 ? std::numeric_limits<double>::infinity() : 0.0;
    }
    return static_cast<double>(std::sqrt(lost / whole));
}

/// A(:, columns) in that order.
template <class T>
[[nodiscard]] Matrix<T> columns_of(ConstMatrixView<T> a, const std::vector<Index>& columns)
{
    Matrix<T> result(a.rows, static_cast<Index>(columns.size()));
    for (Index j = 0; j < result.view().cols; ++j) {
        for (Index i = 0; i < a.rows; ++i) {
            result(i, j) = a(i, columns[static_cast<std::size_t>(j)]);
        }
    }
    return result;
}

/// True when `indices` are different from each other and in [0, count).
[[nodiscard]] inline bool are_different(const std::vector<Index>& indices, Index count)
{
    std::vector<bool> seen(static_cast<std::size_t>(count), false);
    for (const Index index : indices) {
        if (index < 0 || index >= count || seen[static_cast<std::size_t>(index)]) {
            return false;
        }
        seen[static_cast<std::size_t>(index)] = true;
    }
    return true;
}

struct Extents {
    Index rows, cols;
};

/// Tall, wide, square, one row, one column, one element.
inline constexpr std::array<Extents, 6> edge_shapes{{{50, 21}, {21, 50}, {24, 24}, {1, 30}, {30, 1}, {1, 1}}};

}  // namespace wasi_tests
