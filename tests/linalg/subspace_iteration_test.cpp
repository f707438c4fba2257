#include <doctest/doctest.h>

#include <Eigen/Core>
#include <array>
#include <cmath>
#include <limits>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/subspace_iteration.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::linalg::normal_product;
using wasi::linalg::subspace_step;
using wasi_tests::Matrix;
using wasi_tests::matrix_with_spectrum;
using wasi_tests::random_matrix;
using wasi_tests::tolerance;
using wasi_tests::Values;

/// Aᵀ (A V) in double, element by element.
template <class T>
Matrix<double> normal_product_by_loops(ConstMatrixView<T> a, ConstMatrixView<T> v)
{
    Matrix<double> image(a.rows, v.cols);
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < v.cols; ++j) {
            image(i, j) = 0.0;
            for (Index k = 0; k < a.cols; ++k) {
                image(i, j) += static_cast<double>(a(i, k)) * static_cast<double>(v(k, j));
            }
        }
    }
    Matrix<double> g(a.cols, v.cols);
    for (Index i = 0; i < a.cols; ++i) {
        for (Index j = 0; j < v.cols; ++j) {
            g(i, j) = 0.0;
            for (Index k = 0; k < a.rows; ++k) {
                g(i, j) += static_cast<double>(a(k, i)) * image(k, j);
            }
        }
    }
    return g;
}

/// The tangent of the largest angle between two subspaces of one dimension, from the sine, which does not cancel.
template <class T>
double largest_tangent(ConstMatrixView<double> leading, ConstMatrixView<T> v)
{
    Matrix<double> outside(v.rows, v.cols);
    for (Index j = 0; j < v.cols; ++j) {
        for (Index i = 0; i < v.rows; ++i) {
            outside(i, j) = static_cast<double>(v(i, j));
        }
        for (Index k = 0; k < leading.cols; ++k) {
            double along = 0.0;
            for (Index i = 0; i < v.rows; ++i) {
                along += leading(i, k) * static_cast<double>(v(i, j));
            }
            for (Index i = 0; i < v.rows; ++i) {
                outside(i, j) -= along * leading(i, k);
            }
        }
    }
    const double sine = wasi_tests::spectral_norm(outside);
    return sine / std::sqrt(std::max(0.0, 1.0 - sine * sine));
}

/// The leading right singular vectors, in double.
template <class T>
Matrix<double> leading_vectors(const Matrix<T>& a, Index count)
{
    Matrix<double> exact(a.view().rows, a.view().cols);
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            exact(i, j) = static_cast<double>(a(i, j));
        }
    }
    const Index k = std::min(a.view().rows, a.view().cols);
    Matrix<double> u(a.view().rows, k);
    Matrix<double> v(a.view().cols, k);
    Values s(static_cast<std::size_t>(k));
    REQUIRE(wasi_tests::naive::svd<double>(exact.view(), u.view(), s, v.view()));
    Matrix<double> result(a.view().cols, count);
    wasi_tests::NaiveStorage::copy(result.view(), v.view().col_block(0, count));
    return result;
}

TEST_CASE_TEMPLATE("normal product: is Aᵀ (A V) for row counts around every block boundary", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Index rows : {1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257, 500, 513, 1100}) {
        for (const auto& layout :
             {wasi_tests::row_major, wasi_tests::Layout{.column_major = true, .padding = 3, .offset = 1}}) {
            INFO("rows ", rows, ", A ", layout.text());
            const auto a = random_matrix<T>(rows, 13, 1, layout);
            const auto v = random_matrix<T>(13, 4, 2, layout);
            Matrix<T> g(13, 4, layout);
            wasi::Ledger ledger;
            normal_product<typename E::Storage, T>(g.view(), a.view(), v.view(), ledger);
            const double norm = wasi_tests::frobenius_norm(a.view());
            CHECK(wasi_tests::max_difference(g.view(), normal_product_by_loops<T>(a.view(), v.view()).view()) <=
                  tolerance<T>(rows, norm * norm * wasi_tests::max_abs(v.view())) / 4.0);
            CHECK(g.guard_intact());
            CHECK(ledger.total().current == 0);
        }
    }
}

