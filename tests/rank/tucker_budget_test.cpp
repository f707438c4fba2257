// Ranks under a budget of bytes against trying all of them, and what they do to a tensor.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/rank/tucker_budget.hpp>

namespace {

using wasi::Index;
using wasi::rank::largest_rank;
using wasi::rank::ModeSpectra;
using wasi::rank::tucker_elements;
using wasi::rank::tucker_ranks;
using wasi::rank::TuckerRanks;
using namespace wasi_tests;  // NOLINT(google-build-using-namespace)

[[nodiscard]] double tail(const std::vector<double>& values, Index rank)
{
    double sum = 0.0;
    for (std::size_t j = values.size(); j-- > static_cast<std::size_t>(rank);) {
        sum += values[j] * values[j];
    }
    return sum;
}

/// Every combination of ranks, one after another.
template <std::size_t N>
[[nodiscard]] double least_discarded(const std::array<Index, N>& shape, const ModeSpectra<N>& spectra,
                                     std::int64_t elements, const std::array<Index, N>& maximum)
{
    double least = std::numeric_limits<double>::infinity();
    std::array<Index, N> sizes{};
    Index count = 1;
    for (std::size_t m = 0; m < N; ++m) {
        sizes[m] = static_cast<Index>(spectra[m].size());
        sizes[m] = maximum[m] > 0 ? std::min(sizes[m], maximum[m]) : sizes[m];
        count *= sizes[m];
    }
    for (Index at = 0; at < count; ++at) {
        auto ranks = index_at(sizes, at);
        double discarded = 0.0;
        for (std::size_t m = 0; m < N; ++m) {
            ++ranks[m];
            discarded += tail(spectra[m], ranks[m]);
        }
        if (tucker_elements<N>(shape, ranks) <= elements) {
            least = std::min(least, discarded);
        }
    }
    return least;
}

template <std::size_t N>
void check_against_all_ranks(std::uint64_t seed)
{
    const wasi::RandomKey key(seed);
    std::uint64_t next = 0;
    std::array<Index, N> shape{};
    ModeSpectra<N> spectra;
    std::array<Index, N> maximum{};
    std::array<Index, N> ones{};
    std::array<Index, N> full{};
    for (std::size_t m = 0; m < N; ++m) {
        shape[m] = 1 + key.below(next++, N == 4 ? 5 : 9);
        full[m] = 1 + key.below(next++, shape[m]);
        double value = 1.0;
        for (Index j = 0; j < full[m]; ++j) {
            // Equal values and zeros among them.
            const double draw = key.uniform(next++);
            value *= draw < 0.2 ? 1.0 : draw < 0.25 ? 0.0 : draw;
            spectra[m].push_back(value);
        }
        maximum[m] = key.uniform(next++) < 0.3 ? 1 + key.below(next++, shape[m] + 2) : 0;
        ones[m] = 1;
    }
    const std::int64_t least = tucker_elements<N>(shape, ones);
    const std::int64_t most = tucker_elements<N>(shape, full);
    for (int run = 0; run < 8; ++run) {
        const std::int64_t elements = least - 1 + key.below(next++, most - least + 3);
        const std::int64_t budget = 4 * elements + key.below(next++, 4);
        CAPTURE(seed);
        CAPTURE(budget);
        if (elements < least) {
            CHECK_THROWS_AS(static_cast<void>(tucker_ranks<N>(shape, spectra, budget, 4, maximum)), wasi::budget_error);
            continue;
        }
        const TuckerRanks<N> best = tucker_ranks<N>(shape, spectra, budget, 4, maximum);
        CHECK(best.bytes == 4 * tucker_elements<N>(shape, best.ranks));
        CHECK(best.bytes <= budget);
        double discarded = 0.0;
        for (std::size_t m = 0; m < N; ++m) {
            CHECK(best.ranks[m] >= 1);
            CHECK((maximum[m] == 0 || best.ranks[m] <= maximum[m]));
            discarded += tail(spectra[m], best.ranks[m]);
        }
        const double margin = 1e-14 * static_cast<double>(N) * 10.0;
        CHECK(std::abs(discarded - best.discarded) <= margin);
        CHECK(std::abs(best.discarded - least_discarded<N>(shape, spectra, elements, maximum)) <= margin);
    }
}

TEST_CASE("tucker budget: the ranks that discard least, as trying all of them finds")
{
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
        check_against_all_ranks<2>(seed);
        check_against_all_ranks<3>(seed);
        check_against_all_ranks<4>(seed);
    }
}

