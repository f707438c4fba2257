#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <support/engines.hpp>
#include <support/low_rank.hpp>
#include <wasi/linalg/cur.hpp>

namespace {

using wasi::Index;
using wasi::linalg::cur;
using wasi::linalg::CurFactors;
using wasi::linalg::CurOptions;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;

template <class E, class T = typename E::Scalar>
CurFactors<T> decompose(const wasi_tests::Matrix<T>& a, const CurOptions& options)
{
    return cur<typename E::Storage, T>(a.view(), options, wasi::plain_memory());
}

/// C and R are columns and rows of A to the bit, the error is what info says. Returns the true relative error, of C U
/// rounded to T, then times R.
template <class T>
double check_factors(const wasi_tests::Matrix<T>& a, const CurFactors<T>& f)
{
    const auto k = static_cast<Index>(f.columns.size());
    const auto l = static_cast<Index>(f.rows.size());
    REQUIRE(f.c.shape() == wasi::Shape{a.view().rows, k});
    REQUIRE(f.u.shape() == wasi::Shape{k, l});
    REQUIRE(f.r.shape() == wasi::Shape{l, a.view().cols});
    REQUIRE(wasi_tests::are_different(f.columns, a.view().cols));
    REQUIRE(wasi_tests::are_different(f.rows, a.view().rows));
    const auto columns = wasi_tests::columns_of(a.view(), f.columns);
    const auto rows = wasi_tests::columns_of(a.view().transposed(), f.rows);
    CHECK(wasi_tests::same_bits(f.c.matrix(), columns.view()));
    CHECK(wasi_tests::same_bits(f.r.matrix().transposed(), rows.view()));
    wasi_tests::Matrix<T> weights(a.view().rows, l);
    wasi::EigenStorage::multiply(weights.view(), T(1), f.c.matrix(), f.u.matrix(), T(0), wasi::plain_memory());
    const double error = wasi_tests::relative_error<T>(a.view(), std::as_const(weights).view(), f.r.matrix());
    // The same product, but rounded elsewhere: far above rounding it is the same number.
    const double rounding = 0.5 * f.info.relative_error + 64.0 * static_cast<double>(wasi::epsilon<T>);
    CHECK(std::abs(error - f.info.relative_error) <= rounding);
    return f.info.relative_error;
}

TEST_CASE_TEMPLATE("cur: a rule is met by the true error at every size, or the status says not", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const double root = std::sqrt(static_cast<double>(wasi::epsilon<T>));
    std::uint64_t seed = 200;
    for (const wasi_tests::Extents& shape : wasi_tests::edge_shapes) {
        const Index rows = shape.rows;
        const Index cols = shape.cols;
        for (const auto& spectrum : wasi_tests::spectra_for_rules(std::min(rows, cols))) {
            const auto ordinary = wasi_tests::matrix_with_spectrum<T>(rows, cols, spectrum.values, ++seed);
            for (const double size : wasi_tests::extreme_sizes<T>()) {
                const auto a = wasi_tests::times(ordinary, size);
                for (const double tolerance : {0.5, 1e-2, 1e-3, 1e-6, 1e-10, 1e-13}) {
                    INFO(spectrum.name, " (", rows, ", ", cols, ") size ", size, " tolerance ", tolerance);
                    const auto f = decompose<E>(a, {.rank = Tolerance{tolerance}});
                    const double error = check_factors(a, f);
                    CHECK(f.info.status == (error <= tolerance ? Status::ok : Status::rule_not_met));
                    // Above sqrt(epsilon) every tolerance is met, and below it the error comes near it.
                    CHECK(error <= std::max(tolerance, 30.0 * root));
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("cur: k columns and rows leave at most what both projections leave", E, wasi_tests::EigenFloat,
                   wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const auto& spectrum : wasi_tests::spectra_for_rules(30)) {
        const auto a = wasi_tests::matrix_with_spectrum<T>(44, 30, spectrum.values, 71);
        const double whole = std::sqrt(wasi_tests::energy(spectrum.values));
        for (const Index k : {Index{1}, Index{5}, Index{12}}) {
            INFO(spectrum.name, ", rank ", k);
            const auto f = decompose<E>(a, {.rank = k});
            CHECK(f.info.status == Status::ok);
            CHECK(f.columns.size() == static_cast<std::size_t>(k));
            CHECK(f.rows.size() == static_cast<std::size_t>(k));
            const double error = check_factors(a, f);
            // ||A - C C⁺ A||_F² <= (k + 1) sum of the tail for good columns; pivoting is within a few of it.
            const double tail = std::sqrt(wasi_tests::tail_energy(spectrum.values, k));
            const double floor = whole > 0.0 ? 100.0 * std::sqrt(static_cast<double>(wasi::epsilon<T>)) : 0.0;
            CHECK(error * whole <= std::sqrt(2.0 * static_cast<double>(k + 1)) * tail + floor * whole);
        }
    }
}

TEST_CASE_TEMPLATE("cur: a matrix of low rank is found to rounding on every storage", E, WASI_TEST_DOUBLE_ENGINES)
{
    const auto a = wasi_tests::matrix_with_spectrum<double>(40, 26, wasi_tests::polynomial(6, 1.0), 81);
    for (const double tolerance : {1e-12, 0.0}) {
        const auto f = decompose<E>(a, {.rank = Tolerance{tolerance}});
        CHECK(f.info.status == Status::ok);
        CHECK(f.columns.size() == 6);
        CHECK(f.rows.size() == 6);
        CHECK(check_factors(a, f) <= 1e-14);
    }
}

TEST_CASE("cur: users' types, limits, and what is refused")
{
    const Eigen::MatrixXd a = Eigen::MatrixXd::Random(30, 5) * Eigen::MatrixXd::Random(5, 20);
    const auto f = cur(a);
    CHECK(f.columns.size() == 5);
    CHECK((f.c * f.u * f.r - a).norm() <= 1e-12 * a.norm());
    CHECK(cur(a, {.rank = Tolerance{1e-6}, .max_rank = 3}).info.status == Status::rank_limit);
    CHECK(cur(a, {.rank = 4, .max_rank = 3}).info.status == Status::rank_limit);
    const Eigen::MatrixXd zero = Eigen::MatrixXd::Zero(4, 7);
    CHECK(cur(zero).info.error == 0.0);
    CHECK(cur(zero).info.status == Status::ok);
    Eigen::MatrixXd bad = a;
    bad(0, 0) = std::numeric_limits<double>::infinity();
    CHECK_THROWS_WITH_AS(static_cast<void>(cur(bad)), "cur: a (30, 20) holds NaN or infinity", wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(cur(Eigen::MatrixXd(0, 0))), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(cur(a, {.max_rank = 0})), wasi::argument_error);
}

}  // namespace
