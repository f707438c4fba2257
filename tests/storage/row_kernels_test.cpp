#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>

/// The row kernels of EigenStorage against the naive ones.
namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi_tests::Matrix;
using wasi_tests::max_difference;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;
using wasi_tests::random_vector;
using wasi_tests::same_bits;
using wasi_tests::tolerance;

/// One element, one row, one column, odd sizes, none, and several pieces of work.
constexpr std::array<std::array<Index, 2>, 7> shapes{{{1, 1}, {1, 13}, {9, 1}, {7, 5}, {0, 4}, {331, 211}, {3, 33001}}};

TEST_CASE_TEMPLATE("sums over rows and additions to rows", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        CAPTURE(rows);
        CAPTURE(cols);
        auto fast = random_matrix<T>(rows, cols, 1);
        auto slow = fast;
        const auto v = random_vector<T>(cols, 2);
        S::add_to_rows(fast.view(), v);
        NaiveStorage::add_to_rows(slow.view(), v);
        CHECK(same_bits(fast.view(), slow.view()));
        CHECK(fast.guard_intact());

        std::vector<T> fast_sum(static_cast<std::size_t>(cols), std::numeric_limits<T>::quiet_NaN());
        auto slow_sum = fast_sum;
        wasi::Ledger ledger;
        S::column_sums(std::span<T>(fast_sum), slow.view(), ledger);
        NaiveStorage::column_sums(std::span<T>(slow_sum), slow.view(), ledger);
        CHECK(max_difference(fast_sum, slow_sum) <=
              tolerance<T>(rows, 2.0 * std::sqrt(static_cast<double>(rows)) + 4.0));
        CHECK(ledger.total().current == 0);
    }
}

TEST_CASE_TEMPLATE("products of elements, also of a matrix with itself", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        auto fast = random_matrix<T>(rows, cols, 3);
        auto slow = fast;
        const auto x = random_matrix<T>(rows, cols, 4);
        S::multiply_elements(fast.view(), x.view());
        NaiveStorage::multiply_elements(slow.view(), x.view());
        CHECK(same_bits(fast.view(), slow.view()));
        S::multiply_elements(fast.view(), fast.view());
        NaiveStorage::multiply_elements(slow.view(), slow.view());
        CHECK(same_bits(fast.view(), slow.view()));
    }
}

TEST_CASE_TEMPLATE("division by roots, also of a matrix by its own", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        auto fast = random_matrix<T>(shape[0], shape[1], 3);
        auto slow = fast;
        auto x = random_matrix<T>(shape[0], shape[1], 4);
        S::multiply_elements(x.view(), x.view());
        S::add_constant(x.view(), T(0.01));
        S::divide_by_root(fast.view(), x.view());
        NaiveStorage::divide_by_root(slow.view(), x.view());
        CHECK(max_difference(fast.view(), slow.view()) <=
              tolerance<T>(1, 16.0));  // values of 40: three units in the last place
        auto fast_root = x;
        auto slow_root = x;
        S::divide_by_root(fast_root.view(), fast_root.view());
        NaiveStorage::divide_by_root(slow_root.view(), slow_root.view());
        CHECK(max_difference(fast_root.view(), slow_root.view()) <= tolerance<T>(1, 2.0));
    }
}