TEST_CASE("normal product: shapes that do not fit throw and are named")
{
    const auto attempt = [](Index a_rows, Index v_rows, Index g_rows, Index g_cols) {
        const auto a = random_matrix<double>(a_rows, 5, 1);
        const auto v = random_matrix<double>(v_rows, 2, 2);
        Matrix<double> g(g_rows, g_cols);
        normal_product<wasi::EigenStorage, double>(g.view(), a.view(), v.view(), wasi::plain_memory());
    };
    CHECK_NOTHROW(attempt(7, 5, 5, 2));
    CHECK_THROWS_WITH_AS(attempt(7, 6, 5, 2), "normal_product: A (7, 5), V (6, 2) and G (5, 2) do not fit",
                         wasi::shape_error);
    CHECK_THROWS_AS(attempt(7, 5, 4, 2), wasi::shape_error);
    CHECK_THROWS_AS(attempt(7, 5, 5, 3), wasi::shape_error);
    CHECK_THROWS_WITH_AS(attempt(0, 5, 5, 2), "normal_product: empty matrix (0, 5)", wasi::shape_error);
}

TEST_CASE_TEMPLATE("subspace step: the tangent of the angle shrinks by the squared gap in every step", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    constexpr Index rank = 3;
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        for (const Values& values :
             {wasi_tests::exponential(12, 0.6), wasi_tests::polynomial(12, 1.0), Values{1.0, 1.0, 1.0, 0.5, 0.5}}) {
            for (const auto& layout : {wasi_tests::row_major, wasi_tests::col_major}) {
                const auto a = matrix_with_spectrum<T>(90, 12, values, seed, layout);
                const auto leading = leading_vectors(a, rank);
                auto v = random_matrix<T>(12, rank, seed + 100, layout);
                static_cast<void>(E::Storage::orthonormalize(v.view(), wasi::plain_memory()));
                const double gap = values[rank] / values[rank - 1];
                // Rounding turns the subspace by about epsilon (s_1 / s_r)² in each step.
                const double rounding = tolerance<T>(90, std::pow(values[0] / values[rank - 1], 2.0));
                double before = largest_tangent<T>(leading.view(), v.view());
                for (int step = 0; step < 12; ++step) {
                    INFO("seed ", seed, ", step ", step, ", gap ", gap, ", ", layout.text());
                    subspace_step<typename E::Storage, T>(a.view(), v.view(), wasi::plain_memory());
                    const double after = largest_tangent<T>(leading.view(), v.view());
                    CHECK(after <= gap * gap * before * (1.0 + rounding) + rounding);
                    CHECK(wasi_tests::orthonormality_defect(v.view()) <= tolerance<T>(12, 1.0));
                    before = after;
                }
                // (gap²)^12 is below 1e-3 for each of these.
                CHECK(before <= 1e-2);
            }
        }
    }
}

TEST_CASE_TEMPLATE("subspace step: depends on the subspace alone, not on its columns", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const auto a = matrix_with_spectrum<T>(40, 10, {3.0, 2.0, 1.5, 0.2, 0.1}, 5);
    auto v = random_matrix<T>(10, 3, 6);
    static_cast<void>(E::Storage::orthonormalize(v.view(), wasi::plain_memory()));
    Matrix<T> mixed(10, 3);  // columns swapped, one turned round, two rotated into each other
    for (Index i = 0; i < 10; ++i) {
        mixed(i, 0) = -v(i, 2);
        mixed(i, 1) = T(0.6) * v(i, 0) + T(0.8) * v(i, 1);
        mixed(i, 2) = T(0.8) * v(i, 0) - T(0.6) * v(i, 1);
    }
    subspace_step<typename E::Storage, T>(a.view(), v.view(), wasi::plain_memory());
    subspace_step<typename E::Storage, T>(a.view(), mixed.view(), wasi::plain_memory());
    CHECK(wasi_tests::projector_distance(v.view(), mixed.view()) <= tolerance<T>(40, 4.0));
}

TEST_CASE_TEMPLATE("subspace step: a basis already there stays; zero and deficient matrices leave an orthonormal basis",
                   E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto a = matrix_with_spectrum<T>(40, 10, {3.0, 2.0, 1.5, 0.2, 0.1}, 7);
    const auto leading = leading_vectors(a, 3);
    Matrix<T> v(10, 3);
    for (Index i = 0; i < 10; ++i) {
        for (Index j = 0; j < 3; ++j) {
            v(i, j) = static_cast<T>(leading(i, j));
        }
    }
    subspace_step<S, T>(a.view(), v.view(), wasi::plain_memory());
    CHECK(wasi_tests::projector_distance(v.view(), leading.view()) <= tolerance<T>(40, 4.0));

    const auto zero = matrix_with_spectrum<T>(20, 10, {}, 8);
    subspace_step<S, T>(zero.view(), v.view(), wasi::plain_memory());
    CHECK(wasi_tests::orthonormality_defect(v.view()) <= tolerance<T>(10, 1.0));

    const auto low = matrix_with_spectrum<T>(20, 10, {2.0, 1.0}, 9);
    auto wide = random_matrix<T>(10, 6, 10);
    static_cast<void>(S::orthonormalize(wide.view(), wasi::plain_memory()));
    subspace_step<S, T>(low.view(), wide.view(), wasi::plain_memory());
    CHECK(wasi_tests::orthonormality_defect(wide.view()) <= tolerance<T>(10, 1.0));
    // Both directions of A are inside after one step.
    CHECK(wasi_tests::distance_from_span(wide.view(), leading_vectors(low, 2).view()) <= tolerance<T>(20, 4.0));
}

