#include <doctest/doctest.h>

#include <Eigen/Core>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/low_rank.hpp>
#include <wasi/core/ledger.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/linalg/pivoted_qr.hpp>
#ifdef WASI_TESTS_WITH_XTENSOR
#include <wasi/xtensor/family.hpp>
#endif

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::pivoted_qr;
using wasi::linalg::PivotedQrFactors;
using wasi::linalg::PivotedQrOptions;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;
using wasi_tests::Values;

template <class E, class T = typename E::Scalar>
PivotedQrFactors<T> decompose(const wasi_tests::Matrix<T>& a, const PivotedQrOptions& options)
{
    return pivoted_qr<typename E::Storage, T>(a.view(), options, wasi::plain_memory());
}

/// Q orthonormal, R upper trapezoidal with falling diagonal, the pivots a permutation, and the error what info says.
/// Returns the true relative error.
template <class T>
double check_factors(const wasi_tests::Matrix<T>& a, const PivotedQrFactors<T>& f)
{
    const Index n = a.view().cols;
    const Index k = f.info.rank;
    REQUIRE(f.q.shape() == wasi::Shape{a.view().rows, k});
    REQUIRE(f.r.shape() == wasi::Shape{k, n});
    REQUIRE(static_cast<Index>(f.columns.size()) == n);
    CHECK(wasi_tests::are_different(f.columns, n));
    CHECK(wasi_tests::orthonormality_defect(f.q.matrix()) <= wasi_tests::tolerance<T>(a.view().rows, 1.0));
    const auto r = f.r.matrix();
    const double slack = 1.0 + 1e3 * static_cast<double>(wasi::epsilon<T>);
    bool triangular = true;
    for (Index i = 0; i < k; ++i) {
        for (Index j = 0; j < i; ++j) {
            triangular = triangular && r(i, j) == T(0);
        }
        if (i > 0) {
            const double noise = wasi_tests::tolerance<T>(n, std::abs(static_cast<double>(r(0, 0))));
            CHECK(std::abs(static_cast<double>(r(i, i))) <=
                  slack * std::abs(static_cast<double>(r(i - 1, i - 1))) + noise);
        }
    }
    CHECK(triangular);
    const auto in_order = wasi_tests::columns_of(a.view(), f.columns);
    const double error = wasi_tests::relative_error<T>(in_order.view(), f.q.matrix(), r);
    CHECK(std::abs(error - f.info.relative_error) <= 1e-3 * error + 4e-16);
    return error;
}

TEST_CASE_TEMPLATE("pivoted qr: a rule is met by the true error at every size, or the status says not", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const double unit = static_cast<double>(wasi::epsilon<T>);
    std::uint64_t seed = 0;
    for (const wasi_tests::Extents& shape : wasi_tests::edge_shapes) {
        const Index rows = shape.rows;
        const Index cols = shape.cols;
        for (const auto& spectrum : wasi_tests::spectra_for_rules(std::min(rows, cols))) {
            const auto ordinary = wasi_tests::matrix_with_spectrum<T>(rows, cols, spectrum.values, ++seed);
            for (const double size : wasi_tests::extreme_sizes<T>()) {
                const auto a = wasi_tests::times(ordinary, size);
                for (const double tolerance : {0.5, 0.1, 1e-3, 1e-6, 1e-10, 1e-13, 1e-17}) {
                    INFO(spectrum.name, " (", rows, ", ", cols, ") size ", size, " tolerance ", tolerance);
                    const auto f = decompose<E>(a, {.rank = Tolerance{tolerance}});
                    const double error = check_factors(a, f);
                    if (f.info.status == Status::ok) {
                        CHECK(error <= tolerance);
                    } else {
                        CHECK(f.info.status == Status::rule_not_met);
                        CHECK(tolerance < 16.0 * unit);
                    }
                    CHECK(error <= std::max(tolerance, 16.0 * unit));
                    // One column fewer does not do, unless the aim is near rounding.
                    if (f.info.rank > 1 && tolerance > 1e3 * unit) {
                        CHECK(check_factors(a, decompose<E>(a, {.rank = f.info.rank - 1})) > 0.999 * tolerance);
                    }
                }
                const auto f = decompose<E>(a, {.rank = Energy{0.9}});
                CHECK(std::pow(check_factors(a, f), 2) <= 0.1 * (1.0 + 1e-14));
                CHECK(f.info.status == Status::ok);
            }
        }
    }
}

