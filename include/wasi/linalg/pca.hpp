#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "wasi/linalg/centered_matrix.hpp"
#include "wasi/linalg/compiled.hpp"
#include "wasi/linalg/pca_parts.hpp"

namespace wasi::linalg {

/// Principal component analysis of the rows of A (m,n), μ their mean: the truncated SVD of C = A - 1 μᵀ, which is
/// centred a block of rows at a time inside the products (CenteredMatrix), so that a mean far above the spread costs no
/// digits: variances are as accurate as A's own elements are. `options` say how many components, how they are computed
/// and what comes with them; rules are asked of the variance.
///
/// Solver::automatic takes the covariance in double where A is tall and narrow enough (n <= 512, or 16 times the width
/// of a sketch), the dense SVD where A is small or a rule needs more than a sketch is good for, and randomized_svd
/// otherwise. Of the covariance it does not take what drowns in its rounding: below six digits of a double variance it
/// goes on with the dense SVD. Cost: two reads of A for mean and total variance, and
///   covariance   m n² + 4/3 n³ + 2 m n k flops, n² doubles
///   dense        that of truncated_svd, and a centred copy of A
///   randomized   that of randomized_svd, m n more for each read of A; a few blocks of memory
/// Error: variances relative to the largest n epsilon(double) (covariance), epsilon sqrt(n) (dense), the bounds of
/// randomized_svd. Same key, same bits for any number of threads. Throws shape_error for fewer than two rows,
/// argument_error on NaN or infinity. This overload is the engine's. Sources: Halko, Martinsson, Shkolnisky, Tygert
/// 2011; Chan, Golub, LeVeque 1983. Example: examples/pca.cpp
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] PcaFactors<T> pca(ConstMatrixView<T> a, const PcaOptions& options, RandomKey key, Memory& memory)
{
    detail::check(options, a.rows, a.cols);
    const double largest = S::largest(a);
    if (!std::isfinite(largest)) {
        require_finite<S, T>(a, "pca", "a");
    }
    const CenteredMatrix<S, T> c(a, largest, memory);
    const Index smaller = std::min(a.rows, a.cols);
    const auto finish = [&](detail::PcaParts<T> parts) {
        parts.info.passes += 2;
        return detail::describe<S, T, T>(std::move(parts), c, c.squared_norm(), c.mean_high(), c.mean_low(),
                                         c.exponent(), static_cast<double>(a.rows - 1), options, memory);
    };
    const bool automatic = options.solver == Solver::automatic;
    Solver solver = automatic ? detail::choose_solver<T>(options, a.rows, a.cols) : options.solver;
    if (solver == Solver::randomized && c.squared_norm() == 0.0) {
        solver = detail::exact_solver(a.rows, a.cols);
    }
    if (solver == Solver::randomized) {
        // Where a sketch would have to be wider than this, the exact solvers are cheaper.
        const auto widest = static_cast<Index>(detail::widest_sketch * static_cast<double>(smaller));
        const Index limit = std::max<Index>(1, widest - options.sketch.oversampling);
        RandomizedSvdOptions sketch = detail::sketch_of(options);
        if (automatic) {
            sketch.max_rank = std::min(options.max_rank, limit);
            sketch.memory_limit = std::numeric_limits<std::size_t>::max();  // A itself is in memory
        }
        SvdFactors<T> svd = randomized_svd<S, T, CenteredMatrix<S, T>>(c, sketch, key, memory);
        const bool too_narrow =
            svd.info.status == Status::rank_limit && sketch.max_rank < std::min(options.max_rank, smaller);
        if (!automatic || !(too_narrow || svd.info.status == Status::rule_not_met)) {
            return finish(detail::parts_of(std::move(svd), Solver::randomized));
        }
        solver = detail::exact_solver(a.rows, a.cols);
    }
    if (solver == Solver::covariance) {
        Tensor<double> gram = workspace<double>(memory, a.cols, a.cols);
        c.gram(gram.matrix(), memory);
        const double accuracy = static_cast<double>(a.cols) * epsilon<double>;
        const bool strict = automatic && c.squared_norm() > 0.0;
        auto parts = detail::parts_by_covariance<S, T>(c, std::move(gram), accuracy, options, strict, memory);
        if (parts) {
            return finish(std::move(*parts));
        }
    }
    Tensor<T> copy = workspace<T>(memory, a.rows, a.cols);
    c.copy_to(copy.matrix(), memory);
    SvdFactors<T> svd =
        truncated_svd<S, T>(std::as_const(copy).matrix(), {.rank = options.rank, .max_rank = options.max_rank}, memory);
    copy.reset();
    return finish(detail::parts_of(std::move(svd), Solver::dense));
}

/// What is no matrix of float or double, and a call without a key, is refused when compiling, with one sentence.
Pca<Eigen::MatrixXd, Eigen::VectorXd> pca(wasi::detail::NotAMatrix a, const PcaOptions& options, RandomKey key,
                                          Memory& memory = plain_memory());
Pca<Eigen::MatrixXd, Eigen::VectorXd> pca(wasi::detail::WithoutKey a, const PcaOptions& options = {});
Pca<Eigen::MatrixXd, Eigen::VectorXd> pca(wasi::detail::Anything a, const PcaOptions& options,
                                          wasi::detail::NotAKey key, Memory& memory = plain_memory());

/// The same for a user's matrix, results of the same kind: mean, components, scores, variances, and `transform` for
/// other rows. Example: examples/pca.cpp
template <MatrixLike A>
[[nodiscard]] auto pca(const A& a, const PcaOptions& options, RandomKey key, Memory& memory = plain_memory())
{
    using F = Family<A>;
    return F::with_view(a, [&](auto view) {
        return as_family<A>(pca<typename F::Storage, typename F::Scalar>(view, options, key, memory));
    });
}

WASI_COMPILED(WASI_LINALG_PCA)

}  // namespace wasi::linalg
