#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <type_traits>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/randomized_svd.hpp>

namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::randomized_svd;
using wasi::linalg::RandomizedSvdOptions;
using wasi::linalg::RankRule;
using wasi::linalg::Route;
using wasi::linalg::Status;
using wasi::linalg::SvdFactors;
using wasi::linalg::Tolerance;
using wasi_tests::Matrix;
using wasi_tests::matrix_with_spectrum;
using wasi_tests::tolerance;
using wasi_tests::Values;

struct Extents {
    Index rows, cols;
};

template <class E>
SvdFactors<typename E::Scalar> decompose(const Matrix<typename E::Scalar>& a, const RandomizedSvdOptions& options,
                                         std::uint64_t seed = 1)
{
    return randomized_svd<typename E::Storage, typename E::Scalar>(a.view(), options, RandomKey(seed),
                                                                   wasi::plain_memory());
}

/// The squared Frobenius error. Checked on the way: orthonormal factors, descending values that do not exceed the true
/// ones, and a captured energy that is the truth.
template <class T>
double checked_error(const Matrix<T>& a, const SvdFactors<T>& f, const Values& values)
{
    const Index n = std::max(a.view().rows, a.view().cols);
    REQUIRE(f.u.shape() == wasi::Shape{a.view().rows, f.info.rank});
    REQUIRE(f.v.shape() == wasi::Shape{a.view().cols, f.info.rank});
    CHECK(wasi_tests::orthonormality_defect(f.u.matrix()) <= tolerance<T>(n, 1.0));
    CHECK(wasi_tests::orthonormality_defect(f.v.matrix()) <= tolerance<T>(n, 1.0));
    const double rounding = tolerance<T>(n, wasi_tests::value_at(values, 0));
    for (Index j = 0; j < f.info.rank; ++j) {
        CHECK(static_cast<double>(f.s.data()[j]) <= wasi_tests::value_at(values, j) + rounding);
        CHECK(f.s.data()[j] >= T(0));
        CHECK((j == 0 || f.s.data()[j] <= f.s.data()[j - 1]));
    }
    const double lost = wasi_tests::frobenius_norm(wasi_tests::residual(a.view(), f).view());
    const double whole = wasi_tests::energy(values);
    CHECK(std::abs(f.info.captured_energy - (whole > 0.0 ? 1.0 - lost * lost / whole : 1.0)) <= tolerance<T>(n, 1.0));
    CHECK(f.info.captured_energy <= 1.0);
    return lost * lost;
}

/// Theorem 10.8 of Halko, Martinsson, Tropp for B = (A Aᵀ)^q A with t = e and u = sqrt(2 p), carried to A by their
/// theorem 9.2:
/// ||(1 - Q Qᵀ) A||_2 is at most this with probability 1 - 7 exp(-p), for p = 10 all but 0.0003.
double spectral_bound(const Values& values, Index rank, Index extra, Index iterations)
{
    const auto k = static_cast<double>(rank);
    const auto p = static_cast<double>(extra);
    const double power = 2.0 * static_cast<double>(iterations) + 1.0;
    double tail = 0.0;
    for (Index j = rank; j < static_cast<Index>(values.size()); ++j) {
        tail += std::pow(wasi_tests::value_at(values, j), 2.0 * power);
    }
    const double first = std::pow(wasi_tests::value_at(values, rank), power);
    const double spread = std::numbers::e * std::numbers::e * std::sqrt(k + p) / (p + 1.0);
    const double bound = (1.0 + std::numbers::e * std::sqrt(12.0 * k / p)) * first + spread * std::sqrt(tail) +
                         std::sqrt(2.0 * p) * spread * first;
    return std::pow(bound, 1.0 / power);
}