TEST_CASE_TEMPLATE("subspace step: same bits for one and two threads", T, float, double)
{
    const int before = wasi::thread_count();
    const auto a = random_matrix<T>(900, 200, 11);
    const auto start = wasi_tests::random_orthonormal(200, 24, 12);
    Matrix<T> one(200, 24);
    for (Index i = 0; i < 200; ++i) {
        for (Index j = 0; j < 24; ++j) {
            one(i, j) = static_cast<T>(start(i, j));
        }
    }
    auto two = one;
    wasi::set_thread_count(1);
    subspace_step<wasi::EigenStorage, T>(a.view(), one.view(), wasi::plain_memory());
    wasi::set_thread_count(2);
    subspace_step<wasi::EigenStorage, T>(a.view(), two.view(), wasi::plain_memory());
    wasi::set_thread_count(before);
    CHECK(wasi_tests::same_bits(one.view(), two.view()));
}

template <class T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

TEST_CASE_TEMPLATE("subspace step: for Eigen's types as for views", T, float, double)
{
    const auto source = random_matrix<T>(30, 8, 13, wasi_tests::col_major);
    const ColMajor<T> a = Eigen::Map<const ColMajor<T>>(source.view().data, 30, 8);
    const ColMajor<T> start = ColMajor<T>::Identity(8, 2);
    Matrix<T> expected(8, 2);
    wasi_tests::NaiveStorage::copy(expected.view(), ConstMatrixView<T>::col_major(start.data(), 8, 2));
    subspace_step<wasi::EigenStorage, T>(source.view(), expected.view(), wasi::plain_memory());

    const auto check = [&](const auto& v) {
        CHECK(wasi_tests::projector_distance(wasi::Family<std::decay_t<decltype(v)>>::view(v), expected.view()) <=
              tolerance<T>(30, 2.0));
    };
    ColMajor<T> v = start;
    subspace_step(a, v);
    check(v);
    RowMajor<T> by_rows = start;
    subspace_step(RowMajor<T>(a), by_rows);
    check(by_rows);
    v = start;
    subspace_step(a.topRows(30), v);
    check(v);
    v = start;
    subspace_step(Eigen::Ref<const ColMajor<T>>(a), v);
    check(v);
    v = start;
    subspace_step(T(2) * a, v);  // a basis does not know the scale
    check(v);
    by_rows = start;
    subspace_step(ColMajor<T>(a.transpose()).transpose(), by_rows);
    check(by_rows);
}

TEST_CASE_TEMPLATE("subspace step: what cannot be throws and leaves the basis alone", T, float, double)
{
    ColMajor<T> a = ColMajor<T>::Ones(6, 4);
    ColMajor<T> v = ColMajor<T>::Identity(5, 2);
    CHECK_THROWS_WITH_AS(subspace_step(a, v), "subspace_step: a basis (5, 2) does not fit a matrix (6, 4)",
                         wasi::shape_error);
    v = ColMajor<T>::Identity(4, 5);
    CHECK_THROWS_AS(subspace_step(a, v), wasi::shape_error);
    v = ColMajor<T>::Identity(4, 2);
    CHECK_THROWS_AS(subspace_step(ColMajor<T>(0, 4), v), wasi::shape_error);
    a(5, 3) = std::numeric_limits<T>::infinity();
    CHECK_THROWS_WITH_AS(subspace_step(a, v), "subspace_step: a (6, 4) holds NaN or infinity", wasi::argument_error);
    CHECK((v.array() == ColMajor<T>::Identity(4, 2).array()).all());
    a(5, 3) = T(1);
    v(0, 0) = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_WITH_AS(subspace_step(a, v), "subspace_step: v (4, 2) holds NaN or infinity", wasi::argument_error);
}

}  // namespace
