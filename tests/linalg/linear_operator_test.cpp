#include <doctest/doctest.h>

#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/sparse_operator.hpp>

/// Operators, sparse matrices and principal components: what randomized_svd does without a dense matrix.
namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::Memory;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::RandomizedSvdOptions;
using wasi::linalg::Route;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;
using wasi_tests::Matrix;
using wasi_tests::tolerance;

/// A user's own operator around a matrix: nothing but products, and it counts them.
template <class E>
struct CountingOperator {
    using T = typename E::Scalar;
    ConstMatrixView<T> a;
    Index* columns;  // applied to, both ways

    [[nodiscard]] Index rows() const { return a.rows; }
    [[nodiscard]] Index cols() const { return a.cols; }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        *columns += x.cols;
        E::Storage::multiply(y, T(1), a, x, T(0), memory);
    }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        *columns += x.cols;
        E::Storage::multiply(y, T(1), a.transposed(), x, T(0), memory);
    }
};

template <class E>
auto decompose(const CountingOperator<E>& a, const RandomizedSvdOptions& options)
{
    return wasi::linalg::randomized_svd<typename E::Storage, typename E::Scalar>(a, options, RandomKey(3),
                                                                                 wasi::plain_memory());
}

TEST_CASE_TEMPLATE("operator: the same triplets as for the matrix behind it, for a rank, an energy and a tolerance", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const auto values = wasi_tests::exponential(120, 0.8);
    for (const bool wide : {false, true}) {
        const auto a = wide ? wasi_tests::matrix_with_spectrum<T>(120, 150, values, 1)
                            : wasi_tests::matrix_with_spectrum<T>(150, 120, values, 1);
        Index columns = 0;
        const CountingOperator<E> map{a.view(), &columns};
        const double whole = std::sqrt(wasi_tests::energy(values));
        for (const RandomizedSvdOptions& options :
             {RandomizedSvdOptions{.rank = 12}, RandomizedSvdOptions{.rank = Energy{0.99}},
              RandomizedSvdOptions{.rank = Tolerance{0.02}}}) {
            columns = 0;
            const auto f = decompose<E>(map, options);
            CHECK(columns > 0);
            CHECK(columns < 6 * (2 * 26 + 8));
            CHECK(f.info.route == Route::randomized);
            CHECK(f.info.status == Status::ok);
            const double lost = wasi_tests::frobenius_norm(wasi_tests::residual(a.view(), f).view());
            CHECK(lost <= 1.05 * std::sqrt(wasi_tests::tail_energy(values, f.info.rank)) + tolerance<T>(150, 1.0));
            // The norm is an estimate here, and so is the energy.
            CHECK(std::abs(f.info.captured_energy - (1.0 - lost * lost / (whole * whole))) <= 0.01);
            if (!options.rank.fixed()) {
                CHECK(f.info.rank <= 40);
                CHECK(lost <= 0.15 * whole);
            }
        }
    }
}

TEST_CASE_TEMPLATE("operator: too small for a sketch, and rules that need every value, go through the dense SVD", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const auto values = wasi_tests::polynomial(30, 1.0);
    const auto a = wasi_tests::matrix_with_spectrum<T>(40, 30, values, 2);
    Index columns = 0;
    const auto f = decompose<E>({a.view(), &columns}, {.rank = 20});
    CHECK(columns == 30);
    CHECK(f.info.route == Route::dense);
    CHECK(std::abs(wasi_tests::frobenius_norm(wasi_tests::residual(a.view(), f).view()) -
                   std::sqrt(wasi_tests::tail_energy(values, 20))) <= tolerance<T>(40, 1.0));
}

TEST_CASE_TEMPLATE("residual_estimate: within its spread of the truth over many draws, and unbiased", E,
                   WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    const auto values = wasi_tests::polynomial(100, 0.7);
    const auto a = wasi_tests::matrix_with_spectrum<T>(120, 100, values, 4);
    double ratios = 0.0;
    constexpr int draws = 40;
    for (std::uint64_t seed = 0; seed < draws; ++seed) {
        const auto f = wasi::linalg::randomized_svd<typename E::Storage, T>(a.view(), {.rank = 10}, RandomKey(seed),
                                                                            wasi::plain_memory());
        const double lost = wasi_tests::frobenius_norm(wasi_tests::residual(a.view(), f).view());
        const double ratio = f.info.residual_estimate / lost;
        CHECK(ratio > 0.5);  // four standard deviations of 1 / sqrt(16)... and the residual is spread over many values
        CHECK(ratio < 1.5);
        ratios += ratio * ratio;
    }
    CHECK(std::abs(ratios / draws - 1.0) <= 0.05);
}

