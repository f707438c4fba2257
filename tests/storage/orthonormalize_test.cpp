#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi_tests::Layout;
using wasi_tests::layouts;
using wasi_tests::Matrix;
using wasi_tests::matrix_with_spectrum;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;


template <class T>
void scale(Matrix<T>& a, double factor)
{
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            a(i, j) = static_cast<T>(static_cast<double>(a(i, j)) * factor);
        }
    }
}

template <class T>
void set_column(Matrix<T>& a, Index j, const std::function<T(Index)>& value)
{
    for (Index i = 0; i < a.view().rows; ++i) {
        a(i, j) = value(i);
    }
}

/// The laws of orthonormalize, and the rank it must report.
template <class E>
void check_laws(const std::string& what, const Matrix<typename E::Scalar>& a, Index rank, Layout layout = {})
{
    using T = typename E::Scalar;
    INFO(what, ", ", layout.text());
    const Index m = a.view().rows;
    const Index n = a.view().cols;
    auto q = a.in(layout);
    wasi::Ledger ledger;
    const Index found = E::Storage::orthonormalize(q.view(), ledger);
    CHECK(found == rank);
    CHECK(wasi_tests::orthonormality_defect(q.view()) <= wasi_tests::tolerance<T>(m, 1.0));
    // Rounding of a column is as large as its norm allows: sqrt(m) times its largest element.
    CHECK(wasi_tests::distance_from_span(q.view(), a.view()) <=
          wasi_tests::tolerance<T>(m * n, wasi_tests::max_abs(a.view())));
    CHECK(q.guard_intact());
    CHECK(ledger.total().current == 0);
    if (n > 0) {
        const auto rows = static_cast<double>(m);
        const auto cols = static_cast<double>(n);
        CHECK(ledger.flops() == doctest::Approx(4.0 * rows * cols * cols - 4.0 / 3.0 * cols * cols * cols));
    }
}

TEST_CASE_TEMPLATE("orthonormalize: laws for well-conditioned matrices", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Layout layout : layouts) {
        check_laws<E>("tall", random_matrix<T>(50, 20, 1), 20, layout);
    }
    check_laws<E>("square", random_matrix<T>(24, 24, 2), 24);
    check_laws<E>("one column", random_matrix<T>(9, 1, 3), 1);
    check_laws<E>("one element", random_matrix<T>(1, 1, 4), 1);
    check_laws<E>("no columns", random_matrix<T>(9, 0, 5), 0);
    check_laws<E>("nothing", random_matrix<T>(0, 0, 5), 0);
    check_laws<E>("large", random_matrix<T>(211, 97, 6), 97);
}

TEST_CASE_TEMPLATE("orthonormalize: laws where columns are dependent, zero or equal", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Layout layout : layouts) {
        check_laws<E>("zero", matrix_with_spectrum<T>(30, 7, {}, 1), 0, layout);
    }
    {
        // Exactly of rank 5, in small integers: no rounding blurs the rank.
        Matrix<T> a(40, 12);
        for (Index i = 0; i < 40; ++i) {
            for (Index j = 0; j < 12; ++j) {
                a(i, j) = static_cast<T>(((i + j % 5) * (i + 3 * (j % 5)) + i) % 11 - 5);
            }
        }
        check_laws<E>("rank 5 of 12", a, 5);
    }
    {
        auto a = random_matrix<T>(30, 8, 2);
        set_column<T>(a, 3, [&](Index i) { return a(i, 1); });
        set_column<T>(a, 7, [&](Index i) { return a(i, 1); });
        check_laws<E>("one column three times", a, 6);
        set_column<T>(a, 0, [](Index) { return T(0); });
        set_column<T>(a, 5, [](Index) { return T(0); });
        check_laws<E>("and two zero columns", a, 4);
    }
    {
        Matrix<T> a(25, 6);
        for (Index j = 0; j < 6; ++j) {
            set_column<T>(a, j, [](Index) { return T(1); });
        }
        check_laws<E>("all columns equal", a, 1);
        check_laws<E>("all columns equal, in another layout", a.in({}), 1, layouts[7]);
    }
    {
        auto a = random_matrix<T>(20, 20, 3);
        for (Index j = 1; j < 20; ++j) {
            set_column<T>(a, j, [&](Index i) { return static_cast<T>(j) * a(i, 0); });
        }
        check_laws<E>("square of rank 1", a, 1);
    }
}

