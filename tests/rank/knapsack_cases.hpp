#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <wasi/core/random.hpp>
#include <wasi/rank/option.hpp>

/// Random problems and the answer that trying every choice gives.
namespace wasi_tests {

using wasi::Index;
using wasi::rank::LayerOptions;

/// Whole numbers out of a key, one after another.
class Draw {
public:
    explicit Draw(std::uint64_t seed) : key_(seed) {}
    /// In [0, 1).
    [[nodiscard]] double share() { return key_.uniform(next_++); }
    /// In [0, below).
    [[nodiscard]] std::int64_t whole(std::int64_t below)
    {
        return static_cast<std::int64_t>(share() * static_cast<double>(below));
    }

private:
    wasi::RandomKey key_;
    std::uint64_t next_ = 0;
};

enum class Kind { tiny_bytes, huge_bytes, few_costs, equal_ratio, falling, forbidding };
inline constexpr int kind_count = 6;

[[nodiscard]] inline wasi::rank::Option random_option(Kind kind, Draw& draw)
{
    switch (kind) {
        case Kind::tiny_bytes:  // zero bytes and equal bytes among them
            return {draw.whole(6), draw.share()};
        case Kind::huge_bytes:  // near 2^40
            return {(std::int64_t{1} << 40) - draw.whole(1000), draw.share()};
        case Kind::few_costs:  // many ties
            return {draw.whole(40), static_cast<double>(draw.whole(5))};
        case Kind::equal_ratio: {  // the relaxation cannot tell them apart
            const std::int64_t bytes = draw.whole(64);
            return {bytes, 64.0 - static_cast<double>(bytes)};
        }
        case Kind::falling: {
            const std::int64_t bytes = draw.whole(1 << 20);
            return {bytes, std::exp(-static_cast<double>(bytes) / 3e5) + 0.01 * draw.share()};
        }
        case Kind::forbidding:  // costs that drown all others in double
            return {draw.whole(50), draw.share() < 0.2 ? 1e30 : draw.share()};
    }
    return {};
}

[[nodiscard]] inline std::vector<LayerOptions> random_layers(Kind kind, std::int64_t count, std::int64_t most_options,
                                                             Draw& draw)
{
    std::vector<LayerOptions> layers(static_cast<std::size_t>(count));
    for (LayerOptions& layer : layers) {
        const std::int64_t options = 1 + draw.whole(most_options);
        for (std::int64_t i = 0; i < options; ++i) {
            layer.push_back(random_option(kind, draw));
        }
    }
    return layers;
}

[[nodiscard]] inline std::int64_t most_bytes(const std::vector<LayerOptions>& layers)
{
    std::int64_t sum = 0;
    for (const LayerOptions& layer : layers) {
        std::int64_t most = 0;
        for (const auto& option : layer) {
            most = std::max(most, option.bytes);
        }
        sum += most;
    }
    return sum;
}

struct Trial {
    std::int64_t bytes;
    double cost;  // summed layer by layer
};

/// Bytes and cost of every choice.
[[nodiscard]] inline std::vector<Trial> all_choices(const std::vector<LayerOptions>& layers)
{
    std::vector<Trial> trials{{0, 0.0}};
    for (const LayerOptions& layer : layers) {
        std::vector<Trial> longer;
        for (const Trial& trial : trials) {
            for (const auto& option : layer) {
                longer.push_back({trial.bytes + option.bytes, trial.cost + option.cost});
            }
        }
        trials = longer;
    }
    return trials;
}

/// Infinity when nothing fits.
[[nodiscard]] inline double least_cost(const std::vector<Trial>& trials, std::int64_t budget)
{
    double least = std::numeric_limits<double>::infinity();
    for (const Trial& trial : trials) {
        least = trial.bytes <= budget ? std::min(least, trial.cost) : least;
    }
    return least;
}

/// Sums of a choice.
[[nodiscard]] inline Trial sums(const std::vector<LayerOptions>& layers, const std::vector<Index>& choice)
{
    Trial trial{0, 0.0};
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        const auto& option = layers[layer].at(static_cast<std::size_t>(choice.at(layer)));
        trial = {trial.bytes + option.bytes, trial.cost + option.cost};
    }
    return trial;
}

}  // namespace wasi_tests