TEST_CASE_TEMPLATE("residual_estimate: sees what the difference of two energies cannot", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    // A tail far below the floor of 1 - captured_energy: relative 3e-5 in float, 1e-10 in double.
    const double small = sizeof(T) == 4 ? 1e-5 : 1e-11;
    const auto values = wasi_tests::step(100, 8, small);
    const auto a = wasi_tests::matrix_with_spectrum<T>(120, 100, values, 5);
    const auto f =
        wasi::linalg::randomized_svd<typename E::Storage, T>(a.view(), {.rank = 8}, RandomKey(6), wasi::plain_memory());
    const double truth = std::sqrt(wasi_tests::tail_energy(values, 8));
    CHECK(f.info.residual_estimate >= 0.6 * truth);
    CHECK(f.info.residual_estimate <= 1.6 * truth);
    const auto without = wasi::linalg::randomized_svd<typename E::Storage, T>(a.view(), {.rank = 8, .probes = 0},
                                                                              RandomKey(6), wasi::plain_memory());
    CHECK(without.info.residual_estimate < 0.0);
    // The dense route sums the discarded squares.
    const auto dense = wasi::linalg::truncated_svd<typename E::Storage, T>(a.view(), {.rank = 8}, wasi::plain_memory());
    CHECK(std::abs(dense.info.residual_estimate - truth) <= 0.2 * truth);
}

TEST_CASE_TEMPLATE("operator: NaN from inside and bad options are errors", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    auto a = wasi_tests::random_matrix<T>(120, 100, 7);
    Index columns = 0;
    const CountingOperator<E> map{a.view(), &columns};
    CHECK_THROWS_AS(decompose<E>(map, {.rank = 5, .oversampling = -1}), wasi::argument_error);
    CHECK_THROWS_AS(decompose<E>(map, {.rank = 5, .power_iterations = -1}), wasi::argument_error);
    CHECK_THROWS_AS(decompose<E>(map, {.rank = 5, .max_rank = 0}), wasi::argument_error);
    CHECK_THROWS_AS(decompose<E>(map, {.rank = 5, .first_block = 0}), wasi::argument_error);
    CHECK_THROWS_AS(decompose<E>(map, {.rank = 5, .probes = -1}), wasi::argument_error);
    a(5, 6) = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_AS(decompose<E>(map, {.rank = 5}), wasi::argument_error);
    const Matrix<T> none(0, 4);
    CHECK_THROWS_AS(decompose<E>({none.view(), &columns}, {.rank = 5}), wasi::shape_error);
}

template <class T, int order>
Eigen::SparseMatrix<T, order> random_sparse(Index rows, Index cols, std::uint64_t seed)
{
    Eigen::SparseMatrix<T, order> a(rows, cols);
    std::vector<Eigen::Triplet<T>> entries;
    for (Index i = 0; i < rows; ++i) {
        for (int copy = 0; copy < 4; ++copy) {
            const RandomKey key = RandomKey(seed).derive(static_cast<std::uint64_t>(4 * i + copy));
            entries.emplace_back(static_cast<int>(i), static_cast<int>(key.below(0, cols)),
                                 static_cast<T>(key.normal(1) / (1.0 + 0.1 * static_cast<double>(i))));
        }
    }
    a.setFromTriplets(entries.begin(), entries.end());
    return a;
}

TEST_CASE_TEMPLATE("sparse matrix: as its dense copy, row- and column-major", T, float, double)
{
    const auto check = [](const auto& a) {
        const Eigen::MatrixX<T> dense = a;
        const auto sparse_svd = wasi::linalg::randomized_svd(a, {.rank = 10}, RandomKey(8));
        const auto dense_svd = wasi::linalg::randomized_svd(dense, {.rank = 10}, RandomKey(8));
        CHECK(sparse_svd.info.route == Route::randomized);
        CHECK((sparse_svd.s - dense_svd.s).norm() <= static_cast<T>(tolerance<T>(200, 1.0)) * dense_svd.s.norm());
        const auto error = [&](const auto& f) { return (dense - f.u * f.s.asDiagonal() * f.v.transpose()).norm(); };
        CHECK(std::abs(error(sparse_svd) - error(dense_svd)) <= static_cast<T>(tolerance<T>(200, 1.0)) * dense.norm());
        CHECK(std::abs(sparse_svd.info.captured_energy - dense_svd.info.captured_energy) <= tolerance<T>(200, 1.0));
    };
    check(random_sparse<T, Eigen::ColMajor>(200, 150, 9));
    check(random_sparse<T, Eigen::RowMajor>(150, 200, 9));
}