TEST_CASE_TEMPLATE("orthonormalize: laws at the ends of the exponent range", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    // Squares of these vanish or overflow in float (1e25, 1e-25) and in double (1e200, 1e-200).
    const double far = sizeof(T) == 4 ? 1e25 : 1e200;
    for (const double factor : {far, 1.0 / far, 1e25, 1e-25}) {
        auto a = random_matrix<T>(30, 9, 4);
        scale(a, factor);
        check_laws<E>("scaled", a, 9);
        set_column<T>(a, 4, [&](Index i) { return a(i, 2); });
        check_laws<E>("scaled, two equal columns", a, 8);
    }
    // The smallest positive number, alone.
    Matrix<T> a = matrix_with_spectrum<T>(10, 3, {}, 5);
    a(4, 1) = std::numeric_limits<T>::denorm_min();
    check_laws<E>("one denormal element", a, 1);
}

TEST_CASE_TEMPLATE("orthonormalize: columns of very different size are all kept", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    auto a = random_matrix<T>(40, 5, 6);
    const double step = sizeof(T) == 4 ? 1e-1 : 1e-3;
    double factor = 1.0;
    for (Index j = 0; j < 5; ++j) {
        set_column<T>(a, j, [&](Index i) { return static_cast<T>(static_cast<double>(a(i, j)) * factor); });
        factor *= step;
    }
    check_laws<E>("graded", a, 5);
    // Householder and Gram-Schmidt treat column by column: each one's span is as good as its own size allows.
    auto q = a;
    static_cast<void>(E::Storage::orthonormalize(q.view(), wasi::plain_memory()));
    for (Index j = 0; j < 5; ++j) {
        const auto column = a.view().col_block(j, 1);
        CHECK(wasi_tests::distance_from_span(q.view(), column) <=
              wasi_tests::tolerance<T>(40, wasi_tests::frobenius_norm(column)));
    }
}

TEST_CASE_TEMPLATE("orthonormalize: both storages find the same subspace", T, float, double)
{
    for (const auto& [m, n] : {std::pair<Index, Index>{31, 7}, {64, 64}, {120, 33}}) {
        const std::vector<double> spectrum(static_cast<std::size_t>(n), 2.0);
        const auto a = matrix_with_spectrum<T>(m, n, spectrum, 7);
        auto fast = a.in(layouts[3]);
        auto slow = a.in(layouts[0]);
        CHECK(EigenStorage::orthonormalize(fast.view(), wasi::plain_memory()) == n);
        CHECK(NaiveStorage::orthonormalize(slow.view(), wasi::plain_memory()) == n);
        CHECK(wasi_tests::projector_distance(fast.view(), slow.view()) <= wasi_tests::tolerance<T>(m * n, 1.0));
        // Another matrix, another subspace: the distance is not always small.
        auto other = random_matrix<T>(m, n, 8);
        static_cast<void>(NaiveStorage::orthonormalize(other.view(), wasi::plain_memory()));
        if (m > n) {
            CHECK(wasi_tests::projector_distance(fast.view(), other.view()) > 0.5);
        }
    }
}

TEST_CASE_TEMPLATE("orthonormalize: a block of a larger matrix, the rest untouched", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    auto a = random_matrix<T>(30, 12, 9);
    const auto before = a;
    CHECK(E::Storage::orthonormalize(a.view().block(3, 2, 20, 6), wasi::plain_memory()) == 6);
    CHECK(wasi_tests::orthonormality_defect(a.view().block(3, 2, 20, 6)) <= wasi_tests::tolerance<T>(20, 1.0));
    CHECK(wasi_tests::same_bits(a.view().row_block(0, 3), before.view().row_block(0, 3)));
    CHECK(wasi_tests::same_bits(a.view().row_block(23, 7), before.view().row_block(23, 7)));
    CHECK(wasi_tests::same_bits(a.view().col_block(0, 2), before.view().col_block(0, 2)));
    CHECK(wasi_tests::same_bits(a.view().col_block(8, 4), before.view().col_block(8, 4)));
}

}  // namespace
