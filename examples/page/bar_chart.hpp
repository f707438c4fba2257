#pragma once
#include <string>
#include <vector>

namespace page {

/// One bar, or one dot with its interval.
struct Bar {
    std::string group = {};  ///< a heading over all neighbours of the same group; none when empty
    std::string label = {};
    std::string href = {};  ///< makes the label a link; may be empty
    std::string text = {};  ///< the value in words, beside the mark
    std::string note = {};  ///< more words, paler, in a column of their own; may be empty
    double value = 0.0;
    double low = 0.0;  ///< interval_chart: the ends of the interval
    double high = 0.0;
    double full = -1.0;  ///< bar_chart: the most this bar could be, drawn as a pale track; none when negative
    double mark = -1.0;  ///< bar_chart: a tick at this value; none when negative
    int colour = 0;      ///< slot, see line_chart.hpp
};

/// The rows of a chart, whatever is drawn in them: group headings, a label, `drawings[i]` (HTML), the words. An HTML
/// table.
[[nodiscard]] std::string chart_rows(const std::vector<Bar>& bars, const std::vector<std::string>& drawings,
                                     const std::string& last_row = {});

/// Horizontal bars over a common scale from zero to the largest finite value (of bar or track). A bar whose value is
/// negative or not finite is left out, its words stay. Returns an HTML table.
[[nodiscard]] std::string bar_chart(const std::vector<Bar>& bars);

/// A dot at each value and a line from low to high, over a common axis in per cent of fractions in 0..1. The axis
/// spans what there is to see, not 0 to 100. Returns an HTML table.
[[nodiscard]] std::string interval_chart(const std::vector<Bar>& bars);

/// A strip of cells from left to right, pale at `low` and full at `high`; empty where a value is not finite. Many
/// values are averaged into at most 120 cells. Returns an SVG of any width.
[[nodiscard]] std::string heat_strip(const std::vector<double>& values, double low, double high,
                                     const std::string& description);

}  // namespace page
