#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/hosvd.hpp>

namespace {

using wasi::Index;
using wasi::tensor::distance;
using wasi::tensor::inner_product;
using wasi::tensor::ModeRules;
using wasi::tensor::reconstruct_block;
using wasi::tensor::reconstruct_slice;
using wasi::tensor::relative_error;
using wasi::tensor::squared_norm;
using wasi::tensor::Tucker;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <std::size_t N>
using Extents = std::array<Index, N>;

/// A random core and random bases, orthonormal or not.
template <class T, std::size_t N>
Tucker<T, N> random_form(const Extents<N>& shape, const Extents<N>& ranks, std::uint64_t seed, bool orthonormal)
{
    auto& memory = wasi::plain_memory();
    Tucker<T, N> result;
    result.core = wasi::tensor::make_tensor<T>(memory, ranks);
    wasi::EigenStorage::fill_normal(result.core.matrix(), wasi::RandomKey(seed));
    for (std::size_t m = 0; m < N; ++m) {
        result.bases[m] = wasi::workspace<T>(memory, shape[m], ranks[m]);
        wasi::EigenStorage::fill_normal(result.bases[m].matrix(), wasi::RandomKey(seed).derive(m));
        if (orthonormal) {
            static_cast<void>(wasi_tests::naive::orthonormalize(result.bases[m].matrix()));
        }
    }
    return result;
}

/// X~ in double, by loops.
template <class T, std::size_t N>
PlainTensor<double, N> expanded(const Tucker<T, N>& tucker)
{
    PlainTensor<double, N> sum(tucker.ranks());
    for (std::size_t i = 0; i < sum.elements.size(); ++i) {
        sum.elements[i] = static_cast<double>(tucker.core.data()[i]);
    }
    for (std::size_t m = 0; m < N; ++m) {
        sum = wasi_tests::mode_product_by_loops(sum.view(), tucker.bases[m].matrix(), m);
    }
    return sum;
}

template <std::size_t N, class T>
PlainTensor<T, N> rounded(const PlainTensor<double, N>& x)
{
    PlainTensor<T, N> result(x.shape);
    for (std::size_t i = 0; i < x.elements.size(); ++i) {
        result.elements[i] = static_cast<T>(x.elements[i]);
    }
    return result;
}

template <class E, std::size_t N>
void check_products(const Extents<N>& shape, const Extents<N>& a_ranks, const Extents<N>& b_ranks, bool orthonormal)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    INFO("shape ", wasi::shape_text(shape), ", orthonormal ", orthonormal);
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        const auto a = random_form<T, N>(shape, a_ranks, seed, orthonormal);
        const auto b = random_form<T, N>(shape, b_ranks, seed + 100, orthonormal);
        const auto full_a = expanded(a);
        const auto full_b = expanded(b);
        double product = 0.0;
        double difference = 0.0;
        for (std::size_t i = 0; i < full_a.elements.size(); ++i) {
            product += full_a.elements[i] * full_b.elements[i];
            difference += std::pow(full_a.elements[i] - full_b.elements[i], 2.0);
        }
        const double norm_a = std::sqrt(wasi_tests::squares(full_a.view()));
        const double norm_b = std::sqrt(wasi_tests::squares(full_b.view()));
        const Index size = full_a.view().size();
        CHECK(std::abs(inner_product<S, T, N>(a, b, memory) - product) <= tolerance<T>(size, norm_a * norm_b));
        CHECK(std::abs(inner_product<S, T, N>(b, a, memory) - product) <= tolerance<T>(size, norm_a * norm_b));
        CHECK(std::abs(squared_norm<S, T, N>(a, memory) - norm_a * norm_a) <= tolerance<T>(size, norm_a * norm_a));
        CHECK(std::abs(distance<S, T, N>(a, b, memory) - std::sqrt(difference)) <= tolerance<T>(size, norm_a + norm_b));
        CHECK(distance<S, T, N>(a, a, memory) <= tolerance<T>(size, norm_a));
        const auto x = rounded<N, T>(full_b);
        CHECK(std::abs(inner_product<S, T, N>(a, x.view(), memory) - product) <= tolerance<T>(size, norm_a * norm_b));
        CHECK(std::abs(distance<S, T, N>(a, x.view(), memory) - std::sqrt(difference)) <=
              tolerance<T>(size, norm_a + norm_b));
        CHECK(std::abs(relative_error<S, T, N>(a, x.view(), memory) - std::sqrt(difference) / norm_b) <=
              tolerance<T>(size, 1.0 + norm_a / norm_b));
    }
}

