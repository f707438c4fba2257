#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/eigen_tensor.hpp>
#include <support/engines.hpp>
#include <support/tucker_checks.hpp>
#include <wasi/tensor/randomized_hosvd.hpp>

namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::Tolerance;
using wasi::tensor::randomized_hosvd;
using wasi::tensor::RandomizedHosvdOptions;
using wasi::tensor::Status;
using wasi_tests::PlainTensor;
using wasi_tests::tensor_with_values;
using wasi_tests::tolerance;
using wasi_tests::true_error;

template <std::size_t N>
using Extents = std::array<Index, N>;

/// A sketch that takes the whole range of every mode loses what sequential truncation loses.
template <class E, std::size_t N>
void check_against_exact(const Extents<N>& shape, const Extents<N>& ranks)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    INFO("shape ", wasi::shape_text(shape));
    // Three values a mode, so that 3 + 2 columns sample all there is.
    const auto x = tensor_with_values<T, N>(shape, {1.0, 0.5, 0.25}, 3);
    const auto exact = wasi::tensor::sequentially_truncated_hosvd<S, T, N>(x.view(), ranks, {}, memory);
    const auto sketched = randomized_hosvd<S, T, N>(
        x.view(), {.ranks = ranks, .oversampling = 3, .power_iterations = 0, .gram_limit = 0}, RandomKey(5), memory);
    CHECK(sketched.ranks() == ranks);
    CHECK(wasi_tests::basis_defect(sketched) <= tolerance<T>(16, 1.0));
    const double error = true_error(x, sketched);
    CHECK(std::abs(error - true_error(x, exact)) <= tolerance<T>(64, 1.0));
    CHECK(std::abs(sketched.error - error) <= 0.02 * error + tolerance<T>(16, 1.0));
}

TEST_CASE_TEMPLATE("randomized hosvd: exact where the sketch sees all there is, orders 1 to 5, every kind of mode", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble, wasi_tests::NaiveDouble)
{
    check_against_exact<E, 1>({20}, {1});
    check_against_exact<E, 2>({20, 30}, {2, 2});
    check_against_exact<E, 3>({20, 12, 15}, {1, 2, 2});
    check_against_exact<E, 3>({3, 40, 5}, {2, 2, 3});
    check_against_exact<E, 4>({12, 3, 12, 4}, {2, 3, 2, 2});
    check_against_exact<E, 5>({12, 3, 3, 4, 12}, {2, 2, 3, 2, 1});
}

/// The fibres of one mode lie in one plane in the first half of the unfolding and in another one in the second half.
/// Planes of the last coordinates: what an orthonormalisation makes up for missing columns are the first ones.
template <class T>
void check_halves(const Extents<3>& shape, std::size_t mode)
{
    INFO("shape ", wasi::shape_text(shape), ", mode ", mode);
    PlainTensor<T, 3> x(shape);
    const auto parts = x.view().around(mode);
    const Index columns = parts.shape[0] * parts.shape[2];
    for (Index column = 0; column < columns; ++column) {
        for (Index j = 0; j < 2; ++j) {
            const auto fibre = parts.slice(column / parts.shape[2]);
            fibre((2 * column < columns ? 16 : 18) + j, column % parts.shape[2]) =
                static_cast<T>(RandomKey(3).normal(static_cast<std::uint64_t>(2 * column + j)));
        }
    }
    std::array<bool, 3> others{true, true, true};
    others[mode] = false;
    const auto form =
        randomized_hosvd<wasi::EigenStorage, T, 3>(std::as_const(x).view(),
                                                   {.ranks = wasi::tensor::ModeRules<3>(4).without(others),
                                                    .oversampling = 2,
                                                    .power_iterations = 0,
                                                    .gram_limit = 0},
                                                   RandomKey(1), wasi::plain_memory());
    CHECK(form.ranks()[mode] == 4);
    CHECK(true_error(x, form) <= tolerance<T>(64, 1.0));
}

TEST_CASE_TEMPLATE("randomized hosvd: every panel of the unfolding is sampled, in every kind of mode", T, float, double)
{
    check_halves<T>({20, 30, 40}, 0);
    check_halves<T>({30, 20, 40}, 1);
    check_halves<T>({2, 20, 600}, 1);
    check_halves<T>({30, 40, 20}, 2);
}

