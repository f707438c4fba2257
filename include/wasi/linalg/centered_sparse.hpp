#pragma once
#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/linalg/sparse_product.hpp"
#include "wasi/storage/eigen/maps.hpp"
#include "wasi/storage/scale.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::linalg {

/// C = 2^-e (A - 1 μᵀ), μ the mean of the rows of an Eigen::SparseMatrix A (m,n) (or of a map, or a Ref of one), as an
/// operator in double whatever A's scalar is: C X = A X - 1 (μᵀX). That is a difference, but a sparse column's mean
/// does not dwarf its spread unless hardly an element is zero; in double even then only mean over spread times 1e-16 is
/// lost. ||C||_F² is a sum of squares, also over the zeros: no difference at all. e as for CenteredMatrix. Products
/// cost 2 nnz p + 2 (m + n) p flops, on several threads. A view of A.
template <class Sparse>
requires std::derived_from<Sparse, Eigen::SparseMatrixBase<Sparse>> && Scalar<typename Sparse::Scalar>
class CenteredSparse {
public:
    using T = typename Sparse::Scalar;

    /// Throws argument_error on NaN or infinity.
    explicit CenteredSparse(const Sparse& a)
        : a_(&a), sorted_(detail::SparseLines<Sparse>(a).sorted()), mean_(static_cast<std::size_t>(a.cols()), 0.0)
    {
        double largest = 0.0;
        for_each([&](Index i, Index j, double value) {
            require<argument_error>(std::isfinite(value), "pca: element (", i, ", ", j, ") of a sparse matrix is ",
                                    value);
            largest = std::max(largest, std::abs(value));
        });
        exponent_ = std::max(scale_exponent<double>(largest), -1000);
        scale_ = power_of_two(-exponent_);
        std::vector<double> zeros(mean_.size(), static_cast<double>(a.rows()));
        for_each([&](Index, Index j, double value) {
            mean_[static_cast<std::size_t>(j)] += scale_ * value;
            zeros[static_cast<std::size_t>(j)] -= 1.0;
        });
        for (double& value : mean_) {
            value /= static_cast<double>(a.rows());
        }
        for_each([&](Index, Index j, double value) {
            const double rest = scale_ * value - mean_[static_cast<std::size_t>(j)];
            squared_norm_ += rest * rest;
        });
        for (std::size_t j = 0; j < mean_.size(); ++j) {
            squared_norm_ += zeros[j] * mean_[j] * mean_[j];
        }
    }

    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }
    [[nodiscard]] double squared_norm() const { return squared_norm_; }  ///< ||C||_F²
    [[nodiscard]] int exponent() const { return exponent_; }
    [[nodiscard]] std::span<const double> mean() const { return mean_; }  ///< 2^-e μ

    /// Y = C X
    void apply(MatrixView<double> y, ConstMatrixView<double> x, Memory& memory) const
    {
        const auto from = eigen::row_major_map(x);
        auto to = eigen::row_major_map(y);
        const Eigen::Map<const Eigen::RowVectorXd> mean(mean_.data(), static_cast<Eigen::Index>(mean_.size()));
        const Eigen::RowVectorXd shift = mean * from;
        to.rowwise() = -shift;
        detail::add_sparse_product<false, Sparse, double>(y, *a_, scale_, x, sorted_);
        count(x.cols, memory);
    }

    /// Y = Cᵀ X
    void apply_adjoint(MatrixView<double> y, ConstMatrixView<double> x, Memory& memory) const
    {
        const auto from = eigen::row_major_map(x);
        auto to = eigen::row_major_map(y);
        const Eigen::Map<const Eigen::VectorXd> mean(mean_.data(), static_cast<Eigen::Index>(mean_.size()));
        const Eigen::RowVectorXd sums = from.colwise().sum();
        to.noalias() = -mean * sums;
        detail::add_sparse_product<true, Sparse, double>(y, *a_, scale_, x, sorted_);
        count(x.cols, memory);
    }

private:
    /// visit(i, j, a_ij) of what is stored, in the order in which it lies.
    template <class Visit>
    void for_each(Visit&& visit) const
    {
        for (Index outer = 0; outer < a_->outerSize(); ++outer) {
            for (typename Sparse::InnerIterator at(*a_, outer); at; ++at) {
                visit(static_cast<Index>(at.row()), static_cast<Index>(at.col()), static_cast<double>(at.value()));
            }
        }
    }

    void count(Index columns, Memory& memory) const
    {
        memory.count_flops(2.0 * static_cast<double>(columns) *
                           static_cast<double>(a_->nonZeros() + a_->rows() + a_->cols()));
    }

    const Sparse* a_;
    bool sorted_;
    std::vector<double> mean_;
    int exponent_ = 0;
    double scale_ = 1.0;
    double squared_norm_ = 0.0;
};

}  // namespace wasi::linalg
