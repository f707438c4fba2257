#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "wasi/linalg/centered_operator.hpp"
#include "wasi/linalg/signs.hpp"
#include "wasi/linalg/svd.hpp"

namespace wasi::linalg {

/// How principal components are computed.
enum class Solver {
    automatic,   ///< see pca
    dense,       ///< a centred copy and its SVD: exact, also for components of tiny variance
    covariance,  ///< eigenvectors of the covariance (n,n) in double: exact for variances down to n 1e-16 of the largest
    randomized,  ///< randomized_svd of the centred operator: a few components of a large matrix
};

struct PcaInfo {
    SvdInfo svd;                  ///< of the centred matrix: status, rank, captured share of the variance, residual
    double total_variance = 0.0;  ///< sum of the variances of all columns; may leave double beyond spreads of 1e154
    /// Mean of the variances that were discarded, min(m,n) - k of them: sigma² of probabilistic PCA (Tipping and Bishop
    /// 1999, equation 8, over the directions that the data have). 0 when none was.
    double noise_variance = 0.0;
    Solver solver = Solver::automatic;  ///< the one that was used
    bool whitened = false;              ///< scores have unit variance
};

/// Principal components as booked tensors; see Pca.
template <Scalar T>
struct PcaFactors {
    Tensor<T> mean;                // (1,n)
    Tensor<T> components;          // (n,k)
    Tensor<T> scores;              // (m,k)
    Tensor<T> explained_variance;  // (1,k)
    PcaInfo info;
    Tensor<T> explained_ratio;  // (1,k)
    Tensor<T> singular_values;  // (1,k)
    Tensor<T> mean_rest;        // (1,n)
    Tensor<T> deviations;       // (1,k), sqrt of the explained variance
};

/// What transforming needs, as views: μ = mean + mean_rest (1,n), components (n,k), and when scores are whitened the
/// deviations (1,k), else nothing.
template <Scalar T>
struct PcaMap {
    ConstMatrixView<T> mean;
    ConstMatrixView<T> mean_rest;
    ConstMatrixView<T> components;
    ConstMatrixView<T> deviations = {};
};

namespace detail {

template <Scalar T>
[[nodiscard]] std::vector<double> in_double(ConstMatrixView<T> row)
{
    std::vector<double> result(static_cast<std::size_t>(row.cols));
    for (Index j = 0; j < row.cols; ++j) {
        result[static_cast<std::size_t>(j)] = static_cast<double>(row(0, j));
    }
    return result;
}

/// Columns of Y times (or over) the deviations; a direction without variance has score 0.
template <class S, Scalar T>
void scale_columns(MatrixView<T> y, ConstMatrixView<T> deviations, bool divide)
{
    for (Index j = 0; j < deviations.cols; ++j) {
        const T value = deviations(0, j);
        const T factor = !divide ? value : value > T(0) ? T(1) / value : T(0);
        const auto column = y.col_block(j, 1);
        S::add_scaled(column, T(0), factor, ConstMatrixView<T>(column));
    }
}

}  // namespace detail

/// Z = (X - 1 μᵀ) components, over the deviations when scores are whitened: X (p,n), Z (p,k). Centred in double, a
/// block of rows at a time. 2 p n k flops. Checks nothing.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
void pca_transform(MatrixView<T> z, ConstMatrixView<T> x, const PcaMap<T>& map, Memory& memory)
{
    const auto high = detail::in_double<T>(map.mean);
    const auto low = detail::in_double<T>(map.mean_rest);
    const detail::BlockShift<S, T> shift(x, high, low, detail::centering_height(x.cols), memory);
    parallel_for(shift.blocks(x.rows), [&](Index index) {
        const Index first = index * shift.height();
        const Index count = std::min(shift.height(), x.rows - first);
        detail::WideBlock<T> wide(x, count, memory);
        shift.apply(wide.rows(count), x.row_block(first, count), 1.0);
        Tensor<T> block = workspace<T>(memory, count, x.cols);
        S::convert(block.matrix(), std::as_const(wide).rows(count));
        const auto scores = z.row_block(first, count);
        S::multiply(scores, T(1), std::as_const(block).matrix(), map.components, T(0), memory);
        detail::scale_columns<S, T>(scores, map.deviations, true);
    });
}

/// X = Z componentsᵀ + 1 μᵀ, Z times the deviations first when scores are whitened. 2 p n k flops. Checks nothing.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
void pca_inverse_transform(MatrixView<T> x, ConstMatrixView<T> z, const PcaMap<T>& map, Memory& memory)
{
    Tensor<T> scores = workspace<T>(memory, z.rows, z.cols);
    S::copy(scores.matrix(), z);
    detail::scale_columns<S, T>(scores.matrix(), map.deviations, false);
    S::multiply(x, T(1), std::as_const(scores).matrix(), map.components.transposed(), T(0), memory);
    detail::shift_rows<S, T>(x, x, detail::in_double<T>(map.mean), detail::in_double<T>(map.mean_rest), 1.0, -1.0,
                             memory);
}

/// Principal components of the rows of A (m,n): A ~ 1 μᵀ + scores componentsᵀ, in the types of the matrix they came
/// from. In float, variances of spreads beyond 1e19 or below 1e-19 leave the type; singular values and ratios do not.
template <class Matrix, class Vector>
struct Pca {
    Vector mean;                ///< μ (n)
    Matrix components;          ///< (n,k), orthonormal columns
    Matrix scores;              ///< (m,k), the rows of A in these components; no rows when they were not asked for
    Vector explained_variance;  ///< (k), s² / (m - 1)
    PcaInfo info;
    Vector explained_ratio;  ///< (k), shares of the total variance; 0 where there is none
    Vector singular_values;  ///< (k), s of the centred matrix
    Vector mean_rest;        ///< (n), what rounding to the type took from μ: transform takes off both
    Vector deviations;       ///< (k), s / sqrt(m - 1)

