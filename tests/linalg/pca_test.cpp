#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/linalg/pca.hpp>

/// Principal components of matrices in memory, against the singular values of the centred matrix in double. The same
/// for operators is in pca_operator_test.cpp, for every storage in linear_operator_test.cpp.
namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::pca;
using wasi::linalg::PcaFactors;
using wasi::linalg::PcaOptions;
using wasi::linalg::Signs;
using wasi::linalg::Solver;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;
using wasi_tests::Layout;
using wasi_tests::Matrix;
using wasi_tests::tolerance;
using wasi_tests::Values;
using S = wasi::EigenStorage;

template <class T>
PcaFactors<T> analyse(const Matrix<T>& a, const PcaOptions& options, std::uint64_t seed = 1)
{
    return pca<S, T>(a.view(), options, RandomKey(seed), wasi::plain_memory());
}

/// Independent normal columns of spread `spread` / (1 + j) about means that alternate between offset and -offset.
template <class T>
Matrix<T> cloud(Index rows, Index cols, double offset, double spread, Layout layout = {})
{
    const RandomKey key(7);
    Matrix<T> a(rows, cols, layout);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            const double normal = key.normal(static_cast<std::uint64_t>(i * cols + j));
            a(i, j) = static_cast<T>((j % 2 == 0 ? offset : -offset) + spread * normal / static_cast<double>(1 + j));
        }
    }
    return a;
}

/// What A is in truth: mean and centred matrix, summed in long double.
struct Truth {
    std::vector<double> mean;
    Eigen::MatrixXd centered;
    Values variances;  // of the components
    double total = 0.0;
};

template <class T>
Truth truth_of(const Matrix<T>& a)
{
    const auto [rows, cols] = a.view().shape();
    Truth truth{{}, Eigen::MatrixXd(rows, cols), {}};
    for (Index j = 0; j < cols; ++j) {
        long double sum = 0.0L;
        for (Index i = 0; i < rows; ++i) {
            sum += static_cast<long double>(a(i, j));
        }
        const long double mean = sum / static_cast<long double>(rows);
        truth.mean.push_back(static_cast<double>(mean));
        for (Index i = 0; i < rows; ++i) {
            truth.centered(i, j) = static_cast<double>(static_cast<long double>(a(i, j)) - mean);
        }
    }
    for (const double s :
         wasi_tests::singular_values(wasi::ConstMatrixView<double>::col_major(truth.centered.data(), rows, cols))) {
        truth.variances.push_back(s * s / static_cast<double>(rows - 1));
        truth.total += truth.variances.back();
    }
    return truth;
}

template <class T>
Eigen::VectorXd column_of(const wasi::Tensor<T>& tensor, Index j)
{
    const auto view = tensor.matrix();
    Eigen::VectorXd result(view.rows);
    for (Index i = 0; i < view.rows; ++i) {
        result(i) = static_cast<double>(view(i, j));
    }
    return result;
}

/// Variances, mean, components, scores and total against the truth.
template <class T>
void check_against(const Truth& truth, const PcaFactors<T>& f, double rounding)
{
    const Index k = f.info.svd.rank;
    const auto rows = static_cast<double>(truth.centered.rows());
    CHECK(std::abs(f.info.total_variance - truth.total) <= rounding * truth.total);
    CHECK(wasi_tests::orthonormality_defect(f.components.matrix()) <= tolerance<T>(f.components.shape()[0], 1.0));
    for (std::size_t j = 0; j < truth.mean.size(); ++j) {
        const double mean = static_cast<double>(f.mean.data()[j]) + static_cast<double>(f.mean_rest.data()[j]);
        CHECK(std::abs(mean - truth.mean[j]) <= 4e-15 * std::abs(truth.mean[j]) + 1e-15);
        CHECK(f.mean.data()[j] == static_cast<T>(mean));
    }
    double kept = 0.0;
    for (Index j = 0; j < k; ++j) {
        const double wanted = truth.variances[static_cast<std::size_t>(j)];
        const auto found = static_cast<double>(f.explained_variance.data()[j]);
        kept += wanted;
        CHECK(std::abs(found - wanted) <= rounding * truth.variances[0]);
        CHECK(std::abs(static_cast<double>(f.explained_ratio.data()[j]) - wanted / truth.total) <= 2.0 * rounding);
        // The variance along the component, from the data: not what the solver says of itself.
        const Eigen::VectorXd scores = truth.centered * column_of(f.components, j);
        CHECK(std::abs(scores.squaredNorm() / (rows - 1.0) - wanted) <= 4.0 * rounding * truth.variances[0]);
        CHECK((scores - column_of(f.scores, j)).cwiseAbs().maxCoeff() <=
              (rounding + tolerance<T>(100, 1.0)) * std::sqrt(truth.variances[0] * rows));
    }
    const auto smaller = static_cast<double>(std::min(f.scores.shape()[0], f.components.shape()[0]));
    const double noise =
        smaller > static_cast<double>(k) ? (truth.total - kept) / (smaller - static_cast<double>(k)) : 0.0;
    CHECK(std::abs(f.info.noise_variance - noise) <= 2.0 * rounding * truth.total);
}

