// Mean and scatter of rows that come in batches, against two passes in long double.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/linalg/running_covariance.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)

struct Reference {
    std::vector<long double> mean;
    std::vector<long double> scatter;  // by rows
};

template <class T>
[[nodiscard]] Reference two_passes(ConstMatrixView<T> rows)
{
    const auto n = static_cast<std::size_t>(rows.cols);
    Reference result{std::vector<long double>(n, 0.0L), std::vector<long double>(n * n, 0.0L)};
    for (Index i = 0; i < rows.rows; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
            result.mean[j] +=
                static_cast<long double>(rows(i, static_cast<Index>(j))) / static_cast<long double>(rows.rows);
        }
    }
    for (Index i = 0; i < rows.rows; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
            for (std::size_t k = 0; k < n; ++k) {
                result.scatter[j * n + k] += (rows(i, static_cast<Index>(j)) - result.mean[j]) *
                                             (rows(i, static_cast<Index>(k)) - result.mean[k]);
            }
        }
    }
    return result;
}

TEST_CASE_TEMPLATE("running covariance: batches of any sizes, means far above the spread", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    constexpr Index rows = 61;
    constexpr Index n = 7;
    for (const double mean : {0.0, 3.0, 1e3}) {
        for (const double scale : {1.0, 1e-12, 1e9}) {
            INFO("mean ", mean, ", scale ", scale);
            auto a = random_matrix<T>(rows, n, 11);
            for (Index i = 0; i < rows; ++i) {
                for (Index j = 0; j < n; ++j) {
                    a.view()(i, j) = static_cast<T>(scale * (mean * static_cast<double>(j + 1) + a.view()(i, j)));
                }
            }
            const Reference expected = two_passes<T>(a.view());
            wasi::Ledger ledger;
            {
                wasi::linalg::RunningCovariance<typename E::Storage, T> covariance(n, ledger);
                wasi::linalg::RunningMean<typename E::Storage, T> only(n, ledger);
                Index first = 0;
                for (const Index count : {1, 20, 0, 3, 37}) {
                    const auto some = ConstMatrixView<T>(a.view()).row_block(first, count);
                    covariance.add(some);
                    only.add(some);
                    first += count;
                }
                CHECK(covariance.count() == rows);
                CHECK(only.count() == rows);
                const double deviation = scale;
                for (Index j = 0; j < n; ++j) {
                    const auto at = static_cast<std::size_t>(j);
                    // Good to the spread, but for what a double cannot tell of so large a mean.
                    CHECK(std::abs(static_cast<double>(covariance.mean()(0, j) - expected.mean[at])) <=
                          tolerance<T>(rows, deviation) +
                              wasi::epsilon<double> * std::abs(static_cast<double>(expected.mean[at])));
                    CHECK(only.value()(0, j) == covariance.mean()(0, j));
                    for (Index k = 0; k < n; ++k) {
                        const long double truth = expected.scatter[at * n + static_cast<std::size_t>(k)];
                        CHECK(std::abs(static_cast<double>(covariance.scatter()(j, k) - truth)) <=
                              tolerance<T>(rows, static_cast<double>(rows) * deviation * deviation));
                    }
                }
            }
            CHECK(ledger.total().current == 0);
        }
    }
}

TEST_CASE("running covariance: one row has no scatter, rows of other lengths are refused")
{
    wasi::linalg::RunningCovariance<wasi::EigenStorage, float> covariance(3, wasi::plain_memory());
    const auto one = random_matrix<float>(1, 3, 5);
    covariance.add(one.view());
    for (Index j = 0; j < 3; ++j) {
        CHECK(covariance.mean()(0, j) == doctest::Approx(one.view()(0, j)));
        CHECK(covariance.scatter()(j, j) == 0.0);
    }
    const auto other = random_matrix<float>(2, 4, 5);
    CHECK_THROWS_AS(covariance.add(other.view()), wasi::shape_error);
}

}  // namespace
