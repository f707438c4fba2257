#include <doctest/doctest.h>

#include <Eigen/SparseCore>
#include <cmath>
#include <limits>
#include <vector>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/pca_operator.hpp>

/// Principal components of sparse matrices and of operators, against those of the dense matrix in double.
namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::Memory;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::pca;
using wasi::linalg::PcaOptions;
using wasi::linalg::Solver;
using wasi::linalg::Status;
using wasi_tests::tolerance;
using S = wasi::EigenStorage;

/// Four elements a row about `offset`, of sizes that fall with the row; `full` columns have all of theirs.
template <class T, int order>
Eigen::SparseMatrix<T, order> sparse_cloud(Index rows, Index cols, Index full, double offset)
{
    std::vector<Eigen::Triplet<T>> entries;
    for (Index i = 0; i < rows; ++i) {
        const RandomKey key = RandomKey(5).derive(static_cast<std::uint64_t>(i));
        for (Index j = 0; j < full; ++j) {
            entries.emplace_back(static_cast<int>(i), static_cast<int>(j),
                                 static_cast<T>(offset + key.normal(static_cast<std::uint64_t>(10 + j))));
        }
        for (std::uint64_t copy = 0; copy < 4; ++copy) {
            entries.emplace_back(static_cast<int>(i), static_cast<int>(key.derive(copy).below(0, cols - full) + full),
                                 static_cast<T>(key.normal(copy) / (1.0 + 0.02 * static_cast<double>(i))));
        }
    }
    Eigen::SparseMatrix<T, order> a(rows, cols);
    a.setFromTriplets(entries.begin(), entries.end());
    return a;
}

template <class A>
void check_as_dense(const A& sparse, const PcaOptions& options, double rounding)
{
    using T = typename A::Scalar;
    const Eigen::MatrixXd dense = sparse.template cast<double>();
    const auto wanted = pca(dense, {.rank = options.rank, .solver = Solver::dense}, RandomKey(1));
    const auto f = pca(sparse, options, RandomKey(2));
    CHECK(f.info.svd.status == Status::ok);
    CHECK(f.info.solver == options.solver);
    CHECK(f.components.cols() == wanted.components.cols());
    CHECK(std::abs(f.info.total_variance / wanted.info.total_variance - 1.0) <= 1e-12);
    CHECK((f.mean.template cast<double>() - wanted.mean).norm() <= tolerance<T>(1, 1.0 + wanted.mean.norm()));
    CHECK((f.explained_variance.template cast<double>() - wanted.explained_variance).norm() <=
          rounding * wanted.explained_variance(0));
    const Eigen::MatrixXd scores = f.scores.template cast<double>();
    CHECK((scores - (dense.rowwise() - wanted.mean.transpose()) * f.components.template cast<double>()).norm() <=
          (rounding + tolerance<T>(dense.rows(), 1.0)) * wanted.scores.norm());
}

TEST_CASE_TEMPLATE("pca, sparse: as its dense copy, row- and column-major, every solver", T, float, double)
{
    for (const Solver solver : {Solver::covariance, Solver::randomized}) {
        CAPTURE(static_cast<int>(solver));
        const PcaOptions options{.rank = 4, .solver = solver, .sketch = {.power_iterations = 15}};
        const double rounding = solver == Solver::covariance ? 1e-9 : 1e-4;
        const double in_type = rounding + tolerance<T>(90, 1.0);
        check_as_dense(sparse_cloud<T, Eigen::ColMajor>(300, 90, 0, 0.0), options, in_type);
        check_as_dense(sparse_cloud<T, Eigen::RowMajor>(300, 90, 0, 0.0), options, in_type);
        check_as_dense(sparse_cloud<T, Eigen::RowMajor>(90, 300, 0, 0.0), options, in_type);
        // Full columns whose mean is far above their spread.
        check_as_dense(sparse_cloud<T, Eigen::ColMajor>(300, 90, 2, 1e4), options, in_type);
        check_as_dense(sparse_cloud<T, Eigen::RowMajor>(300, 90, 2, 1e4), options, in_type);
        const PcaOptions share{.rank = Energy{0.9}, .solver = solver, .sketch = {.power_iterations = 15}};
        check_as_dense(sparse_cloud<T, Eigen::RowMajor>(400, 120, 0, 0.0), share, in_type);
    }
}

