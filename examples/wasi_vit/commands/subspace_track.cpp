#include "commands/subspace_track.hpp"

#include <algorithm>
#include <utility>

#include <wasi/io/atomic_file.hpp>

#include "plan/activation_budget.hpp"

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
    const auto source = [&](wasi::Memory& memory) { return data.gather(examples_, wasi::RandomKey(0), memory); };
    for (auto& found : watch_->measure(source, data.gather_labels(examples_))) {
        found.layer = short_name(found.layer);
        rows_.push_back({step, std::move(found)});
    }
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
