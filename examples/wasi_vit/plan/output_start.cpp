#include "plan/output_start.hpp"

#include <algorithm>
#include <cstdio>
#include <span>
#include <utility>
#include <vector>

#include <wasi/measure/features.hpp>
#include <wasi/plan/output_ranks.hpp>

#include "options/run_options.hpp"

namespace wasi_examples {
namespace {

template <class... Values>
[[nodiscard]] std::string line(const char* format, Values... values)
{
    char text[256];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

}  // namespace

using wasi::Index;

std::vector<Index> draw_examples(Index size, Index count, wasi::RandomKey key)
{
    std::vector<std::pair<double, Index>> drawn;
    for (Index i = 0; i < size; ++i) {
        drawn.emplace_back(key.uniform(static_cast<std::uint64_t>(i)), i);
    }
    std::sort(drawn.begin(), drawn.end());
    std::vector<Index> result;
    for (Index i = 0; i < std::min(size, count); ++i) {
        result.push_back(drawn[static_cast<std::size_t>(i)].second);
    }
    return result;
}

std::pair<std::size_t, std::size_t> fit_and_held_out(std::size_t drawn)
{
    const std::size_t held = std::max<std::size_t>(1, drawn / 4);
    return {drawn - std::min(held, drawn), held};
}

OutputStart output_start(const FinetuneOptions& options)
{
    const Index piece = (options.batch_size + options.accumulate - 1) / options.accumulate;
    return {options.size, options.energy, options.layers, calibration_images(options), std::min<Index>(piece, 16)};
}

std::string start_from_outputs(RunModel& model, const RunData& data, const OutputStart& options, wasi::RandomKey key)
{
    const auto drawn = draw_examples(data.size(), options.examples, key);
    wasi::require<wasi::argument_error>(drawn.size() >= 2, "ranks by output need two images at least, there are ",
                                        data.size());
    const std::span<const Index> all(drawn);
    const auto [count, held] = fit_and_held_out(drawn.size());
    const auto fit = all.first(count);
    const auto held_out = all.subspan(count, held);
    const auto before = wasi::measure::features(model, data, held_out, options.batch_size);
    wasi::plan::OutputRanks chosen;
    {
        const auto found = wasi::plan::calibrate_outputs(model, data, fit, held_out,
                                                         {.layers = options.layers, .batch_size = options.batch_size});
        const std::span<const wasi::plan::LayerOutputs<float>> outputs(found);
        if (options.size) {
            chosen = wasi::plan::ranks_by_energy(outputs, 1.0);  // for the dense bytes
            const auto budget = static_cast<std::int64_t>(*options.size * static_cast<double>(chosen.dense_bytes));
            chosen = wasi::plan::ranks_within(outputs, budget);
        } else {
            chosen = wasi::plan::ranks_by_energy(outputs, options.energy);
        }
        wasi::plan::hold_outputs(model, outputs, chosen.ranks, options.layers);
    }
    const auto after = wasi::measure::features(model, data, held_out, options.batch_size);
    const auto dense = std::count(chosen.ranks.begin(), chosen.ranks.end(), Index{0});
    return line("Ranks by output, found on %td images: %td weights, %.1f MB in %.1f MB, %.2f times smaller", fit.size(),
                chosen.ranks.size(), static_cast<double>(chosen.dense_bytes) / 1e6,
                static_cast<double>(chosen.bytes) / 1e6,
                static_cast<double>(chosen.dense_bytes) / static_cast<double>(chosen.bytes)) +
           (dense > 0 ? line(" (%td stay dense).\n", dense) : ".\n") +
           line(
               "On %td other images the features agree to %.3f with those before (1: the same, 0: unlike); expected "
               "relative error %.2f.\n",
               held_out.size(), wasi::measure::agreement(std::as_const(after).matrix(), std::as_const(before).matrix()),
               chosen.error);
}

}  // namespace wasi_examples
