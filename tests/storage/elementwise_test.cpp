#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <support/naive_storage.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using wasi::Index;
using wasi_tests::Layout;
using wasi_tests::layouts;
using wasi_tests::Matrix;
using wasi_tests::max_difference;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;
using wasi_tests::same_bits;

/// Extents of 0 and 1, odd ones, and two that are cut into several pieces, tall and wide.
constexpr std::array<std::array<Index, 2>, 9> shapes{
    {{0, 0}, {0, 5}, {5, 0}, {1, 1}, {1, 9}, {9, 1}, {7, 5}, {517, 131}, {3, 40001}}};

TEST_CASE_TEMPLATE("copy: every mix of layouts, and a transpose", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        CAPTURE(rows);
        CAPTURE(cols);
        const auto original = random_matrix<T>(rows, cols, 4);
        for (const Layout from_layout : layouts) {
            const auto from = original.in(from_layout);
            for (const Layout to_layout : rows* cols > 1000 ? std::vector<Layout>{layouts[2], layouts[7]}
                                                            : std::vector<Layout>(layouts.begin(), layouts.end())) {
                Matrix<T> to(rows, cols, to_layout);
                S::copy(to.view(), from.view());
                CHECK(same_bits(to.view(), original.view()));
                CHECK(to.guard_intact());
                Matrix<T> turned(cols, rows, to_layout);
                S::copy(turned.view(), from.view().transposed());
                CHECK(same_bits(turned.view().transposed(), original.view()));
                Matrix<T> slow(rows, cols, to_layout);
                NaiveStorage::copy(slow.view(), from.view());
                CHECK(same_bits(slow.view(), original.view()));
            }
        }
    }
}

TEST_CASE_TEMPLATE("add_scaled: every layout and beta", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        const auto values = random_matrix<T>(rows, cols, 5);
        const auto before = random_matrix<T>(rows, cols, 6);
        for (const T beta : {T(0), T(1), T(0.5)}) {
            for (std::size_t i = 0; i < layouts.size(); ++i) {
                const auto x = values.in(layouts[(3 * i + 1) % 8]);
                auto fast = beta == T(0) ? Matrix<T>(rows, cols, layouts[i]) : before.in(layouts[i]);
                auto slow = fast;
                S::add_scaled(fast.view(), beta, T(-1.75), x.view());
                NaiveStorage::add_scaled(slow.view(), beta, T(-1.75), x.view());
                INFO(rows, " x ", cols, ", beta ", beta, ", ", layouts[i].text());
                CHECK(max_difference(fast.view(), slow.view()) <= wasi_tests::tolerance<T>(1, 8.0, 1.0));
                CHECK(fast.guard_intact());
            }
        }
    }
}

TEST_CASE_TEMPLATE("add_scaled: in place, and with the transpose of another matrix", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto x = random_matrix<T>(13, 13, 7, layouts[2]);
    for (const Layout layout : layouts) {
        auto y = x.in(layout);
        S::add_scaled(y.view(), T(0.5), T(0), y.view());
        S::add_scaled(y.view(), T(0), T(4), y.view());
        auto expected = x;
        for (Index i = 0; i < 13; ++i) {
            for (Index j = 0; j < 13; ++j) {
                expected(i, j) = T(2) * x(i, j);
            }
        }
        CHECK(same_bits(y.view(), expected.view()));
        S::add_scaled(y.view(), T(1), T(-2), x.view().transposed());
        CHECK(max_difference(y.view().transposed(), y.view()) > 1.0);
        S::add_scaled(y.view(), T(1), T(-2), x.view());
        S::add_scaled(y.view(), T(1), T(2), x.view().transposed());
        CHECK(wasi_tests::max_abs(y.view()) <= wasi_tests::tolerance<T>(1, 8.0));
    }
}

TEST_CASE_TEMPLATE("dot: sums in double, in every mix of layouts", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        const auto left = random_matrix<T>(rows, cols, 8);
        const auto right = random_matrix<T>(rows, cols, 9);
        const double exact = NaiveStorage::dot(left.view(), right.view());
        for (std::size_t i = 0; i < layouts.size(); ++i) {
            const auto a = left.in(layouts[i]);
            const auto b = right.in(layouts[(3 * i + 1) % 8]);
            const double scale = std::sqrt(static_cast<double>(rows * cols));
            INFO(rows, " x ", cols, ", ", layouts[i].text());
            // Double's rounding also for float: that is the promise.
            CHECK(std::abs(S::dot(a.view(), b.view()) - exact) <= wasi_tests::tolerance<double>(rows * cols, scale));
        }
    }
    Matrix<float> large(1, 1);
    large(0, 0) = 3e30F;
    CHECK(S::dot(large.view(), large.view()) == doctest::Approx(9e60));
}

