#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi {

/// A counter-based random stream: the i-th number is a pure function of (key, i), so the same numbers come out for any
/// number of threads, in any order, and a run is resumed by storing a seed and a step.
///
/// The function is Philox-4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
/// A key is a value: copy it, derive another one from it, pass it down. There is no global state.
/// Thread safety: immutable.
class RandomKey {
public:
    constexpr explicit RandomKey(std::uint64_t seed = 0) noexcept : key_(seed) {}

    /// A statistically independent key for a named purpose, e.g. `rng.derive(layer, step)`.
    template <std::integral... Names>
    [[nodiscard]] constexpr RandomKey derive(Names... names) const noexcept
    {
        std::uint64_t key = key_;
        ((key = combine(key, static_cast<std::uint64_t>(names))), ...);
        return RandomKey(key);
    }

    [[nodiscard]] constexpr std::uint64_t value() const noexcept { return key_; }

    /// Four independent 32-bit words at position `counter`.
    [[nodiscard]] constexpr std::array<std::uint32_t, 4> words(std::uint64_t counter) const noexcept
    {
        std::array<std::uint32_t, 4> state{static_cast<std::uint32_t>(counter),
                                           static_cast<std::uint32_t>(counter >> 32U), 0, 0};
        auto key0 = static_cast<std::uint32_t>(key_);
        auto key1 = static_cast<std::uint32_t>(key_ >> 32U);
        for (int round = 0; round < 10; ++round) {
            const std::uint64_t product0 = std::uint64_t{0xD2511F53} * state[0];
            const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * state[2];
            state = {
                static_cast<std::uint32_t>(product1 >> 32U) ^ state[1] ^ key0, static_cast<std::uint32_t>(product1),
                static_cast<std::uint32_t>(product0 >> 32U) ^ state[3] ^ key1, static_cast<std::uint32_t>(product0)};
            key0 += 0x9E3779B9U;
            key1 += 0xBB67AE85U;
        }
        return state;
    }

    /// Uniform in [0, 1) with 53 random bits.
    [[nodiscard]] constexpr double uniform(std::uint64_t counter) const noexcept
    {
        const auto w = words(counter);
        return to_unit(w[0], w[1]);
    }

    /// Two independent standard normal numbers at position `counter` (Box-Muller).
    [[nodiscard]] std::pair<double, double> normal_pair(std::uint64_t counter) const noexcept
    {
        const auto w = words(counter);
        const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit(w[0], w[1])));
        const double angle = 2.0 * std::numbers::pi * to_unit(w[2], w[3]);
        return {radius * std::cos(angle), radius * std::sin(angle)};
    }

    /// Standard normal number number `index` of this stream.
    [[nodiscard]] double normal(std::uint64_t index) const noexcept
    {
        const auto pair = normal_pair(index / 2);
        return index % 2 == 0 ? pair.first : pair.second;
    }

    /// Uniform integer in [0, bound), without modulo bias worth mentioning (bias < bound / 2^53).
    [[nodiscard]] Index below(std::uint64_t counter, Index bound) const
    {
        require<argument_error>(bound > 0, "RandomKey::below: bound must be positive, got ", bound);
        return static_cast<Index>(uniform(counter) * static_cast<double>(bound));
    }

private:
    static constexpr double to_unit(std::uint32_t high, std::uint32_t low) noexcept
    {
        const std::uint64_t bits = ((std::uint64_t{high} << 32U) | low) >> 11U;
        return static_cast<double>(bits) * 0x1.0p-53;
    }

    /// SplitMix64's finaliser over the sum of the two words: every bit of both reaches every bit of the result.
    static constexpr std::uint64_t combine(std::uint64_t key, std::uint64_t name) noexcept
    {
        std::uint64_t z = key + 0x9E3779B97F4A7C15ULL * (name + 1);
        z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
        return z ^ (z >> 31U);
    }

    std::uint64_t key_;
};

/// A uniformly random permutation of 0 .. count-1 (Fisher-Yates).
[[nodiscard]] inline std::vector<Index> random_permutation(Index count, RandomKey key)
{
    require<argument_error>(count >= 0, "random_permutation: count must not be negative, got ", count);
    std::vector<Index> order(static_cast<std::size_t>(count));
    for (Index i = 0; i < count; ++i) {
        order[static_cast<std::size_t>(i)] = i;
    }
    for (Index i = count - 1; i > 0; --i) {
        const Index j = key.below(static_cast<std::uint64_t>(i), i + 1);
        std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
    }
    return order;
}

}  // namespace wasi
