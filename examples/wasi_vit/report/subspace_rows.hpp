#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <wasi/measure/subspace_record.hpp>

/// What --track-subspaces has measured: as a table, and as a figure of the report.
namespace wasi_examples {

/// One layer at one moment.
struct SubspaceRow {
    wasi::Index step = 0;  ///< steps that were done before
    wasi::measure::LayerSubspaces found;
};

/// subspaces.csv.
[[nodiscard]] std::string subspaces_csv(const std::vector<SubspaceRow>& rows);

/// The rows of steps up to `last`. Throws wasi::io_error for a file that is not such a table.
[[nodiscard]] std::vector<SubspaceRow> read_subspaces(const std::filesystem::path& file, wasi::Index last);

/// How far the subspaces of weights and inputs have turned, and where gradients point, by kind of layer; empty when
/// there is nothing to draw.
[[nodiscard]] std::string subspace_figure(const std::vector<SubspaceRow>& rows);

}  // namespace wasi_examples
