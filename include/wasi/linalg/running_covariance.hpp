#pragma once
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

namespace detail {

/// A batch of rows (m,n), its mean taken off, and the mean in double.
template <class S, Scalar T>
struct CentredRows {
    CentredRows(ConstMatrixView<T> rows, Memory& memory)
        : values(workspace<T>(memory, rows.rows, rows.cols)), mean(workspace<double>(memory, 1, rows.cols))
    {
        const T share = T(1) / static_cast<T>(rows.rows);
        Tensor<T> ones = workspace<T>(memory, 1, rows.rows);
        Tensor<T> shift = workspace<T>(memory, 1, rows.cols);
        const auto one = std::as_const(ones).matrix();
        S::fill(ones.matrix(), T(1));
        S::multiply(shift.matrix(), share, one, rows, T(0), memory);
        S::convert(mean.matrix(), std::as_const(shift).matrix());
        S::copy(values.matrix(), rows);
        // Twice: what rounding has left of a mean far above the spread.
        for (int pass = 0; pass < 2; ++pass) {
            S::multiply(values.matrix(), T(-1), one.transposed(), std::as_const(shift).matrix(), T(1), memory);
            if (pass == 0) {
                Tensor<double> rest = workspace<double>(memory, 1, rows.cols);
                S::multiply(shift.matrix(), share, one, std::as_const(values).matrix(), T(0), memory);
                S::convert(rest.matrix(), std::as_const(shift).matrix());
                S::add_scaled(mean.matrix(), 1.0, 1.0, std::as_const(rest).matrix());
            }
        }
    }

    Tensor<T> values;
    Tensor<double> mean;
};

}  // namespace detail

/// Mean of rows x (n) that arrive in batches, in double: each batch's own mean is taken off before it is summed.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
class RunningMean {
public:
    RunningMean(Index n, Memory& memory, Tag tag = Tag{Use::workspace, 0}) : mean_(memory, tag, Shape{1, n})
    {
        S::fill(mean_.matrix(), 0.0);
    }

    /// Throws shape_error unless the rows have n numbers. Nothing happens for no rows.
    void add(ConstMatrixView<T> rows)
    {
        const Index n = mean_.shape()[1];
        require<shape_error>(rows.cols == n, "RunningMean: rows of ", rows.cols, " numbers for ", n);
        if (rows.rows > 0) {
            detail::CentredRows<S, T> centred(rows, mean_.memory());
            static_cast<void>(merge(centred.mean.matrix(), rows.rows));
        }
    }

    [[nodiscard]] Index count() const { return count_; }
    [[nodiscard]] ConstMatrixView<double> value() const { return mean_.matrix(); }  ///< (1,n)

    /// Takes in the mean of `rows` rows, which becomes its difference from what was here. Returns by how much the
    /// scatter of both together grows for each square of that difference.
    double merge(MatrixView<double> mean, Index rows)
    {
        const auto m = static_cast<double>(rows);
        const auto before = static_cast<double>(count_);
        S::add_scaled(mean, 1.0, -1.0, std::as_const(mean_).matrix());
        S::add_scaled(mean_.matrix(), 1.0, m / (before + m), ConstMatrixView<double>(mean));
        count_ += rows;
        return before * m / (before + m);
    }

private:
    Tensor<double> mean_;
    Index count_ = 0;
};

/// Mean and scatter Σ (x - mean)(x - mean)ᵀ of rows x (n) that arrive in batches. Each batch is centred by its own mean
/// before it is squared, and batches are merged by the exact formula of Chan, Golub and LeVeque (1983), so a mean far
/// above the spread costs no digits; products and sums are in double. Holds n² + n doubles; a batch of m rows costs
/// m n² multiply-adds and a copy of it.
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
        const Index n = scatter_.shape()[1];
        require<shape_error>(rows.cols == n, "RunningCovariance: rows of ", rows.cols, " numbers for ", n);
        if (rows.rows == 0) {
            return;
        }
        Memory& memory = scatter_.memory();
        detail::CentredRows<S, T> centred(rows, memory);
        S::gram(scatter_.matrix(), 1.0, std::as_const(centred.values).matrix(), memory);
        const double weight = mean_.merge(centred.mean.matrix(), rows.rows);
        const auto apart = std::as_const(centred.mean).matrix();
        S::multiply(scatter_.matrix(), weight, apart.transposed(), apart, 1.0, memory);
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