TEST_CASE_TEMPLATE("randomized svd: the error bounds for every spectrum, shape and number of power iterations", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    constexpr Index rank = 8;
    constexpr Index extra = 10;
    std::uint64_t seed = 0;
    for (const Extents& extents : {Extents{90, 60}, Extents{60, 90}, Extents{64, 64}}) {
        const Index rows = extents.rows;
        const Index cols = extents.cols;
        const Index smaller = std::min(rows, cols);
        for (const auto& spectrum : wasi_tests::all_spectra(smaller)) {
            const auto& values = spectrum.values;
            const auto a = matrix_with_spectrum<T>(rows, cols, values, ++seed);
            const double rounding = tolerance<T>(std::max(rows, cols), wasi_tests::value_at(values, 0));
            for (const Index iterations : {0, 1, 2}) {
                INFO(spectrum.name, ", (", rows, ", ", cols, "), power iterations ", iterations);
                const auto f =
                    decompose<E>(a, {.rank = rank, .oversampling = extra, .power_iterations = iterations}, seed);
                CHECK(f.info.rank == rank);
                CHECK(f.info.status == Status::ok);
                CHECK(f.info.route == (values.empty() ? Route::dense : Route::randomized));
                // One pass more where the first image is too ill-conditioned to go on with.
                const Index least = values.empty() ? 1 : 3 + 2 * iterations;
                CHECK(f.info.passes >= least);
                CHECK(f.info.passes <= least + (iterations > 0 ? 1 : 0));
                static_cast<void>(checked_error(a, f, values));
                // The cut from rank + extra to rank costs one more sigma_{rank+1}.
                CHECK(wasi_tests::spectral_norm(wasi_tests::residual(a.view(), f)) <=
                      wasi_tests::value_at(values, rank) + spectral_bound(values, rank, extra, iterations) + rounding);
            }
        }
    }
}

TEST_CASE_TEMPLATE(
    "randomized svd: on average without power iterations at most (1 + k / (p - 1)) times the best squared error", E,
    WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    constexpr Index rank = 6;
    for (const Index extra : {Index{2}, Index{5}, Index{12}}) {
        for (const Values& values :
             {wasi_tests::polynomial(70, 0.5), wasi_tests::exponential(70, 0.9), wasi_tests::step(70, 6, 0.1)}) {
            const auto a = matrix_with_spectrum<T>(80, 70, values, 3);
            const double best = wasi_tests::tail_energy(values, rank);
            double sum = 0.0;
            double sum_with_power = 0.0;
            constexpr int draws = 20;
            for (std::uint64_t seed = 0; seed < draws; ++seed) {
                const auto plain = decompose<E>(a, {.rank = rank, .oversampling = extra, .power_iterations = 0}, seed);
                const auto power = decompose<E>(a, {.rank = rank, .oversampling = extra, .power_iterations = 2}, seed);
                sum += checked_error(a, plain, values);
                sum_with_power += checked_error(a, power, values);
            }
            INFO("oversampling ", extra, ", best ", best);
            CHECK(sum / draws <= best * (1.0 + static_cast<double>(rank) / static_cast<double>(extra - 1)));
            CHECK(sum / draws >= best);
            CHECK(sum_with_power < sum);
            CHECK(sum_with_power / draws <= 1.1 * best);
        }
    }
}

TEST_CASE_TEMPLATE("randomized svd: finds the known values and vectors where the spectrum has a gap", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const Values values{9.0, 8.0, 7.0, 6.0, 1e-3, 1e-3, 1e-3};
    for (const Extents& extents : {Extents{90, 60}, Extents{60, 90}}) {
        const Index rows = extents.rows;
        const Index cols = extents.cols;
        const auto a = matrix_with_spectrum<T>(rows, cols, values, 4);
        const auto f = decompose<E>(a, {.rank = 4});
        const auto exact =
            wasi::linalg::truncated_svd<wasi_tests::NaiveStorage, T>(a.view(), {.rank = 4}, wasi::plain_memory());
        for (Index j = 0; j < 4; ++j) {
            CHECK(std::abs(static_cast<double>(f.s.data()[j]) - values[static_cast<std::size_t>(j)]) <=
                  tolerance<T>(90, 9.0));
        }
        CHECK(wasi_tests::projector_distance(f.u.matrix(), exact.u.matrix()) <= tolerance<T>(90, 2.0));
        CHECK(wasi_tests::projector_distance(f.v.matrix(), exact.v.matrix()) <= tolerance<T>(90, 2.0));
    }
}

