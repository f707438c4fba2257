#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
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
        if (vanilla == nullptr && row.run.method == "vanilla") {
            vanilla = &row.run;
        }
    }
    const std::vector<std::string> names = run_names(rows);
    std::size_t width = std::strlen("method");
    for (const std::string& name : names) {
        width = std::max(width, name.size());
    }
    const auto against = [&](double mine, double theirs, const RunReport& run) {
        return vanilla == nullptr || vanilla == &run ? std::string() : times_less(theirs, mine);
    };
    const int first = static_cast<int>(width);
    std::printf("\n%-*s | %-23s | %8s | %7s | %17s | %17s | %17s | %8s\n", first, "method", "test accuracy (95 %)",
                "a step", "GFLOP", "saved inputs", "process peak", "without program", "model");
    std::printf(
        "%s-+-------------------------+----------+---------+-------------------+-------------------+-------------------+"
        "---------\n",
        std::string(width, '-').c_str());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const RunReport& run = rows[i].run;
        char accuracy[64];
        std::snprintf(accuracy, sizeof accuracy, "%5.1f %%  (%.1f to %.1f)", 100.0 * run.test_accuracy,
                      100.0 * run.test_accuracy_low, 100.0 * run.test_accuracy_high);
        const RunReport& base = vanilla == nullptr ? run : *vanilla;
        const double saved = saved_input_total(run);
        std::printf("%-*s | %-23s | %8s | %7.2f | %10s %6s | %10s %6s | %10s %6s | %8s\n", first, names[i].c_str(),
                    accuracy, page::seconds_text(run.seconds_per_step_median).c_str(), run.flops_per_step / 1e9,
                    page::bytes_text(saved).c_str(), against(saved, saved_input_total(base), run).c_str(),
                    page::bytes_text(run.peak_rss_bytes).c_str(),
                    against(run.peak_rss_bytes, base.peak_rss_bytes, run).c_str(),
                    page::bytes_text(net_peak(run)).c_str(), against(net_peak(run), net_peak(base), run).c_str(),
                    page::bytes_text(run.model_bytes).c_str());
    }
    if (vanilla != nullptr) {
        std::printf(
            "\n\"12x\" means twelve times less than vanilla. Saved inputs: peak bytes kept for the weight gradients of "
            "the chosen layers.\n"
            "Process: peak resident memory, program and data included, and without them.\n");
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
        rows.push_back({read_run(folder), page.lexically_proximate(base).generic_string(),
                        page.parent_path().lexically_normal().filename().string()});
    }
    print_table(rows);
    if (!options.out.empty()) {
        wasi::io::write_file_atomically(options.out, compare_page(rows, options.heading));
    }
    return 0;
}

}  // namespace wasi_examples