TEST_CASE_TEMPLATE("inner products and distances of Tucker forms are those of the full tensors, orders 2 to 4", E,
                   WASI_TEST_ENGINES)
{
    for (const bool orthonormal : {true, false}) {
        check_products<E, 2>({9, 7}, {3, 4}, {2, 1}, orthonormal);
        check_products<E, 3>({6, 7, 8}, {2, 3, 4}, {3, 1, 2}, orthonormal);
        check_products<E, 3>({5, 4, 6}, {4, 3, 4}, {4, 4, 5}, orthonormal);  // joined bases as wide as the modes
        check_products<E, 3>({1, 6, 9}, {1, 2, 3}, {1, 3, 2}, orthonormal);
        check_products<E, 3>({9, 1, 1}, {2, 1, 1}, {3, 1, 1}, orthonormal);
        check_products<E, 3>({3, 90, 4}, {2, 3, 2}, {1, 2, 3}, orthonormal);   // a slice longer than one block of rows
        check_products<E, 3>({29, 40, 5}, {2, 3, 2}, {1, 2, 3}, orthonormal);  // several blocks in each piece
        check_products<E, 4>({3, 4, 5, 6}, {2, 2, 3, 2}, {1, 3, 2, 4}, orthonormal);
    }
}

TEST_CASE_TEMPLATE("distance: sees what the difference of energies cannot", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const double small = 100.0 * static_cast<double>(wasi::epsilon<T>);
    const auto a = random_form<T, 3>({12, 10, 14}, {3, 2, 4}, 5, true);
    const double norm = std::sqrt(wasi_tests::squares(expanded(a).view()));
    Tucker<T, 3> b;
    b.core = wasi::clone<wasi::EigenStorage>(a.core, wasi::Tag{});
    for (std::size_t m = 0; m < 3; ++m) {
        b.bases[m] = wasi::clone<wasi::EigenStorage>(a.bases[m], wasi::Tag{});
    }
    b.core.data()[7] += static_cast<T>(small * norm);
    const double moved = std::abs(static_cast<double>(b.core.data()[7]) - static_cast<double>(a.core.data()[7]));
    const double rounding = tolerance<T>(4, norm);
    CHECK(moved > 2.0 * rounding);  // or the test would say nothing
    CHECK(std::abs(distance<S, T, 3>(a, b, memory) - moved) <= rounding);
    const auto x = rounded<3, T>(expanded(b));
    CHECK(std::abs(distance<S, T, 3>(a, x.view(), memory) - moved) <= rounding);
    CHECK(std::abs(relative_error<S, T, 3>(a, x.view(), memory) - moved / norm) <= rounding / norm);
}

TEST_CASE_TEMPLATE("the error that a decomposition returns is the true one, large, small and tiny", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const double unit = static_cast<double>(wasi::epsilon<T>);
    for (const double noise : {0.3, 0.02, 20.0 * std::sqrt(unit), 0.3 * std::sqrt(unit), 100.0 * unit}) {
        INFO("noise ", noise);
        // An exactly low-rank tensor of norm 1 and noise that no subspace holds.
        auto full = expanded(random_form<double, 3>({10, 8, 12}, {2, 2, 3}, 3, true));
        const double norm = std::sqrt(wasi_tests::squares(full.view()));
        for (std::size_t i = 0; i < full.elements.size(); ++i) {
            full.elements[i] =
                full.elements[i] / norm + noise * wasi::RandomKey(9).normal(i) / std::sqrt(10.0 * 8.0 * 12.0);
        }
        const auto x = rounded<3, T>(full);
        const double whole = std::sqrt(wasi_tests::squares(x.view()));
        const auto check = [&](const Tucker<T, 3>& tucker) {
            const double truth = std::sqrt(wasi_tests::squared_error<T, 3>(x.view(), tucker)) / whole;
            CHECK(std::abs(tucker.error - truth) <= 0.02 * truth + tolerance<T>(1, 1.0));
            CHECK(truth >= 0.5 * noise / std::sqrt(1.0 + noise * noise));
        };
        check(wasi::tensor::hosvd<S, T, 3>(x.view(), {2, 2, 3}, memory));
        check(wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(x.view(), {2, 2, 3}, {}, memory));
    }
}

