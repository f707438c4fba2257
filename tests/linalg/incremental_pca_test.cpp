#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/linalg/incremental_pca.hpp>
#include <wasi/linalg/pca.hpp>

/// Batches of rows against the principal components of all of them, in double.
namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::IncrementalPca;
using wasi::linalg::IncrementalPcaOptions;
using wasi::linalg::pca;
using wasi::linalg::Solver;
using wasi::linalg::Status;
using wasi_tests::tolerance;

template <class T>
using Dense = Eigen::MatrixX<T>;

/// Normal columns of spread 1 / (1 + j)^power about means `offset`, which drift by one spread from the first row to the
/// last.
template <class T>
Dense<T> cloud(Index rows, Index cols, double offset, double power)
{
    const RandomKey key(3);
    Dense<T> a(rows, cols);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            const double drift = static_cast<double>(i) / static_cast<double>(rows);
            const double normal = key.normal(static_cast<std::uint64_t>(i * cols + j));
            a(i, j) = static_cast<T>(offset * std::cos(static_cast<double>(j)) +
                                     (drift + normal) / std::pow(1.0 + static_cast<double>(j), power));
        }
    }
    return a;
}

template <class T>
IncrementalPca<T> stream(const Dense<T>& a, Index height, const IncrementalPcaOptions& options)
{
    IncrementalPca<T> result(options);
    for (Index first = 0; first < a.rows(); first += height) {
        result.add(a.middleRows(first, std::min(height, a.rows() - first)));
    }
    return result;
}

/// The centred matrix in double.
template <class T>
Eigen::MatrixXd centered(const Dense<T>& a)
{
    const Eigen::MatrixXd wide = a.template cast<double>();
    const Eigen::RowVectorXd mean = wide.row(0) + (wide.rowwise() - wide.row(0)).colwise().mean();
    return wide.rowwise() - mean;
}

TEST_CASE_TEMPLATE("incremental pca: pca of all rows, when the rank suffices, also with a mean far above the spread", T,
                   float, double)
{
    for (const double offset : {0.0, 1e6}) {
        for (const auto& size : {std::pair<Index, Index>{300, 8}, {12, 30}, {2, 3}}) {
            const Index rows = size.first;
            const Index cols = size.second;
            const auto a = cloud<T>(rows, cols, offset, 1.0);
            const Index rank = std::min(rows - 1, cols);
            const auto wanted =
                pca(Eigen::MatrixXd(a.template cast<double>()), {.rank = rank, .solver = Solver::dense}, RandomKey(1));
            for (const Index height : {1, 7, 1000}) {
                INFO("(", rows, ", ", cols, ") + ", offset, ", batches of ", height);
                const auto p = stream<T>(a, height, {.rank = rank});
                const auto f = p.template pca_as<Dense<T>>();
                const double rounding =
                    std::sqrt(static_cast<double>(p.info().batches)) * tolerance<T>(rows + cols, 1.0);
                CHECK(p.info().status == Status::ok);
                CHECK(p.info().count == rows);
                CHECK(std::abs(f.info.total_variance / wanted.info.total_variance - 1.0) <= rounding);
                CHECK((f.explained_variance.template cast<double>() - wanted.explained_variance).norm() <=
                      rounding * wanted.explained_variance(0));
                CHECK((f.explained_ratio.template cast<double>() - wanted.explained_ratio).norm() <= rounding);
                const Eigen::VectorXd mean = f.mean.template cast<double>() + f.mean_rest.template cast<double>();
                CHECK((mean - wanted.mean - wanted.mean_rest).norm() <= 1e-14 * wanted.mean.norm() + 1e-15);
                const double error = (wanted.scores.col(0) - f.transform(a).col(0).template cast<double>()).norm();
                const double gap = rank < 2 ? 1.0 : 1.0 - wanted.explained_variance(1) / wanted.explained_variance(0);
                CHECK(error <= 4.0 * rounding / gap * wanted.scores.col(0).norm());
                CHECK(p.info().residual_estimate <= rounding * wanted.singular_values(0));
            }
        }
    }
}

