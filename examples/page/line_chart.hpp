#pragma once
#include <string>
#include <utility>
#include <vector>

#include <wasi/core/scalar.hpp>

namespace page {

/// Marks are coloured by slot; each slot has a tone for light and one for dark pages.
inline constexpr int colour_count = 8;

/// One line of a chart. Where x or y is not finite (or y has no place on a logarithmic axis) the line has a gap.
struct Series {
    std::string label = {};  ///< written at the line's right end when the chart has end labels
    int colour = 0;          ///< slot, 0..colour_count-1
    std::vector<double> x = {};
    std::vector<double> y = {};
    bool faint = false;  ///< thin and pale: the raw values behind a smoothed line
    bool broad = false;  ///< broad and pale: a baseline that other lines may lie upon
};

/// A line chart with axes, a grid and, if asked, labels at the line ends and a read-out under the pointer.
struct LineChart {
    std::string description = {};  ///< what a screen reader says
    std::string x_label = {};
    std::string y_label = {};
    std::vector<Series> series = {};
    int height = 260;          ///< of the plot area, in CSS pixels
    bool logarithmic = false;  ///< the vertical axis
    bool from_zero = true;     ///< a linear vertical axis starts at zero
    bool end_labels = false;
    std::vector<std::pair<double, std::string>> readings =
        {};  ///< (x, lines of text): shown while the pointer is nearest to that x
};

/// HTML with one SVG that takes any width while its text keeps its size. A series of many points is thinned to the
/// width of a screen: of each group of neighbours the lowest and the highest stay. A short note when there is nothing
/// to draw.
[[nodiscard]] std::string line_chart(const LineChart& chart);

/// The mean of y over `window` neighbours (fewer at the two ends), leaving out what is not finite. Cost n window.
[[nodiscard]] std::vector<double> running_mean(const std::vector<double>& y, wasi::Index window);

/// A window that shows the trend of `count` noisy steps: about a thirtieth of them, odd, at least 1.
[[nodiscard]] wasi::Index trend_window(wasi::Index count);

/// The CSS class of a colour slot; any integer is taken around the circle of slots.
[[nodiscard]] std::string colour_class(int colour);

}  // namespace page
