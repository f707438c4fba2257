#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/scale.hpp"
#include "wasi/storage/tensor.hpp"

/// Steps that square what they are given look at the size of a small result. Only where it is out of the ordinary do
/// they look for the largest element, and begin again on numbers scaled by a power of two, which rounds nothing.
namespace wasi::linalg::detail {

/// Whether a sum of squares, taken in double, is that of numbers of T that may be squared and multiplied: 2^±70 in
/// float, 2^±480 in double. False for zero, NaN and infinity too.
template <Scalar T>
[[nodiscard]] bool is_ordinary(double sum_of_squares)
{
    constexpr double low = sizeof(T) < sizeof(double) ? 0x1p-140 : 0x1p-960;
    constexpr double high = sizeof(T) < sizeof(double) ? 0x1p140 : 0x1p960;
    return sum_of_squares >= low && sum_of_squares <= high;
}

/// The k for which numbers up to `largest`, times 2^k, are of ordinary size; 0 where they are. 2^k and 2^-k are normal
/// numbers of T.
template <Scalar T>
[[nodiscard]] int ordinary_shift(double largest)
{
    constexpr int most = std::numeric_limits<T>::max_exponent - 2;
    return std::clamp(-scale_exponent<T>(largest), -most, most);
}

template <Scalar T>
[[nodiscard]] T power_of_two_as(int exponent)
{
    return static_cast<T>(power_of_two(exponent));
}

/// Y = 2^k X, by two factors where one would not be a normal number.
template <class S, Scalar T>
requires StorageFor<S, T>
void scale_to(MatrixView<T> y, ConstMatrixView<T> x, int k)
{
    const int half = k / 2;
    S::add_scaled(y, T(0), power_of_two_as<T>(half), x);
    S::add_scaled(y, T(0), power_of_two_as<T>(k - half), ConstMatrixView<T>(y));
}

/// 2^k A as a workspace, in the layout of A, so that what is computed of it has the same bits.
template <class S, Scalar T>
class ScaledCopy {
public:
    ScaledCopy(ConstMatrixView<T> a, int k, Memory& memory)
        : by_rows_(a.is_row_major()),
          data_(by_rows_ ? workspace<T>(memory, a.rows, a.cols) : workspace<T>(memory, a.cols, a.rows))
    {
        scale_to<S, T>(data_.matrix(), by_rows_ ? a : a.transposed(), k);
    }
    [[nodiscard]] ConstMatrixView<T> matrix() const { return by_rows_ ? data_.matrix() : data_.matrix().transposed(); }

private:
    bool by_rows_;
    Tensor<T> data_;
};

/// 2^-exponent A: the matrix itself for 0, else a copy.
template <class S, Scalar T>
class MatrixAtScale {
public:
    MatrixAtScale(ConstMatrixView<T> a, int exponent, Memory& memory) : view_(a), exponent_(exponent)
    {
        if (exponent != 0) {
            copy_.emplace(a, -exponent, memory);
            view_ = copy_->matrix();
        }
    }
    [[nodiscard]] ConstMatrixView<T> view() const { return view_; }
    [[nodiscard]] int exponent() const { return exponent_; }
    [[nodiscard]] double factor() const { return power_of_two(exponent_); }

private:
    ConstMatrixView<T> view_;
    int exponent_;
    std::optional<ScaledCopy<S, T>> copy_;
};

/// ||2^k A||², by blocks of rows.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] double scaled_energy(ConstMatrixView<T> a, int k, Memory& memory)
{
    if (!a.is_row_major()) {
        return scaled_energy<S, T>(a.transposed(), k, memory);
    }
    const Index height =
        std::clamp<Index>((Index{1} << 15) / std::max<Index>(a.cols, 1), 1, std::max<Index>(a.rows, 1));
    Tensor<T> block = workspace<T>(memory, height, a.cols);
    double sum = 0.0;
    for (Index first = 0; first < a.rows; first += height) {
        const auto part = block.matrix().row_block(0, std::min(height, a.rows - first));
        scale_to<S, T>(part, a.row_block(first, part.rows), k);
        sum += S::dot(ConstMatrixView<T>(part), ConstMatrixView<T>(part));
    }
    return sum;
}

/// ||A||_F, also where ||A||² is no double.
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] double norm_at_any_size(ConstMatrixView<T> a, Memory& memory)
{
    const double energy = S::dot(a, a);
    const int k = is_ordinary<double>(energy) ? 0 : ordinary_shift<T>(S::largest(a));
    return k == 0 ? std::sqrt(energy) : std::ldexp(std::sqrt(scaled_energy<S, T>(a, k, memory)), -k);
}

}  // namespace wasi::linalg::detail
