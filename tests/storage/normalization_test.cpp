#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>

/// Softmax, layer norm and cross entropy of EigenStorage against the naive ones.
namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi_tests::Matrix;
using wasi_tests::max_difference;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;
using wasi_tests::random_vector;
using wasi_tests::tolerance;

/// One element, one row, one column, odd sizes, none, and several pieces of work.
constexpr std::array<std::array<Index, 2>, 7> shapes{{{1, 1}, {1, 13}, {9, 1}, {7, 5}, {0, 4}, {331, 211}, {3, 33001}}};

TEST_CASE_TEMPLATE("softmax and its gradient", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        for (const T scale : {T(1), T(0.125)}) {
            CAPTURE(rows);
            CAPTURE(cols);
            auto fast = random_matrix<T>(rows, cols, 7);
            auto slow = fast;
            S::softmax(fast.view(), scale);
            NaiveStorage::softmax(slow.view(), scale);
            CHECK(max_difference(fast.view(), slow.view()) <= tolerance<T>(cols, 1.0));
            CHECK(fast.guard_intact());
            for (Index i = 0; i < rows; ++i) {
                double sum = 0.0;
                for (Index j = 0; j < cols; ++j) {
                    sum += static_cast<double>(fast(i, j));
                }
                REQUIRE(std::abs(sum - 1.0) <= tolerance<T>(cols, 1.0));
            }
            const auto& probability = slow;
            auto gradient = random_matrix<T>(rows, cols, 8);
            auto expected = gradient;
            S::softmax_backward(gradient.view(), probability.view(), scale);
            NaiveStorage::softmax_backward(expected.view(), probability.view(), scale);
            CHECK(max_difference(gradient.view(), expected.view()) <= tolerance<T>(cols, 4.0));
        }
    }
}

TEST_CASE_TEMPLATE("softmax of large numbers does not overflow", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    Matrix<T> y(2, 3);
    y(0, 0) = T(3000);
    y(0, 1) = T(3000);
    y(0, 2) = T(-3000);
    y(1, 0) = y(1, 1) = y(1, 2) = T(-3000);
    E::Storage::softmax(y.view(), T(1));
    CHECK(y(0, 0) == T(0.5));
    CHECK(y(0, 1) == T(0.5));
    CHECK(y(0, 2) == T(0));
    CHECK(std::abs(y(1, 2) - T(1) / T(3)) <= wasi::epsilon<T>);
}

TEST_CASE_TEMPLATE("softmax finds the largest number of a row wherever it stands", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Index at : {0, 40, 63, 64, 127, 128, 149}) {
        CAPTURE(at);
        Matrix<T> y(1, 150);
        for (Index j = 0; j < 150; ++j) {
            y(0, j) = T(j == at ? 3000 : -3000);
        }
        E::Storage::softmax(y.view(), T(1));
        for (Index j = 0; j < 150; ++j) {
            // NaN or infinity where another number was taken for the largest.
            REQUIRE(std::abs(y(0, j) - T(j == at ? 1 : 0)) <= wasi::epsilon<T>);
        }
    }
}

TEST_CASE_TEMPLATE("layer_norm and its gradient", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        for (const double offset : {0.0, 1000.0}) {
            CAPTURE(rows);
            CAPTURE(cols);
            CAPTURE(offset);
            const auto count = static_cast<std::size_t>(rows);
            auto x = random_matrix<T>(rows, cols, 9);
            for (Index i = 0; i < rows; ++i) {
                for (Index j = 0; j < cols; ++j) {
                    x(i, j) += static_cast<T>(offset);
                }
            }
            const auto gain = random_vector<T>(cols, 10);
            const auto bias = random_vector<T>(cols, 11);
            const T small = T(1e-2);  // large enough to condition rows of one element, whose variance is 0
            Matrix<T> fast(rows, cols);
            Matrix<T> slow(rows, cols);
            std::vector<T> fast_mean(count), fast_inverse(count), mean(count), inverse(count);
            S::layer_norm(fast.view(), fast_mean, fast_inverse, x.view(), gain, bias, small);
            NaiveStorage::layer_norm(slow.view(), mean, inverse, x.view(), gain, bias, small);
            // A mean of size `offset` is known to its own rounding; 1/deviation is at most 10, gains are at most
            // about 5.
            const double scale = (offset + 4.0) * (cols == 1 ? 10.0 : 3.0) * 5.0;
            CHECK(max_difference(fast_mean, mean) <= tolerance<T>(cols, offset + 4.0));
            CHECK(max_difference(fast_inverse, inverse) <= tolerance<T>(cols, (offset + 4.0) * 10.0));
            CHECK(max_difference(fast.view(), slow.view()) <= tolerance<T>(cols, scale));
            CHECK(fast.guard_intact());

            const auto dy = random_matrix<T>(rows, cols, 12);
            std::vector<T> fast_gain(gain.size(), std::numeric_limits<T>::quiet_NaN()), fast_bias(fast_gain),
                dgain(fast_gain), dbias(fast_gain);
            wasi::Ledger ledger;
            Matrix<T> fast_dx(rows, cols);
            Matrix<T> dx(rows, cols);
            S::layer_norm_backward(fast_dx.view(), fast_gain, fast_bias, dy.view(), x.view(), mean, inverse, gain,
                                   ledger);
            NaiveStorage::layer_norm_backward(dx.view(), dgain, dbias, dy.view(), x.view(), mean, inverse, gain,
                                              ledger);
            CHECK(ledger.total().current == 0);
            // Both get the same mean: the offset no longer matters.
            CHECK(max_difference(fast_dx.view(), dx.view()) <= tolerance<T>(cols, 100.0));
            CHECK(max_difference(fast_gain, dgain) <=
                  tolerance<T>(rows, 8.0 * std::sqrt(static_cast<double>(rows)) + 8.0));
            CHECK(max_difference(fast_bias, dbias) <=
                  tolerance<T>(rows, 4.0 * std::sqrt(static_cast<double>(rows)) + 4.0));

            // In place over the upstream gradient.
            auto over = dy;
            S::layer_norm_backward(over.view(), fast_gain, fast_bias, over.view(), x.view(), mean, inverse, gain,
                                   ledger);
            // Not the same bits: a compiler may contract products and sums otherwise when it knows of no overlap.
            CHECK(max_difference(over.view(), fast_dx.view()) <= tolerance<T>(cols, 100.0));
        }
    }
}