TEST_CASE_TEMPLATE("gelu and relu with their gradients", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        CAPTURE(rows);
        CAPTURE(cols);
        auto x = random_matrix<T>(rows, cols, 5);
        const auto dy = random_matrix<T>(rows, cols, 6);
        if (cols >= 5 && rows >= 7) {
            // Far out, and the two zeros.
            for (const auto& [i, value] :
                 {std::pair<Index, double>{0, 30.0}, {1, -30.0}, {2, 5.5}, {3, -5.5}, {4, 0.0}, {5, -0.0}}) {
                x(i, 1) = static_cast<T>(value);
            }
        }
        const double largest = std::max(1.0, wasi_tests::max_abs(x.view()));
        Matrix<T> fast(rows, cols);
        Matrix<T> slow(rows, cols);
        S::gelu(fast.view(), x.view());
        NaiveStorage::gelu(slow.view(), x.view());
        CHECK(max_difference(fast.view(), slow.view()) <= tolerance<T>(1, largest));
        S::gelu_backward(fast.view(), dy.view(), x.view());
        NaiveStorage::gelu_backward(slow.view(), dy.view(), x.view());
        CHECK(max_difference(fast.view(), slow.view()) <=
              tolerance<T>(1, 2.0 * std::max(1.0, wasi_tests::max_abs(dy.view()))));
        S::relu(fast.view(), x.view());
        NaiveStorage::relu(slow.view(), x.view());
        CHECK(max_difference(fast.view(), slow.view()) == 0.0);
        S::relu_backward(fast.view(), dy.view(), x.view());
        NaiveStorage::relu_backward(slow.view(), dy.view(), x.view());
        CHECK(max_difference(fast.view(), slow.view()) == 0.0);
        CHECK(fast.guard_intact());

        // In place over either input.
        for (const bool over_upstream : {true, false}) {
            auto gelu = over_upstream ? dy : x;
            auto relu = gelu;
            S::gelu_backward(gelu.view(), over_upstream ? gelu.view() : dy.view(),
                             over_upstream ? x.view() : gelu.view());
            S::relu_backward(relu.view(), over_upstream ? relu.view() : dy.view(),
                             over_upstream ? x.view() : relu.view());
            CHECK(max_difference(relu.view(), slow.view()) == 0.0);
            NaiveStorage::gelu_backward(fast.view(), dy.view(), x.view());
            CHECK(max_difference(gelu.view(), fast.view()) <=
                  tolerance<T>(1, 2.0 * std::max(1.0, wasi_tests::max_abs(dy.view()))));
        }
    }
}

TEST_CASE_TEMPLATE("quick gelu with its gradient, and columns that are scaled", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        CAPTURE(rows);
        CAPTURE(cols);
        auto x = random_matrix<T>(rows, cols, 5);
        const auto dy = random_matrix<T>(rows, cols, 6);
        if (cols >= 5 && rows >= 4) {
            for (const auto& [i, value] : {std::pair<Index, double>{0, 60.0}, {1, -60.0}, {2, 0.0}, {3, -0.0}}) {
                x(i, 1) = static_cast<T>(value);
            }
        }
        const double largest = std::max(1.0, wasi_tests::max_abs(x.view()));
        Matrix<T> fast(rows, cols);
        Matrix<T> slow(rows, cols);
        S::quick_gelu(fast.view(), x.view());
        NaiveStorage::quick_gelu(slow.view(), x.view());
        CHECK(max_difference(fast.view(), slow.view()) <= tolerance<T>(1, largest));
        S::quick_gelu_backward(fast.view(), dy.view(), x.view());
        NaiveStorage::quick_gelu_backward(slow.view(), dy.view(), x.view());
        const double bound = tolerance<T>(1, 2.0 * largest * std::max(1.0, wasi_tests::max_abs(dy.view())));
        CHECK(max_difference(fast.view(), slow.view()) <= bound);
        for (const bool over_upstream : {true, false}) {
            auto in_place = over_upstream ? dy : x;
            S::quick_gelu_backward(in_place.view(), over_upstream ? in_place.view() : dy.view(),
                                   over_upstream ? x.view() : in_place.view());
            CHECK(max_difference(in_place.view(), slow.view()) <= bound);
        }
        const auto factors = random_matrix<T>(1, cols, 7);
        const std::span<const T> v(factors.view().data, static_cast<std::size_t>(cols));
        S::scale_columns(x.view(), v);
        auto wanted = random_matrix<T>(rows, cols, 5);
        if (cols >= 5 && rows >= 4) {
            for (const auto& [i, value] : {std::pair<Index, double>{0, 60.0}, {1, -60.0}, {2, 0.0}, {3, -0.0}}) {
                wanted(i, 1) = static_cast<T>(value);
            }
        }
        NaiveStorage::scale_columns(wanted.view(), v);
        CHECK(same_bits(x.view(), wanted.view()));
        CHECK(fast.guard_intact());
    }
}

TEST_CASE("the naive row kernels refuse what the concept does not allow")
{
    const auto x = random_matrix<float>(4, 6, 15);
    auto strided = random_matrix<float>(4, 6, 15, wasi_tests::layouts[2]);
    auto turned = random_matrix<float>(4, 6, 15, wasi_tests::col_major);
    CHECK_THROWS_AS(NaiveStorage::gelu(strided.view(), x.view()), std::logic_error);
    CHECK_THROWS_AS(NaiveStorage::softmax(turned.view(), 1.0F), std::logic_error);
    CHECK_THROWS_AS(NaiveStorage::add_to_rows(strided.view(), std::vector<float>(5)), std::logic_error);
}

}  // namespace
