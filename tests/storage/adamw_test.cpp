#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>

#include <support/engines.hpp>
#include <support/matrices.hpp>

/// adamw_step.
namespace {

using wasi::AdamWStep;
using wasi::Index;
using wasi_tests::Matrix;
using wasi_tests::max_difference;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;
using wasi_tests::tolerance;

constexpr double beta1 = 0.9;
constexpr double beta2 = 0.999;

/// Step number t (from 1) with rate 0.01 and decay 0.1.
template <class T>
[[nodiscard]] AdamWStep<T> step_at(int t, double epsilon, double scale)
{
    return {.beta1 = beta1,
            .beta2 = beta2,
            .epsilon = static_cast<T>(epsilon),
            .shrink = static_cast<T>(0.01 * 0.1),
            .corrected_rate = static_cast<T>(0.01 / (1.0 - std::pow(beta1, t))),
            .second_correction = static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(beta2, t))),
            .scale = static_cast<T>(scale)};
}

template <class T>
[[nodiscard]] Matrix<T> zeros(Index rows, Index cols)
{
    return wasi_tests::matrix_with_spectrum<T>(rows, cols, {}, 0);
}

TEST_CASE_TEMPLATE("adamw_step: both storages, over several steps", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (const auto& shape : {std::array<Index, 2>{0, 3}, {1, 1}, {1, 7}, {9, 5}, {331, 211}}) {
        const Index rows = shape[0];
        const Index cols = shape[1];
        INFO(rows, " x ", cols);
        auto fast_w = random_matrix<T>(rows, cols, 1);
        auto fast_m = zeros<T>(rows, cols);
        auto fast_v = zeros<T>(rows, cols);
        auto w = fast_w;
        auto m = fast_m;
        auto v = fast_v;
        for (int t = 1; t <= 5; ++t) {
            const auto g = random_matrix<T>(rows, cols, 1 + static_cast<std::uint64_t>(t));
            const auto step = step_at<T>(t, 1e-3, 0.5);
            S::adamw_step(fast_w.view(), fast_m.view(), fast_v.view(), g.view(), step);
            NaiveStorage::adamw_step(w.view(), m.view(), v.view(), g.view(), step);
        }
        // m and v are averages of numbers of order 1; a step moves a weight by about its rate of 0.01.
        CHECK(max_difference(fast_w.view(), w.view()) <= tolerance<T>(5, 5.0));
        CHECK(max_difference(fast_m.view(), m.view()) <= tolerance<T>(5, 1.0));
        CHECK(max_difference(fast_v.view(), v.view()) <= tolerance<T>(5, 0.01));
        CHECK(fast_w.guard_intact());
        CHECK(fast_m.guard_intact());
        CHECK(fast_v.guard_intact());
    }
}

TEST_CASE_TEMPLATE("adamw_step: the first step goes by the rate against the sign of the gradient, after the decay", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const double epsilon : {0.0, 0.25}) {
        auto w = random_matrix<T>(6, 7, 10);
        const auto before = w;
        const auto g = random_matrix<T>(6, 7, 11);
        auto m = zeros<T>(6, 7);
        auto v = zeros<T>(6, 7);
        const double scale = 0.5;
        E::Storage::adamw_step(w.view(), m.view(), v.view(), g.view(), step_at<T>(1, epsilon, scale));
        for (Index i = 0; i < 6; ++i) {
            for (Index j = 0; j < 7; ++j) {
                // Both corrections undo (1 - beta): m becomes the gradient and sqrt(v) its size.
                const double gradient = scale * static_cast<double>(g(i, j));
                const double expected = (1.0 - 0.001) * static_cast<double>(before(i, j)) -
                                        0.01 * gradient / (std::abs(gradient) + epsilon);
                CHECK(std::abs(static_cast<double>(w(i, j)) - expected) <= tolerance<T>(1, 3.0));
                CHECK(std::abs(static_cast<double>(m(i, j)) - (1.0 - beta1) * gradient) <= tolerance<T>(1, 0.5));
                CHECK(std::abs(static_cast<double>(v(i, j)) - (1.0 - beta2) * gradient * gradient) <=
                      tolerance<T>(1, 1.0));
            }
        }
    }
}

TEST_CASE("adamw_step: the naive storage refuses strided and mismatched matrices")
{
    auto w = random_matrix<float>(3, 4, 12);
    auto m = w;
    auto v = w;
    const auto strided = random_matrix<float>(3, 4, 13, wasi_tests::layouts[2]);
    const auto wrong = random_matrix<float>(4, 3, 13);
    const auto step = step_at<float>(1, 1e-8, 1.0);
    CHECK_THROWS_AS(NaiveStorage::adamw_step(w.view(), m.view(), v.view(), strided.view(), step), std::logic_error);
    CHECK_THROWS_AS(NaiveStorage::adamw_step(w.view(), m.view(), v.view(), wrong.view(), step), std::logic_error);
}

}  // namespace