TEST_CASE_TEMPLATE("layer_norm: rows come out with mean 0 and variance 1, a constant row as its bias", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    auto x = random_matrix<T>(6, 64, 13);
    for (Index j = 0; j < 64; ++j) {
        x(5, j) = T(0.75);
    }
    const std::vector<T> gain(64, T(1));
    const std::vector<T> bias(64, T(0.25));
    std::vector<T> mean(6), inverse(6);
    Matrix<T> y(6, 64);
    E::Storage::layer_norm(y.view(), mean, inverse, x.view(), gain, bias, T(1e-6));
    for (Index i = 0; i < 5; ++i) {
        double sum = 0.0;
        double squares = 0.0;
        for (Index j = 0; j < 64; ++j) {
            const double value = static_cast<double>(y(i, j)) - 0.25;
            sum += value;
            squares += value * value;
        }
        CHECK(std::abs(sum / 64) <= tolerance<T>(64, 1.0));
        // The variance is short of 1 by epsilon times the squared inverse deviation.
        const double shortfall =
            1e-6 * static_cast<double>(inverse[static_cast<std::size_t>(i)] * inverse[static_cast<std::size_t>(i)]);
        CHECK(std::abs(squares / 64 - (1.0 - shortfall)) <= tolerance<T>(64, 1.0));
    }
    for (Index j = 0; j < 64; ++j) {
        CHECK(y(5, j) == T(0.25));
    }
    CHECK(inverse[5] == doctest::Approx(1e3));
}

TEST_CASE_TEMPLATE("cross_entropy: the loss and its gradient", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : shapes) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        if (rows == 0) {
            continue;  // the mean over no rows is no number
        }
        auto x = random_matrix<T>(rows, cols, 14);
        std::vector<std::int64_t> labels;
        for (Index i = 0; i < rows; ++i) {
            labels.push_back((7 * i + 3) % cols);
        }
        Matrix<T> fast(rows, cols);
        Matrix<T> slow(rows, cols);
        const double loss = S::cross_entropy(fast.view(), x.view(), labels);
        const double expected = NaiveStorage::cross_entropy(slow.view(), x.view(), labels);
        CHECK(std::abs(loss - expected) <= tolerance<T>(cols, 8.0));
        CHECK(max_difference(fast.view(), slow.view()) <= tolerance<T>(cols, 1.0 / static_cast<double>(rows)));
        CHECK(fast.guard_intact());
    }
}

TEST_CASE_TEMPLATE("cross_entropy: known values, and logits that would overflow", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    Matrix<T> x(2, 4);
    Matrix<T> dx(2, 4);
    for (Index j = 0; j < 4; ++j) {
        x(0, j) = x(1, j) = T(5);
    }
    const std::vector<std::int64_t> labels{0, 3};
    CHECK(E::Storage::cross_entropy(dx.view(), x.view(), labels) == doctest::Approx(std::log(4.0)));
    CHECK(dx(0, 0) == T(-0.375));
    CHECK(dx(1, 0) == T(0.125));
    x(0, 0) = T(4000);
    x(1, 3) = T(-4000);
    const double loss = E::Storage::cross_entropy(dx.view(), x.view(), labels);
    CHECK(loss == doctest::Approx((4005.0 + std::log(3.0)) / 2.0));
    CHECK(E::Storage::all_finite(dx.view()));
}

}  // namespace
