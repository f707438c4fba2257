#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/eigen_tensor.hpp>
#include <support/engines.hpp>
#include <support/tucker_checks.hpp>
#include <wasi/tensor/round.hpp>

// Sums of Tucker forms and their ranks taken back, against the full tensors in double.
namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::Tolerance;
using wasi::tensor::Status;
using wasi::tensor::Tucker;
using wasi::tensor::TuckerView;
using wasi::tensor::uncompressed;
using wasi_tests::full;
using wasi_tests::gap;
using wasi_tests::norm;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <std::size_t N>
using Extents = std::array<Index, N>;

/// A form with random core and random bases, which are not orthonormal, and no basis in the modes of `without`.
template <class T, std::size_t N>
Tucker<T, N> random_form(const Extents<N>& shape, Extents<N> ranks, std::uint64_t seed,
                         const std::array<bool, N>& without = {})
{
    Tucker<T, N> form;
    for (std::size_t m = 0; m < N; ++m) {
        if (without[m]) {
            ranks[m] = shape[m];
            continue;
        }
        form.bases[m] = wasi::workspace<T>(wasi::plain_memory(), shape[m], ranks[m]);
        wasi::EigenStorage::fill_normal(form.bases[m].matrix(), wasi::RandomKey(seed).derive(m));
    }
    form.core = wasi::tensor::make_tensor<T>(wasi::plain_memory(), ranks);
    wasi::EigenStorage::fill_normal(form.core.matrix(), wasi::RandomKey(seed).derive(100));
    return form;
}

template <std::size_t N>
PlainTensor<double, N> combined(double alpha, const PlainTensor<double, N>& a, double beta,
                                const PlainTensor<double, N>& b)
{
    auto sum = a;
    for (std::size_t i = 0; i < sum.elements.size(); ++i) {
        sum.elements[i] = alpha * a.elements[i] + beta * b.elements[i];
    }
    return sum;
}

template <class E, std::size_t N>
void check_sum(const Extents<N>& shape, const Extents<N>& r, const Extents<N>& s, const std::array<bool, N>& first,
               const std::array<bool, N>& second)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    INFO("shape ", wasi::shape_text(shape), ", ranks ", wasi::shape_text(r), " and ", wasi::shape_text(s));
    wasi::Ledger memory;
    {
        const auto a = random_form<T, N>(shape, r, 3, first);
        const auto b = random_form<T, N>(shape, s, 4, second);
        const auto whole = combined(1.5, full(a.view()), -0.5, full(b.view()));
        const auto sum = wasi::tensor::add<S, T, N>(a.view(), b.view(), {.alpha = 1.5, .beta = -0.5}, memory);
        const double size = norm(full(a.view())) + norm(full(b.view()));
        CHECK(memory.total().current == sum.bytes());
        CHECK(sum.shape() == shape);
        CHECK(gap(full(sum.view()), whole) <= tolerance<T>(16, size));
        for (std::size_t m = 0; m < N; ++m) {
            CHECK(sum.ranks()[m] == (first[m] || second[m] ? shape[m] : r[m] + s[m]));
            CHECK(sum.bases[m].empty() == (first[m] || second[m]));
        }
        // Ranks taken back: at most the extents, nothing lost.
        const auto all = wasi::tensor::round<S, T, N>(sum.view(), Energy{1.0}, memory);
        CHECK(all.status == Status::ok);
        CHECK(wasi_tests::basis_defect(all) <= tolerance<T>(16, 1.0));
        CHECK(gap(full(all.view()), whole) <= tolerance<T>(64, size));
        for (std::size_t m = 0; m < N; ++m) {
            CHECK(all.ranks()[m] <= std::min(shape[m], sum.ranks()[m]));
        }
        // To a rule: the error that is said is the true one, and within the rule.
        for (const double t : {0.5, 0.1, 0.01}) {
            const auto less = wasi::tensor::round<S, T, N>(sum.view(), wasi::tensor::in_total<N>(Tolerance{t}), memory);
            const double error = gap(full(less.view()), whole) / norm(whole);
            CHECK(less.status == Status::ok);
            CHECK(error <= t * (1.0 + 20.0 * wasi::epsilon<T>));
            CHECK(std::abs(less.error - error) <= 0.02 * error + tolerance<T>(64, 1.0));
            CHECK(wasi_tests::basis_defect(less) <= tolerance<T>(16, 1.0));
        }
    }
    CHECK(memory.total().current == 0);
}

TEST_CASE_TEMPLATE("add: the sum of two forms; round: its ranks taken back; orders 1 to 5", E, wasi_tests::EigenFloat,
                   wasi_tests::EigenDouble, wasi_tests::NaiveFloat)
{
    check_sum<E, 1>({7}, {2}, {3}, {}, {});
    check_sum<E, 2>({7, 9}, {2, 3}, {3, 1}, {}, {});
    check_sum<E, 3>({7, 9, 8}, {2, 3, 4}, {3, 2, 1}, {}, {});
    check_sum<E, 3>({4, 9, 5}, {3, 3, 4}, {3, 2, 5}, {}, {});  // more columns than rows
    check_sum<E, 3>({4, 6, 5}, {3, 3, 4}, {3, 2, 5}, {false, true, false}, {true, true, false});
    check_sum<E, 3>({3, 4, 2}, {1, 1, 1}, {1, 1, 1}, {true, true, true}, {true, true, true});
    check_sum<E, 4>({4, 5, 3, 6}, {2, 3, 1, 2}, {1, 1, 2, 2}, {}, {});
    check_sum<E, 5>({3, 4, 2, 3, 4}, {2, 1, 1, 2, 2}, {1, 2, 1, 1, 2}, {}, {});
}

