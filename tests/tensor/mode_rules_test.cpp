#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <vector>

#include <wasi/tensor/mode_rules.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::RankRule;
using wasi::tensor::cheapest_order;
using wasi::tensor::ModeOrder;
using wasi::tensor::ModeRules;
using wasi::tensor::truncation_flops;

Index ask(const RankRule& rule, const std::vector<double>& values)
{
    double total = 0.0;
    for (const double value : values) {
        total += value * value;
    }
    return rule.choose({values, total, total});
}

template <std::size_t N>
struct Options {
    ModeRules<N> ranks = Energy{1.0};
    ModeOrder<N> order = {};
};

TEST_CASE("mode rules: one a mode, one for all, ranks of an earlier result")
{
    const std::vector<double> values{3.0, 1.0, 1.0, 0.5};
    const Options<3> each{.ranks = {2, Energy{0.5}, 3}};
    CHECK(ask(each.ranks[0], values) == 2);
    CHECK(ask(each.ranks[1], values) == 1);
    CHECK(ask(each.ranks[2], values) == 3);
    const Options<3> all{.ranks = Energy{0.95}};
    const Options<3> braced{.ranks = {Energy{0.95}}};
    for (std::size_t m = 0; m < 3; ++m) {
        CHECK(ask(all.ranks[m], values) == 3);
        CHECK(ask(braced.ranks[m], values) == 3);
        CHECK(ask(Options<3>{.ranks = 2}.ranks[m], values) == 2);
    }
    const std::array<Index, 2> earlier{3, 1};
    const ModeRules<2> again = earlier;
    CHECK(again[0].fixed() == 3);
    CHECK(again[1].fixed() == 1);
    CHECK_THROWS_AS((ModeRules<2>{0, 1}), wasi::argument_error);
    const ModeRules<1> single = 4;
    CHECK(single[0].fixed() == 4);
}

TEST_CASE("mode order: chosen or not")
{
    CHECK_FALSE(Options<3>{}.order.is_chosen());
    const Options<3> chosen{.order = {2, 0, 1}};
    CHECK(chosen.order.is_chosen());
    CHECK(chosen.order.modes() == std::array<std::size_t, 3>{2, 0, 1});
}

TEST_CASE("truncation flops: Gram matrix, eigenvectors and contraction of each step, by hand")
{
    // Mode 1 first: Gram of (3, 8), 2 * 3 * 24; then 9 * 27; contraction to 2: 2 * 2 * 24; (2, 2, 4) is left.
    const double first = 144.0 + 243.0 + 96.0;
    // Mode 0, (2, 8): 2 * 2 * 16 + 9 * 8 + 2 * 1 * 16; (1, 2, 4) is left.
    const double second = 64.0 + 72.0 + 32.0;
    // Mode 2, tall, (4, 2): the shorter side is 2: 2 * 2 * 8 + 9 * 8 + 2 * 2 * 8.
    const double third = 32.0 + 72.0 + 32.0;
    CHECK(truncation_flops<3>({2, 3, 4}, {1, 2, 2}, {1, 0, 2}) == first + second + third);
}

TEST_CASE("cheapest order: no other is cheaper, smallest mode first when no rank is known")
{
    CHECK(cheapest_order<3>({128, 50, 768}, Energy{0.9}) == std::array<std::size_t, 3>{1, 0, 2});
    CHECK(cheapest_order<4>({40, 10, 30, 20}, Energy{0.9}) == std::array<std::size_t, 4>{1, 3, 2, 0});
    // A mode that loses nothing is no good first, however short it is: each later mode costs as much as before.
    CHECK(cheapest_order<3>({40, 39, 300}, {1, 39, 3})[0] == 0);
    std::array<Index, 4> shape{9, 30, 17, 24};
    for (const auto& ranks : {std::array<Index, 4>{9, 2, 5, 20}, {1, 30, 17, 3}, {3, 3, 3, 3}}) {
        const auto best = cheapest_order<4>(shape, ranks);
        std::array<std::size_t, 4> order{0, 1, 2, 3};
        do {
            CHECK(truncation_flops<4>(shape, ranks, best) <= truncation_flops<4>(shape, ranks, order));
        } while (std::next_permutation(order.begin(), order.end()));
    }
}

}  // namespace