TEST_CASE_TEMPLATE("randomized hosvd: the expected error is within its bound, and falls with power iterations", T,
                   float, double)
{
    using S = wasi::EigenStorage;
    const auto values = wasi_tests::polynomial(24, 1.0);
    const auto x = tensor_with_values<T, 3>({24, 30, 26}, values, 3);
    constexpr Index rank = 4;
    constexpr Index extra = 4;
    const double tail = wasi_tests::tail_energy(values, rank) / wasi_tests::energy(values);
    std::array<double, 3> mean{};
    constexpr int draws = 20;
    for (std::size_t power = 0; power < 3; ++power) {
        for (int draw = 0; draw < draws; ++draw) {
            const auto form = randomized_hosvd<S, T, 3>(
                x.view(),
                {.ranks = rank, .oversampling = extra, .power_iterations = static_cast<Index>(power), .gram_limit = 0},
                RandomKey(static_cast<std::uint64_t>(draw)), wasi::plain_memory());
            const double error = true_error(x, form);
            mean[power] += error * error / draws;
            CHECK(error * error >= tail - tolerance<T>(64, 1.0));  // no form of these ranks is better in any mode
        }
    }
    // Minster, Saibaba, Kilmer 2020, theorem 3.1: the sum over the modes of (1 + r / (p - 1)) tail.
    CHECK(mean[0] <= 3.0 * (1.0 + rank / (extra - 1.0)) * tail);
    CHECK(mean[0] > 1.02 * tail);  // that something is lost at all
    CHECK(mean[1] < mean[0]);
    CHECK(mean[2] <= mean[1] + tolerance<T>(64, 1.0));
    CHECK(mean[2] <= 1.05 * tail);
}

TEST_CASE_TEMPLATE("randomized hosvd: tolerances and energies are met by the true error, or the status says not", T,
                   float, double)
{
    using S = wasi::EigenStorage;
    constexpr bool wide = sizeof(T) == sizeof(double);
    constexpr Extents<3> shape{80, 70, 9};
    std::uint64_t seed = 0;
    for (const auto& values :
         {wasi_tests::polynomial(9, 1.0), wasi_tests::exponential(9, 0.1), wasi_tests::step(9, 3, 1e-9)}) {
        const auto x = tensor_with_values<T, 3>(shape, values, ++seed);
        for (const double t : {0.3, 1e-2, 1e-4, 1e-7, 1e-10, 1e-13, 1e-17}) {
            INFO("spectrum ", seed, ", tolerance ", t);
            const auto rules = wasi::tensor::in_total<3>(Tolerance{t});
            const auto form = randomized_hosvd<S, T, 3>(x.view(), {.ranks = rules, .oversampling = 4, .gram_limit = 0},
                                                        RandomKey(seed), wasi::plain_memory());
            const double error = true_error(x, form);
            CHECK((form.status == Status::rule_not_met || error <= t * (1.0 + 20.0 * wasi::epsilon<T>)));
            CHECK((form.status == Status::ok || t < (wide ? 1e-13 : 1e-4)));
            CHECK(std::abs(form.error - error) <= 0.02 * error + tolerance<T>(16, 1.0));
            CHECK(wasi_tests::basis_defect(form) <= tolerance<T>(80, 1.0));
            if (t >= (wide ? 1e-10 : 1e-4)) {  // no more ranks than the exact way takes
                const auto exact =
                    wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(x.view(), rules, {}, wasi::plain_memory());
                for (std::size_t m = 0; m < 3; ++m) {
                    CHECK(form.ranks()[m] <= exact.ranks()[m] + 1);
                }
            }
        }
        const auto most = randomized_hosvd<S, T, 3>(x.view(), {.ranks = Energy{0.9}, .gram_limit = 0}, RandomKey(seed),
                                                    wasi::plain_memory());
        CHECK(true_error(x, most) <= std::sqrt(0.3));
        CHECK(most.status == Status::ok);
    }
    // Slow decay over many directions: the sketch has to grow.
    const auto slow = tensor_with_values<T, 2>({120, 150}, wasi_tests::polynomial(120, 0.7), 9);
    for (const double energy : {0.5, 0.8, 0.97}) {
        const auto form =
            randomized_hosvd<S, T, 2>(slow.view(), {.ranks = Energy{energy}, .oversampling = 2, .gram_limit = 0},
                                      RandomKey(2), wasi::plain_memory());
        const double error = true_error(slow, form);
        INFO("energy ", energy, ", ranks ", wasi::shape_text(form.ranks()));
        CHECK(error * error <= 2.0 * (1.0 - energy) * (1.0 + 20.0 * wasi::epsilon<T>));
        CHECK(form.status == Status::ok);
    }
}

