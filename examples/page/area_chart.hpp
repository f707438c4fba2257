#pragma once
#include <string>
#include <utility>
#include <vector>

namespace page {

/// One layer of a stack: what it adds at each position.
struct Area {
    std::string label = {};  ///< in the legend above the chart
    int colour = 0;          ///< slot, see line_chart.hpp
    std::vector<double> heights = {};
};

/// Layers stacked upon each other from zero, the first at the bottom. Position i holds until i + 1, so the outline is a
/// staircase.
struct AreaChart {
    std::string description = {};  ///< what a screen reader says
    std::string x_label = {};
    std::string y_label = {};
    std::vector<Area> areas = {};                            ///< of the same length, finite and not negative
    std::vector<std::pair<double, std::string>> marks = {};  ///< (position, name): a vertical line with its name
    int height = 320;                                        ///< of the plot area, in CSS pixels
    std::vector<std::string> readings = {};  ///< a text for each position, shown under the pointer; may be empty
};

/// HTML with one SVG that takes any width while its text keeps its size, and a legend. Many positions are thinned to
/// the width of a screen: of each group of neighbours the lowest and the highest stack stay. A short note when there is
/// nothing to draw.
[[nodiscard]] std::string area_chart(const AreaChart& chart);

}  // namespace page
