#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/low_rank.hpp>
#include <wasi/core/ledger.hpp>
#include <wasi/linalg/interpolative.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::interpolative;
using wasi::linalg::InterpolativeFactors;
using wasi::linalg::InterpolativeOptions;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;
using wasi_tests::Values;

template <class E, class T = typename E::Scalar>
InterpolativeFactors<T> decompose(const wasi_tests::Matrix<T>& a, const InterpolativeOptions& options)
{
    return interpolative<typename E::Storage, T>(a.view(), options, wasi::plain_memory());
}

template <class E, class T = typename E::Scalar>
InterpolativeFactors<T> sketched(const wasi_tests::Matrix<T>& a, const InterpolativeOptions& options,
                                 std::uint64_t seed = 1)
{
    return interpolative<typename E::Storage, T>(a.view(), options, wasi::RandomKey(seed), wasi::plain_memory());
}

/// Columns of A, T(:,J) = 1 to the bit, the error what info says. Returns the true relative error.
template <class T>
double check_factors(const wasi_tests::Matrix<T>& a, const InterpolativeFactors<T>& f)
{
    const Index n = a.view().cols;
    const Index k = f.info.rank;
    REQUIRE(static_cast<Index>(f.columns.size()) == k);
    REQUIRE(f.coefficients.shape() == wasi::Shape{k, n});
    REQUIRE(wasi_tests::are_different(f.columns, n));
    const auto t = f.coefficients.matrix();
    bool identity = true;
    for (Index i = 0; i < k; ++i) {
        for (Index j = 0; j < k; ++j) {
            identity = identity && t(i, f.columns[static_cast<std::size_t>(j)]) == (i == j ? T(1) : T(0));
        }
    }
    CHECK(identity);
    CHECK(f.info.largest_coefficient == wasi_tests::max_abs(t));
    CHECK(f.info.largest_coefficient <= 16.0);
    const auto kept = wasi_tests::columns_of(a.view(), f.columns);
    const double error = wasi_tests::relative_error<T>(a.view(), std::as_const(kept).view(), t);
    CHECK(std::abs(error - f.info.relative_error) <= 1e-3 * error + 4e-16);
    return error;
}

TEST_CASE_TEMPLATE("interpolative: a rule is met by the true error at every size, or the status says not", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const double unit = static_cast<double>(wasi::epsilon<T>);
    std::uint64_t seed = 100;
    for (const wasi_tests::Extents& shape : wasi_tests::edge_shapes) {
        const Index rows = shape.rows;
        const Index cols = shape.cols;
        for (const auto& spectrum : wasi_tests::spectra_for_rules(std::min(rows, cols))) {
            const auto ordinary = wasi_tests::matrix_with_spectrum<T>(rows, cols, spectrum.values, ++seed);
            for (const double size : wasi_tests::extreme_sizes<T>()) {
                const auto a = wasi_tests::times(ordinary, size);
                for (const double tolerance : {0.5, 1e-2, 1e-6, 1e-10, 1e-13, 1e-17}) {
                    INFO(spectrum.name, " (", rows, ", ", cols, ") size ", size, " tolerance ", tolerance);
                    const auto f = decompose<E>(a, {.rank = Tolerance{tolerance}});
                    const double error = check_factors(a, f);
                    CHECK(error <= std::max(tolerance, 32.0 * unit));
                    if (tolerance > 1e-16) {
                        CHECK(f.info.status == (error <= tolerance ? Status::ok : Status::rule_not_met));
                    } else {  // an error of 0 is possible and cannot be shown
                        CHECK((error <= tolerance || f.info.status == Status::rule_not_met));
                    }
                }
                const auto f = decompose<E>(a, {.rank = Energy{0.9}});
                CHECK(std::pow(check_factors(a, f), 2) <= 0.1 * (1.0 + 1e-14));
            }
        }
    }
}

TEST_CASE_TEMPLATE("interpolative: k columns leave at most sqrt(1 + k (n - k)) sigma_{k+1}", E, wasi_tests::EigenFloat,
                   wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const auto& spectrum : wasi_tests::spectra_for_rules(30)) {
        const auto a = wasi_tests::matrix_with_spectrum<T>(100, 90, spectrum.values, 31);
        for (const Index k : {Index{1}, Index{6}, Index{29}}) {
            for (const bool with_sketch : {false, true}) {
                INFO(spectrum.name, ", ", k, " columns, sketch ", with_sketch);
                const auto f = with_sketch ? sketched<E>(a, {.rank = k}) : decompose<E>(a, {.rank = k});
                CHECK(f.info.rank == k);
                CHECK(f.info.status == Status::ok);
                const auto kept = wasi_tests::columns_of(a.view(), f.columns);
                const std::vector<T> ones(static_cast<std::size_t>(k), T(1));
                wasi_tests::Matrix<T> right(90, k);
                for (Index j = 0; j < 90; ++j) {
                    for (Index p = 0; p < k; ++p) {
                        right(j, p) = f.coefficients.matrix()(p, j);
                    }
                }
                const auto rest = wasi_tests::residual(a.view(), std::as_const(kept).view(), std::span<const T>(ones),
                                                       std::as_const(right).view());
                const double bound = std::sqrt(1.0 + static_cast<double>(k * (90 - k)));
                CHECK(wasi_tests::spectral_norm(rest) <=
                      bound * wasi_tests::value_at(spectrum.values, k) +
                          wasi_tests::tolerance<T>(100, wasi_tests::value_at(spectrum.values, 0), 16.0));
            }
        }
    }
}

