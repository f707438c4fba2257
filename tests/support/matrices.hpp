#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "support/naive_factorizations.hpp"
#include "wasi/core/random.hpp"
#include "wasi/storage/view.hpp"

/// Matrices with known properties, and the distances that tests compare.
namespace wasi_tests {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;

/// How a test matrix lies in memory: by rows or by columns, rows (columns) further apart than they are long, and
/// beginning `offset` elements into its buffer, which no vector register likes.
struct Layout {
    bool column_major = false;
    Index padding = 0;
    Index offset = 0;

    [[nodiscard]] std::string text() const
    {
        return std::string(column_major ? "column-major" : "row-major") + ", padding " + std::to_string(padding) +
               ", offset " + std::to_string(offset);
    }
};

inline constexpr Layout row_major{};
inline constexpr Layout col_major{.column_major = true};

/// Every combination of the three properties.
inline constexpr std::array<Layout, 8> layouts{{{false, 0, 0},
                                                {true, 0, 0},
                                                {false, 3, 0},
                                                {true, 3, 0},
                                                {false, 0, 5},
                                                {true, 0, 5},
                                                {false, 3, 5},
                                                {true, 3, 5}}};

/// A matrix in a buffer of its own, its elements NaN at first and NaN all around it: code that reads outside the matrix
/// gets NaN, and code that writes there is found by `guard_intact`.
template <class T>
class Matrix {
public:
    Matrix(Index rows, Index cols, Layout layout = {}) : layout_(layout)
    {
        const Index stride = (layout.column_major ? rows : cols) + layout.padding;
        const Index lines = layout.column_major ? cols : rows;
        buffer_.assign(static_cast<std::size_t>(layout.offset + stride * lines + 8),
                       std::numeric_limits<T>::quiet_NaN());
        view_ = {buffer_.data() + layout.offset, rows, cols, layout.column_major ? 1 : stride,
                 layout.column_major ? stride : 1};
    }
    Matrix(const Matrix& other) : Matrix(other.view_.rows, other.view_.cols, other.layout_)
    {
        std::copy(other.buffer_.begin(), other.buffer_.end(), buffer_.begin());
    }
    Matrix(Matrix&& other) noexcept = default;  // a moved vector keeps its elements where they are
    Matrix& operator=(const Matrix&) = delete;
    ~Matrix() = default;

    /// The same elements in another layout.
    [[nodiscard]] Matrix in(Layout layout) const
    {
        Matrix result(view_.rows, view_.cols, layout);
        for (Index i = 0; i < view_.rows; ++i) {
            for (Index j = 0; j < view_.cols; ++j) {
                result.view_(i, j) = view_(i, j);
            }
        }
        return result;
    }

    [[nodiscard]] MatrixView<T> view() { return view_; }
    [[nodiscard]] ConstMatrixView<T> view() const { return view_; }
    [[nodiscard]] T& operator()(Index i, Index j) { return view_(i, j); }
    [[nodiscard]] T operator()(Index i, Index j) const { return view_(i, j); }

    /// True when nothing but the elements of the matrix was written.
    [[nodiscard]] bool guard_intact() const
    {
        std::vector<bool> inside(buffer_.size(), false);
        for (Index i = 0; i < view_.rows; ++i) {
            for (Index j = 0; j < view_.cols; ++j) {
                inside[static_cast<std::size_t>(&view_(i, j) - buffer_.data())] = true;
            }
        }
        for (std::size_t k = 0; k < buffer_.size(); ++k) {
            if (!inside[k] && !std::isnan(buffer_[k])) {
                return false;
            }
        }
        return true;
    }

private:
    Layout layout_;
    std::vector<T> buffer_;
    MatrixView<T> view_;
};

/// Independent standard normal elements; the same numbers for every layout.
template <class T>
[[nodiscard]] Matrix<T> random_matrix(Index rows, Index cols, std::uint64_t seed, Layout layout = {})
{
    const wasi::RandomKey key(seed);
    Matrix<T> result(rows, cols, layout);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            result(i, j) = static_cast<T>(key.normal(static_cast<std::uint64_t>(i * cols + j)));
        }
    }
    return result;
}

/// Independent standard normal numbers.
template <class T>
[[nodiscard]] std::vector<T> random_vector(Index count, std::uint64_t seed)
{
    const Matrix<T> row = random_matrix<T>(1, count, seed);
    return {row.view().data, row.view().data + count};
}

/// A random matrix with orthonormal columns, made in double.
[[nodiscard]] inline Matrix<double> random_orthonormal(Index rows, Index cols, std::uint64_t seed)
{
    Matrix<double> q = random_matrix<double>(rows, cols, seed);
    static_cast<void>(naive::orthonormalize(q.view()));
    return q;
}