TEST_CASE_TEMPLATE("pca: a mean far above the spread costs no digits, by every solver and in both layouts", T, float,
                   double)
{
    struct Case {
        Index rows, cols;
        double offset, spread;
    };
    for (const Case c : {Case{300, 60, 1e6, 1.0}, Case{300, 60, 1e4, 0.1}, Case{60, 300, 1e6, 1.0},
                         Case{5000, 3, 1e5, 0.1}, Case{2, 5, 1e6, 1.0}, Case{50, 1, -1e4, 0.5}}) {
        for (const bool by_columns : {false, true}) {
            const auto a = cloud<T>(c.rows, c.cols, c.offset, c.spread,
                                    {.column_major = by_columns, .padding = by_columns ? Index{3} : Index{0}});
            const Truth truth = truth_of(a);
            const Index rank = std::min<Index>(4, std::min(c.rows, c.cols));
            for (const Solver solver : {Solver::automatic, Solver::dense, Solver::covariance, Solver::randomized}) {
                INFO("(", c.rows, ", ", c.cols, ") + ", c.offset, ", by columns ", by_columns, ", solver ",
                     static_cast<int>(solver));
                const auto f = analyse(a, {.rank = rank, .solver = solver, .sketch = {.power_iterations = 12}});
                CHECK(f.info.svd.status == Status::ok);
                CHECK((solver == Solver::automatic || f.info.solver == solver));
                check_against(truth, f, solver == Solver::randomized ? 1e-4 : tolerance<T>(c.cols, 4.0));
            }
        }
    }
}

TEST_CASE("pca: a million rows in float, exact variances known")
{
    constexpr Index rows = 1000000;
    for (const float mean : {100.0F, 10000.0F}) {
        Eigen::MatrixXf a(rows, 2);
        for (Index i = 0; i < rows; ++i) {
            a(i, 0) = mean + (i % 2 != 0 ? 0.25F : -0.25F);
            a(i, 1) = -mean + (i / 2 % 2 != 0 ? 0.125F : -0.125F);
        }
        const auto f = pca(a, {.rank = 2}, RandomKey(1));
        const double share = rows / (rows - 1.0);
        CHECK(std::abs(static_cast<double>(f.explained_variance(0)) / (0.0625 * share) - 1.0) <= 1e-6);
        CHECK(std::abs(static_cast<double>(f.explained_variance(1)) / (0.015625 * share) - 1.0) <= 1e-6);
        CHECK(f.mean(0) == mean);
        CHECK(f.mean(1) == -mean);
        CHECK(f.mean_rest.norm() <= 1e-12F * mean);
    }
}

