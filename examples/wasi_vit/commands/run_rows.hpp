#pragma once
#include <cstddef>
#include <vector>

#include "commands/training_setup.hpp"
#include "report/report_page.hpp"

/// What a report says of a run that is not its loop: its layers, the images that it saw, one line for the terminal.
namespace wasi_examples {

/// Images that a report shows, at most.
inline constexpr std::size_t most_examples = 16;

/// How weights and saved inputs are held, and what the ledger has seen of each. `energies`: captured ones, of each
/// step.
[[nodiscard]] std::vector<LayerRow> layer_rows(RunModel& model, const FinetuneOptions& options,
                                               const wasi::Ledger& ledger,
                                               const std::vector<std::vector<double>>& energies);

/// About as many bytes as metrics.csv and memory.csv will have.
[[nodiscard]] double table_bytes(const TrainingSetup& setup);

/// The first images of the first batch; none where a picture is gone by now, which is no reason to lose a report.
[[nodiscard]] std::vector<ShownPicture> first_examples(const TrainingSetup& setup);

void print_summary(const RunReport& run);

}  // namespace wasi_examples