TEST_CASE_TEMPLATE("incremental pca: the variance that is discarded is within the stated error", T, float, double)
{
    const auto a = cloud<T>(200, 30, 1e4, 0.4);
    const Dense<T> reversed = a.colwise().reverse();
    for (const bool backwards : {false, true}) {
        const Dense<T>& whole = backwards ? reversed : a;
        const Eigen::MatrixXd c = centered<T>(whole);
        const auto exact = pca(c, {.rank = 30, .solver = Solver::dense}, RandomKey(1));
        for (const Index extra : {0, 10}) {
            for (const Index height : {1, 13, 80}) {
                INFO("backwards ", backwards, ", extra ", extra, ", batches of ", height);
                const auto p = stream<T>(whole, height, {.rank = 5, .extra = extra});
                const auto f = p.template pca_as<Dense<T>>();
                const Eigen::MatrixXd v = f.components.template cast<double>();
                const double lost = (c - c * v * v.transpose()).norm();
                const double claimed = p.info().residual_estimate;
                const double rounding = tolerance<T>(200, 10.0) * exact.singular_values(0);
                CHECK(lost <= claimed + rounding);
                CHECK(std::abs(p.info().captured_energy - (1.0 - claimed * claimed / c.squaredNorm())) <= rounding);
                CHECK(std::abs(f.info.total_variance * 199.0 / c.squaredNorm() - 1.0) <= rounding);
                CHECK(std::abs(f.info.noise_variance - claimed * claimed / 199.0 / 25.0) <=
                      1e-3 * f.info.noise_variance);
                for (Index j = 0; j < 5; ++j) {
                    const auto s = static_cast<double>(f.singular_values(j));
                    CHECK(s <= exact.singular_values(j) + rounding);
                    CHECK(exact.singular_values(j) <= std::hypot(s, claimed) + rounding);
                }
                // And it is not far from what is best.
                CHECK(claimed <= (extra == 0 ? 1.3 : 1.1) * exact.singular_values.tail(25).norm());
            }
        }
        const auto share = stream<T>(whole, 20, {.rank = Energy{0.9}});
        const Eigen::MatrixXd v = share.template pca_as<Dense<T>>().components.template cast<double>();
        CHECK(share.info().status == Status::ok);
        CHECK((c * v).squaredNorm() >= 0.9 * c.squaredNorm());
    }
}

TEST_CASE_TEMPLATE("incremental pca: forgetting weighs rows by the age of their batch", T, float, double)
{
    const auto a = cloud<T>(60, 6, 1000.0, 1.0);
    const auto p = stream<T>(a, 10, {.rank = 6, .forgetting = 0.8});
    const auto f = p.template pca_as<Dense<T>>();
    Eigen::VectorXd weights(60);
    for (Index i = 0; i < 60; ++i) {
        weights(i) = std::pow(0.8, 2.0 * (5.0 - std::floor(static_cast<double>(i) / 10.0)));
    }
    const Eigen::MatrixXd wide = a.template cast<double>();
    const Eigen::RowVectorXd mean =
        wide.row(0) + (weights.transpose() * (wide.rowwise() - wide.row(0))) / weights.sum();
    const Eigen::MatrixXd c = weights.cwiseSqrt().asDiagonal() * (wide.rowwise() - mean);
    const double freedom = weights.sum() - weights.squaredNorm() / weights.sum();
    const auto exact = wasi::linalg::truncated_svd(c);
    CHECK((f.mean.template cast<double>() + f.mean_rest.template cast<double>() - mean.transpose()).norm() <=
          1e-12 * mean.norm());
    for (Index j = 0; j < 6; ++j) {
        CHECK(std::abs(static_cast<double>(f.explained_variance(j)) - exact.s(j) * exact.s(j) / freedom) <=
              tolerance<T>(60, 10.0) * exact.s(0) * exact.s(0) / freedom);
    }
}