TEST_CASE_TEMPLATE("pca: constant columns have no variance, whatever their constant", T, float, double)
{
    for (const Index rows : {3, 1000, 9001}) {
        Matrix<T> a(rows, 3);
        for (Index i = 0; i < rows; ++i) {
            a(i, 0) = T(0.1);
            a(i, 1) = T(-12345.678);
            a(i, 2) = T(3e7);
        }
        for (const Solver solver : {Solver::automatic, Solver::dense, Solver::covariance, Solver::randomized}) {
            const auto f = analyse(a, {.rank = 2, .solver = solver});
            CHECK(f.info.total_variance == 0.0);
            CHECK(f.info.noise_variance <= 1e-40);
            CHECK(f.info.svd.captured_energy == 1.0);
            for (Index j = 0; j < f.info.svd.rank; ++j) {
                CHECK(std::abs(f.explained_variance.data()[j]) <= T(1e-37));
                CHECK(f.explained_ratio.data()[j] == T(0));
            }
            CHECK(f.mean.data()[1] == T(-12345.678));
        }
        for (Index i = 0; i < rows; ++i) {  // one column that moves: it alone
            a(i, 1) += static_cast<T>(i % 2);
        }
        const auto f = analyse(a, {.rank = Energy{1.0}});
        CHECK(f.info.svd.rank == 1);
        CHECK(std::abs(f.components.matrix()(1, 0) - T(1)) <= wasi::epsilon<T>);
        CHECK(std::abs(static_cast<double>(f.explained_ratio.data()[0]) - 1.0) <= tolerance<T>(3, 1.0));
    }
}

TEST_CASE_TEMPLATE("pca: the same answer at every scale that the type holds", T, float, double)
{
    const auto base = cloud<T>(90, 40, 100.0, 1.0);
    const auto large = cloud<T>(160, 130, 100.0, 1.0);
    for (const auto* a : {&base, &large}) {
        for (const Solver solver : {Solver::automatic, Solver::dense, Solver::covariance, Solver::randomized}) {
            const PcaOptions options{.rank = 3, .solver = solver};
            const auto plain = analyse(*a, options);
            for (const int exponent : sizeof(T) == 4 ? std::vector{-100, 100} : std::vector{-900, 900}) {
                INFO("2^", exponent, ", solver ", static_cast<int>(solver));
                auto scaled = a->in({});
                for (Index i = 0; i < scaled.view().rows; ++i) {
                    for (Index j = 0; j < scaled.view().cols; ++j) {
                        scaled(i, j) = std::ldexp(scaled(i, j), exponent);
                    }
                }
                const auto f = analyse(scaled, options);
                CHECK(f.info.svd.status == Status::ok);
                CHECK(std::abs(f.info.svd.captured_energy - plain.info.svd.captured_energy) <= 1e-6);
                for (Index j = 0; j < 3; ++j) {
                    const double ratio = static_cast<double>(plain.explained_ratio.data()[j]);
                    CHECK(std::abs(static_cast<double>(f.explained_ratio.data()[j]) - ratio) <=
                          tolerance<T>(40, ratio));
                    const double s = static_cast<double>(plain.singular_values.data()[j]);
                    CHECK(std::abs(std::ldexp(static_cast<double>(f.singular_values.data()[j]), -exponent) - s) <=
                          tolerance<T>(40, s));
                    double scores = 0.0;
                    double components = 0.0;
                    for (Index i = 0; i < 40; ++i) {
                        const T score = std::ldexp(f.scores.matrix()(i, j), -exponent) - plain.scores.matrix()(i, j);
                        const T component = f.components.matrix()(i, j) - plain.components.matrix()(i, j);
                        scores = std::max(scores, static_cast<double>(std::abs(score)));
                        components = std::max(components, static_cast<double>(std::abs(component)));
                    }
                    CHECK(scores <= tolerance<T>(40, s));
                    CHECK(components <= tolerance<T>(40, 4.0));
                }
                CHECK(std::ldexp(f.mean.data()[1], -exponent) == plain.mean.data()[1]);
            }
        }
    }
}

