#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/qb.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/single_pass_qb.hpp>

// Rules against the error that there really is, formed in long double.
namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::qb;
using wasi::linalg::QbFactors;
using wasi::linalg::randomized_svd;
using wasi::linalg::RankRule;
using wasi::linalg::Route;
using wasi::linalg::Status;
using wasi::linalg::SvdFactors;
using wasi::linalg::Tolerance;
using wasi::linalg::truncated_svd;
using wasi_tests::Matrix;
using wasi_tests::matrix_with_spectrum;
using wasi_tests::Values;

/// ||A - U diag(s) Vᵀ||_F / ||A||_F in long double.
template <class T>
double relative_error(const Matrix<T>& a, const SvdFactors<T>& f)
{
    long double lost = 0.0L;
    long double whole = 0.0L;
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            long double value = a(i, j);
            whole += value * value;
            for (Index k = 0; k < f.info.rank; ++k) {
                value -= static_cast<long double>(f.u.matrix()(i, k)) * static_cast<long double>(f.s.data()[k]) *
                         static_cast<long double>(f.v.matrix()(j, k));
            }
            lost += value * value;
        }
    }
    return whole > 0.0L ? static_cast<double>(std::sqrt(lost / whole)) : 0.0;
}

template <class T>
double relative_error(const Matrix<T>& a, const QbFactors<T>& f)
{
    long double lost = 0.0L;
    long double whole = 0.0L;
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            long double value = a(i, j);
            whole += value * value;
            for (Index k = 0; k < f.info.rank; ++k) {
                value -= static_cast<long double>(f.q.matrix()(i, k)) * static_cast<long double>(f.b.matrix()(k, j));
            }
            lost += value * value;
        }
    }
    return whole > 0.0L ? static_cast<double>(std::sqrt(lost / whole)) : 0.0;
}

template <class T>
SvdFactors<T> sketched(const Matrix<T>& a, const RankRule& rule, std::uint64_t seed = 1)
{
    return randomized_svd<EigenStorage, T>(a.view(), {.rank = rule}, RandomKey(seed), wasi::plain_memory());
}

TEST_CASE(
    "tolerances in double are met down to 1e-13, by sketch and by dense SVD, or the status says that they are not")
{
    struct Case {
        std::string name;
        Index rows, cols;
        Values values;
    };
    const std::array<Case, 4> cases{{{"0.8^j", 240, 240, wasi_tests::exponential(240, 0.8)},
                                     {"0.6^j", 200, 120, wasi_tests::exponential(120, 0.6)},
                                     {"ten of 1, the rest 1e-8", 200, 200, wasi_tests::step(200, 10, 1e-8)},
                                     {"wide, 0.5^j", 90, 300, wasi_tests::exponential(90, 0.5)}}};
    for (const Case& which : cases) {
        const auto a = matrix_with_spectrum<double>(which.rows, which.cols, which.values, 3);
        for (const double tolerance : {1e-3, 1e-6, 1e-8, 1e-10, 1e-12, 1e-13}) {
            INFO(which.name, ", tolerance ", tolerance);
            const auto f = sketched(a, Tolerance{tolerance});
            REQUIRE(f.info.status == Status::ok);
            CHECK(relative_error(a, f) <= tolerance);
            CHECK(f.info.residual_bound >= 0.0);
            const auto dense =
                truncated_svd<EigenStorage, double>(a.view(), {.rank = Tolerance{tolerance}}, wasi::plain_memory());
            REQUIRE(dense.info.status == Status::ok);
            CHECK(relative_error(a, dense) <= tolerance);
            CHECK(f.info.rank <= dense.info.rank + 3);
            const auto basis = qb<EigenStorage, double>(a.view(), {.tolerance = tolerance, .block = 8}, RandomKey(2),
                                                        wasi::plain_memory());
            REQUIRE(basis.info.status == Status::ok);
            CHECK(relative_error(a, basis) <= tolerance);
            CHECK(wasi_tests::orthonormality_defect(basis.q.matrix()) <= wasi_tests::tolerance<double>(300, 1.0));
        }
        // Below what double can hold, nobody says ok.
        CHECK(sketched(a, Tolerance{1e-17}).info.status == Status::rule_not_met);
        CHECK(truncated_svd<EigenStorage, double>(a.view(), {.rank = Tolerance{1e-17}}, wasi::plain_memory())
                  .info.status == Status::rule_not_met);
        CHECK(
            qb<EigenStorage, double>(a.view(), {.tolerance = 1e-17}, RandomKey(2), wasi::plain_memory()).info.status ==
            Status::rule_not_met);
    }
}

