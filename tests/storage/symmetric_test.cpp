#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <support/powers.hpp>

/// eigh and solve_spd.
namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi_tests::Layout;
using wasi_tests::layouts;
using wasi_tests::Matrix;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;

/// V diag(values) Vᵀ with a random orthonormal V, symmetric to the last bit.
template <class T>
[[nodiscard]] Matrix<T> symmetric_matrix(const std::vector<double>& values, std::uint64_t seed, Layout layout = {})
{
    const auto n = static_cast<Index>(values.size());
    const auto v = wasi_tests::random_orthonormal(n, n, seed);
    Matrix<T> a(n, n, layout);
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j <= i; ++j) {
            double sum = 0.0;
            for (Index p = 0; p < n; ++p) {
                sum += v(i, p) * values[static_cast<std::size_t>(p)] * v(j, p);
            }
            a(i, j) = a(j, i) = static_cast<T>(sum);
        }
    }
    return a;
}

std::vector<double> linear(Index count, double first, double last)
{
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) {
        values.push_back(count == 1 ? first
                                    : first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1));
    }
    return values;
}

/// A V = V diag(w), VᵀV = 1, w descending and as expected.
template <class E>
void check_eigh(const std::string& what, std::vector<double> expected, Layout layout = {})
{
    using T = typename E::Scalar;
    INFO(what, ", ", layout.text());
    const auto n = static_cast<Index>(expected.size());
    const auto a = symmetric_matrix<T>(expected, 1, layout);
    auto v = a;
    Matrix<T> w(n, 1);
    wasi::Ledger ledger;
    CHECK(E::Storage::eigh(v.view(), std::span<T>(w.view().data, static_cast<std::size_t>(n)), ledger));
    CHECK(ledger.total().current == 0);
    CHECK(v.guard_intact());
    CHECK(w.guard_intact());
    std::sort(expected.begin(), expected.end(), std::greater<>());
    const double largest = expected.empty() ? 0.0 : std::max(std::abs(expected.front()), std::abs(expected.back()));
    CHECK(wasi_tests::orthonormality_defect(v.view()) <= wasi_tests::tolerance<T>(n, 1.0));
    double residual = 0.0;
    for (Index j = 0; j < n; ++j) {
        if (j > 0) {
            CHECK(w(j, 0) <= w(j - 1, 0));
        }
        CHECK(std::abs(static_cast<double>(w(j, 0)) - expected[static_cast<std::size_t>(j)]) <=
              wasi_tests::tolerance<T>(n, largest));
        for (Index i = 0; i < n; ++i) {
            long double sum = -static_cast<long double>(v(i, j)) * static_cast<long double>(w(j, 0));
            for (Index p = 0; p < n; ++p) {
                sum += static_cast<long double>(a(i, p)) * static_cast<long double>(v(p, j));
            }
            residual = std::max(residual, static_cast<double>(std::abs(sum)));
        }
    }
    CHECK(residual <= wasi_tests::tolerance<T>(n, largest));
}

TEST_CASE_TEMPLATE("eigh: laws, in every layout", E, WASI_TEST_ENGINES)
{
    for (const Layout layout : layouts) {
        check_eigh<E>("positive and negative values", linear(11, -2.0, 5.0), layout);
    }
    check_eigh<E>("large", linear(60, 0.0, 1.0));
    check_eigh<E>("positive, steep", {1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6});
    check_eigh<E>("one value", {-3.0});
    check_eigh<E>("two values", {1.0, 2.0});
    check_eigh<E>("none", {});
    check_eigh<E>("zero", std::vector<double>(8, 0.0));
    check_eigh<E>("all equal", std::vector<double>(8, -1.5));
    check_eigh<E>("in groups", {3.0, 3.0, 3.0, -1.0, -1.0, 0.0, 0.0});
}

TEST_CASE_TEMPLATE("eigh: laws at the ends of the exponent range", E, WASI_TEST_ENGINES)
{
    const double far = sizeof(typename E::Scalar) == 4 ? 1e25 : 1e200;
    for (const double factor : {far, 1.0 / far, 1e25, 1e-25}) {
        check_eigh<E>("scaled", linear(7, -factor, 2.0 * factor));
    }
}

TEST_CASE_TEMPLATE("eigh: both storages find the same leading subspace", T, float, double)
{
    const std::vector<double> values{9.0, 8.0, 7.0, 2.0, 1.0, 0.0, -1.0};
    auto fast = symmetric_matrix<T>(values, 2, layouts[3]);
    auto slow = fast.in(layouts[0]);
    std::vector<T> w(7);
    CHECK(EigenStorage::eigh(fast.view(), w, wasi::plain_memory()));
    CHECK(NaiveStorage::eigh(slow.view(), w, wasi::plain_memory()));
    CHECK(wasi_tests::projector_distance(fast.view().col_block(0, 3), slow.view().col_block(0, 3)) <=
          wasi_tests::tolerance<T>(7 * 3, 9.0 / 5.0));
}