TEST_CASE_TEMPLATE("all_finite: finds one bad element anywhere, and looks at nothing outside", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    for (const Layout layout : layouts) {
        auto a = random_matrix<T>(5, 7, 10, layout);  // NaN all around it
        CHECK(S::all_finite(a.view()));
        for (const T bad : {std::numeric_limits<T>::quiet_NaN(), infinity, -infinity}) {
            int found = 0;
            for (Index i = 0; i < 5; ++i) {
                for (Index j = 0; j < 7; ++j) {
                    const T good = a(i, j);
                    a(i, j) = bad;
                    found += S::all_finite(a.view()) ? 0 : 1;
                    found += NaiveStorage::all_finite(a.view()) ? 0 : 1;
                    a(i, j) = good;
                }
            }
            CHECK(found == 2 * 35);
        }
        // Finite numbers whose sum is not.
        a(0, 0) = a(0, 1) = std::numeric_limits<T>::max();
        CHECK(S::all_finite(a.view()));
        CHECK(NaiveStorage::all_finite(a.view()));
        // Bad numbers that could cancel.
        a(0, 0) = infinity;
        a(0, 1) = -infinity;
        CHECK_FALSE(S::all_finite(a.view()));
    }
    auto large = random_matrix<T>(517, 131, 11);
    CHECK(S::all_finite(large.view()));
    large(516, 130) = infinity;
    CHECK_FALSE(S::all_finite(large.view()));
    CHECK(S::all_finite(large.view().row_block(0, 0)));
}

TEST_CASE_TEMPLATE("largest: the largest magnitude wherever it is, infinity for what is not finite", E,
                   WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    for (const Layout layout : layouts) {
        auto a = random_matrix<T>(5, 7, 10, layout);  // NaN all around it
        CHECK(S::largest(a.view()) == NaiveStorage::largest(a.view()));
        for (const T value :
             {T(100), T(-100), std::numeric_limits<T>::max(), -infinity, std::numeric_limits<T>::quiet_NaN()}) {
            const double right =
                std::isfinite(value) ? std::abs(static_cast<double>(value)) : std::numeric_limits<double>::infinity();
            int found = 0;
            for (Index i = 0; i < 5; ++i) {
                for (Index j = 0; j < 7; ++j) {
                    const T before = a(i, j);
                    a(i, j) = value;
                    found += S::largest(a.view()) == right ? 1 : 0;
                    found += NaiveStorage::largest(a.view()) == right ? 1 : 0;
                    a(i, j) = before;
                }
            }
            CHECK(found == 2 * 35);
        }
        CHECK(S::largest(a.view().row_block(2, 0)) == 0.0);
    }
    auto tall = random_matrix<T>(5170, 13, 11);
    tall(5169, 12) = T(-77);
    CHECK(S::largest(tall.view()) == 77.0);
    tall(0, 0) = std::numeric_limits<T>::denorm_min();
    CHECK(S::largest(tall.view().block(0, 0, 1, 1)) == static_cast<double>(std::numeric_limits<T>::denorm_min()));
}

TEST_CASE_TEMPLATE("fill_normal: the same bits in both storages and every layout", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const wasi::RandomKey key(12);
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        Matrix<T> expected(rows, cols);
        NaiveStorage::fill_normal(expected.view(), key);
        for (const Layout layout : layouts) {
            Matrix<T> filled(rows, cols, layout);
            S::fill_normal(filled.view(), key);
            INFO(rows, " x ", cols, ", ", layout.text());
            CHECK(same_bits(filled.view(), expected.view()));
            CHECK(filled.guard_intact());
        }
    }
    Matrix<T> one(1, 3);
    S::fill_normal(one.view(), key);
    CHECK(one(0, 2) == static_cast<T>(key.normal(2)));
}

TEST_CASE_TEMPLATE("fill, add_constant: every layout, a diagonal, and nothing beside it", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        for (const Layout layout : layouts) {
            INFO(shape[0], " x ", shape[1], ", ", layout.text());
            Matrix<T> got(shape[0], shape[1], layout);
            Matrix<T> expected(shape[0], shape[1], layout);
            const auto both = [&](auto change) {
                change(S(), got.view());
                change(NaiveStorage(), expected.view());
                CHECK(same_bits(got.view(), expected.view()));
                CHECK(got.guard_intact());
            };
            both([](auto storage, wasi::MatrixView<T> a) { decltype(storage)::fill(a, T(3)); });
            both([](auto storage, wasi::MatrixView<T> a) { decltype(storage)::add_constant(a, T(0.1)); });
            both([](auto storage, wasi::MatrixView<T> a) { decltype(storage)::fill(a.diagonal(), T(1)); });
            both([](auto storage, wasi::MatrixView<T> a) { decltype(storage)::add_constant(a.diagonal(), T(-0.3)); });
        }
    }
    Matrix<T> wide(2, 3);
    S::fill(wide.view(), T(0));
    S::fill(wide.view().diagonal(), T(1));
    S::add_constant(wide.view().diagonal(), T(1));
    for (Index i = 0; i < 2; ++i) {
        for (Index j = 0; j < 3; ++j) {
            CHECK(wide(i, j) == (i == j ? T(2) : T(0)));
        }
    }
}

TEST_CASE("the naive storage turns a result that is overwritten to NaN first")
{
    // An input that overlaps the output, but is not the same elements, is found.
    auto a = random_matrix<float>(6, 6, 13);
    NaiveStorage::copy(a.view().block(0, 0, 5, 6), a.view().block(1, 0, 5, 6));
    CHECK_FALSE(NaiveStorage::all_finite(a.view()));
    auto b = random_matrix<float>(6, 6, 13);
    NaiveStorage::add_scaled(b.view(), 0.0F, 1.0F, b.view().transposed());
    CHECK_FALSE(NaiveStorage::all_finite(b.view()));
    Matrix<float> narrow(6, 5);
    CHECK_THROWS_AS(NaiveStorage::copy(narrow.view(), a.view()), std::logic_error);
}

}  // namespace