TEST_CASE("tolerances in float are met down to 2e-6, or the status says that they are not")
{
    for (const double ratio : {0.5, 0.8}) {
        const auto a = matrix_with_spectrum<float>(200, 150, wasi_tests::exponential(150, ratio), 5);
        for (const double tolerance : {1e-2, 1e-3, 1e-4, 1e-5, 2e-6}) {
            INFO("ratio ", ratio, ", tolerance ", tolerance);
            const auto f = sketched(a, Tolerance{tolerance});
            CHECK(f.info.status == Status::ok);
            CHECK(relative_error(a, f) <= tolerance);
        }
        for (const double tolerance : {3e-8, 1e-10, 1e-13}) {
            CHECK(sketched(a, Tolerance{tolerance}).info.status == Status::rule_not_met);
        }
    }
}

TEST_CASE_TEMPLATE("tall matrices: what is data counts as data, however many rows there are", T, float, double)
{
    // Condition 16, 9 columns: a floor of rows epsilon s_1 would take the smaller half for rounding.
    constexpr Index cols = 9;
    Matrix<T> a(400000, cols);
    EigenStorage::fill_normal(a.view(), RandomKey(2));
    for (Index j = 0; j < cols; ++j) {
        const auto column = a.view().col_block(j, 1);
        EigenStorage::add_scaled(column, T(0), static_cast<T>(std::pow(16.0, -static_cast<double>(j) / 8.0)),
                                 wasi::ConstMatrixView<T>(column));
    }
    for (const double energy : {0.9, 0.99, 0.999, 1.0}) {
        INFO("energy ", energy);
        const auto dense = truncated_svd<EigenStorage, T>(a.view(), {.rank = Energy{energy}}, wasi::plain_memory());
        const auto f = sketched(a, Energy{energy});
        for (const auto* result : {&dense, &f}) {
            CHECK(result->info.status == Status::ok);
            CHECK(result->info.captured_energy >= energy - 1e-6);
            CHECK((energy < 1.0 || result->info.rank == cols));
        }
    }
}

TEST_CASE_TEMPLATE("the same answer at every scale that the type holds", T, float, double)
{
    const auto plain = matrix_with_spectrum<T>(150, 120, wasi_tests::exponential(120, 0.7), 9);
    const int reach = sizeof(T) < sizeof(double) ? 110 : 1000;
    for (const RankRule& rule : {RankRule(Tolerance{1e-3}), RankRule(Energy{0.9}), RankRule(7)}) {
        const auto expected = sketched(plain, rule);
        const auto dense = truncated_svd<EigenStorage, T>(plain.view(), {.rank = rule}, wasi::plain_memory());
        const auto basis = qb<EigenStorage, T>(plain.view(), {.tolerance = 1e-3}, RandomKey(1), wasi::plain_memory());
        for (const int exponent : {-reach, -reach / 2, reach / 2, reach}) {
            INFO("exponent ", exponent);
            Matrix<T> a(150, 120);
            EigenStorage::add_scaled(a.view(), T(0), static_cast<T>(std::ldexp(1.0, exponent)), plain.view());
            const auto f = sketched(a, rule);
            CHECK(f.info.status == expected.info.status);
            REQUIRE(f.info.rank == expected.info.rank);
            CHECK(f.info.captured_energy == doctest::Approx(expected.info.captured_energy).epsilon(1e-5));
            const auto g = truncated_svd<EigenStorage, T>(a.view(), {.rank = rule}, wasi::plain_memory());
            REQUIRE(g.info.rank == dense.info.rank);
            for (Index j = 0; j < g.info.rank; ++j) {
                CHECK(static_cast<double>(g.s.data()[j]) ==
                      doctest::Approx(std::ldexp(static_cast<double>(dense.s.data()[j]), exponent)).epsilon(1e-4));
            }
            CHECK(relative_error(a, f) == doctest::Approx(relative_error(plain, expected)).epsilon(1e-2));
            const auto q = qb<EigenStorage, T>(a.view(), {.tolerance = 1e-3}, RandomKey(1), wasi::plain_memory());
            CHECK(q.info.rank == basis.info.rank);
            CHECK(q.info.status == Status::ok);
            CHECK(relative_error(a, q) <= 1e-3);
        }
    }
}