TEST_CASE_TEMPLATE("solve_spd: A X = B in every layout", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    struct Case {
        Index n, cols;
    };
    for (const Case size : {Case{9, 4}, Case{1, 1}, Case{1, 5}, Case{9, 1}, Case{9, 0}, Case{0, 3}, Case{45, 50}}) {
        const Index n = size.n;
        const Index cols = size.cols;
        for (std::size_t i = 0; i < layouts.size(); ++i) {
            INFO(n, " x ", cols, ", ", layouts[i].text());
            const auto a = symmetric_matrix<T>(linear(n, 1.0, 20.0), 3, layouts[i]);
            const auto b = random_matrix<T>(n, cols, 4, layouts[(3 * i + 1) % 8]);
            auto work = a;
            auto x = b;
            wasi::Ledger ledger;
            CHECK(E::Storage::solve_spd(work.view(), x.view(), ledger));
            CHECK(ledger.total().current == 0);
            CHECK(work.guard_intact());
            CHECK(x.guard_intact());
            Matrix<T> product(n, cols);
            NaiveStorage::multiply(product.view(), T(1), a.view(), x.view(), T(0), wasi::plain_memory());
            // |X| may be as large as |B| / 1, A's largest value is 20.
            CHECK(wasi_tests::max_difference(product.view(), b.view()) <=
                  wasi_tests::tolerance<T>(n, 20.0 * std::max(1.0, wasi_tests::max_abs(x.view()))));
        }
    }
}

TEST_CASE_TEMPLATE("solve_spd: the same bits for A and B of every size", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    // Ill-conditioned: what elimination leaves is far smaller than A.
    const auto a = symmetric_matrix<T>(linear(12, sizeof(T) == 4 ? 1e-3 : 1e-9, 20.0), 3);
    const auto b = random_matrix<T>(12, 3, 4);
    const auto solve = [&](int k, int l) {
        auto left = wasi_tests::times_power(a, k);
        auto x = wasi_tests::times_power(b, l);
        CHECK(E::Storage::solve_spd(left.view(), x.view(), wasi::plain_memory()));
        return x;
    };
    const auto expected = solve(0, 0);
    auto exponents = wasi_tests::powers<T>();
    exponents.push_back(sizeof(T) == 4 ? -118 : -1012);  // and no normal number there
    for (const int exponent : exponents) {
        const int k = exponent / 2 * 2;  // a square root of an odd power rounds
        for (const int l : {k / 2, k}) {
            INFO("A 2^", k, ", B 2^", l);
            CHECK(wasi_tests::is_power_of<T>(solve(k, l).view(), expected.view(), l - k));
        }
    }
}

TEST_CASE_TEMPLATE("cholesky: A = F Fᵀ, F lower triangular, in every layout", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Index n : {9, 1, 0, 45, 130}) {
        for (const Layout layout : layouts) {
            INFO(n, ", ", layout.text());
            const auto a = symmetric_matrix<T>(linear(n, 1.0, 20.0), 3, layout);
            auto f = a;
            wasi::Ledger ledger;
            CHECK(E::Storage::cholesky(f.view(), ledger));
            CHECK(ledger.total().current == 0);
            CHECK(f.guard_intact());
            Index wrong = 0;
            for (Index i = 0; i < n; ++i) {
                wrong += f.view()(i, i) > T(0) ? 0 : 1;
                for (Index j = i + 1; j < n; ++j) {
                    wrong += f.view()(i, j) == T(0) ? 0 : 1;
                }
            }
            CHECK(wrong == 0);
            Matrix<T> product(n, n);
            NaiveStorage::multiply(product.view(), T(1), f.view(), f.view().transposed(), T(0), wasi::plain_memory());
            CHECK(wasi_tests::max_difference(product.view(), a.view()) <= wasi_tests::tolerance<T>(n, 20.0));
        }
    }
}

TEST_CASE_TEMPLATE("cholesky: says no to a matrix that is not positive definite", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Layout layout : layouts) {
        for (const auto& values :
             {std::vector<double>{3.0, 2.0, -1.0}, std::vector<double>{-1.0}, linear(40, -1.0, 5.0)}) {
            auto a = symmetric_matrix<T>(values, 5, layout);
            CHECK_FALSE(E::Storage::cholesky(a.view(), wasi::plain_memory()));
        }
    }
}

TEST_CASE_TEMPLATE("solve_spd: says no to a matrix that is not positive definite", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Layout layout : layouts) {
        for (const auto& values : {std::vector<double>{3.0, 2.0, -1.0}, std::vector<double>{-1.0},
                                   std::vector<double>(4, 0.0), linear(40, -1.0, 5.0)}) {
            auto a = symmetric_matrix<T>(values, 5, layout);
            auto b = random_matrix<T>(static_cast<Index>(values.size()), 2, 6);
            CHECK_FALSE(E::Storage::solve_spd(a.view(), b.view(), wasi::plain_memory()));
        }
    }
}

}  // namespace
