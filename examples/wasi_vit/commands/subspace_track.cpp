#include "commands/subspace_track.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <wasi/io/atomic_file.hpp>

#include "page/page_numbers.hpp"
#include "plan/activation_budget.hpp"
#include "report/statistics.hpp"

namespace wasi_examples {

using wasi::Index;

namespace {

/// Enough for a direction, few enough that it costs little beside the steps between.
constexpr std::size_t most_watched = 16;

}  // namespace

void SubspaceTrack::start(RunModel& model, wasi::nn::Layers layers, Index every, std::vector<Index> examples)
{
    every_ = every;
    examples_ = std::move(examples);
    examples_.resize(std::min(examples_.size(), most_watched));
    if (every > 0) {
        watch_.emplace(model, wasi::measure::SubspaceWatchOptions{.layers = layers});
    }
}

void SubspaceTrack::resume(const std::filesystem::path& folder, Index step)
{
    if (active()) {
        rows_ = read_subspaces(folder / file_name, step);
    }
}

void SubspaceTrack::note(const RunData& data, Index step)
{
    const bool measured = !rows_.empty() && rows_.back().step == step;
    if (!active() || measured || step % every_ != 0) {
        return;
    }
    const auto begin = std::chrono::steady_clock::now();
    const auto source = [&](wasi::Memory& memory) { return data.gather(examples_, wasi::RandomKey(0), memory); };
    for (auto& found : watch_->measure(source, data.gather_labels(examples_))) {
        found.layer = short_name(found.layer);
        rows_.push_back({step, std::move(found)});
    }
    seconds_.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

std::string SubspaceTrack::cost_text() const
{
    return seconds_.empty() ? std::string()
                            : "Subspaces were measured " + page::count_text(static_cast<Index>(seconds_.size())) +
                                  (seconds_.size() == 1 ? " time, " : " times, ") +
                                  page::seconds_text(median(seconds_)) + " each.\n";
}

void SubspaceTrack::state(wasi::State& state)
{
    if (active()) {
        watch_->state(state);
    }
}

void SubspaceTrack::save(const std::filesystem::path& folder) const
{
    if (active()) {
        wasi::io::write_file_atomically(folder / file_name, subspaces_csv(rows_));
    }
}

}  // namespace wasi_examples