TEST_CASE("pca, sparse: extremes of scale, an empty matrix of zeros, refusals")
{
    auto a = sparse_cloud<double, Eigen::RowMajor>(200, 30, 1, 3.0);
    const auto plain = pca(a, {.rank = 3}, RandomKey(1));
    for (const double scale : {1e-160, 1e-300, 1e160, 1e300}) {
        const Eigen::SparseMatrix<double, Eigen::RowMajor> scaled = a * scale;
        const auto f = pca(scaled, {.rank = 3}, RandomKey(1));
        CHECK((f.explained_ratio - plain.explained_ratio).norm() <= 1e-12);
        CHECK((f.singular_values / scale - plain.singular_values).norm() <= 1e-12 * plain.singular_values.norm());
        CHECK((f.mean / scale - plain.mean).norm() <= 1e-14 * plain.mean.norm());
    }
    const Eigen::SparseMatrix<double> zero(50, 20);
    const auto none = pca(zero, {.rank = 2}, RandomKey(1));
    CHECK(none.info.total_variance == 0.0);
    CHECK(none.explained_ratio.norm() == 0.0);
    CHECK_THROWS_AS(static_cast<void>(pca(a, {.rank = 2, .solver = Solver::dense}, RandomKey(1))),
                    wasi::argument_error);
    a.coeffRef(5, 0) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(pca(a, {.rank = 2}, RandomKey(1))), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(pca(Eigen::SparseMatrix<float>(1, 20), {.rank = 2}, RandomKey(1))),
                    wasi::shape_error);
}

TEST_CASE("pca, sparse: far too large for a dense copy")
{
    const auto a = sparse_cloud<float, Eigen::RowMajor>(20000, 30000, 1, 100.0);  // 2.4 GB as a dense matrix
    const auto f = pca(a, {.rank = 2}, RandomKey(1));
    CHECK(f.info.solver == Solver::randomized);
    CHECK(f.info.svd.status == Status::ok);
    CHECK(std::abs(f.mean(0) - 100.0F) <= 0.05F);
    CHECK(std::abs(f.explained_variance(0) - 1.0F) <= 0.05F);
    CHECK(f.components(0, 0) > 0.99F);
}

template <class T, bool with_norm>
struct Products {
    ConstMatrixView<T> a;

    [[nodiscard]] Index rows() const { return a.rows; }
    [[nodiscard]] Index cols() const { return a.cols; }
    [[nodiscard]] double squared_norm() const requires with_norm { return S::dot(a, a); }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        S::multiply(y, T(1), a, x, T(0), memory);
    }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        S::multiply(y, T(1), a.transposed(), x, T(0), memory);
    }
};

TEST_CASE_TEMPLATE("pca, operator: as the matrix behind it", T, float, double)
{
    auto a = wasi_tests::matrix_with_spectrum<T>(150, 110, wasi_tests::exponential(110, 0.7), 3);
    for (Index i = 0; i < 150; ++i) {
        for (Index j = 0; j < 110; ++j) {
            a(i, j) += T(3);
        }
    }
    Memory& memory = wasi::plain_memory();
    const auto wanted = pca<S, T>(a.view(), {.rank = 4}, RandomKey(1), memory);
    const auto check = [&](const auto& f, double rounding) {
        CHECK(f.info.svd.status == Status::ok);
        CHECK(std::abs(f.info.total_variance / wanted.info.total_variance - 1.0) <= 0.1);  // estimated without a norm
        for (Index j = 0; j < 4; ++j) {
            CHECK(std::abs(static_cast<double>(f.explained_variance.data()[j] - wanted.explained_variance.data()[j])) <=
                  rounding * static_cast<double>(wanted.explained_variance.data()[0]));
            CHECK(std::abs(S::dot(f.components.matrix().col_block(j, 1), wanted.components.matrix().col_block(j, 1)) -
                           1.0) <= 10.0 * rounding);
        }
        CHECK(std::abs(f.mean.data()[7] - wanted.mean.data()[7]) <= static_cast<T>(tolerance<T>(150, 3.0)));
    };
    // Products of numbers near 3 round more than the spread's own digits.
    const double rounding = tolerance<T>(150, 3.0 * 13.0);
    for (const Solver solver : {Solver::randomized, Solver::covariance}) {
        const PcaOptions options{.rank = 4, .solver = solver};
        check(pca<S, T>(Products<T, true>{a.view()}, options, RandomKey(2), memory), rounding);
        check(pca<S, T>(Products<T, false>{a.view()}, options, RandomKey(2), memory), rounding);
    }
    const auto exact =
        pca<S, T>(Products<T, true>{a.view()}, {.rank = 4, .solver = Solver::randomized}, RandomKey(2), memory);
    CHECK(std::abs(exact.info.total_variance / wanted.info.total_variance - 1.0) <= rounding * 100.0);
    CHECK_THROWS_AS(static_cast<void>(pca<S, T>(Products<T, true>{a.view()}, {.rank = 4, .solver = Solver::dense},
                                                RandomKey(2), memory)),
                    wasi::argument_error);
    a(5, 6) = std::numeric_limits<T>::infinity();
    for (const Solver solver : {Solver::randomized, Solver::covariance}) {
        CHECK_THROWS_AS(static_cast<void>(pca<S, T>(Products<T, false>{a.view()}, {.rank = 4, .solver = solver},
                                                    RandomKey(2), memory)),
                        wasi::argument_error);
    }
}

}  // namespace
