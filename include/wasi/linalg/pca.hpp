#pragma once
#include <algorithm>
#include <utility>

#include "wasi/linalg/randomized_svd.hpp"

namespace wasi::linalg {

struct PcaInfo {
    SvdInfo svd;
    double total_variance = 0.0;  ///< sum of the variances of all columns
};

/// Principal components of the rows of A (m,n): A ~ 1 μᵀ + scores componentsᵀ.
template <class Matrix, class Vector>
struct Pca {
    Vector mean;                ///< μ (n)
    Matrix components;          ///< (n,k), orthonormal columns
    Matrix scores;              ///< (m,k), U diag(s): the rows of A in these components
    Vector explained_variance;  ///< (k), s² / (m - 1); over info.total_variance it is the explained share
    PcaInfo info;
};

/// The same as booked tensors.
template <Scalar T>
struct PcaFactors {
    Tensor<T> mean;
    Tensor<T> components;
    Tensor<T> scores;
    Tensor<T> explained_variance;
    PcaInfo info;
};

namespace detail {

/// Sum of (a_ij - μ_j)² in double, a block of rows at a time: without the difference of two large sums.
template <class S, Scalar T>
[[nodiscard]] double centered_squared_norm(ConstMatrixView<T> a, ConstMatrixView<T> mean, Memory& memory)
{
    constexpr Index height = 64;
    Tensor<T> block = workspace<T>(memory, std::min(height, a.rows), a.cols);
    double sum = 0.0;
    for (Index first = 0; first < a.rows; first += height) {
        const Index rows = std::min(height, a.rows - first);
        const auto part = block.matrix().row_block(0, rows);
        S::copy(part, a.row_block(first, rows));
        for (Index i = 0; i < rows; ++i) {
            S::add_scaled(part.row_block(i, 1), T(1), T(-1), mean);
        }
        sum += S::dot(ConstMatrixView<T>(part), part);
    }
    return sum;
}

}  // namespace detail

/// Principal component analysis: the truncated SVD of A - 1 μᵀ, μ the mean of the rows, which is never formed (the mean
/// is taken off inside the products). `options` as for randomized_svd; an energy is a share of the variance. Error
/// bounds, cost and errors are those of randomized_svd; two more reads of A for mean and variance. Throws shape_error
/// for fewer than two rows. This overload is the engine's. Source: Halko, Martinsson, Shkolnisky, Tygert 2011. Example:
/// examples/pca.cpp
template <class S, Scalar T>
requires StorageFor<S, T>
[[nodiscard]] PcaFactors<T> pca(ConstMatrixView<T> a, const RandomizedSvdOptions& options, RandomKey key,
                                Memory& memory)
{
    require<shape_error>(a.rows >= 2 && a.cols >= 1, "pca: a variance needs two rows, got a matrix ",
                         shape_text(a.shape()));
    require_finite<S, T>(a, "pca", "a");
    Tensor<T> mean = workspace<T>(memory, 1, a.cols);
    Tensor<T> weights = workspace<T>(memory, 1, a.rows);
    weights.fill(T(1) / static_cast<T>(a.rows));
    S::multiply(mean.matrix(), T(1), std::as_const(weights).matrix(), a, T(0), memory);
    const double total = detail::centered_squared_norm<S, T>(a, std::as_const(mean).matrix(), memory);

    using Matrix = MatrixOperator<S, T>;
    const Matrix map(a, total);
    const CenteredOperator<Matrix, S, T> centered(map, std::as_const(mean).matrix(), total);
    SvdFactors<T> svd = randomized_svd<S, T, CenteredOperator<Matrix, S, T>>(centered, options, key, memory);

    const Index k = svd.s.size();
    const auto freedom = static_cast<double>(a.rows - 1);
    PcaFactors<T> result{
        std::move(mean), std::move(svd.v), std::move(svd.u), workspace<T>(memory, 1, k), {svd.info, total / freedom}};
    for (Index j = 0; j < k; ++j) {
        const auto value = static_cast<double>(svd.s.data()[j]);
        result.explained_variance.data()[j] = static_cast<T>(value * value / freedom);
        const auto column = result.scores.matrix().col_block(j, 1);
        S::add_scaled(column, T(0), svd.s.data()[j], ConstMatrixView<T>(column));
    }
    return result;
}

/// What is no matrix of float or double, and a call without a key, is refused when compiling, with one sentence.
Pca<Eigen::MatrixXd, Eigen::VectorXd> pca(wasi::detail::NotAMatrix a, const RandomizedSvdOptions& options,
                                          RandomKey key, Memory& memory = plain_memory());
Pca<Eigen::MatrixXd, Eigen::VectorXd> pca(wasi::detail::WithoutKey a, const RandomizedSvdOptions& options = {});
Pca<Eigen::MatrixXd, Eigen::VectorXd> pca(wasi::detail::Anything a, const RandomizedSvdOptions& options,
                                          wasi::detail::NotAKey key, Memory& memory = plain_memory());

/// The same for a user's matrix, results of the same kind. Example: examples/pca.cpp
template <MatrixLike A>
[[nodiscard]] auto pca(const A& a, const RandomizedSvdOptions& options, RandomKey key, Memory& memory = plain_memory())
{
    using F = Family<A>;
    using S = typename F::Storage;
    return F::with_view(a, [&](auto view) {
        const auto factors = pca<S, typename F::Scalar>(view, options, key, memory);
        const Index k = factors.explained_variance.size();
        Pca<typename F::Matrix, typename F::Vector> result{F::make_vector(view.cols), F::make_matrix(view.cols, k),
                                                           F::make_matrix(view.rows, k), F::make_vector(k),
                                                           factors.info};
        S::copy(as_row(F::span(result.mean)), factors.mean.matrix());
        S::copy(F::view(result.components), factors.components.matrix());
        S::copy(F::view(result.scores), factors.scores.matrix());
        S::copy(as_row(F::span(result.explained_variance)), factors.explained_variance.matrix());
        return result;
    });
}

}  // namespace wasi::linalg
