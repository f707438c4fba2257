#pragma once
#include <filesystem>

#include "plan/method_table.hpp"
#include "plan/plan.hpp"
#include "report/report_page.hpp"

namespace wasi_examples {

/// What report.json keeps of a run beside the page's figures.
struct RunExtras {
    std::uint64_t seed = 0;
    bool interrupted = false;
    const wasi::plan::ActivationPlan* activation_plan = nullptr;  ///< of --activation-budget; may be nullptr
    const PlannedMemory* memory_plan = nullptr;                   ///< of --memory-budget; may be nullptr
    const MethodTable* methods = nullptr;                         ///< of --method auto; may be nullptr
    double booked_images = 0.0;                                   ///< bytes of the data set, booked as input
};

/// metrics.csv: step,epoch,loss,learning_rate,seconds and a column "captured_energy:LAYER" for each compressed layer.
[[nodiscard]] std::string metrics_csv(const RunReport& run);

/// report.json.
[[nodiscard]] std::string report_json(const RunReport& run, const RunExtras& extras);

/// Reads a run back from the report.json and metrics.csv of its folder. Throws wasi::io_error.
[[nodiscard]] RunReport read_run(const std::filesystem::path& folder);

}  // namespace wasi_examples