TEST_CASE("pca: 10^150 and 10^-150 in double, 10^30 and 10^-30 in float, the least subnormals")
{
    const auto ratio = [](auto scale, double offset) {
        using T = decltype(scale);
        auto a = cloud<T>(60, 5, offset, 1.0);
        for (Index i = 0; i < 60; ++i) {
            for (Index j = 0; j < 5; ++j) {
                a(i, j) *= scale;
            }
        }
        const auto f = analyse(a, {.rank = 2});
        CHECK(f.info.svd.status == Status::ok);
        return static_cast<double>(f.explained_ratio.data()[0]);
    };
    for (const double offset : {0.0, 1000.0}) {
        const double wanted = ratio(1.0, offset);
        CHECK(wanted < 0.9);
        CHECK(std::abs(ratio(1e150, offset) - wanted) <= 1e-8);
        CHECK(std::abs(ratio(1e-150, offset) - wanted) <= 1e-8);
        CHECK(std::abs(ratio(1e300, offset) - wanted) <= 1e-8);
        CHECK(std::abs(ratio(1e-300, offset) - wanted) <= 1e-8);
        CHECK(std::abs(ratio(1e-318, 0.0) - ratio(1.0, 0.0)) <= 1e-2);  // three digits are left of the data
        CHECK(std::abs(ratio(1e30F, offset) - wanted) <= 1e-3);
        CHECK(std::abs(ratio(1e-30F, offset) - wanted) <= 1e-3);
    }
}

TEST_CASE_TEMPLATE("pca: a rule is met by the variance that the components capture in truth", T, float, double)
{
    for (const auto& spectrum : wasi_tests::all_spectra(40)) {
        const auto& values = spectrum.values;
        if (values.empty()) {
            continue;
        }
        for (const bool wide : {false, true}) {
            const auto a = wide ? wasi_tests::matrix_with_spectrum<T>(40, 120, values, 3)
                                : wasi_tests::matrix_with_spectrum<T>(120, 40, values, 3);
            const Truth truth = truth_of(a);
            for (const double share : {0.5, 0.99, 0.9999}) {
                for (const Solver solver : {Solver::automatic, Solver::dense, Solver::covariance, Solver::randomized}) {
                    INFO(spectrum.name, ", wide ", wide, ", energy ", share, ", solver ", static_cast<int>(solver));
                    const auto f = analyse(a, {.rank = Energy{share}, .solver = solver});
                    double captured = 0.0;
                    for (Index j = 0; j < f.info.svd.rank; ++j) {
                        captured += (truth.centered * column_of(f.components, j)).squaredNorm();
                    }
                    captured /= truth.total * static_cast<double>(truth.centered.rows() - 1);
                    CHECK(f.info.svd.status == Status::ok);
                    CHECK(captured >= share - tolerance<T>(120, 0.25));
                    CHECK(std::abs(captured - f.info.svd.captured_energy) <= tolerance<T>(120, 1.0));
                    if (solver != Solver::randomized) {  // the fewest
                        double fewer = 0.0;
                        for (Index j = 0; j + 1 < f.info.svd.rank; ++j) {
                            fewer += truth.variances[static_cast<std::size_t>(j)];
                        }
                        CHECK((f.info.svd.rank == 1 || fewer < (share + tolerance<T>(40, 1.0)) * truth.total));
                    }
                }
            }
        }
    }
}

TEST_CASE("pca: a tolerance below what a covariance resolves goes to the dense solver, or the status says so")
{
    const auto a = wasi_tests::matrix_with_spectrum<double>(200, 40, wasi_tests::exponential(40, 0.4), 5);
    const auto f = analyse(a, {.rank = Tolerance{1e-11}});
    CHECK(f.info.solver == Solver::dense);
    CHECK(f.info.svd.status == Status::ok);
    CHECK(f.info.svd.residual_estimate > 0.0);
    CHECK(f.info.svd.residual_estimate * f.info.svd.residual_estimate <= 1e-22 * f.info.total_variance * 199.0);
    CHECK(analyse(a, {.rank = Tolerance{1e-11}, .solver = Solver::covariance}).info.svd.status == Status::rule_not_met);
    CHECK(analyse(a, {.rank = Energy{1.0}, .solver = Solver::covariance}).info.svd.status == Status::ok);
    CHECK(analyse(a, {.rank = Energy{0.999}, .max_rank = 2}).info.svd.status == Status::rank_limit);
    CHECK(analyse(a, {.rank = Energy{0.999}, .max_rank = 2}).info.svd.rank == 2);
}

