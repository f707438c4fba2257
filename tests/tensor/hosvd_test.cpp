#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/hosvd.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::RankRule;
using wasi::linalg::Tolerance;
using wasi::tensor::hosvd;
using wasi::tensor::ModeRules;
using wasi::tensor::sequentially_truncated_hosvd;
using wasi::tensor::Tucker;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <std::size_t N>
using Extents = std::array<Index, N>;

template <std::size_t N, std::size_t... M>
ModeRules<N> fixed_rules(const Extents<N>& ranks, std::index_sequence<M...>)
{
    return {RankRule(ranks[M])...};
}
template <std::size_t N>
ModeRules<N> fixed_rules(const Extents<N>& ranks)
{
    return fixed_rules<N>(ranks, std::make_index_sequence<N>());
}
template <std::size_t... M>
ModeRules<sizeof...(M)> equal_rules(const RankRule& rule, std::index_sequence<M...>)
{
    return {(static_cast<void>(M), rule)...};
}
template <std::size_t N>
ModeRules<N> equal_rules(const RankRule& rule)
{
    return equal_rules(rule, std::make_index_sequence<N>());
}

template <class T, std::size_t N>
PlainTensor<double, N> to_double(const PlainTensor<T, N>& x)
{
    PlainTensor<double, N> result(x.shape);
    std::copy(x.elements.begin(), x.elements.end(), result.elements.begin());
    return result;
}

/// What holds for every Tucker form of X whose core is X contracted with its bases.
template <class T, std::size_t N>
void check_form(const PlainTensor<T, N>& x, const Tucker<T, N>& tucker)
{
    const double whole = wasi_tests::squares(x.view());
    const Index size = x.view().size();
    REQUIRE(tucker.shape() == x.shape);
    CHECK(wasi_tests::basis_defect(tucker) <= tolerance<T>(*std::max_element(x.shape.begin(), x.shape.end()), 1.0));
    const double kept = wasi_tests::squares(tucker.core.template view<N>());
    CHECK(std::abs(wasi_tests::squared_error<T, N>(x.view(), tucker) - (whole - kept)) <= tolerance<T>(size, whole));
    CHECK(std::abs(tucker.captured_energy - (whole > 0.0 ? kept / whole : 1.0)) <= tolerance<double>(size, 1.0));
}

/// The Gram matrix loses n epsilon of the energy in a mode of extent n.
template <class T, std::size_t N>
double energy_resolution(const PlainTensor<T, N>& x)
{
    return static_cast<double>(x.view().size()) * static_cast<double>(wasi::epsilon<T>) * wasi_tests::squares(x.view());
}

template <class E, std::size_t N>
void check_hosvd(const Extents<N>& shape, const Extents<N>& ranks, std::uint64_t seed)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    INFO("shape ", wasi::shape_text(shape), ", ranks ", wasi::shape_text(ranks), ", seed ", seed);
    const auto x = wasi_tests::random_tensor<T, N>(shape, seed);
    wasi::Ledger ledger;
    {
        const auto tucker = hosvd<S, T, N>(x.view(), fixed_rules<N>(ranks), ledger);
        CHECK(tucker.ranks() == ranks);
        CHECK(ledger.total().current == tucker.bytes());
        check_form(x, tucker);
        double bound = 0.0;
        double least = 0.0;
        for (std::size_t m = 0; m < N; ++m) {
            const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(x.view(), m).view());
            bound += wasi_tests::tail_energy(values, ranks[m]);
            least = std::max(least, wasi_tests::tail_energy(values, ranks[m]));
        }
        const double error = wasi_tests::squared_error<T, N>(x.view(), tucker);
        CHECK(error <= bound + energy_resolution(x));
        CHECK(error >= least - energy_resolution(x));
    }
    CHECK(ledger.total().current == 0);
}

TEST_CASE_TEMPLATE("hosvd: between the best possible and the sum of the tails, for orders 2 to 4 and tall modes", E,
                   WASI_TEST_ENGINES)
{
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        check_hosvd<E, 2>({8, 12}, {3, 3}, seed);
        check_hosvd<E, 3>({6, 7, 8}, {2, 3, 4}, seed);
        check_hosvd<E, 3>({20, 2, 3}, {4, 2, 2}, seed);  // 20 > 2 * 3: the unfolding is tall
        check_hosvd<E, 3>({1, 6, 9}, {1, 2, 5}, seed);
        check_hosvd<E, 3>({7, 1, 1}, {1, 1, 1}, seed);
        check_hosvd<E, 4>({3, 4, 5, 6}, {2, 2, 3, 3}, seed);
    }
}

