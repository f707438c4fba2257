#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include <wasi/core/random.hpp>

namespace {

using wasi::Index;
using wasi::RandomKey;
using Words = std::array<std::uint32_t, 4>;

/// A mean of n numbers with this standard deviation is further than this from its expectation once in 10^6 seeds.
double five_sigma(double deviation, int n)
{
    return 5.0 * deviation / std::sqrt(static_cast<double>(n));
}

TEST_CASE("Philox-4x32-10 gives the published answer and those of an independent implementation")
{
    // The first is Random123's; the others come from a program of our own that also gives Random123's three known
    // answers.
    CHECK(RandomKey(0).words(0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(RandomKey(0).words(1) == Words{0xf8e4cca4, 0x5cb200db, 0xb1a574eb, 0x097eff67});
    CHECK(RandomKey(1).words(0) == Words{0xe3e80670, 0xe50a0ebc, 0x95f222c0, 0xb615aa27});
    CHECK(RandomKey(0xffffffffffffffff).words(0xffffffffffffffff) ==
          Words{0x4d18d7d2, 0x430ac65a, 0xbd2fa22a, 0x0afae10d});
    CHECK(RandomKey(0x299f31d0a4093822).words(0x85a308d3243f6a88) ==
          Words{0xe69c9c31, 0xb5a3d762, 0xe733bfc1, 0x341a787c});
    static_assert(RandomKey(0).words(0)[0] == 0x6627e8d5);
}

TEST_CASE("uniform numbers lie in [0, 1) and have the moments of the uniform distribution")
{
    constexpr int n = 100'000;
    const RandomKey key(17);
    double sum = 0.0;
    double squares = 0.0;
    double neighbours = 0.0;
    double smallest = 1.0;
    double largest = 0.0;
    for (int i = 0; i < n; ++i) {
        const double x = key.uniform(static_cast<std::uint64_t>(i));
        const double next = key.uniform(static_cast<std::uint64_t>(i) + 1);
        sum += x;
        squares += x * x;
        neighbours += (x - 0.5) * (next - 0.5);
        smallest = std::min(smallest, x);
        largest = std::max(largest, x);
    }
    CHECK(smallest >= 0.0);
    CHECK(largest < 1.0);
    CHECK(smallest < 1e-4);
    CHECK(largest > 1.0 - 1e-4);
    CHECK(std::abs(sum / n - 0.5) < five_sigma(std::sqrt(1.0 / 12.0), n));
    CHECK(std::abs(squares / n - 1.0 / 3.0) < five_sigma(std::sqrt(4.0 / 45.0), n));
    CHECK(std::abs(neighbours / n) < five_sigma(1.0 / 12.0, n));
}

TEST_CASE("normal numbers have the first four moments of the normal distribution")
{
    constexpr int n = 100'000;
    const RandomKey key(23);
    std::array<double, 4> moments{};
    double inside = 0.0;
    double pairs = 0.0;
    for (int i = 0; i < n; ++i) {
        const double x = key.normal(static_cast<std::uint64_t>(i));
        double power = 1.0;
        for (double& moment : moments) {
            power *= x;
            moment += power / n;
        }
        inside += std::abs(x) < 1.0 ? 1.0 / n : 0.0;
        if (i % 2 == 0) {
            pairs += x * key.normal(static_cast<std::uint64_t>(i) + 1) / (n / 2);
        }
    }
    CHECK(std::abs(moments[0]) < five_sigma(1.0, n));
    CHECK(std::abs(moments[1] - 1.0) < five_sigma(std::sqrt(2.0), n));
    CHECK(std::abs(moments[2]) < five_sigma(std::sqrt(15.0), n));
    CHECK(std::abs(moments[3] - 3.0) < five_sigma(std::sqrt(96.0), n));
    CHECK(std::abs(inside - std::erf(std::sqrt(0.5))) < five_sigma(0.466, n));
    CHECK(std::abs(pairs) < five_sigma(1.0, n / 2));  // the two numbers of a pair are independent
}

TEST_CASE("normal(2 i) and normal(2 i + 1) are the pair at i")
{
    const RandomKey key(5);
    for (std::uint64_t i : {0ULL, 1ULL, 1000ULL, (1ULL << 40U)}) {
        const auto [even, odd] = key.normal_pair(i);
        CHECK(key.normal(2 * i) == even);
        CHECK(key.normal(2 * i + 1) == odd);
    }
}

TEST_CASE("derive gives distinct keys for distinct names, in order")
{
    const RandomKey key(42);
    std::set<std::uint64_t> seen{key.value()};
    std::size_t count = 1;
    for (int layer = 0; layer < 100; ++layer) {
        seen.insert(key.derive(layer).value());
        ++count;
        for (int step = 0; step < 100; ++step) {
            seen.insert(key.derive(layer, step).value());
            ++count;
        }
    }
    CHECK(seen.size() == count);
    CHECK(key.derive(1, 2).value() != key.derive(2, 1).value());
    CHECK(key.derive(1, 2).value() == key.derive(1).derive(2).value());
    CHECK(key.derive().value() == key.value());
    CHECK(RandomKey(0).derive(0).value() != 0);
    // Neighbouring seeds do not share their streams.
    std::set<std::uint64_t> keys;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        for (int name = 0; name < 100; ++name) {
            keys.insert(RandomKey(seed).derive(name).value());
        }
    }
    CHECK(keys.size() == 10'000);
}

TEST_CASE("streams of derived keys are not correlated")
{
    constexpr int n = 20'000;
    const RandomKey key(42);
    for (const auto& [first, second] : {std::pair{key.derive(0), key.derive(1)}, std::pair{key, key.derive(0)},
                                        std::pair{key.derive(1, 2), key.derive(2, 1)}}) {
        double product = 0.0;
        int equal = 0;
        for (int i = 0; i < n; ++i) {
            const auto at = static_cast<std::uint64_t>(i);
            product += first.normal(at) * second.normal(at) / n;
            equal += first.words(at) == second.words(at) ? 1 : 0;
        }
        CHECK(std::abs(product) < five_sigma(1.0, n));
        CHECK(equal == 0);
    }
}

TEST_CASE("below reaches every value of its range about equally often, and nothing else")
{
    constexpr int n = 70'000;
    constexpr Index bound = 7;
    std::array<int, 7> count{};
    for (int i = 0; i < n; ++i) {
        const Index value = RandomKey(3).below(static_cast<std::uint64_t>(i), bound);
        if (value < 0 || value >= bound) {
            FAIL("out of range: ", value);
        }
        ++count[static_cast<std::size_t>(value)];
    }
    for (const int c : count) {
        CHECK(std::abs(c - n / 7.0) < 5.0 * std::sqrt(n * (1.0 / 7.0) * (6.0 / 7.0)));
    }
    CHECK(RandomKey(3).below(0, 1) == 0);
    CHECK_THROWS_AS(static_cast<void>(RandomKey(3).below(0, 0)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(RandomKey(3).below(0, -4)), wasi::argument_error);
}

TEST_CASE("random_permutation holds every number once and depends on the key")
{
    for (Index n : {0, 1, 2, 17, 1000}) {
        const auto order = wasi::random_permutation(n, RandomKey(9));
        REQUIRE(static_cast<Index>(order.size()) == n);
        auto sorted = order;
        std::sort(sorted.begin(), sorted.end());
        std::vector<Index> expected(sorted.size());
        std::iota(expected.begin(), expected.end(), Index{0});
        CHECK(sorted == expected);
        CHECK(order == wasi::random_permutation(n, RandomKey(9)));
    }
    CHECK(wasi::random_permutation(1000, RandomKey(9)) != wasi::random_permutation(1000, RandomKey(10)));
    CHECK_THROWS_AS(static_cast<void>(wasi::random_permutation(-1, RandomKey(9))), wasi::argument_error);
}

TEST_CASE("random_permutation puts every number everywhere equally often")
{
    constexpr int n = 6000;
    std::array<std::array<int, 4>, 4> count{};
    for (int seed = 0; seed < n; ++seed) {
        const auto order = wasi::random_permutation(4, RandomKey(7).derive(seed));
        for (std::size_t place = 0; place < 4; ++place) {
            ++count[place][static_cast<std::size_t>(order[place])];
        }
    }
    for (const auto& place : count) {
        for (const int c : place) {
            CHECK(std::abs(c - n / 4.0) < 5.0 * std::sqrt(n * 0.25 * 0.75));
        }
    }
}

}  // namespace
