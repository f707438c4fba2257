#pragma once
#include <string>
#include <vector>

#include "report/report_page.hpp"

namespace wasi_examples {

/// One run and where its own report lies, relative to the page; no link when `href` is empty.
struct CompareRow {
    RunReport run;
    std::string href;
    std::string folder;  ///< the last name of its path, by which runs of one method are told apart
};

/// What each run is called: its method; where runs share that, their folders; where they share those too, their titles,
/// or numbers.
[[nodiscard]] std::vector<std::string> run_names(const std::vector<CompareRow>& rows);

/// Several runs on one page: a table, accuracies with their intervals, all loss curves, and memory side by side. When
/// there is a vanilla run, the others' sizes are also given relative to it. One HTML file that loads nothing.
[[nodiscard]] std::string compare_page(const std::vector<CompareRow>& rows, const std::string& heading);

}  // namespace wasi_examples