TEST_CASE_TEMPLATE("pivoted qr: all above rounding is the numerical rank, of a zero matrix one column", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const wasi_tests::Extents& shape : {wasi_tests::Extents{60, 40}, wasi_tests::Extents{40, 60}}) {
        const Index rows = shape.rows;
        const Index cols = shape.cols;
        for (const Index rank : {Index{1}, Index{7}, Index{33}}) {
            const auto a = wasi_tests::matrix_with_spectrum<T>(rows, cols, wasi_tests::polynomial(rank, 1.0), 3);
            for (const PivotedQrOptions& options : {PivotedQrOptions{}, PivotedQrOptions{.rank = Energy{1.0}}}) {
                const auto f = decompose<E>(a, options);
                CHECK(f.info.rank == rank);
                CHECK(f.info.status == Status::ok);
                CHECK(check_factors(a, f) <= 16.0 * static_cast<double>(wasi::epsilon<T>));
            }
        }
    }
    const auto zero = wasi_tests::matrix_with_spectrum<T>(9, 5, {}, 1);
    const auto f = decompose<E>(zero, {});
    CHECK(f.info.rank == 1);
    CHECK(f.info.status == Status::ok);
    CHECK(f.info.error == 0.0);
    CHECK(check_factors(zero, decompose<E>(zero, {.rank = 4})) == 0.0);
}

TEST_CASE("pivoted qr: the pivots and the diagonal are Eigen's")
{
    for (const auto& [rows, cols] :
         {wasi_tests::Extents{90, 70}, wasi_tests::Extents{70, 90}, wasi_tests::Extents{33, 33}}) {
        const auto a = wasi_tests::random_matrix<double>(rows, cols, 5, wasi_tests::col_major);
        const Eigen::MatrixXd matrix = Eigen::Map<const Eigen::MatrixXd>(a.view().data, rows, cols);
        const Eigen::ColPivHouseholderQR<Eigen::MatrixXd> reference(matrix);
        const auto ours = pivoted_qr(matrix);
        const Index k = std::min(rows, cols);
        REQUIRE(ours.info.rank == k);
        for (Index j = 0; j < k; ++j) {
            CHECK(ours.columns[static_cast<std::size_t>(j)] == reference.colsPermutation().indices()(j));
            const double diagonal = std::abs(reference.matrixQR()(j, j));
            CHECK(std::abs(std::abs(ours.r(j, j)) - diagonal) <= wasi_tests::tolerance<double>(rows, diagonal, 64.0));
        }
    }
}

TEST_CASE_TEMPLATE("pivoted qr: pivots are right where downdated norms would be rounding alone", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    // Columns x + small y_j: the first reflection takes all but the y_j, whose sizes fall by halves in a shuffled
    // order. The squares of their norms are below the rounding of those of the columns.
    constexpr Index rows = 60;
    constexpr Index cols = 12;
    const double small = 0.1 * std::sqrt(static_cast<double>(wasi::epsilon<T>));
    const auto q = wasi_tests::random_orthonormal(rows, cols, 11);
    wasi_tests::Matrix<T> a(rows, cols);
    for (Index j = 0; j < cols; ++j) {
        const double part = j == 0 ? 0.0 : small * std::pow(0.5, static_cast<double>((5 * j) % cols));
        for (Index i = 0; i < rows; ++i) {
            a(i, j) = static_cast<T>((j == 0 ? 1.5 : 1.0) * q(i, 0) + part * q(i, j));
        }
    }
    const auto f = decompose<E>(a, {.rank = cols});
    static_cast<void>(check_factors(a, f));
    for (Index step = 0; step < 7; ++step) {
        CHECK(f.columns[static_cast<std::size_t>(step)] == (5 * step) % cols);
    }
}

TEST_CASE_TEMPLATE("pivoted qr: k columns leave at most sqrt(1 + k (n - k)) sigma_{k+1}", E, wasi_tests::EigenFloat,
                   wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const auto& spectrum : wasi_tests::spectra_for_rules(32)) {
        const auto a = wasi_tests::matrix_with_spectrum<T>(48, 32, spectrum.values, 21);
        for (const Index k : {Index{1}, Index{4}, Index{15}, Index{31}, Index{32}}) {
            INFO(spectrum.name, ", ", k, " columns");
            const auto f = decompose<E>(a, {.rank = k});
            CHECK(f.info.rank == k);
            CHECK(f.info.status == Status::ok);
            const auto in_order = wasi_tests::columns_of(a.view(), f.columns);
            const std::vector<T> ones(static_cast<std::size_t>(k), T(1));
            wasi_tests::Matrix<T> right(32, k);
            for (Index j = 0; j < 32; ++j) {
                for (Index p = 0; p < k; ++p) {
                    right(j, p) = f.r.matrix()(p, j);
                }
            }
            const auto rest = wasi_tests::residual(in_order.view(), f.q.matrix(), std::span<const T>(ones),
                                                   std::as_const(right).view());
            const double bound = std::sqrt(1.0 + static_cast<double>(k * (32 - k)));
            CHECK(wasi_tests::spectral_norm(rest) <=
                  bound * wasi_tests::value_at(spectrum.values, k) +
                      wasi_tests::tolerance<T>(48, wasi_tests::value_at(spectrum.values, 0)));
        }
    }
}

