#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>

/// gram, eigh_leading, cholesky_orthonormalize and convert.
namespace {

using wasi::Index;
using wasi_tests::layouts;
using wasi_tests::Matrix;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;
using wasi_tests::tolerance;

struct Extents {
    Index rows, cols;
};

/// V diag(values) Vᵀ in double.
Matrix<double> symmetric_matrix(const std::vector<double>& values, std::uint64_t seed, wasi_tests::Layout layout = {})
{
    const auto n = static_cast<Index>(values.size());
    const auto v = wasi_tests::random_orthonormal(n, n, seed);
    Matrix<double> a(n, n, layout);
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j <= i; ++j) {
            double sum = 0.0;
            for (Index p = 0; p < n; ++p) {
                sum += v(i, p) * values[static_cast<std::size_t>(p)] * v(j, p);
            }
            a(i, j) = a(j, i) = sum;
        }
    }
    return a;
}

TEST_CASE_TEMPLATE("gram: AᵀA in double, in every layout, tiled and not, with and without what was there", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Extents size : {Extents{9, 4}, Extents{1, 3}, Extents{0, 3}, Extents{5, 0}, Extents{700, 30},
                               Extents{300, 97}, Extents{140, 200}}) {
        for (const auto layout : layouts) {
            if (size.rows * size.cols > 2000 && layout.offset != 0) {
                continue;
            }
            INFO(size.rows, " x ", size.cols, ", ", layout.text());
            const auto a = random_matrix<T>(size.rows, size.cols, 1, layout);
            for (const double beta : {0.0, 1.0, -0.5}) {
                auto g = random_matrix<double>(size.cols, size.cols, 2);
                for (Index i = 0; i < size.cols; ++i) {
                    for (Index j = 0; j < i; ++j) {
                        g(i, j) = g(j, i);
                    }
                }
                Matrix<double> expected(size.cols, size.cols);
                for (Index i = 0; i < size.cols; ++i) {
                    for (Index j = 0; j < size.cols; ++j) {
                        long double sum = static_cast<long double>(beta) * g(i, j);
                        for (Index p = 0; p < size.rows; ++p) {
                            sum += static_cast<long double>(a(p, i)) * static_cast<long double>(a(p, j));
                        }
                        expected(i, j) = static_cast<double>(sum);
                    }
                }
                if (beta == 0.0) {
                    std::fill(g.view().data, g.view().data + size.cols * size.cols,
                              std::numeric_limits<double>::quiet_NaN());
                }
                wasi::Ledger ledger;
                E::Storage::gram(g.view(), beta, a.view(), ledger);
                CHECK(ledger.total().current == 0);
                CHECK(g.guard_intact());
                // In double whatever T is: float products are exact there.
                CHECK(wasi_tests::max_difference(g.view(), expected.view()) <=
                      tolerance<double>(std::max<Index>(size.rows, 1), static_cast<double>(size.rows) + 4.0));
            }
        }
    }
}

/// The first `count` columns of what eigh_leading leaves are eigenvectors, and all values are right.
template <class E>
void check_leading(const std::string& what, std::vector<double> values, Index count)
{
    INFO(what, ", ", count, " of ", values.size());
    const auto n = static_cast<Index>(values.size());
    for (const std::size_t which : {std::size_t{0}, std::size_t{7}}) {
        const auto a = symmetric_matrix(values, 3, layouts[which]);
        auto v = a;
        std::vector<double> w(values.size());
        wasi::Ledger ledger;
        Index asked = 0;
        const Index found = E::Storage::eigh_leading(
            v.view(), std::span<double>(w),
            [&](std::span<const double> seen) {
                ++asked;
                CHECK(std::is_sorted(seen.begin(), seen.end(), std::greater<>()));
                CHECK(seen.size() == values.size());
                return count;
            },
            ledger);
        CHECK(asked == 1);
        REQUIRE(found == count);
        CHECK(ledger.total().current == 0);
        CHECK(v.guard_intact());
        std::sort(values.begin(), values.end(), std::greater<>());
        const double largest = std::max(std::abs(values.front()), std::abs(values.back()));
        const auto vectors = v.view().col_block(0, count);
        CHECK(wasi_tests::orthonormality_defect(vectors) <= tolerance<double>(n, 1.0));
        for (std::size_t j = 0; j < values.size(); ++j) {
            CHECK(std::abs(w[j] - values[j]) <= tolerance<double>(n, largest));
        }
        double residual = 0.0;
        for (Index j = 0; j < count; ++j) {
            for (Index i = 0; i < n; ++i) {
                long double sum = -static_cast<long double>(vectors(i, j)) * w[static_cast<std::size_t>(j)];
                for (Index p = 0; p < n; ++p) {
                    sum += static_cast<long double>(a(i, p)) * static_cast<long double>(vectors(p, j));
                }
                residual = std::max(residual, static_cast<double>(std::abs(sum)));
            }
        }
        CHECK(residual <= tolerance<double>(n, largest));
    }
}