TEST_CASE_TEMPLATE("round: what two forms have in common is kept once; a known error; what a rule leaves alone", T,
                   float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto x = wasi_tests::tensor_with_values<T, 3>({8, 9, 10}, {1.0, 0.1, 0.01}, 5);
    const auto form = wasi::tensor::hosvd<S, T, 3>(x.view(), 3, memory);
    const auto twice = wasi::tensor::add<S, T, 3>(form.view(), form.view(), {}, memory);
    CHECK(twice.ranks() == Extents<3>{6, 6, 6});
    const auto once = wasi::tensor::round<S, T, 3>(twice.view(), Energy{1.0}, memory);
    CHECK(once.ranks() == Extents<3>{3, 3, 3});
    // Two values of three: what is lost is the third one.
    const auto two = wasi::tensor::round<S, T, 3>(twice.view(), Tolerance{0.02}, memory);
    CHECK(two.ranks() == Extents<3>{2, 2, 2});
    CHECK(std::abs(two.error - 0.01 / std::sqrt(1.0101)) <= tolerance<T>(8, 1.0));
    CHECK(std::abs(two.captured_energy - 1.01 / 1.0101) <= tolerance<T>(8, 1.0));
    const auto mixed = wasi::tensor::round<S, T, 3>(twice.view(), {1, uncompressed, 2}, memory);
    CHECK(mixed.ranks() == Extents<3>{1, 6, 2});
    CHECK(wasi_tests::basis_defect(mixed) <= tolerance<T>(8, 1.0));
    if constexpr (sizeof(T) == sizeof(double)) {  // a tolerance below the square root of epsilon
        const auto small = wasi_tests::tensor_with_values<T, 3>({8, 9, 10}, {1.0, 1e-6, 1e-11}, 5);
        const auto all = wasi::tensor::hosvd<S, T, 3>(small.view(), 3, memory);
        const auto tight = wasi::tensor::round<S, T, 3>(all.view(), Tolerance{1e-10}, memory);
        CHECK(tight.ranks() == Extents<3>{2, 2, 2});
        CHECK(std::abs(wasi_tests::true_error(small, tight) - 1e-11) <= 1e-13);
        CHECK(tight.status == Status::ok);
    }
}

#if WASI_TESTS_WITH_EIGEN_TENSOR
TEST_CASE_TEMPLATE("add and round: users' types in both layouts; what cannot be throws", T, float, double)
{
    const auto plain = wasi_tests::random_tensor<T, 3>({5, 6, 7}, 2);
    const auto check = [&](auto x) {
        std::copy(plain.elements.begin(), plain.elements.end(), x.data());
        const auto a = wasi::tensor::hosvd(x, {.ranks = {2, 3, 4}});
        const auto b = wasi::tensor::hosvd(x, {.ranks = {3, 2, uncompressed}});
        const auto sum = wasi::tensor::add(a, b, {.beta = -1.0});
        CHECK(sum.info.ranks == Extents<3>{5, 5, 7});
        CHECK(sum.bases[2].size() == 0);
        const auto difference = wasi::tensor::distance(a, b);
        CHECK(std::abs(std::sqrt(wasi::tensor::squared_norm(sum)) - difference) <= tolerance<T>(210, 4.0));
        const auto less = wasi::tensor::round(wasi::tensor::add(a, b), {.ranks = {2, uncompressed, 3}});
        CHECK(less.info.ranks == Extents<3>{2, 5, 3});
        CHECK(less.bases[1].rows() == 6);
        CHECK(less.bases[2].rows() == 7);
        // The first mode as it is: each side of the middle has a rule of its own.
        const auto last = wasi::tensor::round(sum, {.ranks = {uncompressed, 2, 3}});
        CHECK(last.info.ranks == Extents<3>{5, 2, 3});
        CHECK_THROWS_AS(static_cast<void>(wasi::tensor::add(a, b, {.alpha = std::numeric_limits<double>::infinity()})),
                        wasi::argument_error);
    };
    check(Eigen::Tensor<T, 3>(5, 6, 7));
    check(Eigen::Tensor<T, 3, Eigen::RowMajor>(5, 6, 7));
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto a = random_form<T, 3>({4, 5, 6}, {2, 2, 2}, 1);
    const auto b = random_form<T, 3>({4, 5, 7}, {2, 2, 2}, 1);
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::tensor::add<S, T, 3>(a.view(), b.view(), {}, memory)),
                         "add: a tensor (4, 5, 6) and one (4, 5, 7)", wasi::shape_error);
    auto bad = random_form<T, 3>({4, 5, 6}, {2, 2, 2}, 1);
    bad.bases[1].data()[3] = std::numeric_limits<T>::quiet_NaN();
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::add<S, T, 3>(a.view(), bad.view(), {}, memory)),
                    wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::round<S, T, 3>(bad.view(), 1, memory)), wasi::argument_error);
}
#endif

}  // namespace