TEST_CASE_TEMPLATE(
    "randomized hosvd: only modes above the limit are sketched; the key decides; same bits for any threads", T, float,
    double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto x = wasi_tests::random_tensor<T, 3>({60, 6, 50}, 3, 0.1);
    const RandomizedHosvdOptions<3> options{.ranks = 4, .order = {2, 0, 1}, .oversampling = 4, .gram_limit = 55};
    const auto form = randomized_hosvd<S, T, 3>(x.view(), options, RandomKey(1), memory);
    const auto exact = wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(x.view(), 4, {2, 0, 1}, memory);
    CHECK(wasi_tests::same_bits(form.bases[2].matrix(), exact.bases[2].matrix()));
    auto all = options;
    all.gram_limit = 0;
    const auto sketched = randomized_hosvd<S, T, 3>(x.view(), all, RandomKey(1), memory);
    CHECK(!wasi_tests::same_bits(sketched.bases[2].matrix(), exact.bases[2].matrix()));
    all.order = {0, 1, 2};
    const auto first = randomized_hosvd<S, T, 3>(x.view(), all, RandomKey(1), memory);
    const auto second = randomized_hosvd<S, T, 3>(x.view(), all, RandomKey(2), memory);
    CHECK(!wasi_tests::same_bits(first.bases[0].matrix(), second.bases[0].matrix()));
    const int before = wasi::thread_count();
    wasi::set_thread_count(1);
    const auto one = randomized_hosvd<S, T, 3>(x.view(), all, RandomKey(1), memory);
    wasi::set_thread_count(2);
    const auto two = randomized_hosvd<S, T, 3>(x.view(), all, RandomKey(1), memory);
    wasi::set_thread_count(before);
    CHECK(wasi_tests::same_bits(one.core.matrix(), two.core.matrix()));
    for (std::size_t m = 0; m < 3; ++m) {
        CHECK(wasi_tests::same_bits(one.bases[m].matrix(), two.bases[m].matrix()));
    }
    CHECK(wasi_tests::same_bits(first.core.matrix(), one.core.matrix()));
}

#if WASI_TESTS_WITH_EIGEN_TENSOR
TEST_CASE_TEMPLATE("randomized hosvd: a long mode without its Gram matrix, in users' types; what cannot be throws", T,
                   float, double)
{
    // 1200 x 1200 x 2: the Gram matrices would have 1200² elements; the ledger must not see them.
    constexpr Index n = 1200;
    Eigen::Tensor<T, 3> x(n, n, 2);
    for (Index k = 0; k < 2; ++k) {
        for (Index j = 0; j < n; ++j) {
            for (Index i = 0; i < n; ++i) {
                const double t = 0.01 * static_cast<double>(i);
                const double s = 0.02 * static_cast<double>(j + k);
                x(i, j, k) = static_cast<T>(std::sin(t + s) + 0.1 * std::cos(2.0 * t) * std::sin(3.0 * s));
            }
        }
    }
    wasi::Ledger memory;
    const auto form =
        wasi::tensor::randomized_hosvd(x, {.ranks = {3, 4, wasi::tensor::uncompressed}}, RandomKey(1), memory);
    CHECK(form.info.ranks == Extents<3>{3, 4, 2});
    CHECK(form.info.error <= tolerance<T>(64, 1.0));
    CHECK(std::abs(wasi::tensor::relative_error(form, x) - form.info.error) <= tolerance<T>(64, 1.0));
    CHECK(memory.total().peak < n * n * sizeof(double) / 2);
    auto& plain = wasi::plain_memory();
    const auto run = [&](const RandomizedHosvdOptions<3>& options) {
        static_cast<void>(randomized_hosvd<wasi::EigenStorage, T, 3>(
            wasi_tests::random_tensor<T, 3>({3, 4, 5}, 1).view(), options, RandomKey(1), plain));
    };
    CHECK_THROWS_AS(run({.oversampling = -1}), wasi::argument_error);
    CHECK_THROWS_AS(run({.power_iterations = -1}), wasi::argument_error);
    CHECK_THROWS_AS(run({.gram_limit = -1}), wasi::argument_error);
    CHECK_THROWS_AS(run({.order = {0, 0, 1}}), wasi::argument_error);
    x(5, 5, 1) = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::randomized_hosvd(x, {.ranks = 3}, RandomKey(1))),
                    wasi::argument_error);
}
#endif

}  // namespace
