#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <wasi/core/random.hpp>
#include <wasi/linalg/rank_rule.hpp>

namespace {

using wasi::Index;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::FixedRank;
using wasi::linalg::RankRule;
using wasi::linalg::Spectrum;
using wasi::linalg::Tolerance;

/// Descending values spread over several orders of magnitude.
std::vector<double> random_values(Index count, std::uint64_t seed)
{
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) {
        values.push_back(std::pow(10.0, -4.0 * RandomKey(seed).uniform(static_cast<std::uint64_t>(i))));
    }
    std::sort(values.begin(), values.end(), std::greater<>());
    return values;
}

double squares(const std::vector<double>& values)
{
    double sum = 0.0;
    for (const double value : values) {
        sum += value * value;
    }
    return sum;
}

/// The fewest values to keep by trying every number, in long double.
Index fewest_by_trial(const std::vector<double>& values, double unlisted, double allowed)
{
    for (std::size_t rank = 1; rank < values.size(); ++rank) {
        long double tail = unlisted;
        for (std::size_t j = rank; j < values.size(); ++j) {
            tail += static_cast<long double>(values[j]) * values[j];
        }
        if (tail <= allowed) {
            return static_cast<Index>(rank);
        }
    }
    return static_cast<Index>(values.size());
}

/// The message of the argument_error that f throws; empty if it throws none.
template <class F>
std::string complaint(F&& f)
{
    try {
        f();
    } catch (const wasi::argument_error& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

TEST_CASE("rank rule: energy and tolerance keep the fewest values that do, as trial of every rank finds")
{
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const auto values = random_values(1 + static_cast<Index>(seed) % 23, seed);
        const double listed = squares(values);
        const RandomKey key = RandomKey(seed).derive(1);
        for (const double share : {0.0, 1e-6, 0.03, 0.5}) {
            const double unlisted = share * listed;
            const double total = listed + unlisted;
            // Taken of the whole, or of something larger, as when modes are truncated one after another.
            for (const double reference : {total, 1.7 * total}) {
                INFO("seed ", seed, ", unlisted share ", share, ", reference / total ", reference / total);
                for (std::uint64_t draw = 0; draw < 6; ++draw) {
                    const double fraction = 1.0 - std::pow(10.0, -5.0 * key.uniform(draw));
                    if (fraction > 0.0) {
                        CHECK(RankRule(Energy{fraction}).choose({values, total, reference}) ==
                              fewest_by_trial(values, unlisted, (1.0 - fraction) * reference));
                    }
                    const double relative = std::pow(10.0, -4.0 * key.uniform(100 + draw));
                    CHECK(RankRule(Tolerance{relative}).choose({values, total, reference}) ==
                          fewest_by_trial(values, unlisted, relative * relative * reference));
                }
            }
        }
    }
}

TEST_CASE("rank rule: what is not listed counts as lost, so a rule that needs it keeps all that is listed")
{
    const std::vector<double> values{4.0, 2.0, 1.0};
    CHECK(RankRule(Energy{0.7}).choose({values, 21.0, 21.0}) == 1);
    CHECK(RankRule(Energy{0.7}).choose({values, 28.0, 28.0}) == 2);
    CHECK(RankRule(Energy{0.7}).choose({values, 100.0, 100.0}) == 3);
}

TEST_CASE("rank rule: energy 1 and tolerance 0 keep every value above zero and above the noise")
{
    const std::vector<double> values{5.0, 2.0, 1.0, 1e-9, 1e-10, 0.0, 0.0};
    const double total = squares(values);
    for (const RankRule& rule : {RankRule(Energy{1.0}), RankRule(Tolerance{0.0})}) {
        CHECK(rule.choose({values, total, total}) == 5);
        CHECK(rule.choose({values, total, total, 1e-10}) == 4);
        CHECK(rule.choose({values, total, total, 1e-8}) == 3);
        CHECK(rule.choose({values, total, total, 100.0}) == 1);
    }
}

TEST_CASE("rank rule: a smaller value than rounding of the sums is still a value")
{
    // Summed from the large end, the last four would vanish in 1.
    const std::vector<double> values{1.0, 1e-9, 1e-9, 1e-9, 1e-9};
    const double total = squares(values);
    CHECK(RankRule(Energy{1.0}).choose({values, total, total}) == 5);
    CHECK(RankRule(Tolerance{1.5e-9}).choose({values, total, total}) == 3);
}

TEST_CASE("rank rule: answers are clamped to what there is, and to 1")
{
    const std::vector<double> values{3.0, 2.0, 1.0};
    const Spectrum spectrum{values, 14.0, 14.0};
    CHECK(RankRule(2).choose(spectrum) == 2);
    CHECK(RankRule(100).choose(spectrum) == 3);
    CHECK(RankRule(Energy{1e-9}).choose(spectrum) == 1);
    CHECK(RankRule(Tolerance{0.999}).choose(spectrum) == 1);
    CHECK(RankRule([](const Spectrum&) { return Index{-5}; }).choose(spectrum) == 1);
    CHECK(RankRule([](const Spectrum&) { return Index{1000}; }).choose(spectrum) == 3);

    const std::vector<double> zeros(4, 0.0);
    CHECK(RankRule(Energy{1.0}).choose({zeros, 0.0, 0.0}) == 1);
    CHECK(RankRule(Tolerance{0.0}).choose({zeros, 0.0, 0.0}) == 1);
    for (const RankRule& rule : {RankRule(3), RankRule(Energy{0.5}), RankRule(Tolerance{0.5})}) {
        CHECK(rule.choose({{}, 0.0, 0.0}) == 0);
        CHECK(rule.choose({{}, 1.0, 1.0}) == 0);
    }
}

TEST_CASE("rank rule: a callable sees the whole spectrum")
{
    const std::vector<double> values{8.0, 4.0, 2.0, 1.0};
    const RankRule above_two([](const Spectrum& spectrum) {
        return static_cast<Index>(
            std::count_if(spectrum.values.begin(), spectrum.values.end(), [](double value) { return value > 2.0; }));
    });
    CHECK(above_two.choose({values, 85.0, 85.0}) == 2);
    const RankRule numbers([](const Spectrum& spectrum) {
        return spectrum.total == 85.0 && spectrum.reference == 90.0 && spectrum.noise == 0.25 ? Index{3} : Index{1};
    });
    CHECK(numbers.choose({values, 85.0, 90.0, 0.25}) == 3);
}

TEST_CASE("rank rule: only a fixed rank is known before the spectrum")
{
    CHECK(RankRule(7).fixed() == 7);
    CHECK(RankRule(FixedRank{9}).fixed() == 9);
    CHECK(RankRule(std::size_t{5}).fixed() == 5);
    CHECK_FALSE(RankRule(Energy{0.9}).fixed().has_value());
    CHECK_FALSE(RankRule(Tolerance{0.1}).fixed().has_value());
    CHECK_FALSE(RankRule([](const Spectrum&) { return Index{1}; }).fixed().has_value());
}

TEST_CASE("rank rule: values outside the domain throw and are named")
{
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (const Index rank : {Index{0}, Index{-3}, std::numeric_limits<Index>::min()}) {
        const auto text = complaint([&] { RankRule rule(rank); });
        CHECK(contains(text, "rank"));
        CHECK(contains(text, std::to_string(rank)));
    }
    for (const double fraction : {0.0, -0.25, 1.5, 1.0 + 1e-15, nan, infinity, -infinity}) {
        const auto text = complaint([&] { RankRule rule(Energy{fraction}); });
        INFO("energy ", fraction);
        CHECK(contains(text, "energy"));
        CHECK(contains(text, wasi::message(fraction)));
    }
    for (const double relative : {-1e-3, 1.0, 2.5, nan, infinity}) {
        const auto text = complaint([&] { RankRule rule(Tolerance{relative}); });
        INFO("tolerance ", relative);
        CHECK(contains(text, "tolerance"));
        CHECK(contains(text, wasi::message(relative)));
    }
    CHECK(complaint([] { RankRule rule(Energy{1.0}); }).empty());
    CHECK(complaint([] { RankRule rule(Tolerance{0.0}); }).empty());
    CHECK(complaint([] { RankRule rule(1); }).empty());
}

TEST_CASE("Gavish-Donoho: the thresholds of the paper")
{
    // 4 / sqrt(3) for square matrices in known noise; 2.858 and 2.17 times the median in unknown noise.
    CHECK(std::abs(wasi::linalg::detail::hard_threshold(1.0) - 4.0 / std::sqrt(3.0)) <= 1e-14);
    const auto times_median = [](double beta) {
        return wasi::linalg::detail::hard_threshold(beta) / std::sqrt(wasi::linalg::detail::noise_median(beta));
    };
    CHECK(std::abs(times_median(1.0) - 2.8582) <= 2e-4);  // their table 4
    CHECK(std::abs(times_median(0.5) - 2.1711) <= 2e-4);
    CHECK(std::abs(times_median(0.05) - 1.5194) <= 2e-4);
}

TEST_CASE("Gavish-Donoho: counts values above the threshold, noise known and unknown, either side longer")
{
    std::vector<double> values{50.0, 40.0, 30.0, 25.0};
    for (int j = 0; j < 46; ++j) {  // noise of about variance 1: values from 14 down to 4
        values.push_back(14.0 - 10.0 * j / 45.0);
    }
    const double total = squares(values);
    for (const bool wide : {false, true}) {
        const Spectrum spectrum{values, total, total, 0.0, wide ? 50 : 80, wide ? 80 : 50};
        CHECK(RankRule(wasi::linalg::GavishDonoho{}).choose(spectrum) == 4);
        // lambda(50/80) sqrt(80) = 18.6
        CHECK(RankRule(wasi::linalg::GavishDonoho{1.0}).choose(spectrum) == 4);
        CHECK(RankRule(wasi::linalg::GavishDonoho{1.5}).choose(spectrum) == 3);
        CHECK(RankRule(wasi::linalg::GavishDonoho{100.0}).choose(spectrum) == 1);
    }
    CHECK(RankRule(wasi::linalg::GavishDonoho{}).needs_all_values());
    CHECK_FALSE(RankRule(wasi::linalg::GavishDonoho{1.0}).needs_all_values());
    CHECK_FALSE(RankRule(Energy{0.5}).needs_all_values());
    const std::span<const double> some(values.data(), 10);
    CHECK(contains(
        complaint([&] {
            static_cast<void>(RankRule(wasi::linalg::GavishDonoho{}).choose({some, total, total, 0.0, 80, 50}));
        }),
        "10 of 50"));
    CHECK(contains(complaint([&] {
                       static_cast<void>(RankRule(wasi::linalg::GavishDonoho{}).choose({values, total, total}));
                   }),
                   "matrix"));
    CHECK(contains(complaint([] { RankRule(wasi::linalg::GavishDonoho{-1.0}); }), "-1"));
}

TEST_CASE("first_of: stops at whichever rule is met first, and asks for all values if one of them does")
{
    const std::vector<double> values{4.0, 3.0, 2.0, 1.0};
    const Spectrum spectrum{values, 30.0, 30.0};
    CHECK(first_of(Energy{0.99}, 2).choose(spectrum) == 2);
    CHECK(first_of(3, Energy{0.5}).choose(spectrum) == 1);
    CHECK(first_of(first_of(4, Tolerance{0.2}), Energy{1.0}).choose(spectrum) == 3);
    CHECK_FALSE(first_of(Energy{0.99}, 2).needs_all_values());
    CHECK(first_of(Energy{0.99}, first_of(2, wasi::linalg::GavishDonoho{})).needs_all_values());
}

}  // namespace
