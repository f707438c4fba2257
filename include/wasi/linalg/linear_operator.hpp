#pragma once
#include <concepts>
#include <utility>

#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

// Version 14 of the formatter breaks concepts.
// clang-format off

/// A linear map A (m,n) that is known by what it does to thin matrices:
///
///   rows(), cols()
///   apply(y, x, memory)           Y = A X,   X (n,p), Y (m,p); overwrites Y, which may hold NaN before
///   apply_adjoint(y, x, memory)   Y = Aᵀ X,  X (m,p), Y (n,p)
///
/// The views are row-major. Optional: `squared_norm()`, ||A||_F² as double. Without it energies and tolerances are
/// relative to an estimate.
template <class Operator, class T>
concept LinearOperator = requires(const Operator& a, MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) {
    { a.rows() } -> std::convertible_to<Index>;
    { a.cols() } -> std::convertible_to<Index>;
    { a.apply(y, x, memory) };
    { a.apply_adjoint(y, x, memory) };
};
// clang-format on

/// A matrix as an operator. A view: the matrix must outlive it.
template <class S, Scalar T>
requires StorageFor<S, T>
class MatrixOperator {
public:
    explicit MatrixOperator(ConstMatrixView<T> a) : MatrixOperator(a, S::dot(a, a)) {}
    MatrixOperator(ConstMatrixView<T> a, double squared_norm) : a_(a), squared_norm_(squared_norm) {}

    [[nodiscard]] Index rows() const { return a_.rows; }
    [[nodiscard]] Index cols() const { return a_.cols; }
    [[nodiscard]] double squared_norm() const { return squared_norm_; }
    [[nodiscard]] ConstMatrixView<T> dense() const { return a_; }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        S::multiply(y, T(1), a_, x, T(0), memory);
    }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        S::multiply(y, T(1), a_.transposed(), x, T(0), memory);
    }

private:
    ConstMatrixView<T> a_;
    double squared_norm_;
};

/// A - P Qᵀ, P (m,k), Q (n,k), without forming it: what an approximation leaves of an operator. A view of all three.
template <class Operator, class S, Scalar T>
requires StorageFor<S, T>
class DifferenceOperator {
public:
    DifferenceOperator(const Operator& a, ConstMatrixView<T> p, ConstMatrixView<T> q) : a_(&a), p_(p), q_(q)
    {
        require<shape_error>(p.rows == a.rows() && q.rows == a.cols() && p.cols == q.cols, "DifferenceOperator: P ",
                             shape_text(p.shape()), " and Q ", shape_text(q.shape()), " do not fit an operator (",
                             a.rows(), ", ", a.cols(), ")");
    }

    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a_->apply(y, x, memory);
        subtract(y, p_, q_, x, memory);
    }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a_->apply_adjoint(y, x, memory);
        subtract(y, q_, p_, x, memory);
    }

private:
    /// Y -= P (Qᵀ X)
    static void subtract(MatrixView<T> y, ConstMatrixView<T> p, ConstMatrixView<T> q, ConstMatrixView<T> x,
                         Memory& memory)
    {
        Tensor<T> inner = workspace<T>(memory, q.cols, x.cols);
        S::multiply(inner.matrix(), T(1), q.transposed(), x, T(0), memory);
        S::multiply(y, T(-1), p, std::as_const(inner).matrix(), T(1), memory);
    }

    const Operator* a_;
    ConstMatrixView<T> p_;
    ConstMatrixView<T> q_;
};

/// A - 1 μᵀ, the rows of A minus their mean μ (n), without forming it: what principal component analysis needs of a
/// sparse or large A. A view of both. `squared_norm` is ||A - 1 μᵀ||_F².
template <class Operator, class S, Scalar T>
requires StorageFor<S, T>
class CenteredOperator {
public:
    CenteredOperator(const Operator& a, ConstMatrixView<T> mean, double squared_norm)
        : a_(&a), mean_(mean), squared_norm_(squared_norm)
    {
        require<shape_error>(mean.rows == 1 && mean.cols == a.cols(), "CenteredOperator: a mean ",
                             shape_text(mean.shape()), " does not fit ", a.cols(), " columns");
    }

    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }
    [[nodiscard]] double squared_norm() const { return squared_norm_; }

    /// Y = A X - 1 (μᵀ X)
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a_->apply(y, x, memory);
        Tensor<T> shift = workspace<T>(memory, 1, x.cols);
        Tensor<T> ones = workspace<T>(memory, rows(), 1);
        ones.fill(T(1));
        S::multiply(shift.matrix(), T(1), mean_, x, T(0), memory);
        S::multiply(y, T(-1), std::as_const(ones).matrix(), std::as_const(shift).matrix(), T(1), memory);
    }

    /// Y = Aᵀ X - μ (1ᵀ X)
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a_->apply_adjoint(y, x, memory);
        Tensor<T> sums = workspace<T>(memory, 1, x.cols);
        Tensor<T> ones = workspace<T>(memory, 1, rows());
        ones.fill(T(1));
        S::multiply(sums.matrix(), T(1), std::as_const(ones).matrix(), x, T(0), memory);
        S::multiply(y, T(-1), mean_.transposed(), std::as_const(sums).matrix(), T(1), memory);
    }

private:
    const Operator* a_;
    ConstMatrixView<T> mean_;
    double squared_norm_;
};

}  // namespace wasi::linalg
