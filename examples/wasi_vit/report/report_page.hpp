#pragma once
#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <wasi/core/memory_events.hpp>
#include <wasi/core/scalar.hpp>

#include "report/picture_figures.hpp"
#include "report/subspace_rows.hpp"

namespace wasi_examples {

/// The value of a figure that nobody measured; "n/a" on a page.
inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// What one linear layer W (outputs, inputs) was held as, and what that saved.
struct LayerRow {
    std::string name;
    wasi::Index outputs = 0;
    wasi::Index inputs = 0;
    wasi::Index weight_rank = 0;                    ///< 0: dense
    std::array<wasi::Index, 3> activation_ranks{};  ///< over batch, token, feature; 0: the saved input is exact
    double captured_energy = 1.0;                   ///< of the weight at the start, a fraction; 1 when dense
    std::vector<double> activation_energy;          ///< a fraction a step; may be empty
    double saved_input_bytes = 0.0;
    double weight_bytes = 0.0;
};

/// One optimiser step.
struct StepRow {
    wasi::Index step = 0;
    double epoch = 0.0;
    double loss = 0.0;  ///< before the update
    double learning_rate = 0.0;
    double seconds = 0.0;
};

/// An epoch, and how the model did on the validation images after it.
struct EpochRow {
    wasi::Index epoch = 0;  ///< from 1
    double loss = not_known;
    wasi::Index correct = 0;
    wasi::Index images = 0;
    double macro_f1 = not_known;
};

/// One finished run.
struct RunReport {
    std::string title;
    std::string method;  ///< vanilla, head, wsi, asi, wasi, or any other name
    std::vector<std::pair<std::string, std::string>> options;
    std::vector<StepRow> steps;
    std::vector<LayerRow> layers;
    std::vector<EpochRow> epochs;        ///< of --validation
    std::vector<SubspaceRow> subspaces;  ///< of --track-subspaces
    std::vector<ShownPicture> examples;  ///< of the first batch
    double test_accuracy = not_known;
    double test_accuracy_low = not_known;  ///< 95 % Wilson interval
    double test_accuracy_high = not_known;
    wasi::Index test_count = 0;
    double seconds_per_step_median = not_known;
    double flops_per_step = not_known;
    double model_bytes = not_known;
    double peak_rss_bytes = not_known;                          ///< the largest of the phases
    double base_bytes = not_known;  ///< of the process as training begins, without what the engine holds: program, data
    std::vector<std::pair<std::string, double>> process_peaks;  ///< bytes by phase: load, convert, step
    double arena_high_water = not_known;
    double arena_held_peak = not_known;
    wasi::MemoryEvents memory_of_step;  ///< of one step, the second if there is one
    double ledger_peak_total = not_known;
    std::vector<std::pair<std::string, double>> ledger_peaks;  ///< bytes by class
    std::string why;                                           ///< of --method auto: a section of the page
};

/// The run as one HTML file that loads nothing and reads well on a phone, in light and in dark. Everything from the run
/// is escaped; what is missing or not finite is "n/a".
[[nodiscard]] std::string report_page(const RunReport& run);

/// A sentence on what the method holds in which form; empty for a name it does not know.
[[nodiscard]] std::string method_sentence(const std::string& method);

/// The colour slot of a method, the same on every page.
[[nodiscard]] int method_colour(const std::string& method);

/// The peak of the process without program and data, bytes; NaN where they are not known.
[[nodiscard]] double net_peak(const RunReport& run);

/// The sum of the layers' saved inputs in bytes; NaN when no layer is listed.
[[nodiscard]] double saved_input_total(const RunReport& run);

/// Whether a logarithmic axis shows these losses better: all above zero, and falling to less than a thirtieth.
[[nodiscard]] bool wide_range(const std::vector<double>& losses);

}  // namespace wasi_examples
