#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/svd.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::Status;
using wasi::linalg::SvdFactors;
using wasi::linalg::Tolerance;
using wasi::linalg::truncated_svd;
using wasi::linalg::TruncatedSvdOptions;
using wasi_tests::matrix_with_spectrum;
using wasi_tests::Values;

struct Extents {
    Index rows, cols;
};
constexpr std::array<Extents, 5> shapes{{{40, 16}, {16, 40}, {24, 24}, {1, 30}, {30, 1}}};

template <class E>
SvdFactors<typename E::Scalar> decompose(const wasi_tests::Matrix<typename E::Scalar>& a,
                                         const TruncatedSvdOptions& options)
{
    return truncated_svd<typename E::Storage, typename E::Scalar>(a.view(), options, wasi::plain_memory());
}

/// Orthonormal factors, the known values, and an error that is the tail beyond the rank, in both norms.
template <class T>
void check_best_approximation(const wasi_tests::Matrix<T>& a, const SvdFactors<T>& f, const Values& values)
{
    const Index n = std::max(a.view().rows, a.view().cols);
    const Index rank = f.info.rank;
    const double largest = wasi_tests::value_at(values, 0);
    const double rounding = wasi_tests::tolerance<T>(n, largest);
    REQUIRE(f.u.shape() == wasi::Shape{a.view().rows, rank});
    REQUIRE(f.v.shape() == wasi::Shape{a.view().cols, rank});
    REQUIRE(f.s.size() == rank);
    CHECK(wasi_tests::orthonormality_defect(f.u.matrix()) <= wasi_tests::tolerance<T>(n, 1.0));
    CHECK(wasi_tests::orthonormality_defect(f.v.matrix()) <= wasi_tests::tolerance<T>(n, 1.0));
    for (Index j = 0; j < rank; ++j) {
        CHECK(std::abs(static_cast<double>(f.s.data()[j]) - wasi_tests::value_at(values, j)) <= rounding);
    }
    const auto rest = wasi_tests::residual(a.view(), f);
    CHECK(std::abs(wasi_tests::spectral_norm(rest) - wasi_tests::value_at(values, rank)) <= rounding);
    const double whole = wasi_tests::energy(values);
    const double lost = wasi_tests::frobenius_norm(rest.view());
    CHECK(std::abs(lost * lost - wasi_tests::tail_energy(values, rank)) <= wasi_tests::tolerance<T>(n, whole));
    // captured_energy is the truth about the factors, computed here in double.
    const double captured = whole > 0.0 ? 1.0 - lost * lost / whole : 1.0;
    CHECK(std::abs(f.info.captured_energy - captured) <= wasi_tests::tolerance<T>(n, 1.0));
    CHECK(f.info.captured_energy <= 1.0);
    CHECK(f.info.status == Status::ok);
    CHECK(f.info.route == wasi::linalg::Route::dense);
}

TEST_CASE_TEMPLATE("truncated svd: the best approximation of every rank, for every spectrum and shape", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    std::uint64_t seed = 0;
    for (const Extents& extents : shapes) {
        const Index rows = extents.rows;
        const Index cols = extents.cols;
        const Index smaller = std::min(rows, cols);
        for (const auto& spectrum : wasi_tests::all_spectra(smaller)) {
            INFO(spectrum.name, ", (", rows, ", ", cols, ")");
            const auto a = matrix_with_spectrum<T>(rows, cols, spectrum.values, ++seed);
            for (const Index rank : {Index{1}, (smaller + 1) / 2, smaller}) {
                INFO("rank ", rank);
                const auto f = decompose<E>(a, {.rank = rank});
                CHECK(f.info.rank == rank);
                check_best_approximation(a, f, spectrum.values);
            }
        }
    }
}

TEST_CASE_TEMPLATE("truncated svd: energy and tolerance give the rank that the true spectrum asks for", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        for (const Values& values :
             {wasi_tests::polynomial(20, 0.5), wasi_tests::exponential(20, 0.8), wasi_tests::polynomial(20, 1.0)}) {
            const auto a = matrix_with_spectrum<T>(33, 20, values, seed);
            for (const double fraction : {0.3, 0.6, 0.9, 0.99}) {
                const auto f = decompose<E>(a, {.rank = Energy{fraction}});
                CHECK(f.info.rank == wasi_tests::rank_for_energy(values, fraction));
                CHECK(f.info.captured_energy >= fraction);
                check_best_approximation(a, f, values);
                const auto same = decompose<E>(a, {.rank = Tolerance{std::sqrt(1.0 - fraction)}});
                CHECK(same.info.rank == f.info.rank);
            }
        }
    }
}

TEST_CASE_TEMPLATE("truncated svd: energy 1 keeps the numerical rank, not the rounding", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Extents& extents : {Extents{40, 16}, Extents{16, 40}, Extents{64, 64}}) {
        const Index rows = extents.rows;
        const Index cols = extents.cols;
        for (const Index rank : {Index{1}, Index{3}, Index{10}}) {
            INFO("rank ", rank, " of (", rows, ", ", cols, ")");
            const auto values = wasi_tests::exponential(rank, 0.6);
            const auto a = matrix_with_spectrum<T>(rows, cols, values, 7);
            CHECK(decompose<E>(a, {}).info.rank == rank);
            CHECK(decompose<E>(a, {.rank = Tolerance{0.0}}).info.rank == rank);
        }
    }
    const auto zero = matrix_with_spectrum<T>(12, 5, {}, 8);
    const auto f = decompose<E>(zero, {});
    CHECK(f.info.rank == 1);
    CHECK(f.info.captured_energy == 1.0);
    CHECK(f.s.data()[0] == T(0));
    CHECK(wasi_tests::orthonormality_defect(f.u.matrix()) <= wasi_tests::tolerance<T>(12, 1.0));
}