    /// Scores (p,k) of the rows of X (p,n): (X - 1 μᵀ) components, whitened when `scores` are. X is of any type with
    /// the same scalar. Throws shape_error when X has other columns, argument_error on NaN or infinity.
    template <MatrixLike X>
    [[nodiscard]] Matrix transform(const X& x, Memory& memory = plain_memory()) const
    {
        return Family<X>::with_view(x, [&](auto view) {
            require<shape_error>(view.cols == basis().rows, "Pca::transform: a matrix ", shape_text(view.shape()),
                                 " for components ", shape_text(basis().shape()));
            require_finite<Storage, T>(view, "Pca::transform", "x");
            Matrix z = Family<Matrix>::make_matrix(view.rows, basis().cols);
            pca_transform<Storage, T>(Family<Matrix>::view(z), view, map(), memory);
            return z;
        });
    }

    /// The points (p,n) that have these scores (p,k): scores componentsᵀ + 1 μᵀ. Throws as transform does.
    template <MatrixLike Z>
    [[nodiscard]] Matrix inverse_transform(const Z& z, Memory& memory = plain_memory()) const
    {
        return Family<Z>::with_view(z, [&](auto view) {
            require<shape_error>(view.cols == basis().cols, "Pca::inverse_transform: scores ", shape_text(view.shape()),
                                 " for components ", shape_text(basis().shape()));
            require_finite<Storage, T>(view, "Pca::inverse_transform", "scores");
            Matrix x = Family<Matrix>::make_matrix(view.rows, basis().rows);
            pca_inverse_transform<Storage, T>(Family<Matrix>::view(x), view, map(), memory);
            return x;
        });
    }

private:
    using T = typename Family<Matrix>::Scalar;
    using Storage = typename Family<Matrix>::Storage;

    // A Family views its own types to write to them; these only read.
    // NOLINTBEGIN(cppcoreguidelines-pro-type-const-cast)
    [[nodiscard]] static ConstMatrixView<T> row(const Vector& v)
    {
        return as_row(Family<Matrix>::span(const_cast<Vector&>(v)));
    }
    [[nodiscard]] ConstMatrixView<T> basis() const { return Family<Matrix>::view(const_cast<Matrix&>(components)); }
    // NOLINTEND(cppcoreguidelines-pro-type-const-cast)
    [[nodiscard]] PcaMap<T> map() const
    {
        return {row(mean), row(mean_rest), basis(), info.whitened ? row(deviations) : ConstMatrixView<T>{}};
    }
};

/// Factors of the engine in the types of a user's matrix.
template <MatrixLike A, Scalar T>
[[nodiscard]] auto as_family(const PcaFactors<T>& factors)
{
    using F = Family<A>;
    using S = typename F::Storage;
    const auto vector = [](const Tensor<T>& values) {
        auto result = F::make_vector(values.size());
        S::copy(as_row(F::span(result)), as_row(values.span()));
        return result;
    };
    const auto matrix = [](const Tensor<T>& values) {
        auto result = F::make_matrix(values.shape()[0], values.shape()[1]);
        S::copy(F::view(result), values.matrix());
        return result;
    };
    return Pca<typename F::Matrix, typename F::Vector>{vector(factors.mean),
                                                       matrix(factors.components),
                                                       matrix(factors.scores),
                                                       vector(factors.explained_variance),
                                                       factors.info,
                                                       vector(factors.explained_ratio),
                                                       vector(factors.singular_values),
                                                       vector(factors.mean_rest),
                                                       vector(factors.deviations)};
}

}  // namespace wasi::linalg