TEST_CASE_TEMPLATE("tucker budget: HOSVD with these ranks keeps the budget and the bound", E, EigenFloat, EigenDouble,
                   NaiveFloat, NaiveDouble)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    wasi::Memory& memory = wasi::plain_memory();
    for (const auto& x : {random_tensor<T, 3>({6, 7, 20}, 21), random_tensor<T, 3>({3, 2, 20}, 22)}) {
        const auto view = std::as_const(x).view();
        const auto spectra = wasi::rank::mode_spectra<S, T, 3>(view, memory);
        const double total = squares(view);
        double before = total * 4.0;
        for (const std::int64_t elements : {60, 120, 300, 100'000}) {
            const auto budget = elements * static_cast<std::int64_t>(sizeof(T));
            const auto best = tucker_ranks<3>(view.shape, spectra, budget, sizeof(T));
            const auto tucker = wasi::tensor::hosvd<S, T, 3>(view, wasi::tensor::ModeRules<3>(best.ranks), memory);
            CHECK(tucker.ranks() == best.ranks);
            CHECK(static_cast<std::int64_t>(tucker.bytes()) == best.bytes);
            CHECK(best.bytes <= budget);
            // Gram matrices resolve energies to n epsilon.
            const double margin = 60.0 * static_cast<double>(wasi::epsilon<T>) * total;
            CHECK(squared_error(view, tucker) <= best.discarded + margin);
            CHECK(best.discarded <= before);
            before = best.discarded;
        }
        CHECK(before <= 60.0 * static_cast<double>(wasi::epsilon<T>) * total);  // the last budget holds everything
    }
}

TEST_CASE("tucker budget: the largest rank of a matrix")
{
    for (const std::int64_t budget : {28, 55, 56, 57, 10'000'000}) {
        const Index rank = largest_rank(5, 2, budget, 4);
        CHECK(rank * 7 * 4 <= budget);
        CHECK((rank == 2 || (rank + 1) * 7 * 4 > budget));
    }
    CHECK(largest_rank(3072, 768, 3840LL * 4 * 64, sizeof(float)) == 64);
    CHECK_THROWS_WITH_AS(static_cast<void>(largest_rank(5, 2, 27, 4)),
                         "largest_rank: rank 1 of a (5, 2) matrix takes 28 bytes, the budget is 27",
                         wasi::budget_error);
    CHECK_THROWS_AS(static_cast<void>(largest_rank(0, 2, 27, 4)), wasi::argument_error);
}

TEST_CASE("tucker budget: bad input is refused by name")
{
    const auto complaint = [](ModeSpectra<2> spectra, std::int64_t budget, std::array<Index, 2> maximum = {}) {
        try {
            static_cast<void>(tucker_ranks<2>({3, 4}, spectra, budget, 4, maximum));
        } catch (const wasi::error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(complaint({{{1.0}, {1.0}}}, 32).empty());
    CHECK(complaint({{{1.0}, {1.0}}}, 31).find("take 32 bytes, the budget is 31") != std::string::npos);
    CHECK(complaint({{{1.0}, {1.0}}}, -4).find("the budget is -4") != std::string::npos);
    CHECK(complaint({{{}, {1.0}}}, 99).find("mode 0 of extent 3 has 0 singular values") != std::string::npos);
    CHECK(complaint({{{1, 1, 1, 1}, {1.0}}}, 99).find("has 4 singular values") != std::string::npos);
    CHECK(complaint({{{1.0, 2.0}, {1.0}}}, 99).find("descending; number 1 is 2") != std::string::npos);
    CHECK(complaint({{{-1.0}, {1.0}}}, 99).find("is -1") != std::string::npos);
    CHECK(complaint({{{1.0}, {std::numeric_limits<double>::infinity()}}}, 99).find("of mode 1") != std::string::npos);
    CHECK(complaint({{{1.0}, {1.0}}}, 99, {-1, 0}).find("maximum of mode 0 is -1") != std::string::npos);
    // Extents whose form takes more than 64 bits can say.
    constexpr Index huge = Index{1} << 62U;
    CHECK(tucker_elements<3>({huge, huge, huge}, {4, 4, 4}) == std::numeric_limits<std::int64_t>::max());
}

}  // namespace
