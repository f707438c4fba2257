#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/randomized_hosvd.hpp>
#include <wasi/tensor/round.hpp>
#include <wasi/tensor/warm_tucker.hpp>

// The same tensor times a number: the same ranks, energies, errors and bases, and a core times that number.
namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::tensor::Tucker;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <class T>
struct Sizes;
template <>
struct Sizes<float> {
    static constexpr int powers[] = {-110, -60, 60, 115};
    static constexpr double others[] = {1e-30, 1e30};
};
template <>
struct Sizes<double> {
    static constexpr int powers[] = {-960, -600, 600, 1010};
    static constexpr double others[] = {1e-200, 1e-290, 1e200, 1e300};
};

template <class T, std::size_t N>
PlainTensor<T, N> times(const PlainTensor<T, N>& x, double factor)
{
    PlainTensor<T, N> y(x.shape);
    for (std::size_t i = 0; i < x.elements.size(); ++i) {
        y.elements[i] = static_cast<T>(static_cast<double>(x.elements[i]) * factor);
    }
    return y;
}

/// decompose(x) at every size against decompose(x) as it is: by a power of two to the bit, else to rounding.
template <class T, std::size_t N, class Decompose>
void check_sizes(const PlainTensor<T, N>& x, const Decompose& decompose)
{
    const Tucker<T, N> plain = decompose(x.view());
    REQUIRE(std::isfinite(plain.error));
    for (const int power : Sizes<T>::powers) {
        INFO("2^", power);
        const auto y = times(x, std::ldexp(1.0, power));
        const Tucker<T, N> form = decompose(y.view());
        CHECK(form.ranks() == plain.ranks());
        CHECK(form.captured_energy == plain.captured_energy);
        CHECK(form.error == plain.error);
        CHECK(form.status == plain.status);
        for (std::size_t m = 0; m < N; ++m) {
            CHECK(wasi_tests::same_bits(form.bases[m].matrix(), plain.bases[m].matrix()));
        }
        int same = 0;
        for (Index i = 0; i < plain.core.size(); ++i) {
            same +=
                static_cast<double>(form.core.data()[i]) == std::ldexp(static_cast<double>(plain.core.data()[i]), power)
                    ? 1
                    : 0;
        }
        CHECK(same == plain.core.size());
    }
    for (const double factor : Sizes<T>::others) {
        INFO("times ", factor);
        const auto y = times(x, factor);
        const Tucker<T, N> form = decompose(y.view());
        CHECK(form.ranks() == plain.ranks());
        CHECK(std::abs(form.captured_energy - plain.captured_energy) <= tolerance<T>(x.view().size(), 1.0));
        CHECK(std::abs(form.error - plain.error) <= tolerance<T>(x.view().size(), 1.0));
        CHECK(wasi_tests::basis_defect(form) <= tolerance<T>(16, 1.0));
    }
}

TEST_CASE_TEMPLATE("any size of elements: the same ranks, energies, errors and bases", T, float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto x = wasi_tests::random_tensor<T, 3>({6, 7, 8}, 3);
    const auto tall = wasi_tests::random_tensor<T, 3>({20, 2, 3}, 4);
    const auto vector = wasi_tests::random_tensor<T, 1>({9}, 5);
    for (const auto& rule : {wasi::linalg::RankRule(Energy{0.9}), wasi::linalg::RankRule(3)}) {
        const auto all = [&](const auto& tensor) {
            constexpr std::size_t order = std::tuple_size_v<std::decay_t<decltype(tensor.shape)>>;
            using View = wasi::ConstTensorView<T, order>;
            check_sizes(tensor, [&](View v) { return wasi::tensor::hosvd<S, T, order>(v, rule, memory); });
            check_sizes(tensor, [&](View v) {
                return wasi::tensor::sequentially_truncated_hosvd<S, T, order>(v, rule, {}, memory);
            });
            check_sizes(tensor, [&](View v) { return wasi::tensor::hooi<S, T, order>(v, {.ranks = rule}, memory); });
        };
        all(x);
        all(tall);
        all(vector);
        const auto basis = wasi_tests::random_matrix<T>(8, 3, 7);
        check_sizes(x, [&](wasi::ConstTensorView<T, 3> v) {
            return wasi::tensor::warm_tucker_step<S, T, 3>(v, basis.view(), wasi::tensor::ModeRules<2>(rule), memory);
        });
        check_sizes(x, [&](wasi::ConstTensorView<T, 3> v) {
            return wasi::tensor::randomized_hosvd<S, T, 3>(v, {.ranks = rule, .oversampling = 1, .gram_limit = 0},
                                                           wasi::RandomKey(3), memory);
        });
        check_sizes(x, [&](wasi::ConstTensorView<T, 3> v) {
            const auto form = wasi::tensor::hosvd<S, T, 3>(v, Energy{1.0}, memory);
            return wasi::tensor::round<S, T, 3>(form.view(), rule, memory);
        });
    }
}

