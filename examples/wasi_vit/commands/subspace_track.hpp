#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <wasi/measure/subspace_watch.hpp>

#include "commands/data_source.hpp"
#include "commands/run_keeper.hpp"
#include "report/subspace_rows.hpp"

namespace wasi_examples {

/// --track-subspaces: measures every so many steps, on the first images of the first batch.
class SubspaceTrack {
public:
    /// Watches nothing until start().
    SubspaceTrack() = default;

    /// `every`: steps; 0: nothing is watched. The model has to live as long as this.
    void start(RunModel& model, wasi::nn::Layers layers, wasi::Index every, std::vector<wasi::Index> examples);
    /// Goes on with the table of a folder that has seen `step` steps; state() has been read.
    void resume(const std::filesystem::path& folder, wasi::Index step);
    [[nodiscard]] bool active() const { return watch_.has_value(); }
    /// Measures where `step` steps are done and it is time to. Not after the last one whatever it is: a run that is
    /// made longer has to have what one that was so long from the first has.
    void note(const RunData& data, wasi::Index step);
    void state(wasi::State& state);

    [[nodiscard]] const std::vector<SubspaceRow>& rows() const { return rows_; }
    /// A line on what measuring has cost since start(); empty where nothing was measured.
    [[nodiscard]] std::string cost_text() const;
    void save(const std::filesystem::path& folder) const;

    static constexpr const char* file_name = "subspaces.csv";

private:
    std::optional<wasi::measure::SubspaceWatch<RunModel>> watch_;
    wasi::Index every_ = 0;
    std::vector<wasi::Index> examples_;
    std::vector<SubspaceRow> rows_;
    std::vector<double> seconds_;  // of each measurement of this process
};

}  // namespace wasi_examples