TEST_CASE_TEMPLATE("eigh_leading: as many vectors as asked for, for every kind of spectrum", E,
                   WASI_TEST_DOUBLE_ENGINES)
{
    const Index n = 70;  // above the size from which inverse iteration is used
    std::vector<double> slow;
    std::vector<double> steep;
    std::vector<double> steps;
    std::vector<double> close;
    for (Index j = 0; j < n; ++j) {
        slow.push_back(1.0 / (1.0 + static_cast<double>(j)));
        steep.push_back(std::pow(0.5, static_cast<double>(j)));
        steps.push_back(static_cast<double>(4 - j / 20));
        close.push_back(1.0 + 1e-11 * static_cast<double>(j % 7) + (j < 14 ? 1.0 : 0.0));
    }
    for (const Index count : {Index{0}, Index{1}, Index{20}, Index{43}, Index{60}, n}) {
        check_leading<E>("1/j", slow, count);
        check_leading<E>("steep", steep, count);
        check_leading<E>("groups of twenty equal values", steps, count);
        check_leading<E>("groups of nearly equal values", close, count);
        check_leading<E>("all equal", std::vector<double>(static_cast<std::size_t>(n), -2.0), count);
        check_leading<E>("zero", std::vector<double>(static_cast<std::size_t>(n), 0.0), count);
    }
    check_leading<E>("small", {3.0, -1.0, 0.5}, 2);
    check_leading<E>("one", {-3.0}, 1);
    for (const double factor : {1e200, 1e-200}) {
        auto scaled = slow;
        std::transform(scaled.begin(), scaled.end(), scaled.begin(), [=](double x) { return x * factor; });
        check_leading<E>("scaled", scaled, 10);
    }
}

TEST_CASE_TEMPLATE("eigh_leading: a diagonal and a block matrix, whose tridiagonal form falls apart", E,
                   WASI_TEST_DOUBLE_ENGINES)
{
    const Index n = 66;
    Matrix<double> a(n, n);
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j) {
            a(i, j) = i == j ? static_cast<double>(i % 6) : (i + 1 == j || j + 1 == i) && (i + j) % 4 == 1 ? 0.5 : 0.0;
        }
    }
    auto v = a;
    std::vector<double> w(static_cast<std::size_t>(n));
    CHECK(E::Storage::eigh_leading(
              v.view(), std::span<double>(w), [](std::span<const double>) { return Index{24}; },
              wasi::plain_memory()) == 24);
    const auto vectors = v.view().col_block(0, 24);
    CHECK(wasi_tests::orthonormality_defect(vectors) <= tolerance<double>(n, 1.0));
    for (Index j = 0; j < 24; ++j) {
        for (Index i = 0; i < n; ++i) {
            double sum = -vectors(i, j) * w[static_cast<std::size_t>(j)];
            for (Index p = 0; p < n; ++p) {
                sum += a(i, p) * vectors(p, j);
            }
            CHECK(std::abs(sum) <= tolerance<double>(n, 6.0));
        }
    }
}

/// A (m,n) whose columns are normal numbers, then bent towards the first one until cond(A) is about `condition`.
template <class T>
Matrix<T> ill_conditioned(Index m, Index n, double condition, wasi_tests::Layout layout)
{
    auto a = random_matrix<T>(m, n, 5, layout);
    for (Index i = 0; i < m; ++i) {
        for (Index j = 1; j < n; ++j) {
            a(i, j) = static_cast<T>(static_cast<double>(a(i, 0)) + static_cast<double>(a(i, j)) / condition);
        }
    }
    return a;
}