TEST_CASE_TEMPLATE("interpolative by a sketch: tolerances hold by the true error, with few columns too many", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const double unit = static_cast<double>(wasi::epsilon<T>);
    for (const auto& values : {wasi_tests::exponential(120, 0.5), wasi_tests::exponential(120, 0.85),
                               wasi_tests::step(120, 12, 1e-8), wasi_tests::polynomial(120, 2.0)}) {
        const auto ordinary = wasi_tests::matrix_with_spectrum<T>(150, 120, values, 41);
        for (const double size : {1.0, wasi_tests::extreme_sizes<T>().back()}) {
            const auto a = wasi_tests::times(ordinary, size);
            for (const double tolerance : {1e-1, 1e-6, 1e-13}) {
                const auto f = sketched<E>(a, {.rank = Tolerance{tolerance}});
                const double error = check_factors(a, f);
                CHECK(error <= std::max(tolerance, 32.0 * unit));
                CHECK(f.info.status == (error <= tolerance ? Status::ok : Status::rule_not_met));
                if (tolerance > 1e3 * unit) {
                    const Index without = decompose<E>(a, {.rank = Tolerance{tolerance}}).info.rank;
                    CHECK(f.info.rank <= without + 2 + without / 5);
                }
            }
        }
    }
}

TEST_CASE("interpolative by a sketch: cheaper for a low rank, the same for the same key, and within max_rank")
{
    const auto a = wasi_tests::matrix_with_spectrum<double>(400, 300, wasi_tests::exponential(60, 0.8), 51);
    const auto once = sketched<wasi_tests::EigenDouble>(a, {.rank = 15}, 7);
    const auto again = sketched<wasi_tests::EigenDouble>(a, {.rank = 15}, 7);
    CHECK(once.columns == again.columns);
    CHECK(wasi_tests::same_bits(once.coefficients.matrix(), again.coefficients.matrix()));
    const auto capped = sketched<wasi_tests::EigenDouble>(a, {.rank = Tolerance{1e-6}, .max_rank = 20});
    CHECK(capped.info.rank == 20);
    CHECK(capped.info.status == Status::rank_limit);
    const auto uncapped = sketched<wasi_tests::EigenDouble>(a, {.rank = Tolerance{1e-3}, .max_rank = 45});
    CHECK(uncapped.info.status == Status::ok);
    CHECK(check_factors(a, uncapped) <= 1e-3);
}

TEST_CASE_TEMPLATE("interpolative: the same columns on every storage", E, WASI_TEST_DOUBLE_ENGINES)
{
    const auto a = wasi_tests::matrix_with_spectrum<double>(110, 100, wasi_tests::exponential(40, 0.6), 61);
    const auto f = decompose<E>(a, {.rank = Tolerance{1e-4}});
    CHECK(check_factors(a, f) <= 1e-4);
    CHECK(f.columns == decompose<wasi_tests::EigenDouble>(a, {.rank = Tolerance{1e-4}}).columns);
    const auto g = sketched<E>(a, {.rank = 12});
    CHECK(check_factors(a, g) <= 1e-2);
    CHECK(g.columns == sketched<wasi_tests::EigenDouble>(a, {.rank = 12}).columns);
}

TEST_CASE("interpolative: users' types, all above rounding, and what is refused")
{
    const Eigen::MatrixXf a = Eigen::MatrixXf::Random(30, 4) * Eigen::MatrixXf::Random(4, 20);
    const auto f = interpolative(a);
    CHECK(f.info.rank == 4);
    CHECK(f.info.status == Status::ok);
    CHECK((a(Eigen::seqN(0, a.rows()), f.columns) * f.coefficients - a).norm() <= 1e-5F * a.norm());
    const auto rows = interpolative(a.transpose(), {.rank = 4});  // rows of A, by the transpose
    CHECK((rows.coefficients.transpose() * a(rows.columns, Eigen::seqN(0, a.cols())) - a).norm() <= 1e-5F * a.norm());
    const Eigen::MatrixXf zero = Eigen::MatrixXf::Zero(6, 5);
    CHECK(interpolative(zero).info.rank == 1);
    CHECK(interpolative(zero).info.error == 0.0);

    Eigen::MatrixXf bad = a;
    bad(2, 3) = std::numeric_limits<float>::quiet_NaN();
    const wasi::RandomKey key(1);
    CHECK_THROWS_WITH_AS(static_cast<void>(interpolative(bad)), "interpolative: a (30, 20) holds NaN or infinity",
                         wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(interpolative(bad, {.rank = 2}, key)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(interpolative(a, {.rank = 2, .oversampling = -1}, key)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(interpolative(a, {.rank = 2, .power_iterations = -1}, key)),
                    wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(interpolative(Eigen::MatrixXf(3, 0))), wasi::shape_error);
}

}  // namespace
