#pragma once
#include <cmath>
#include <vector>

#include "support/matrices.hpp"

/// Numbers times powers of two, which rounds nothing: what is computed of them must have the same bits.
namespace wasi_tests {

/// 2^k A in a layout.
template <class T>
[[nodiscard]] Matrix<T> times_power(const Matrix<T>& a, int k, Layout layout = {})
{
    Matrix<T> result(a.view().rows, a.view().cols, layout);
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            result(i, j) = std::ldexp(a(i, j), k);
        }
    }
    return result;
}

/// True when b is 2^k a, bit for bit.
template <class T>
[[nodiscard]] bool is_power_of(ConstMatrixView<T> b, ConstMatrixView<T> a, int k)
{
    if (a.shape() != b.shape()) {
        return false;
    }
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            if (!same_bits<T>(b(i, j), std::ldexp(a(i, j), k))) {
                return false;
            }
        }
    }
    return true;
}

/// Exponents from one end of the type's range to the other, odd ones and those near the limits of ordinary sizes among
/// them. Elements of size 1, and a millionth of it, times these powers are normal numbers.
template <class T>
[[nodiscard]] std::vector<int> powers()
{
    return sizeof(T) == 4 ? std::vector<int>{-104, -80, -61, -40, -31, -1, 1, 30, 45, 62, 83, 110}
                          : std::vector<int>{-1000, -800, -560, -301, -240, -1, 1, 240, 401, 530, 801, 1000};
}

}  // namespace wasi_tests