TEST_CASE("pivoted qr: stops when the rule is met, and at max_rank says so")
{
    const auto a = wasi_tests::matrix_with_spectrum<double>(200, 150, wasi_tests::exponential(150, 0.5), 4);
    const auto flops = [&](const PivotedQrOptions& options) {
        wasi::Ledger ledger;
        const auto f = pivoted_qr<wasi::EigenStorage, double>(a.view(), options, ledger);
        return ledger.flops();
    };
    CHECK(flops({.rank = Tolerance{1e-2}}) < 0.2 * flops({.rank = 150}));
    const auto bound = decompose<wasi_tests::EigenDouble>(a, {.rank = Tolerance{1e-6}, .max_rank = 5});
    CHECK(bound.info.rank == 5);
    CHECK(bound.info.status == Status::rank_limit);
    CHECK(decompose<wasi_tests::EigenDouble>(a, {.rank = 9, .max_rank = 5}).info.status == Status::rank_limit);
    const auto all = decompose<wasi_tests::EigenDouble>(a, {.rank = 500});
    CHECK(all.info.rank == 150);
    CHECK(all.info.status == Status::ok);
    const auto first = decompose<wasi_tests::EigenDouble>(a, {.rank = first_of(Tolerance{1e-9}, 6)});
    CHECK(first.info.rank == 6);
    CHECK(first.info.status == Status::ok);
}

TEST_CASE_TEMPLATE("pivoted qr: the same factors on every storage", E, WASI_TEST_DOUBLE_ENGINES)
{
    const auto a = wasi_tests::matrix_with_spectrum<double>(37, 45, wasi_tests::exponential(37, 0.6), 8);
    const auto f = decompose<E>(a, {.rank = Tolerance{1e-8}});
    const auto reference = decompose<wasi_tests::EigenDouble>(a, {.rank = Tolerance{1e-8}});
    CHECK(check_factors(a, f) <= 1e-8);
    CHECK(f.columns == reference.columns);
    CHECK(wasi_tests::max_difference(f.r.matrix(), reference.r.matrix()) <= 1e-13);
}

TEST_CASE("pivoted qr: users' types, any number of threads, and what is refused")
{
    const Eigen::MatrixXd a = Eigen::MatrixXd::Random(500, 420);
    wasi::set_thread_count(1);
    const auto one = pivoted_qr(a, {.rank = 40});
    wasi::set_thread_count(3);
    const auto three = pivoted_qr(a, {.rank = 40});
    wasi::set_thread_count(1);
    CHECK(one.columns == three.columns);
    CHECK((one.q.array() == three.q.array()).all());
    CHECK((one.r.array() == three.r.array()).all());
    const auto row_major = pivoted_qr(Eigen::Matrix<double, -1, -1, Eigen::RowMajor>(a), {.rank = 40});
    static_assert(decltype(row_major.q)::IsRowMajor);
    CHECK((one.r.array() == row_major.r.array()).all());

    Eigen::MatrixXf bad = Eigen::MatrixXf::Random(5, 4);
    CHECK_THROWS_WITH_AS(static_cast<void>(pivoted_qr(Eigen::MatrixXf(0, 3))), "pivoted_qr: empty matrix (0, 3)",
                         wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(pivoted_qr(bad, {.max_rank = 0})), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(pivoted_qr(bad, {.rank = wasi::linalg::GavishDonoho{}})), wasi::argument_error);
    for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        bad(3, 1) = value;
        CHECK_THROWS_WITH_AS(static_cast<void>(pivoted_qr(bad)), "pivoted_qr: a (5, 4) holds NaN or infinity",
                             wasi::argument_error);
    }
}

#ifdef WASI_TESTS_WITH_XTENSOR
TEST_CASE("pivoted qr: xtensor in, xtensor out")
{
    const xt::xtensor<double, 2> a{{1.0, 2.0, 3.0}, {4.0, 5.0, 6.0}, {7.0, 8.0, 10.0}, {1.0, 0.0, 1.0}};
    const auto f = pivoted_qr(a);
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(f.q)>, xt::xtensor<double, 2>>);
    CHECK(f.info.rank == 3);
    CHECK(f.columns[0] == 2);
    CHECK(f.info.relative_error <= 1e-15);
}
#endif

}  // namespace
