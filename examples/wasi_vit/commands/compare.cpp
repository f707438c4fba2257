#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <wasi/io/atomic_file.hpp>

#include "commands/commands.hpp"
#include "files/output_folder.hpp"
#include "page/page_numbers.hpp"
#include "report/compare_page.hpp"
#include "report/run_files.hpp"

namespace wasi_examples {
namespace {

/// "19x less" against the vanilla run, if there is one to compare with.
[[nodiscard]] std::string times_less(double vanilla, double mine)
{
    if (!std::isfinite(vanilla) || !(mine > 0.0) || !(vanilla > 0.0)) {
        return "";
    }
    char text[32];
    std::snprintf(text, sizeof text, "%.*fx", vanilla / mine < 10.0 ? 1 : 0, vanilla / mine);
    return text;
}

void print_table(const std::vector<CompareRow>& rows)
{
    const RunReport* vanilla = nullptr;
    for (const CompareRow& row : rows) {
        if (row.run.method == "vanilla") {
            vanilla = &row.run;
        }
    }
    const auto against = [&](double RunReport::*figure, const RunReport& run) {
        return vanilla == nullptr || vanilla == &run ? std::string() : times_less(vanilla->*figure, run.*figure);
    };
    std::printf("\n%-8s | %-27s | %8s | %9s | %17s | %17s | %17s | %10s\n", "method", "test accuracy (95 %)", "a step",
                "GFLOP", "saved inputs", "ledger peak", "process peak", "model");
    std::printf(
        "---------+-----------------------------+----------+-----------+-------------------+-------------------+-------"
        "------------+-----------\n");
    for (const CompareRow& row : rows) {
        const RunReport& run = row.run;
        char accuracy[64];
        std::snprintf(accuracy, sizeof accuracy, "%5.1f %%  (%.1f to %.1f)", 100.0 * run.test_accuracy,
                      100.0 * run.test_accuracy_low, 100.0 * run.test_accuracy_high);
        const double saved = saved_input_total(run);
        const std::string saved_ratio =
            vanilla == nullptr || vanilla == &run ? "" : times_less(saved_input_total(*vanilla), saved);
        std::printf("%-8s | %-27s | %8s | %9.2f | %10s %6s | %10s %6s | %10s %6s | %10s\n", run.method.c_str(),
                    accuracy, page::seconds_text(run.seconds_per_step_median).c_str(), run.flops_per_step / 1e9,
                    page::bytes_text(saved).c_str(), saved_ratio.c_str(),
                    page::bytes_text(run.ledger_peak_total).c_str(),
                    against(&RunReport::ledger_peak_total, run).c_str(), page::bytes_text(run.peak_rss_bytes).c_str(),
                    against(&RunReport::peak_rss_bytes, run).c_str(), page::bytes_text(run.model_bytes).c_str());
    }
    if (vanilla != nullptr) {
        std::printf(
            "\n\"12x\" means twelve times less than vanilla. Saved inputs: peak bytes kept for the weight gradients of "
            "the chosen layers.\n"
            "Ledger: everything the engine allocated in training. Process: peak resident memory, program and data "
            "included.\n");
    }
}

}  // namespace

int compare(const CompareOptions& options)
{
    if (!options.out.empty()) {
        check_file(options.out);
    }
    std::vector<CompareRow> rows;
    const auto base = std::filesystem::absolute(options.out.empty() ? "." : options.out).parent_path();
    for (const std::string& folder : options.runs) {
        const auto page = std::filesystem::absolute(folder) / "report.html";
        rows.push_back({read_run(folder), page.lexically_proximate(base).generic_string()});
    }
    print_table(rows);
    if (!options.out.empty()) {
        wasi::io::write_file_atomically(options.out, compare_page(rows, options.heading));
    }
    return 0;
}

}  // namespace wasi_examples