TEST_CASE_TEMPLATE("cholesky_orthonormalize: Q of A = Q R with positive R_jj, up to the condition it promises", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const double limit = sizeof(T) == 4 ? 1e4 : 1e11;
    for (const Extents size : {Extents{40, 6}, Extents{7, 7}, Extents{5, 1}, Extents{9, 0}, Extents{300, 110}}) {
        for (const double condition : {1.0, 1e2, limit}) {
            for (const std::size_t which : {std::size_t{0}, std::size_t{7}}) {
                INFO(size.rows, " x ", size.cols, ", condition ", condition, ", ", layouts[which].text());
                const auto a = ill_conditioned<T>(size.rows, size.cols, condition, layouts[which]);
                auto q = a;
                wasi::Ledger ledger;
                const Index rank = E::Storage::cholesky_orthonormalize(q.view(), ledger);
                CHECK(ledger.total().current == 0);
                CHECK(q.guard_intact());
                REQUIRE(rank == size.cols);
                CHECK(wasi_tests::orthonormality_defect(q.view()) <= tolerance<T>(std::max<Index>(size.rows, 1), 1.0));
                if (size.cols == 0) {
                    continue;
                }
                CHECK(wasi_tests::distance_from_span(q.view(), a.view()) <=
                      tolerance<T>(size.rows, wasi_tests::frobenius_norm(a.view())));
                for (Index j = 0; j < size.cols; ++j) {
                    double diagonal = 0.0;
                    for (Index i = 0; i < size.rows; ++i) {
                        diagonal += static_cast<double>(q(i, j)) * static_cast<double>(a(i, j));
                    }
                    CHECK(diagonal > 0.0);
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("cholesky_orthonormalize: scales of columns far apart do no harm", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    auto a = random_matrix<T>(50, 6, 6);
    for (Index i = 0; i < 50; ++i) {
        a(i, 1) *= T(1e12);
        a(i, 2) *= T(1e-12);
    }
    auto q = a;
    // R_33 is below max(m,n) epsilon max R_jj, so it does not count, yet the column stands.
    CHECK(E::Storage::cholesky_orthonormalize(q.view(), wasi::plain_memory()) < 6);
    CHECK(wasi_tests::orthonormality_defect(q.view()) <= tolerance<T>(50, 1.0));
}

TEST_CASE_TEMPLATE("cholesky_orthonormalize: gives up, and leaves A alone, where columns are not independent", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    enum { zero_column, duplicate, sum_of_others, all_zero, nan, infinite, kinds };
    for (int kind = 0; kind < kinds; ++kind) {
        INFO("kind ", kind);
        auto a = random_matrix<T>(30, 5, 7);
        for (Index i = 0; i < 30; ++i) {
            switch (kind) {
                case zero_column:
                    a(i, 2) = T(0);
                    break;
                case duplicate:
                    a(i, 4) = a(i, 1);
                    break;
                case sum_of_others:
                    a(i, 3) = a(i, 0) + T(2) * a(i, 2);
                    break;
                case all_zero:
                    std::fill_n(&a(i, 0), 5, T(0));
                    break;
                case nan:
                    a(3, 3) = std::numeric_limits<T>::quiet_NaN();
                    break;
                default:
                    a(3, 3) = std::numeric_limits<T>::infinity();
                    break;
            }
        }
        auto q = a;
        CHECK(E::Storage::cholesky_orthonormalize(q.view(), wasi::plain_memory()) == -1);
        CHECK(wasi_tests::same_bits(q.view(), a.view()));
    }
}

TEST_CASE_TEMPLATE("convert: between float and double in every pair of layouts", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const auto to : layouts) {
        for (const auto from : layouts) {
            const auto a = random_matrix<T>(7, 5, 8, from);
            Matrix<double> wide(7, 5, to);
            E::Storage::convert(wide.view(), a.view());
            Matrix<T> back(7, 5, from);
            E::Storage::convert(back.view(), wide.view());
            CHECK(wide.guard_intact());
            CHECK(back.guard_intact());
            CHECK(wasi_tests::max_difference(wide.view(), a.view()) == 0.0);
            CHECK(wasi_tests::same_bits(back.view(), a.view()));
        }
    }
}

TEST_CASE_TEMPLATE("gram, eigh_leading and cholesky_orthonormalize: same bits for one and two threads", T, float,
                   double)
{
    const int before = wasi::thread_count();
    const auto a = random_matrix<T>(900, 130, 9);
    std::vector<Matrix<double>> grams;
    std::vector<Matrix<T>> bases;
    for (const int threads : {1, 2}) {
        wasi::set_thread_count(threads);
        auto& g = grams.emplace_back(130, 130);
        wasi::EigenStorage::gram(g.view(), 0.0, a.view(), wasi::plain_memory());
        std::vector<double> w(130);
        CHECK(wasi::EigenStorage::eigh_leading(
                  g.view(), std::span<double>(w), [](std::span<const double>) { return Index{60}; },
                  wasi::plain_memory()) == 60);
        auto& q = bases.emplace_back(a);
        CHECK(wasi::EigenStorage::cholesky_orthonormalize(q.view(), wasi::plain_memory()) == 130);
    }
    wasi::set_thread_count(before);
    CHECK(wasi_tests::same_bits(grams[0].view().col_block(0, 60), grams[1].view().col_block(0, 60)));
    CHECK(wasi_tests::same_bits(bases[0].view(), bases[1].view()));
}

}  // namespace