TEST_CASE_TEMPLATE(
    "randomized svd: energy and tolerance give the right rank, at most one above, the sketch growing as it must", E,
    WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    struct Case {
        Values values;
        double fraction;
    };
    const std::array<Case, 6> cases{{{wasi_tests::exponential(120, 0.8), 0.9},
                                     {wasi_tests::exponential(120, 0.8), 0.999},
                                     {wasi_tests::exponential(120, 0.93), 0.99},
                                     {wasi_tests::polynomial(120, 1.0), 0.95},
                                     {wasi_tests::polynomial(120, 0.5), 0.7},
                                     {wasi_tests::step(120, 30, 1e-2), 0.99}}};
    std::uint64_t seed = 10;
    for (const Case& wanted : cases) {
        const Values& values = wanted.values;
        const double fraction = wanted.fraction;
        for (const Extents& extents : {Extents{210, 180}, Extents{180, 210}}) {
            const Index rows = extents.rows;
            const Index cols = extents.cols;
            const Index expected = wasi_tests::rank_for_energy(values, fraction);
            INFO("energy ", fraction, ", true rank ", expected, ", (", rows, ", ", cols, ")");
            const auto a = matrix_with_spectrum<T>(rows, cols, values, ++seed);
            for (const RankRule& rule : {RankRule(Energy{fraction}), RankRule(Tolerance{std::sqrt(1.0 - fraction)})}) {
                const auto f = decompose<E>(a, {.rank = rule, .first_block = 4}, seed);
                CHECK(f.info.rank >= expected);
                CHECK(f.info.rank <= expected + 1);
                CHECK(f.info.captured_energy >= fraction);
                CHECK(f.info.status == Status::ok);
                CHECK(f.info.route == Route::randomized);
                // The norm and six for each sketch, seven where its first image was made again; the first holds 16
                // columns.
                CHECK(f.info.passes >= 7);
                CHECK((f.info.passes > 8) == (expected >= 16));
                static_cast<void>(checked_error(a, f, values));
            }
        }
    }
}

TEST_CASE_TEMPLATE("randomized svd: energy 1 of a matrix of low rank keeps its rank, by a sketch", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Index rank : {Index{1}, Index{15}, Index{35}}) {
        for (std::uint64_t seed = 0; seed < 3; ++seed) {
            INFO("rank ", rank, ", seed ", seed);
            const auto values = wasi_tests::exponential(rank, 0.85);
            const auto a = matrix_with_spectrum<T>(200, 190, values, seed);
            const auto f = decompose<E>(a, {.rank = Energy{1.0}}, seed);
            CHECK(f.info.rank == rank);
            CHECK(f.info.status == Status::ok);
            CHECK(f.info.route == Route::randomized);
            CHECK(checked_error(a, f, values) <= std::pow(tolerance<T>(200, 1.0), 2.0));
        }
    }
}

TEST_CASE_TEMPLATE("randomized svd: columns beyond the rank of A stay orthonormal when the sketch grows", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    // All but the first rows are zero: the arbitrary directions that fill up a basis are the same ones again and again.
    Matrix<T> q(40, 20);
    for (Index i = 0; i < 40; ++i) {
        for (Index j = 0; j < 20; ++j) {
            q(i, j) = i == j && j < 10 ? T(1) : T(0);
        }
    }
    CHECK_FALSE(
        wasi::linalg::detail::append_orthonormal<typename E::Storage, T>(q.view(), 10, 10, wasi::plain_memory()));
    static_cast<void>(E::Storage::orthonormalize(q.view(), wasi::plain_memory()));
    CHECK(wasi_tests::orthonormality_defect(q.view()) <= tolerance<T>(40, 1.0));

    auto a = matrix_with_spectrum<T>(120, 120, {}, 5);
    const auto rows = wasi_tests::random_matrix<T>(12, 120, 6);
    E::Storage::copy(a.view().row_block(0, 12), rows.view());
    Matrix<double> exact(120, 120);
    for (Index i = 0; i < 120; ++i) {
        for (Index j = 0; j < 120; ++j) {
            exact(i, j) = static_cast<double>(a(i, j));
        }
    }
    const Values values = wasi_tests::singular_values(exact.view());
    const RankRule everything(
        [](const wasi::linalg::Spectrum& spectrum) { return static_cast<Index>(spectrum.values.size()); });
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const auto f = decompose<E>(a, {.rank = everything, .max_rank = 40, .oversampling = 4}, seed);
        CHECK(checked_error(a, f, values) <= std::pow(tolerance<T>(120, values[0]), 2.0));
    }
}

