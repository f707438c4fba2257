#include "page/area_chart.hpp"

#include <algorithm>
#include <cstddef>

#include "page/chart_axis.hpp"
#include "page/line_chart.hpp"
#include "page/page_numbers.hpp"

namespace page {
namespace {

constexpr double canvas = 1000.0;  // as in line_chart.cpp: thousandths of the plot's sides
constexpr std::size_t groups_on_screen = 480;

std::string coordinate(double value)
{
    return fixed_text(value, 1);
}

std::string percentage(double fraction)
{
    return fixed_text(100.0 * fraction, 2) + "%";
}

/// The height of the whole stack at each position.
std::vector<double> stack_heights(const AreaChart& chart, std::size_t count)
{
    std::vector<double> total(count, 0.0);
    for (const Area& area : chart.areas) {
        for (std::size_t i = 0; i < count; ++i) {
            total[i] += area.heights[i];
        }
    }
    return total;
}

/// The positions to draw: of each group of neighbours the lowest and the highest stack, in their order.
std::vector<std::size_t> shown_positions(const std::vector<double>& total)
{
    const std::size_t group = std::max<std::size_t>(1, (total.size() + groups_on_screen - 1) / groups_on_screen);
    std::vector<std::size_t> positions;
    for (std::size_t start = 0; start < total.size(); start += group) {
        const auto begin = total.begin() + static_cast<std::ptrdiff_t>(start);
        const auto end = total.begin() + static_cast<std::ptrdiff_t>(std::min(total.size(), start + group));
        const auto [lowest, highest] = std::minmax_element(begin, end);
        const auto [first, second] = std::minmax({lowest - total.begin(), highest - total.begin()});  // by value
        positions.push_back(static_cast<std::size_t>(first));
        if (second != first) {
            positions.push_back(static_cast<std::size_t>(second));
        }
    }
    return positions;
}

/// The staircase over the shown positions, from left to right; SVG path data without the first command.
std::string stairs(const std::vector<std::size_t>& positions, const std::vector<double>& heights,
                   const Axis& horizontal, const Axis& vertical)
{
    std::string data;
    for (const std::size_t i : positions) {
        data += (data.empty() ? "" : "H") +
                (data.empty() ? coordinate(canvas * horizontal.fraction(static_cast<double>(i))) + ' '
                              : coordinate(canvas * horizontal.fraction(static_cast<double>(i))) + 'V') +
                coordinate(canvas * (1.0 - vertical.fraction(heights[i])));
    }
    return data + "H1000";
}

std::string readings_text(const AreaChart& chart, const std::vector<std::size_t>& positions, const Axis& horizontal)
{
    std::string text;
    for (const std::size_t i : positions) {
        if (i < chart.readings.size()) {
            text += (text.empty() ? "" : "\n\n") + fixed_text(horizontal.fraction(static_cast<double>(i)), 4) + "|" +
                    chart.readings[i];
        }
    }
    return text;
}

std::string legend(const AreaChart& chart)
{
    std::string html = "<p class=\"legend\">";
    for (auto area = chart.areas.rbegin(); area != chart.areas.rend(); ++area) {  // as the eye reads the stack
        html += "<span><i class=\"key " + colour_class(area->colour) + "\"></i>" + escape_html(area->label) + "</span>";
    }
    return html + "</p>\n";
}

std::string marks_html(const AreaChart& chart, const Axis& horizontal)
{
    std::string html;
    double before = -1.0;
    int line = 0;
    for (const auto& [position, name] : chart.marks) {
        if (horizontal.shows(position)) {
            const double at = horizontal.fraction(position);
            line = at - before < 0.1 ? (line + 1) % 4 : 0;  // labels that would overlap go one below the other
            before = at;
            html += "<span class=\"moment" + std::string(at > 0.85 ? " left" : "") +
                    "\" style=\"left:" + percentage(at) + ";padding-top:" + std::to_string(line) + "em\">" +
                    escape_html(name) + "</span>";
        }
    }
    return html;
}

}  // namespace

std::string area_chart(const AreaChart& chart)
{
    const std::size_t count = chart.areas.empty() ? 0 : chart.areas.front().heights.size();
    if (count == 0) {
        return "<p class=\"none\">n/a: nothing was recorded.</p>\n";
    }
    const std::vector<double> total = stack_heights(chart, count);
    const std::vector<std::size_t> positions = shown_positions(total);
    const Axis horizontal = Axis::linear(0.0, static_cast<double>(count), 6, false);
    const Axis vertical = Axis::linear(0.0, *std::max_element(total.begin(), total.end()), 5, true);

    std::string html = legend(chart) + "<div class=\"plot\">\n<div class=\"y-name\">" + escape_html(chart.y_label) +
                       "</div>\n<div class=\"area\" style=\"height:" + std::to_string(chart.height) + "px\"";
    const std::string readings = readings_text(chart, positions, horizontal);
    if (!readings.empty()) {
        html += " data-readings=\"" + escape_html(readings) + "\"";
    }
    html += ">\n<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"" +
            escape_html(chart.description) + "\">\n<path class=\"grid\" d=\"";
    for (const Tick& tick : vertical.ticks()) {
        html += "M0 " + coordinate(canvas * (1.0 - tick.fraction)) + "H1000";
    }
    html += "\"/>\n";
    // From the top layer down, each filled to the ground, so that no seam shows between two of them.
    std::vector<double> heights = total;
    for (auto area = chart.areas.rbegin(); area != chart.areas.rend(); ++area) {
        html += "<path class=\"fill " + colour_class(area->colour) + "\" d=\"M" +
                stairs(positions, heights, horizontal, vertical) + "V1000H0Z\"/>\n";
        for (std::size_t i = 0; i < count; ++i) {
            heights[i] = std::max(0.0, heights[i] - area->heights[i]);
        }
    }
    html += "</svg>\n" + marks_html(chart, horizontal);
    for (const Tick& tick : vertical.ticks()) {
        html += "<span class=\"tick-y\" style=\"bottom:" + percentage(tick.fraction) + "\">" + tick.text + "</span>";
    }
    for (const Tick& tick : horizontal.ticks()) {
        html += "<span class=\"tick-x\" style=\"left:" + percentage(tick.fraction) + "\">" + tick.text + "</span>";
    }
    return html + "\n</div>\n<div class=\"x-name\">" + escape_html(chart.x_label) + "</div>\n</div>\n";
}

}  // namespace page