template <class E, std::size_t N>
void check_slices(const Extents<N>& shape, const Extents<N>& ranks)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    INFO("shape ", wasi::shape_text(shape));
    const auto form = random_form<T, N>(shape, ranks, 4, true);
    const auto full = expanded(form);
    const double rounding = tolerance<T>(full.view().size(), std::sqrt(wasi_tests::squares(full.view())));
    const auto check = [&](const wasi::Tensor<T>& block, const Extents<N>& first, const Extents<N>& count) {
        const auto view = block.template view<N>();
        REQUIRE(view.shape == count);
        for (Index at = 0; at < view.size(); ++at) {
            auto index = wasi_tests::index_at(count, at);
            for (std::size_t m = 0; m < N; ++m) {
                index[m] += first[m];
            }
            const auto position = static_cast<std::size_t>(wasi_tests::position_of(shape, index));
            REQUIRE(std::abs(static_cast<double>(view.data[at]) - full.elements[position]) <= rounding);
        }
    };
    for (std::size_t m = 0; m < N; ++m) {
        for (Index i = 0; i < shape[m]; ++i) {
            Extents<N> first{};
            Extents<N> count = shape;
            first[m] = i;
            count[m] = 1;
            check(reconstruct_slice<S, T, N>(form, m, i, memory), first, count);
        }
        CHECK_THROWS_AS(static_cast<void>(reconstruct_slice<S, T, N>(form, m, shape[m], memory)), wasi::shape_error);
        CHECK_THROWS_AS(static_cast<void>(reconstruct_slice<S, T, N>(form, m, -1, memory)), wasi::shape_error);
    }
    CHECK_THROWS_AS(static_cast<void>(reconstruct_slice<S, T, N>(form, N, 0, memory)), wasi::shape_error);
    Extents<N> first{};
    Extents<N> count{};
    for (std::size_t m = 0; m < N; ++m) {
        first[m] = shape[m] / 3;
        count[m] = shape[m] - first[m];
    }
    check(reconstruct_block<S, T, N>(form, first, count, memory), first, count);
    check(wasi::tensor::reconstruct<S, T, N>(form, memory), {}, shape);
    ++count[N - 1];
    CHECK_THROWS_AS(static_cast<void>(reconstruct_block<S, T, N>(form, first, count, memory)), wasi::shape_error);
}

TEST_CASE_TEMPLATE("slices and blocks are those of the full tensor", E, WASI_TEST_ENGINES)
{
    check_slices<E, 2>({6, 5}, {2, 3});
    check_slices<E, 3>({4, 5, 6}, {2, 3, 2});
    check_slices<E, 3>({1, 5, 3}, {1, 2, 3});
    check_slices<E, 4>({3, 2, 4, 5}, {2, 2, 3, 1});
}

TEST_CASE("distance: same bits for one and two threads, and the workspace comes back")
{
    const int before = wasi::thread_count();
    const auto elements = wasi_tests::random_matrix<float>(40 * 30, 64, 7);
    const wasi::ConstTensorView<float, 3> x{elements.view().data, {40, 30, 64}};
    const auto form = random_form<float, 3>({40, 30, 64}, {5, 6, 7}, 8, true);
    wasi::Ledger ledger;
    const auto run = [&](int threads) {
        wasi::set_thread_count(threads);
        return distance<wasi::EigenStorage, float, 3>(form, x, ledger);
    };
    CHECK(run(1) == run(2));
    wasi::set_thread_count(before);
    CHECK(ledger.total().current == 0);
}

TEST_CASE("inner products: what does not fit throws and is named")
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto a = random_form<double, 3>({4, 5, 6}, {2, 2, 2}, 1, true);
    const auto b = random_form<double, 3>({4, 5, 7}, {2, 2, 2}, 1, true);
    const PlainTensor<double, 3> x({4, 5, 7});
    CHECK_THROWS_WITH_AS(static_cast<void>(inner_product<S, double, 3>(a, b, memory)),
                         "inner_product: a tensor (4, 5, 6) and one (4, 5, 7)", wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(distance<S, double, 3>(a, b, memory)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(inner_product<S, double, 3>(a, x.view(), memory)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(relative_error<S, double, 3>(a, x.view(), memory)), wasi::shape_error);
    CHECK(relative_error<S, double, 3>(b, x.view(), memory) == std::numeric_limits<double>::infinity());
    auto broken = a.view();
    broken.bases[1] = b.bases[2].matrix();
    broken.bases[1].cols = 1;
    CHECK_THROWS_WITH_AS(static_cast<void>(inner_product<S, double, 3>(broken, a, memory)),
                         "inner_product: a core (2, 2, 2) and a basis (7, 1) do not fit in mode 1", wasi::shape_error);
}

}  // namespace