TEST_CASE_TEMPLATE("randomized svd: max_rank binds and says so, in every path and with any oversampling", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const Values values = wasi_tests::polynomial(120, 0.5);
    const auto a = matrix_with_spectrum<T>(130, 120, values, 20);
    for (const Index extra : {Index{0}, Index{10}}) {
        for (const Index limit : {Index{1}, Index{15}, Index{16}, Index{17}, Index{32}}) {
            INFO("oversampling ", extra, ", max_rank ", limit);
            for (const RankRule& rule : {RankRule(Energy{0.9}), RankRule(limit + 1)}) {
                const auto f = decompose<E>(a, {.rank = rule, .max_rank = limit, .oversampling = extra});
                CHECK(f.info.rank == limit);
                CHECK(f.info.status == Status::rank_limit);
            }
            const auto met = decompose<E>(a, {.rank = limit, .max_rank = limit, .oversampling = extra});
            static_cast<void>(checked_error(a, met, values));
            CHECK(met.info.rank == limit);
            CHECK(met.info.status == Status::ok);
        }
    }
    // A limit that is not reached says nothing.
    const auto f = decompose<E>(a, {.rank = Energy{0.5}, .max_rank = 40});
    CHECK(f.info.status == Status::ok);
    CHECK(f.info.rank < 40);
    // A limit above what the sketch may hold ends in the dense route and binds there too.
    const auto dense = decompose<E>(a, {.rank = Energy{0.999}, .max_rank = 60});
    CHECK(dense.info.route == Route::dense);
    CHECK(dense.info.rank == 60);
    CHECK(dense.info.status == Status::rank_limit);
    CHECK(dense.info.passes > 2);
}

TEST_CASE_TEMPLATE("randomized svd: small, thin and zero matrices take the dense route and are exact", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Extents& extents : {Extents{1, 1}, Extents{1, 40}, Extents{40, 1}, Extents{20, 30}, Extents{100, 3}}) {
        const Index rows = extents.rows;
        const Index cols = extents.cols;
        INFO("(", rows, ", ", cols, ")");
        const auto values = wasi_tests::polynomial(std::min(rows, cols), 1.0);
        const auto a = matrix_with_spectrum<T>(rows, cols, values, 30);
        const auto f = decompose<E>(a, {.rank = 2});
        CHECK(f.info.route == Route::dense);
        CHECK(f.info.rank == std::min<Index>(2, values.size() == 1 ? 1 : 2));
        CHECK(std::abs(checked_error(a, f, values) - wasi_tests::tail_energy(values, f.info.rank)) <=
              tolerance<T>(100, values[0]));
    }
    const auto zero = matrix_with_spectrum<T>(100, 80, {}, 31);
    const auto f = decompose<E>(zero, {});
    CHECK(f.info.rank == 1);
    CHECK(f.info.captured_energy == 1.0);
    CHECK(f.s.data()[0] == T(0));
}

TEST_CASE_TEMPLATE("randomized svd: same seed, same bits, for one and two threads; another seed, another sketch", T,
                   float, double)
{
    const int before = wasi::thread_count();
    const auto a = matrix_with_spectrum<T>(260, 220, wasi_tests::polynomial(60, 0.5), 40);
    for (const RankRule& rule : {RankRule(20), RankRule(Energy{0.8})}) {
        const RandomizedSvdOptions options{.rank = rule};
        wasi::set_thread_count(1);
        const auto one = decompose<wasi_tests::Engine<wasi::EigenStorage, T>>(a, options, 7);
        const auto other = decompose<wasi_tests::Engine<wasi::EigenStorage, T>>(a, options, 8);
        wasi::set_thread_count(2);
        const auto two = decompose<wasi_tests::Engine<wasi::EigenStorage, T>>(a, options, 7);
        wasi::set_thread_count(before);
        CHECK(one.info.route == Route::randomized);
        CHECK(wasi_tests::same_bits(one.u.matrix(), two.u.matrix()));
        CHECK(wasi_tests::same_bits(one.s.matrix(), two.s.matrix()));
        CHECK(wasi_tests::same_bits(one.v.matrix(), two.v.matrix()));
        CHECK(one.info.captured_energy == two.info.captured_energy);
        CHECK_FALSE(wasi_tests::same_bits(one.s.matrix(), other.s.matrix()));
    }
}

