#pragma once
#include <string>

#include "report/report_page.hpp"

namespace wasi_examples {

/// The part of a report that shows its layers, as HTML: weight ranks against full and break-even rank, a table of all
/// figures by layer, and the captured energy of the saved inputs over the steps. Empty when no layer is listed.
[[nodiscard]] std::string layer_figures(const RunReport& run);

}  // namespace wasi_examples
