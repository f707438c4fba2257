#pragma once
#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <utility>

#include "wasi/core/parallel.hpp"
#include "wasi/linalg/qb.hpp"
#include "wasi/linalg/randomized_svd.hpp"
#include "wasi/linalg/sparse_product.hpp"
#include "wasi/linalg/spectral_norm.hpp"
#include "wasi/storage/eigen/maps.hpp"

namespace wasi::linalg {

/// An Eigen::SparseMatrix (or a map, or a Ref of one) as an operator. A view: the matrix must outlive it. A product
/// with p columns is 2 nnz p flops on several threads, in either order of A and in either direction, without a copy of
/// A and without workspace; the bits are the same for any number of threads.
template <class Sparse>
requires std::derived_from<Sparse, Eigen::SparseMatrixBase<Sparse>> && Scalar<typename Sparse::Scalar>
class SparseOperator {
public:
    using T = typename Sparse::Scalar;

    /// Throws argument_error on NaN or infinity.
    explicit SparseOperator(const Sparse& a) : a_(&a)
    {
        for_each([&](double value) {
            require<argument_error>(std::isfinite(value), "SparseOperator: a (", a.rows(), ", ", a.cols(),
                                    ") holds NaN or infinity");
            largest_ = std::max(largest_, std::abs(value));
        });
        sorted_ = detail::SparseLines<Sparse>(a).sorted();
    }

    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }
    [[nodiscard]] double largest() const { return largest_; }
    /// ||2^-exponent A||_F²: at the scale of `largest` it is a number whatever the size of A.
    [[nodiscard]] double squared_norm(int exponent = 0) const
    {
        const double unit = power_of_two(-exponent);
        double sum = 0.0;
        for_each([&](double value) { sum += (value * unit) * (value * unit); });
        return sum;
    }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const { multiply<false>(y, x, memory); }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const { multiply<true>(y, x, memory); }

private:
    template <class Visit>
    void for_each(Visit&& visit) const
    {
        for (Index outer = 0; outer < a_->outerSize(); ++outer) {
            for (typename Sparse::InnerIterator at(*a_, outer); at; ++at) {
                visit(static_cast<double>(at.value()));
            }
        }
    }

    template <bool adjoint>
    void multiply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        memory.count_flops(2.0 * static_cast<double>(a_->nonZeros()) * static_cast<double>(x.cols));
        eigen::row_major_map(y).setZero();
        detail::add_sparse_product<adjoint, Sparse, T>(y, *a_, T(1), x, sorted_);
    }

    const Sparse* a_;
    double largest_ = 0.0;
    bool sorted_ = true;
};

/// randomized_svd of a sparse matrix; U, s and V are Eigen matrices. Throws as that of a dense matrix does.
/// Example: examples/operator_svd.cpp
template <class Sparse>
requires std::derived_from<Sparse, Eigen::SparseMatrixBase<Sparse>> && Scalar<typename Sparse::Scalar>
[[nodiscard]] auto randomized_svd(const Sparse& a, const RandomizedSvdOptions& options, RandomKey key,
                                  Memory& memory = plain_memory())
{
    using T = typename Sparse::Scalar;
    const SparseOperator<Sparse> map(a);
    return as_family<Eigen::MatrixX<T>>(
        randomized_svd<EigenStorage, T, SparseOperator<Sparse>>(map, options, key, memory));
}

/// qb of a sparse matrix; Q and B are Eigen matrices.
template <class Sparse>
requires std::derived_from<Sparse, Eigen::SparseMatrixBase<Sparse>> && Scalar<typename Sparse::Scalar>
[[nodiscard]] auto qb(const Sparse& a, const QbOptions& options, RandomKey key, Memory& memory = plain_memory())
{
    using T = typename Sparse::Scalar;
    const SparseOperator<Sparse> map(a);
    return as_family<Eigen::MatrixX<T>>(qb<EigenStorage, T, SparseOperator<Sparse>>(map, options, key, memory));
}

/// spectral_norm of a sparse matrix.
template <class Sparse>
requires std::derived_from<Sparse, Eigen::SparseMatrixBase<Sparse>> && Scalar<typename Sparse::Scalar>
[[nodiscard]] SpectralNorm spectral_norm(const Sparse& a, RandomKey key, const SpectralNormOptions& options = {},
                                         Memory& memory = plain_memory())
{
    using T = typename Sparse::Scalar;
    const SparseOperator<Sparse> map(a);
    return spectral_norm<EigenStorage, T, SparseOperator<Sparse>>(map, options, key, memory);
}

}  // namespace wasi::linalg