template <class T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

TEST_CASE_TEMPLATE("randomized svd: every kind of matrix gives what a plain copy of it gives", T, float, double)
{
    const auto source = matrix_with_spectrum<T>(90, 70, {5.0, 4.0, 3.0, 0.5, 0.25}, 41, wasi_tests::col_major);
    const ColMajor<T> whole = Eigen::Map<const ColMajor<T>>(source.view().data, 90, 70);
    const auto compare = [](const auto& matrix) {
        using Result = decltype(randomized_svd(matrix, {.rank = 3}, RandomKey(2)).u);
        const ColMajor<T> plain = matrix;
        const auto expected = randomized_svd(plain, {.rank = 3}, RandomKey(2));
        const auto f = randomized_svd(matrix, {.rank = 3}, RandomKey(2));
        CHECK(f.info.route == Route::randomized);
        // Products of another layout may round in another way.
        const double rounding = tolerance<T>(90, 5.0);
        for (Index j = 0; j < 3; ++j) {
            CHECK(std::abs(static_cast<double>(f.s(j) - expected.s(j))) <= rounding);
        }
        CHECK(wasi_tests::projector_distance(wasi::Family<Result>::view(f.u),
                                             wasi::Family<ColMajor<T>>::view(expected.u)) <= rounding);
        CHECK(wasi_tests::projector_distance(wasi::Family<Result>::view(f.v),
                                             wasi::Family<ColMajor<T>>::view(expected.v)) <= rounding);
    };
    compare(whole);
    compare(RowMajor<T>(whole));
    compare(whole.block(3, 2, 80, 60));
    compare(whole.transpose());
    compare(Eigen::Ref<const ColMajor<T>>(whole.middleCols(1, 60)));
    compare(Eigen::Map<const RowMajor<T>>(whole.data(), 70, 90));
    compare(whole.leftCols(60) - whole.rightCols(60));
    static_assert(std::is_same_v<decltype(randomized_svd(RowMajor<T>(), {}, RandomKey()).u), RowMajor<T>>);
}

TEST_CASE_TEMPLATE("randomized svd: what cannot be throws and names the argument", T, float, double)
{
    const auto attempt = [](const ColMajor<T>& a, const RandomizedSvdOptions& options) {
        static_cast<void>(randomized_svd(a, options, RandomKey(1)));
    };
    CHECK_THROWS_WITH_AS(attempt(ColMajor<T>(0, 3), {}), "randomized_svd: empty matrix (0, 3)", wasi::shape_error);
    CHECK_THROWS_WITH_AS(attempt(ColMajor<T>(3, 0), {}), "randomized_svd: empty matrix (3, 0)", wasi::shape_error);
    ColMajor<T> a = ColMajor<T>::Ones(70, 60);
    CHECK_THROWS_WITH_AS(attempt(a, {.max_rank = 0}), "randomized_svd: max_rank is 0", wasi::argument_error);
    CHECK_THROWS_WITH_AS(attempt(a, {.oversampling = -1}), "randomized_svd: oversampling is -1", wasi::argument_error);
    CHECK_THROWS_WITH_AS(attempt(a, {.power_iterations = -4}), "randomized_svd: power_iterations is -4",
                         wasi::argument_error);
    CHECK_THROWS_WITH_AS(attempt(a, {.rank = Energy{1.25}}), "energy must be in (0, 1], got 1.25",
                         wasi::argument_error);
    CHECK_NOTHROW(attempt(a, {.rank = 3, .oversampling = std::numeric_limits<Index>::max()}));
    CHECK_NOTHROW(attempt(a, {.rank = std::numeric_limits<Index>::max()}));
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::infinity()}) {
        a(69, 59) = bad;
        CHECK_THROWS_WITH_AS(attempt(a, {}), "randomized_svd: a (70, 60) holds NaN or infinity", wasi::argument_error);
    }
}

}  // namespace
