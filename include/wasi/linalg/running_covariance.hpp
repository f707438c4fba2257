#pragma once
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

/// Mean of rows x (n) that arrive in batches, in double: rows are taken relative to the first batch's mean, so a mean
/// far above the spread costs no digits.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
class RunningMean {
public:
    RunningMean(Index n, Memory& memory, Tag tag = Tag{Use::workspace, 0})
        : shift_(memory, tag, Shape{1, n}), apart_(memory, tag, Shape{1, n}), mean_(memory, tag, Shape{1, n})
    {
        S::fill(shift_.matrix(), T(0));
        S::fill(apart_.matrix(), 0.0);
        S::fill(mean_.matrix(), 0.0);
    }

    /// Throws shape_error unless the rows have n numbers. Nothing happens for no rows.
    void add(ConstMatrixView<T> rows)
    {
        add(rows, [](ConstMatrixView<T>, ConstMatrixView<double>, double) {});
    }
    /// The same, for a scatter that grows with it by YᵀY - m ȳᵀȳ + share eᵀe, Y = rows - 1 c, c what all rows are taken
    /// relative to, ȳ (1,n) the mean of Y and e that mean less the one before: merged(Y, ȳ, -m), then merged({}, e,
    /// share).
    template <class Merged>
    void add(ConstMatrixView<T> rows, const Merged& merged)
    {
        const Index n = mean_.shape()[1];
        require<shape_error>(rows.cols == n, "RunningMean: rows of ", rows.cols, " numbers for ", n);
        if (rows.rows == 0) {
            return;
        }
        Memory& memory = mean_.memory();
        const auto m = static_cast<double>(rows.rows);
        const auto before = static_cast<double>(count_);
        Tensor<T> ones = workspace<T>(memory, 1, rows.rows);
        const auto one = std::as_const(ones).matrix();
        S::fill(ones.matrix(), T(1));
        if (count_ == 0) {
            S::multiply(shift_.matrix(), T(1) / static_cast<T>(rows.rows), one, rows, T(0), memory);
        }
        Tensor<T> apart = workspace<T>(memory, rows.rows, n);
        S::copy(apart.matrix(), rows);
        S::multiply(apart.matrix(), T(-1), one.transposed(), std::as_const(shift_).matrix(), T(1), memory);
        Tensor<double> mean = workspace<double>(memory, 1, n);
        {
            Tensor<T> narrow = workspace<T>(memory, 1, n);
            S::multiply(narrow.matrix(), T(1) / static_cast<T>(rows.rows), one, std::as_const(apart).matrix(), T(0),
                        memory);
            S::convert(mean.matrix(), std::as_const(narrow).matrix());
        }
        merged(std::as_const(apart).matrix(), std::as_const(mean).matrix(), -m);
        S::add_scaled(mean.matrix(), 1.0, -1.0, std::as_const(apart_).matrix());
        merged({}, std::as_const(mean).matrix(), before * m / (before + m));
        S::add_scaled(apart_.matrix(), 1.0, m / (before + m), std::as_const(mean).matrix());
        S::convert(mean_.matrix(), std::as_const(shift_).matrix());
        S::add_scaled(mean_.matrix(), 1.0, 1.0, std::as_const(apart_).matrix());
        count_ += rows.rows;
    }

    [[nodiscard]] Index count() const { return count_; }
    [[nodiscard]] ConstMatrixView<double> value() const { return mean_.matrix(); }  ///< (1,n)

private:
    Tensor<T> shift_;       // c: the first batch's mean, as T has it
    Tensor<double> apart_;  // mean - c
    Tensor<double> mean_;
    Index count_ = 0;
};

/// Mean and scatter Σ (x - mean)(x - mean)ᵀ of rows x (n) that arrive in batches. Rows are taken relative to the first
/// batch's mean before they are squared, and batches are merged by the exact formula of Chan, Golub and LeVeque (1983),
/// so a mean far above the spread costs no digits; products and sums are in double. Holds n² + n doubles; a batch of m
/// rows costs m n² multiply-adds and a copy of it.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
class RunningCovariance {
public:
    RunningCovariance(Index n, Memory& memory, Tag tag = Tag{Use::workspace, 0})
        : mean_(n, memory, tag), scatter_(memory, tag, Shape{n, n})
    {
        S::fill(scatter_.matrix(), 0.0);
    }

    /// Throws shape_error unless the rows have n numbers. Nothing happens for no rows.
    void add(ConstMatrixView<T> rows)
    {
        Memory& memory = scatter_.memory();
        mean_.add(rows, [&](ConstMatrixView<T> apart, ConstMatrixView<double> row, double share) {
            if (apart.rows > 0) {
                S::gram(scatter_.matrix(), 1.0, apart, memory);
            }
            S::multiply(scatter_.matrix(), share, row.transposed(), row, 1.0, memory);
        });
    }

    [[nodiscard]] Index count() const { return mean_.count(); }
    [[nodiscard]] ConstMatrixView<double> mean() const { return mean_.value(); }  ///< (1,n)
    [[nodiscard]] ConstMatrixView<double> scatter() const
    {
        return scatter_.matrix();
    }  ///< (n,n): count() times the
       ///< covariance

private:
    RunningMean<S, T> mean_;
    Tensor<double> scatter_;
};

}  // namespace wasi::linalg