TEST_CASE_TEMPLATE("incremental pca: state, merging, scale", T, float, double)
{
    const auto a = cloud<T>(90, 10, 500.0, 0.7);
    const IncrementalPcaOptions options{.rank = 4, .forgetting = 0.97, .extra = 3};
    auto whole = stream<T>(a, 9, options);
    IncrementalPca<T> after(options, stream<T>(Dense<T>(a.topRows(45)), 9, options).state());
    for (Index first = 45; first < 90; first += 9) {
        after.add(a.middleRows(first, 9));
    }
    CHECK(after.state() == whole.state());

    // Two halves merged are the whole.
    const auto wanted = pca(Eigen::MatrixXd(a.template cast<double>()), {.rank = 10}, RandomKey(1));
    auto first = stream<T>(Dense<T>(a.topRows(20)), 6, {.rank = 10});
    first.merge(stream<T>(Dense<T>(a.bottomRows(70)), 30, {.rank = 10}));
    const auto f = first.template pca_as<Dense<T>>();
    CHECK(first.info().count == 90);
    CHECK((f.explained_variance.template cast<double>() - wanted.explained_variance).norm() <= tolerance<T>(90, 10.0));
    CHECK((f.mean.template cast<double>() + f.mean_rest.template cast<double>() - wanted.mean).norm() <=
          1e-12 * wanted.mean.norm());
    IncrementalPca<T> empty({.rank = 10});
    empty.merge(IncrementalPca<T>({.rank = 10}));
    CHECK_THROWS_AS(static_cast<void>(empty.factors()), wasi::argument_error);
    empty.merge(first);
    CHECK((empty.template pca_as<Dense<T>>().explained_variance - f.explained_variance).norm() <=
          static_cast<T>(tolerance<T>(90, 10.0)));
    CHECK_THROWS_AS(empty.merge(stream<T>(Dense<T>(a.leftCols(3)), 30, {.rank = 3})), wasi::shape_error);

    for (const int exponent : sizeof(T) == 4 ? std::vector{-110, 100} : std::vector{-900, 900}) {
        CAPTURE(exponent);
        const Dense<T> scaled = a.unaryExpr([exponent](T x) { return std::ldexp(x, exponent); });
        const auto plain = stream<T>(a, 11, {.rank = 4}).template pca_as<Dense<T>>();
        const auto g = stream<T>(scaled, 11, {.rank = 4}).template pca_as<Dense<T>>();
        CHECK(g.info.svd.status == Status::ok);
        CHECK((g.explained_ratio - plain.explained_ratio).norm() <= static_cast<T>(tolerance<T>(90, 1.0)));
        CHECK(std::abs(std::ldexp(g.singular_values(0), -exponent) / plain.singular_values(0) - T(1)) <=
              static_cast<T>(tolerance<T>(90, 1.0)));
        CHECK((g.components - plain.components).norm() <= static_cast<T>(tolerance<T>(90, 20.0)));
        CHECK(std::abs(std::ldexp(g.transform(scaled)(5, 0), -exponent) - plain.transform(a)(5, 0)) <=
              static_cast<T>(tolerance<T>(90, 20.0)));
    }
    // Constant rows: no variance.
    IncrementalPca<T> constant({.rank = 2});
    for (int i = 0; i < 5; ++i) {
        constant.add(Dense<T>(Dense<T>::Constant(3, 4, T(0.1))));
    }
    CHECK(constant.template pca_as<Dense<T>>().info.total_variance <= 1e-40);
}

TEST_CASE("incremental pca: whitening, and refusals that leave everything as it was")
{
    const auto a = cloud<double>(80, 9, 100.0, 0.5);
    auto p = stream<double>(a, 8, {.rank = 9, .whiten = true});
    const auto f = p.pca_as<Eigen::MatrixXd>();
    const Eigen::MatrixXd z = f.transform(a);
    CHECK((z.transpose() * z / 79.0 - Eigen::MatrixXd::Identity(9, 9)).norm() <= 1e-11);
    CHECK((f.inverse_transform(z) - a).norm() <= 1e-11 * a.norm());
    CHECK(f.scores.rows() == 0);
    const auto before = p.state();
    Eigen::MatrixXd bad = a;
    bad(3, 4) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(p.add(bad), wasi::argument_error);
    CHECK_THROWS_AS(p.add(a.leftCols(3)), wasi::shape_error);
    CHECK_THROWS_AS(p.add(a.topRows(0)), wasi::shape_error);
    CHECK(p.state() == before);
    auto state = before;
    state.mean_low.pop_back();
    CHECK_THROWS_AS(IncrementalPca<double>({.rank = 9}, state), wasi::shape_error);
    state = before;
    state.mean_high[0] = std::numeric_limits<double>::infinity();
    CHECK_THROWS_AS(IncrementalPca<double>({.rank = 9}, state), wasi::argument_error);
    IncrementalPca<double> one({.rank = 2});
    one.add(a.topRows(1));
    CHECK_THROWS_AS(static_cast<void>(one.factors()), wasi::argument_error);
    CHECK_THROWS_AS(IncrementalPca<double>({.forgetting = 2.0}), wasi::argument_error);
}

}  // namespace
