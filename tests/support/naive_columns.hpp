#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "wasi/core/random.hpp"
#include "wasi/storage/view.hpp"

/// Matrices held by columns in wider arithmetic than their elements: what the naive factorizations are written with.
namespace wasi_tests::naive {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::Scalar;

/// The type that sums over elements of type T are carried in.
template <class T>
using Wide = std::conditional_t<std::same_as<std::remove_const_t<T>, float>, double, long double>;

/// A caller's mistake: not one of the library's errors, so that no test takes it for a checked argument.
inline void expect(bool condition, const char* what)
{
    if (!condition) {
        throw std::logic_error(what);
    }
}

/// Old contents become NaN: whoever still reads them finds out.
template <class T>
void poison(MatrixView<T> a)
{
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            a(i, j) = std::numeric_limits<T>::quiet_NaN();
        }
    }
}

template <class T>
void poison(std::span<T> values)
{
    std::fill(values.begin(), values.end(), std::numeric_limits<T>::quiet_NaN());
}

/// A matrix held by columns in wide arithmetic.
template <class W>
class Columns {
public:
    Columns(Index rows, Index cols) : cols_(static_cast<std::size_t>(cols), Column(static_cast<std::size_t>(rows))) {}

    template <class T>
    explicit Columns(MatrixView<T> a) : Columns(a.rows, a.cols)
    {
        for (Index j = 0; j < a.cols; ++j) {
            for (Index i = 0; i < a.rows; ++i) {
                (*this)(i, j) = static_cast<W>(a(i, j));
            }
        }
    }

    using Column = std::vector<W>;
    [[nodiscard]] Column& operator[](Index j) { return cols_[static_cast<std::size_t>(j)]; }
    [[nodiscard]] W& operator()(Index i, Index j) { return (*this)[j][static_cast<std::size_t>(i)]; }

    template <class T>
    void store(MatrixView<T> a)
    {
        for (Index j = 0; j < a.cols; ++j) {
            for (Index i = 0; i < a.rows; ++i) {
                a(i, j) = static_cast<T>((*this)(i, j));
            }
        }
    }

private:
    std::vector<Column> cols_;
};

template <class W>
[[nodiscard]] W inner(const std::vector<W>& a, const std::vector<W>& b)
{
    return std::inner_product(a.begin(), a.end(), b.begin(), W(0));
}

template <class W>
[[nodiscard]] W norm(const std::vector<W>& a)
{
    return std::sqrt(inner(a, a));
}

template <class W>
void scale(std::vector<W>& a, W factor)
{
    for (W& value : a) {
        value *= factor;
    }
}

template <class W>
void subtract(std::vector<W>& a, W factor, const std::vector<W>& b)
{
    for (std::size_t i = 0; i < a.size(); ++i) {
        a[i] -= factor * b[i];
    }
}

/// Divides by the largest element and returns it (1 for a zero matrix), so that squares neither vanish nor overflow.
template <class W>
W normalise_scale(Columns<W>& a, Index cols)
{
    W largest = 0;
    for (Index j = 0; j < cols; ++j) {
        for (const W value : a[j]) {
            largest = std::max(largest, std::abs(value));
        }
    }
    if (!(largest > W(0))) {
        return W(1);
    }
    for (Index j = 0; j < cols; ++j) {
        for (W& value : a[j]) {
            value /= largest;
        }
    }
    return largest;
}

/// Takes the parts along the first `count` columns out of `v`, one after another (modified Gram-Schmidt), twice.
template <class W>
void project_off(std::vector<W>& v, Columns<W>& q, Index count)
{
    for (int pass = 0; pass < 2; ++pass) {
        for (Index i = 0; i < count; ++i) {
            subtract(v, inner(q[i], v), q[i]);
        }
    }
}

/// Column j becomes a random unit vector orthogonal to the first `j` columns.
template <class W>
void complete(Columns<W>& q, Index j)
{
    const wasi::RandomKey key = wasi::RandomKey(0x5eed).derive(j);
    for (std::uint64_t attempt = 0;; ++attempt) {
        auto& column = q[j];
        for (std::size_t i = 0; i < column.size(); ++i) {
            column[i] = static_cast<W>(key.derive(attempt).normal(i));
        }
        scale(column, W(1) / norm(column));
        project_off(column, q, j);
        const W rest = norm(column);
        if (rest > W(1e-3)) {
            scale(column, W(1) / rest);
            project_off(column, q, j);
            scale(column, W(1) / norm(column));
            return;
        }
    }
}

}  // namespace wasi_tests::naive