TEST_CASE_TEMPLATE("pca: the SVD of the centred matrix, also when the mean is far larger than the spread", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const auto values = wasi_tests::exponential(100, 0.8);
    for (const bool wide : {false, true}) {
        const Index rows = wide ? 100 : 140;
        const Index cols = wide ? 140 : 100;
        for (const double mean : {0.0, 30.0}) {
            INFO("(", rows, ", ", cols, "), mean ", mean);
            auto a = wasi_tests::matrix_with_spectrum<T>(rows, cols, values, 10);
            for (Index i = 0; i < rows; ++i) {
                for (Index j = 0; j < cols; ++j) {
                    a(i, j) += static_cast<T>(mean * std::cos(static_cast<double>(j)));
                }
            }
            Matrix<double> centered(rows, cols);
            double variance = 0.0;
            for (Index j = 0; j < cols; ++j) {
                double sum = 0.0;
                for (Index i = 0; i < rows; ++i) {
                    sum += static_cast<double>(a(i, j));
                }
                for (Index i = 0; i < rows; ++i) {
                    centered(i, j) = static_cast<double>(a(i, j)) - sum / static_cast<double>(rows);
                    variance += centered(i, j) * centered(i, j) / static_cast<double>(rows - 1);
                }
            }
            const auto exact = wasi_tests::singular_values(centered.view());
            const auto f =
                wasi::linalg::pca<typename E::Storage, T>(a.view(), {.rank = 6}, RandomKey(11), wasi::plain_memory());
            // The rounding is that of the matrix, whose mean may dwarf what is left.
            const double rounding = tolerance<T>(140, 1.0 + mean);
            CHECK(std::abs(f.info.total_variance - variance) <= rounding * 1e-2 + rounding * variance);
            CHECK(wasi_tests::orthonormality_defect(f.components.matrix()) <= tolerance<T>(140, 1.0));
            for (Index k = 0; k < 6; ++k) {
                // (sigma_17 / sigma_6)^10 = 2e-11: what two power iterations leave.
                const double value = exact[static_cast<std::size_t>(k)];
                CHECK(std::abs(static_cast<double>(f.explained_variance.data()[k]) -
                               value * value / static_cast<double>(rows - 1)) <=
                      0.01 * rounding + 2.0 * rounding * value + 1e-8 * value * value);
                // scores_k = (A - 1 μᵀ) component_k
                for (Index i = 0; i < rows; ++i) {
                    double sum = 0.0;
                    for (Index j = 0; j < cols; ++j) {
                        sum += centered(i, j) * static_cast<double>(f.components.matrix()(j, k));
                    }
                    CHECK(std::abs(sum - static_cast<double>(f.scores.matrix()(i, k))) <= rounding + 0.02 * value);
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("pca: Eigen types in and out; one row has no variance", T, float, double)
{
    const Eigen::MatrixX<T> a = Eigen::MatrixX<T>::Random(60, 50).array() + T(3);
    const auto f = wasi::linalg::pca(a, {.rank = 4}, RandomKey(12));
    CHECK((f.mean.transpose() - a.colwise().mean()).norm() <= static_cast<T>(tolerance<T>(60, 3.0)));
    CHECK(f.scores.rows() == 60);
    CHECK(f.components.rows() == 50);
    CHECK(f.explained_variance.sum() <= static_cast<T>(f.info.total_variance));
    CHECK_THROWS_AS(static_cast<void>(wasi::linalg::pca(a.topRows(1), {.rank = 1}, RandomKey(1))), wasi::shape_error);
    Eigen::MatrixX<T> bad = a;
    bad(3, 4) = std::numeric_limits<T>::infinity();
    CHECK_THROWS_AS(static_cast<void>(wasi::linalg::pca(bad, {.rank = 1}, RandomKey(1))), wasi::argument_error);
}

}  // namespace