TEST_CASE_TEMPLATE("any size of elements: distances and inner products where double holds them", T, float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto x = wasi_tests::random_tensor<T, 3>({6, 7, 8}, 3);
    const auto form = wasi::tensor::hosvd<S, T, 3>(x.view(), 3, memory);
    const auto other = wasi::tensor::hosvd<S, T, 3>(x.view(), 2, memory);
    const double far = wasi::tensor::distance<S, T, 3>(form.view(), other.view(), memory);
    const double rest = wasi::tensor::distance<S, T, 3>(form.view(), x.view(), memory);
    const double relative = wasi::tensor::relative_error<S, T, 3>(form.view(), x.view(), memory);
    const double product = wasi::tensor::inner_product<S, T, 3>(form.view(), x.view(), memory);
    REQUIRE(rest > 0.0);
    for (const int power : Sizes<T>::powers) {
        INFO("2^", power);
        const auto y = times(x, std::ldexp(1.0, power));
        const auto a = wasi::tensor::hosvd<S, T, 3>(y.view(), 3, memory);
        const auto b = wasi::tensor::hosvd<S, T, 3>(y.view(), 2, memory);
        CHECK(wasi::tensor::distance<S, T, 3>(a.view(), b.view(), memory) == std::ldexp(far, power));
        CHECK(wasi::tensor::distance<S, T, 3>(a.view(), y.view(), memory) == std::ldexp(rest, power));
        CHECK(wasi::tensor::relative_error<S, T, 3>(a.view(), y.view(), memory) == relative);
        CHECK(wasi::tensor::inner_product<S, T, 3>(a.view(), x.view(), memory) == std::ldexp(product, power));
        CHECK(std::abs(std::ldexp(wasi::tensor::inner_product<S, T, 3>(a.view(), x.view(), memory), -power) /
                           wasi_tests::squares(form.core.template view<3>()) -
                       1.0) <= tolerance<T>(336, 1.0));
    }
}

TEST_CASE_TEMPLATE("any size of elements: the smallest numbers there are, and a core that the type does not hold", T,
                   float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    // Denormal numbers have few digits; with small integers they are exact.
    PlainTensor<T, 3> x({3, 4, 5});
    for (std::size_t i = 0; i < x.elements.size(); ++i) {
        x.elements[i] = static_cast<T>(static_cast<int>(i * 7 % 11) - 5);
    }
    const auto tiny = times(x, static_cast<double>(std::numeric_limits<T>::denorm_min()));
    for (const auto& rule : {wasi::linalg::RankRule(Energy{0.9}), wasi::linalg::RankRule(2)}) {
        const auto plain = wasi::tensor::hosvd<S, T, 3>(x.view(), rule, memory);
        const auto form = wasi::tensor::hosvd<S, T, 3>(tiny.view(), rule, memory);
        CHECK(form.ranks() == plain.ranks());
        CHECK(form.error == plain.error);
        CHECK(form.captured_energy == plain.captured_energy);
    }
    PlainTensor<T, 3> huge({4, 4, 4});
    std::fill(huge.elements.begin(), huge.elements.end(), std::numeric_limits<T>::max());
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::tensor::hosvd<S, T, 3>(std::as_const(huge).view(), 1, memory)),
                         "hosvd: the core of x is too large for the type; scale x", wasi::argument_error);
    const PlainTensor<T, 3> half = times(huge, 0.1);
    CHECK(wasi::tensor::hosvd<S, T, 3>(half.view(), 1, memory).error <= tolerance<T>(64, 1.0));
    huge.elements[5] = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::hosvd<S, T, 3>(std::as_const(huge).view(), 1, memory)),
                    wasi::argument_error);
}

}  // namespace