TEST_CASE("a fixed rank of a matrix without decay: values within two per cent, without being asked for iterations")
{
    const auto a = wasi_tests::random_matrix<double>(1000, 800, 4);
    const auto exact = truncated_svd<EigenStorage, double>(a.view(), {.rank = 10}, wasi::plain_memory());
    for (const auto method : {wasi::linalg::SketchMethod::automatic, wasi::linalg::SketchMethod::subspace_iteration}) {
        const auto f = randomized_svd<EigenStorage, double>(a.view(), {.rank = 10, .method = method}, RandomKey(1),
                                                            wasi::plain_memory());
        CHECK(f.info.route == Route::randomized);
        for (Index j = 0; j < 10; ++j) {
            CHECK(f.s.data()[j] >= 0.98 * exact.s.data()[j]);
        }
    }
    // Two are enough where the spectrum decays.
    const auto steep = matrix_with_spectrum<double>(300, 250, wasi_tests::exponential(250, 0.8), 4);
    CHECK(sketched(steep, 10).info.passes <= 8);
}

TEST_CASE_TEMPLATE("single pass: every row is read once, and the bound holds", T, float, double)
{
    const auto a = matrix_with_spectrum<T>(500, 80, wasi_tests::exponential(80, 0.7), 6);
    Index at = 0;
    const auto next = [&](wasi::MatrixView<T> rows) {
        EigenStorage::copy(rows, a.view().row_block(at, rows.rows));
        at += rows.rows;
        return rows.rows;
    };
    const auto f = wasi::linalg::single_pass_qb<EigenStorage, T>(500, 80, next, {.rank = 20, .block_rows = 64},
                                                                 RandomKey(3), wasi::plain_memory());
    CHECK(at == 500);
    CHECK(f.info.rank == 20);
    CHECK(f.info.passes == 1);
    CHECK(wasi_tests::orthonormality_defect(f.q.matrix()) <= wasi_tests::tolerance<T>(500, 1.0));
    const double whole = wasi_tests::frobenius_norm(a.view());
    CHECK(relative_error(a, f) * whole <= f.info.residual_bound);
    const double best = std::sqrt(wasi_tests::tail_energy(wasi_tests::exponential(80, 0.7), 20));
    CHECK(relative_error(a, f) * whole <= 3.0 * best + 4.0 * std::sqrt(static_cast<double>(wasi::epsilon<T>)));
    at = 0;
    const auto met = wasi::linalg::single_pass_qb<EigenStorage, T>(500, 80, next, {.rank = 40, .tolerance = 1e-2},
                                                                   RandomKey(3), wasi::plain_memory());
    CHECK(met.info.status == Status::ok);
    CHECK(met.info.rank < 40);
    CHECK(relative_error(a, met) <= 1e-2);
    at = 0;
    const auto not_met = wasi::linalg::single_pass_qb<EigenStorage, T>(500, 80, next, {.rank = 4, .tolerance = 1e-3},
                                                                       RandomKey(3), wasi::plain_memory());
    CHECK(not_met.info.status == Status::rank_limit);
}

}  // namespace
