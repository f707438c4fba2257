#pragma once
#include <algorithm>
#include <optional>
#include <utility>

#include "wasi/linalg/centered_sparse.hpp"
#include "wasi/linalg/linear_operator.hpp"
#include "wasi/linalg/pca_parts.hpp"

namespace wasi::linalg {

namespace detail {

/// An operator that knows its norm.
template <class Operator>
struct WithNorm {
    const Operator* a;
    double norm;

    [[nodiscard]] Index rows() const { return a->rows(); }
    [[nodiscard]] Index cols() const { return a->cols(); }
    [[nodiscard]] double squared_norm() const { return norm; }
    template <class T>
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a->apply(y, x, memory);
    }
    template <class T>
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        a->apply_adjoint(y, x, memory);
    }
};

/// CᵀC (n,n) from products with columns of the identity, 64 at a time.
template <class S, Scalar T, class Centered>
[[nodiscard]] Tensor<double> gram_of_products(const Centered& c, Memory& memory)
{
    constexpr Index width = 64;
    const Index n = c.cols();
    Tensor<double> gram = workspace<double>(memory, n, n);
    for (Index first = 0; first < n; first += width) {
        const Index count = std::min(width, n - first);
        Tensor<T> unit = workspace<T>(memory, n, count);
        Tensor<T> image = workspace<T>(memory, c.rows(), count);
        S::fill(unit.matrix(), T(0));
        S::fill(unit.matrix().row_block(first, unit.shape()[1]).diagonal(), T(1));
        c.apply(image.matrix(), std::as_const(unit).matrix(), memory);
        c.apply_adjoint(unit.matrix(), std::as_const(image).matrix(), memory);
        require<argument_error>(S::all_finite(std::as_const(unit).matrix()),
                                "pca: A applied to finite vectors gave NaN or infinity");
        S::convert(gram.matrix().col_block(first, count), std::as_const(unit).matrix());
    }
    return gram;
}

/// The components of a centred operator C; W is the type it computes in.
template <class S, Scalar W, class Centered>
[[nodiscard]] PcaParts<W> parts_of_operator(const Centered& c, const PcaOptions& options, RandomKey key, Memory& memory)
{
    require<argument_error>(options.solver != Solver::dense,
                            "pca: Solver::dense is for a matrix in memory; an operator or a sparse matrix has "
                            "Solver::covariance and Solver::randomized");
    const bool narrow = sizeof(W) == sizeof(double) && c.rows() >= c.cols() && c.cols() <= 256;
    if (options.solver == Solver::covariance || (options.solver == Solver::automatic && narrow)) {
        const double accuracy = static_cast<double>(c.cols()) * static_cast<double>(epsilon<W>);
        return std::move(
            *parts_by_covariance<S, W>(c, gram_of_products<S, W>(c, memory), accuracy, options, false, memory));
    }
    return parts_of(randomized_svd<S, W, Centered>(c, sketch_of(options), key, memory), Solver::randomized);
}

}  // namespace detail

/// pca of a matrix that is known by its products alone: randomized_svd of CenteredOperator, or with Solver::covariance
/// the eigenvectors of CᵀC from products with the identity. The mean is Aᵀ1 / m, as accurate as the operator's own
/// products; what their rounding leaves of a spread far below the mean is lost. With `squared_norm()` the total
/// variance is ||A||² - m ||μ||² unless that would be rounding; else it is what was seen and the estimate of the rest.
/// Throws argument_error on NaN or infinity from inside and for Solver::dense, shape_error for fewer than two rows.
template <class S, Scalar T, LinearOperator<T> Operator>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] PcaFactors<T> pca(const Operator& a, const PcaOptions& options, RandomKey key, Memory& memory)
{
    detail::check(options, a.rows(), a.cols());
    Tensor<T> ones = workspace<T>(memory, a.rows(), 1);
    Tensor<T> sums = workspace<T>(memory, a.cols(), 1);
    S::fill(ones.matrix(), T(1));
    a.apply_adjoint(sums.matrix(), std::as_const(ones).matrix(), memory);
    require<argument_error>(S::all_finite(std::as_const(sums).matrix()),
                            "pca: Aᵀ applied to a finite vector gave NaN or infinity");
    ones.reset();
    std::vector<double> mean;
    double of_mean = 0.0;
    for (const T sum : sums.span()) {
        mean.push_back(static_cast<double>(sum) / static_cast<double>(a.rows()));
        of_mean += mean.back() * mean.back() * static_cast<double>(a.rows());
    }
    const CenteredOperator<Operator, S, T> c(a);
    const auto finish = [&](detail::PcaParts<T> parts, double total) {
        ++parts.info.passes;
        return detail::describe<S, T, T>(std::move(parts), c, total, mean, {}, 0, static_cast<double>(a.rows() - 1),
                                         options, memory);
    };
    if constexpr (requires { a.squared_norm(); }) {
        const double whole = a.squared_norm();
        const double total = whole - of_mean;
        if (total > 1e4 * static_cast<double>(epsilon<T>) * whole) {
            const detail::WithNorm<CenteredOperator<Operator, S, T>> known{&c, total};
            return finish(detail::parts_of_operator<S, T>(known, options, key, memory), total);
        }
    }
    detail::PcaParts<T> parts = detail::parts_of_operator<S, T>(c, options, key, memory);
    double total =
        parts.info.residual_estimate > 0.0 ? parts.info.residual_estimate * parts.info.residual_estimate : 0.0;
    for (const double value : parts.values) {
        total += value * value;
    }
    return finish(std::move(parts), total);
}

/// pca of an Eigen::SparseMatrix (or a map, or a Ref of one), never made dense: CenteredSparse, in double inside.
/// Vectors and matrices of the result are Eigen's. Throws as that of an operator does.
template <class Sparse>
requires std::derived_from<Sparse, Eigen::SparseMatrixBase<Sparse>> && Scalar<typename Sparse::Scalar>
[[nodiscard]] auto pca(const Sparse& a, const PcaOptions& options, RandomKey key, Memory& memory = plain_memory())
{
    using T = typename Sparse::Scalar;
    using S = EigenStorage;
    detail::check(options, a.rows(), a.cols());
    const CenteredSparse<Sparse> c(a);
    detail::PcaParts<double> parts = detail::parts_of_operator<S, double>(c, options, key, memory);
    parts.info.passes += 3;
    return as_family<Eigen::MatrixX<T>>(
        detail::describe<S, T, double>(std::move(parts), c, c.squared_norm(), c.mean(), {}, c.exponent(),
                                       static_cast<double>(a.rows() - 1), options, memory));
}

}  // namespace wasi::linalg