/// U diag(spectrum) Vᵀ with random orthonormal U (rows, k) and V (cols, k).
template <class T>
[[nodiscard]] Matrix<T> matrix_with_spectrum(Index rows, Index cols, const std::vector<double>& spectrum,
                                             std::uint64_t seed, Layout layout = {})
{
    const auto k = static_cast<Index>(spectrum.size());
    naive::expect(k <= std::min(rows, cols), "matrix_with_spectrum: too many singular values");
    const Matrix<double> u = random_orthonormal(rows, k, 2 * seed);
    const Matrix<double> v = random_orthonormal(cols, k, 2 * seed + 1);
    Matrix<T> result(rows, cols, layout);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            double sum = 0.0;
            for (Index p = 0; p < k; ++p) {
                sum += u(i, p) * spectrum[static_cast<std::size_t>(p)] * v(j, p);
            }
            result(i, j) = static_cast<T>(sum);
        }
    }
    return result;
}

/// What rounding may cost when n terms of size `scale` meet at random signs: c sqrt(n) epsilon scale.
template <class T>
[[nodiscard]] double tolerance(Index n, double scale, double c = 8.0)
{
    return c * std::sqrt(static_cast<double>(std::max<Index>(n, 1))) * static_cast<double>(wasi::epsilon<T>) * scale;
}

/// max |a_ij - b_ij|; infinity where one of them is not a number or the shapes differ.
template <class A, class B>
[[nodiscard]] double max_difference(MatrixView<A> a, MatrixView<B> b)
{
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (a.shape() != b.shape()) {
        return infinity;
    }
    double largest = 0.0;
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            const double difference = std::abs(static_cast<double>(a(i, j)) - static_cast<double>(b(i, j)));
            largest = std::isnan(difference) ? infinity : std::max(largest, difference);
        }
    }
    return largest;
}

template <class T>
[[nodiscard]] double max_difference(const std::vector<T>& a, const std::vector<T>& b)
{
    return max_difference(wasi::as_row(std::span<const T>(a)), wasi::as_row(std::span<const T>(b)));
}

/// max |a_ij|; infinity where an element is not a number.
template <class T>
[[nodiscard]] double max_abs(MatrixView<T> a)
{
    double largest = 0.0;
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            const double value = std::abs(static_cast<double>(a(i, j)));
            largest = std::isnan(value) ? std::numeric_limits<double>::infinity() : std::max(largest, value);
        }
    }
    return largest;
}

/// ||A||_F.
template <class T>
[[nodiscard]] double frobenius_norm(MatrixView<T> a)
{
    long double sum = 0;
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            sum += static_cast<long double>(a(i, j)) * static_cast<long double>(a(i, j));
        }
    }
    return static_cast<double>(std::sqrt(sum));
}

/// max |(QᵀQ - 1)_ij|.
template <class T>
[[nodiscard]] double orthonormality_defect(MatrixView<T> q)
{
    double largest = 0.0;
    for (Index i = 0; i < q.cols; ++i) {
        for (Index j = i; j < q.cols; ++j) {
            long double sum = i == j ? -1 : 0;
            for (Index k = 0; k < q.rows; ++k) {
                sum += static_cast<long double>(q(k, i)) * static_cast<long double>(q(k, j));
            }
            const auto defect = static_cast<double>(std::abs(sum));
            largest = std::isnan(defect) ? std::numeric_limits<double>::infinity() : std::max(largest, defect);
        }
    }
    return largest;
}

/// ||(1 - Q Qᵀ) A||_F: what the columns of A have outside the span of the orthonormal columns of Q.
template <class Q, class A>
[[nodiscard]] double distance_from_span(MatrixView<Q> q, MatrixView<A> a)
{
    long double sum = 0;
    for (Index j = 0; j < a.cols; ++j) {
        std::vector<long double> rest(static_cast<std::size_t>(a.rows));
        for (Index i = 0; i < a.rows; ++i) {
            rest[static_cast<std::size_t>(i)] = static_cast<long double>(a(i, j));
        }
        for (Index k = 0; k < q.cols; ++k) {
            long double along = 0;
            for (Index i = 0; i < a.rows; ++i) {
                along += static_cast<long double>(q(i, k)) * static_cast<long double>(a(i, j));
            }
            for (Index i = 0; i < a.rows; ++i) {
                rest[static_cast<std::size_t>(i)] -= along * static_cast<long double>(q(i, k));
            }
        }
        for (const long double value : rest) {
            sum += value * value;
        }
    }
    return static_cast<double>(std::sqrt(sum));
}

/// ||P Pᵀ - Q Qᵀ||_F of two orthonormal bases, from the parts of each outside the other: no cancellation.
template <class P, class Q>
[[nodiscard]] double projector_distance(MatrixView<P> p, MatrixView<Q> q)
{
    return std::hypot(distance_from_span(p, q), distance_from_span(q, p));
}

/// True when all elements are the same bits: -0 is not 0, and a NaN is itself.
template <wasi::Scalar T>
[[nodiscard]] bool same_bits(T a, T b)
{
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    return std::bit_cast<Bits>(a) == std::bit_cast<Bits>(b);
}

template <class A, class B>
[[nodiscard]] bool same_bits(MatrixView<A> a, MatrixView<B> b)
{
    if (a.shape() != b.shape()) {
        return false;
    }
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            if (!same_bits<std::remove_const_t<A>>(a(i, j), b(i, j))) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace wasi_tests