TEST_CASE_TEMPLATE("hosvd: exact at full rank; reconstruct gives the tensor back", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto check = [](const auto& x, const auto& tucker) {
        const double whole = wasi_tests::squares(x.view());
        const double rounding = tolerance<T>(x.view().size(), std::sqrt(whole));
        CHECK(wasi_tests::squared_error(x.view(), tucker) <= rounding * rounding);
        constexpr std::size_t order = std::tuple_size_v<std::decay_t<decltype(x.shape)>>;
        const auto back = wasi::tensor::reconstruct<S, T, order>(tucker, wasi::plain_memory());
        CHECK(wasi_tests::max_difference(back.matrix(), x.view().rows_by(order - 1)) <= rounding);
    };
    const auto x = wasi_tests::random_tensor<T, 3>({5, 6, 7}, 4, 0.0);
    check(x, hosvd<S, T, 3>(x.view(), fixed_rules<3>(x.shape), wasi::plain_memory()));
    check(x, hosvd<S, T, 3>(x.view(), equal_rules<3>(Energy{1.0}), wasi::plain_memory()));
    check(x, sequentially_truncated_hosvd<S, T, 3>(x.view(), fixed_rules<3>(x.shape), {2, 0, 1}, wasi::plain_memory()));
    const auto y = wasi_tests::random_tensor<T, 4>({3, 4, 2, 5}, 5, 0.0);
    check(y, hosvd<S, T, 4>(y.view(), equal_rules<4>(Tolerance{0.0}), wasi::plain_memory()));
    // A mode longer than all others together cannot have full rank.
    const auto tall = wasi_tests::random_tensor<T, 3>({30, 2, 3}, 6, 0.0);
    const auto tucker = hosvd<S, T, 3>(tall.view(), fixed_rules<3>({30, 2, 3}), wasi::plain_memory());
    CHECK(tucker.ranks() == Extents<3>{6, 2, 3});
    check(tall, tucker);
}

TEST_CASE_TEMPLATE("hosvd: energy 1 keeps the multilinear rank, not the rounding of the squares", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const auto core = wasi_tests::random_tensor<T, 3>({2, 3, 4}, seed, 0.0);
        auto grown = to_double(core);
        constexpr Extents<3> shape{12, 15, 18};
        for (std::size_t m = 0; m < 3; ++m) {
            grown = wasi_tests::mode_product_by_loops(
                grown.view(), wasi_tests::random_orthonormal(shape[m], core.shape[m], seed + m).view(), m);
        }
        PlainTensor<T, 3> x(shape);
        std::transform(grown.elements.begin(), grown.elements.end(), x.elements.begin(),
                       [](double value) { return static_cast<T>(value); });
        for (const auto& rules : {equal_rules<3>(Energy{1.0}), equal_rules<3>(Tolerance{0.0})}) {
            const auto full = hosvd<S, T, 3>(x.view(), rules, wasi::plain_memory());
            CHECK(full.ranks() == core.shape);
            check_form(x, full);
            CHECK(sequentially_truncated_hosvd<S, T, 3>(x.view(), rules, {1, 2, 0}, wasi::plain_memory()).ranks() ==
                  core.shape);
            CHECK(wasi_tests::squared_error<T, 3>(x.view(), full) <=
                  std::pow(tolerance<T>(3240, std::sqrt(wasi_tests::squares(x.view()))), 2.0));
        }
    }
}

/// Follows the truncation mode by mode in double: what each mode discards is the tail of what it was given, and the
/// squared error is their sum. With `fraction` below 1 the ranks must be the least that lose at most 1 - fraction of
/// the whole.
template <class E, std::size_t N>
void check_sequential(const Extents<N>& shape, const ModeRules<N>& rules, const std::array<std::size_t, N>& order,
                      double fraction, std::uint64_t seed)
{
    using T = typename E::Scalar;
    INFO("shape ", wasi::shape_text(shape), ", order ", wasi::shape_text(order), ", fraction ", fraction, ", seed ",
         seed);
    const auto x = wasi_tests::random_tensor<T, N>(shape, seed);
    const auto tucker =
        sequentially_truncated_hosvd<typename E::Storage, T, N>(x.view(), rules, order, wasi::plain_memory());
    check_form(x, tucker);
    const double whole = wasi_tests::squares(x.view());
    const double resolution = energy_resolution(x);
    auto left = to_double(x);
    double discarded = 0.0;
    for (const std::size_t m : order) {
        const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(left.view(), m).view());
        const Index rank = tucker.ranks()[m];
        const auto smaller = wasi_tests::mode_product_by_loops(left.view(), tucker.bases[m].matrix().transposed(), m);
        const double lost = wasi_tests::squares(left.view()) - wasi_tests::squares(smaller.view());
        CHECK(std::abs(lost - wasi_tests::tail_energy(values, rank)) <= resolution);
        if (fraction < 1.0) {
            CHECK(lost <= (1.0 - fraction) * whole + resolution);
            CHECK((rank == 1 || wasi_tests::tail_energy(values, rank - 1) >= (1.0 - fraction) * whole - resolution));
        }
        discarded += lost;
        left = smaller;
    }
    CHECK(std::abs(wasi_tests::squared_error<T, N>(x.view(), tucker) - discarded) <=
          tolerance<T>(x.view().size(), whole));
}