TEST_CASE_TEMPLATE("truncated svd: max_rank binds and says so", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const auto values = wasi_tests::polynomial(12, 0.5);
    const auto a = matrix_with_spectrum<T>(20, 12, values, 9);
    const Index wanted = wasi_tests::rank_for_energy(values, 0.9);
    REQUIRE(wanted > 4);
    const auto bound = decompose<E>(a, {.rank = Energy{0.9}, .max_rank = 4});
    CHECK(bound.info.rank == 4);
    CHECK(bound.info.status == Status::rank_limit);
    CHECK(std::abs(bound.info.captured_energy - wasi_tests::energy(values, 0, 4) / wasi_tests::energy(values)) <=
          wasi_tests::tolerance<T>(20, 1.0));
    const auto enough = decompose<E>(a, {.rank = Energy{0.9}, .max_rank = wanted});
    CHECK(enough.info.rank == wanted);
    CHECK(enough.info.status == Status::ok);
    CHECK(decompose<E>(a, {.rank = 7, .max_rank = 5}).info.status == Status::rank_limit);
    // A rank above what the matrix has is not the limit's doing.
    const auto all = decompose<E>(a, {.rank = 100});
    CHECK(all.info.rank == 12);
    CHECK(all.info.status == Status::ok);
}

TEST_CASE_TEMPLATE("thin svd: all of A", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Extents& extents : shapes) {
        const Index rows = extents.rows;
        const Index cols = extents.cols;
        const auto a = wasi_tests::random_matrix<T>(rows, cols, 10);
        wasi::Ledger ledger;
        {
            const auto f = wasi::linalg::thin_svd<typename E::Storage, T>(a.view(), ledger);
            CHECK(f.info.rank == std::min(rows, cols));
            CHECK(f.info.captured_energy == 1.0);
            CHECK(f.info.passes == 1);
            CHECK(wasi_tests::max_abs(wasi_tests::residual(a.view(), f).view()) <=
                  wasi_tests::tolerance<T>(std::max(rows, cols), wasi_tests::frobenius_norm(a.view())));
            CHECK(ledger.total().current == f.u.bytes() + f.s.bytes() + f.v.bytes());
        }
        CHECK(ledger.total().current == 0);
    }
}

template <class T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

TEST_CASE_TEMPLATE("truncated svd: every kind of matrix gives what a plain copy of it gives", T, float, double)
{
    const auto source = wasi_tests::random_matrix<T>(30, 14, 11, wasi_tests::col_major);
    const ColMajor<T> whole = Eigen::Map<const ColMajor<T>>(source.view().data, 30, 14);
    const auto compare = [](const auto& matrix) {
        const ColMajor<T> plain = matrix;
        const auto expected = truncated_svd(plain, {.rank = Energy{0.8}});
        const auto f = truncated_svd(matrix, {.rank = Energy{0.8}});
        CHECK(f.info.rank == expected.info.rank);
        CHECK(f.info.captured_energy == doctest::Approx(expected.info.captured_energy).epsilon(1e-12));
        CHECK((f.s.array() == expected.s.array()).all());
        CHECK((f.u.array() == expected.u.array()).all());
        CHECK((f.v.array() == expected.v.array()).all());
        CHECK(f.u.cols() == f.info.rank);
        CHECK(f.s.size() == f.info.rank);
        const ColMajor<T> full = truncated_svd(matrix, {.rank = 100}).u;
        CHECK(full.cols() == std::min(plain.rows(), plain.cols()));
    };
    compare(whole);
    compare(RowMajor<T>(whole));
    compare(whole.block(3, 2, 20, 5));
    compare(whole.transpose());
    compare(Eigen::Ref<const ColMajor<T>>(whole.middleCols(1, 4)));
    compare(Eigen::Map<const RowMajor<T>>(whole.data(), 14, 30));
    compare(whole.leftCols(3) - whole.rightCols(3));
    static_assert(std::is_same_v<decltype(truncated_svd(RowMajor<T>()).u), RowMajor<T>>);
}

TEST_CASE_TEMPLATE("truncated svd: what cannot be throws and names the argument", T, float, double)
{
    const auto attempt = [](const ColMajor<T>& a, const TruncatedSvdOptions& options) {
        static_cast<void>(truncated_svd(a, options));
    };
    CHECK_THROWS_WITH_AS(attempt(ColMajor<T>(0, 0), {}), "truncated_svd: empty matrix (0, 0)", wasi::shape_error);
    CHECK_THROWS_WITH_AS(attempt(ColMajor<T>(4, 0), {}), "truncated_svd: empty matrix (4, 0)", wasi::shape_error);
    ColMajor<T> a = ColMajor<T>::Ones(4, 3);
    CHECK_THROWS_WITH_AS(attempt(a, {.max_rank = 0}), "truncated_svd: max_rank is 0", wasi::argument_error);
    CHECK_THROWS_WITH_AS(attempt(a, {.max_rank = -2}), "truncated_svd: max_rank is -2", wasi::argument_error);
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
        a(2, 1) = bad;
        CHECK_THROWS_WITH_AS(attempt(a, {}), "truncated_svd: a (4, 3) holds NaN or infinity", wasi::argument_error);
    }
}

}  // namespace