TEST_CASE_TEMPLATE("pca: automatic finds an exact way where a sketch does not do", T, float, double)
{
    // Flat: an energy of 0.9 needs most of the components.
    const auto flat = wasi_tests::random_matrix<T>(sizeof(T) == 4 ? 520 : 140, 521, 11);
    const auto f = analyse(flat, {.rank = Energy{0.9}});
    CHECK(f.info.solver != Solver::randomized);
    CHECK(f.info.svd.status == Status::ok);
    CHECK(f.info.svd.captured_energy >= 0.9);
    const auto few = analyse(wasi_tests::random_matrix<T>(320, 250, 13), {.rank = 5});
    CHECK(few.info.solver == Solver::covariance);
    CHECK(analyse(wasi_tests::random_matrix<T>(530, 700, 12), {.rank = 5}).info.solver == Solver::randomized);
}

TEST_CASE_TEMPLATE("pca: transform, inverse, whitening", T, float, double)
{
    const Eigen::MatrixX<T> a = [] {
        const auto raw = cloud<T>(200, 12, 1e4, 1.0);
        Eigen::MatrixX<T> result(200, 12);
        for (Index i = 0; i < 200; ++i) {
            for (Index j = 0; j < 12; ++j) {
                result(i, j) = raw(i, j);
            }
        }
        return result;
    }();
    const T rounding = static_cast<T>(tolerance<T>(12, 2.0));
    for (const bool whiten : {false, true}) {
        for (const Solver solver : {Solver::dense, Solver::covariance, Solver::randomized}) {
            CAPTURE(whiten);
            CAPTURE(static_cast<int>(solver));
            const auto f = pca(a, {.rank = 3, .solver = solver, .whiten = whiten}, RandomKey(1));
            CHECK(f.info.whitened == whiten);
            CHECK((f.transform(a) - f.scores).norm() <= rounding * f.scores.norm());
            const Eigen::MatrixX<double> z = f.scores.template cast<double>();
            const Eigen::MatrixX<double> covariance = z.transpose() * z / 199.0;
            for (Index j = 0; j < 3; ++j) {
                const double wanted = whiten ? 1.0 : static_cast<double>(f.explained_variance(j));
                CHECK(std::abs(covariance(j, j) - wanted) <= static_cast<double>(rounding) * wanted);
                CHECK(std::abs(f.deviations(j) * f.deviations(j) - f.explained_variance(j)) <=
                      rounding * f.explained_variance(j));
            }
            CHECK(std::abs(covariance(0, 2)) <= 10.0 * static_cast<double>(rounding));
            // Points of the subspace come back; rounding is that of the numbers near the mean.
            const Eigen::MatrixX<T> back = f.inverse_transform(f.scores);
            CHECK((f.transform(back) - f.scores).norm() <=
                  static_cast<T>(tolerance<T>(12, 1e4)) * T(2) * f.scores.norm() / (whiten ? f.deviations(2) : T(1)));
            const double lost = (a - back).template cast<double>().squaredNorm();
            CHECK(std::abs(lost - f.info.noise_variance * 9.0 * 199.0) <= 0.02 * lost);
        }
    }
    const auto all = pca(a, {.rank = 12, .whiten = true}, RandomKey(1));
    CHECK((all.inverse_transform(all.scores) - a).norm() <= rounding * a.norm());
    CHECK(all.info.noise_variance == 0.0);
    // Rows, blocks and expressions in; none at all.
    CHECK((all.transform(a.topRows(1)) - all.scores.topRows(1)).norm() <= rounding * T(4));
    CHECK((all.transform(a * T(1)) - all.scores).norm() <= rounding * all.scores.norm());
    CHECK(all.transform(a.topRows(0)).rows() == 0);
    CHECK_THROWS_AS(static_cast<void>(all.transform(a.leftCols(4))), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(all.inverse_transform(a.leftCols(4))), wasi::shape_error);
    Eigen::MatrixX<T> bad = a;
    bad(2, 3) = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(all.transform(bad)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(all.inverse_transform(bad)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(pca(bad, {.rank = 1}, RandomKey(1))), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(pca(a.topRows(1), {.rank = 1}, RandomKey(1))), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(pca(a, {.rank = 1, .max_rank = 0}, RandomKey(1))), wasi::argument_error);
    const auto bare = pca(a, {.rank = 2, .scores = false}, RandomKey(1));
    CHECK(bare.scores.rows() == 0);
    CHECK(bare.transform(a).rows() == 200);
}

TEST_CASE_TEMPLATE("pca: whitening gives a direction without variance no score", T, float, double)
{
    Eigen::MatrixX<T> a = Eigen::MatrixX<T>::Constant(20, 3, T(5));
    a.col(0) = Eigen::VectorX<T>::LinSpaced(20, T(0), T(1));
    for (const Solver solver : {Solver::dense, Solver::covariance}) {
        const auto f = pca(a, {.rank = 3, .solver = solver, .whiten = true}, RandomKey(1));
        CHECK(f.transform(a).allFinite());
        CHECK(std::abs(f.scores.col(0).squaredNorm() - T(19)) <= T(1e-4));
    }
}

TEST_CASE_TEMPLATE("pca: signs do not depend on solver, key or layout unless it is asked for", T, float, double)
{
    const auto a = cloud<T>(400, 30, 10.0, 1.0);
    const auto reference = analyse(a, {.rank = 3});
    for (Index j = 0; j < 3; ++j) {
        T largest = T(0);
        for (Index i = 0; i < 30; ++i) {
            const T value = reference.components.matrix()(i, j);
            largest = std::abs(value) > std::abs(largest) ? value : largest;
        }
        CHECK(largest > T(0));
    }
    const auto by_columns = a.in({.column_major = true});
    for (const Solver solver : {Solver::dense, Solver::covariance, Solver::randomized}) {
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
            const auto f = analyse(seed % 2 == 0 ? a : by_columns, {.rank = 3, .solver = solver}, seed);
            for (Index j = 0; j < 3; ++j) {
                CHECK(S::dot(f.components.matrix().col_block(j, 1), reference.components.matrix().col_block(j, 1)) >
                      0.9);
                CHECK(S::dot(f.scores.matrix().col_block(j, 1), reference.scores.matrix().col_block(j, 1)) > 0.0);
            }
        }
    }
    const auto raw = analyse(a, {.rank = 3, .signs = Signs::as_computed});
    for (Index j = 0; j < 3; ++j) {
        CHECK(std::abs(S::dot(raw.components.matrix().col_block(j, 1), reference.components.matrix().col_block(j, 1))) >
              0.9);
    }
}

TEST_CASE_TEMPLATE("pca: same bits for any number of threads", T, float, double)
{
    const int before = wasi::thread_count();
    for (const auto& size : {std::pair<Index, Index>{9000, 7}, {1500, 100}, {150, 210}}) {
        const Index rows = size.first;
        const Index cols = size.second;
        const auto a = cloud<T>(rows, cols, 1000.0, 1.0);
        for (const Solver solver : {Solver::dense, Solver::covariance, Solver::randomized}) {
            wasi::set_thread_count(1);
            const auto one = analyse(a, {.rank = 2, .solver = solver});
            for (const int threads : {2, 5}) {
                wasi::set_thread_count(threads);
                const auto many = analyse(a, {.rank = 2, .solver = solver});
                const auto same = [](const wasi::Tensor<T>& x, const wasi::Tensor<T>& y) {
                    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.bytes()) == 0;
                };
                CHECK(same(one.mean, many.mean));
                CHECK(same(one.components, many.components));
                CHECK(same(one.scores, many.scores));
                CHECK(same(one.singular_values, many.singular_values));
                CHECK(one.info.total_variance == many.info.total_variance);
            }
        }
    }
    wasi::set_thread_count(before);
}

}  // namespace