TEST_CASE_TEMPLATE(
    "sequentially truncated hosvd: the squared error is the sum of what the modes discard, in every order", E,
    WASI_TEST_ENGINES)
{
    std::array<std::size_t, 3> order{0, 1, 2};
    std::uint64_t seed = 10;
    do {
        check_sequential<E, 3>({6, 7, 8}, fixed_rules<3>({2, 3, 4}), order, 1.0, ++seed);
        check_sequential<E, 3>({15, 2, 3}, fixed_rules<3>({3, 2, 2}), order, 1.0, ++seed);
        for (const double fraction : {0.5, 0.8, 0.95}) {
            check_sequential<E, 3>({6, 7, 8}, equal_rules<3>(Energy{fraction}), order, fraction, ++seed);
            check_sequential<E, 3>({6, 7, 8}, equal_rules<3>(Tolerance{std::sqrt(1.0 - fraction)}), order, fraction,
                                   seed);
        }
    } while (std::next_permutation(order.begin(), order.end()));
    check_sequential<E, 2>({9, 6}, fixed_rules<2>({4, 3}), {1, 0}, 1.0, 1);
    check_sequential<E, 4>({3, 4, 5, 4}, equal_rules<4>(Energy{0.8}), {2, 0, 3, 1}, 0.8, 2);
}

TEST_CASE_TEMPLATE("hosvd: a zero tensor, a rule for each mode, a callable", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const PlainTensor<T, 3> zero({4, 3, 5});
    const auto nothing = hosvd<S, T, 3>(zero.view(), equal_rules<3>(Energy{0.9}), wasi::plain_memory());
    CHECK(nothing.ranks() == Extents<3>{1, 1, 1});
    CHECK(nothing.captured_energy == 1.0);
    check_form(zero, nothing);
    const auto x = wasi_tests::random_tensor<T, 3>({6, 7, 8}, 3);
    const ModeRules<3> mixed{RankRule(2), RankRule(Energy{1.0}), RankRule([](const wasi::linalg::Spectrum& spectrum) {
                                 return static_cast<Index>(spectrum.values.size()) - 3;
                             })};
    const auto tucker = hosvd<S, T, 3>(x.view(), mixed, wasi::plain_memory());
    CHECK(tucker.ranks() == Extents<3>{2, 7, 5});
    check_form(x, tucker);
}

TEST_CASE_TEMPLATE("hosvd: same bits for one and two threads", T, float, double)
{
    const int before = wasi::thread_count();
    const auto elements = wasi_tests::random_matrix<T>(24 * 30, 64, 7);
    const wasi::ConstTensorView<T, 3> x{elements.view().data, {24, 30, 64}};
    const auto run = [&](int threads, bool sequential) {
        wasi::set_thread_count(threads);
        const auto rules = fixed_rules<3>({5, 6, 7});
        return sequential
                   ? sequentially_truncated_hosvd<wasi::EigenStorage, T, 3>(x, rules, {1, 2, 0}, wasi::plain_memory())
                   : hosvd<wasi::EigenStorage, T, 3>(x, rules, wasi::plain_memory());
    };
    for (const bool sequential : {false, true}) {
        const auto one = run(1, sequential);
        const auto two = run(2, sequential);
        CHECK(wasi_tests::same_bits(one.core.matrix(), two.core.matrix()));
        for (std::size_t m = 0; m < 3; ++m) {
            CHECK(wasi_tests::same_bits(one.bases[m].matrix(), two.bases[m].matrix()));
        }
    }
    wasi::set_thread_count(before);
}

TEST_CASE_TEMPLATE("hosvd: what cannot be throws and names the argument", T, float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto rules = fixed_rules<3>({1, 1, 1});
    const PlainTensor<T, 3> empty({2, 0, 3});
    CHECK_THROWS_WITH_AS(static_cast<void>(hosvd<S, T, 3>(empty.view(), rules, memory)),
                         "hosvd: empty tensor (2, 0, 3)", wasi::shape_error);
    auto x = wasi_tests::random_tensor<T, 3>({2, 3, 4}, 1);
    const auto sequential = [&](const std::array<std::size_t, 3>& order) {
        static_cast<void>(sequentially_truncated_hosvd<S, T, 3>(x.view(), rules, order, memory));
    };
    CHECK_THROWS_WITH_AS(sequential({0, 1, 1}),
                         "sequentially_truncated_hosvd: order (0, 1, 1) is not a permutation of the modes",
                         wasi::argument_error);
    CHECK_THROWS_AS(sequential({1, 2, 3}), wasi::argument_error);
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
        x.elements[17] = bad;
        CHECK_THROWS_AS(static_cast<void>(hosvd<S, T, 3>(std::as_const(x).view(), rules, memory)),
                        wasi::argument_error);
        CHECK_THROWS_AS(sequential({0, 1, 2}), wasi::argument_error);
    }
}

}  // namespace
