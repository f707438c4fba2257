#include "page/bar_chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "page/chart_axis.hpp"
#include "page/line_chart.hpp"
#include "page/page_numbers.hpp"

namespace page {
namespace {

std::string percentage(double fraction)
{
    return fixed_text(100.0 * std::clamp(fraction, 0.0, 1.0), 2) + "%";
}

bool drawable(double value)
{
    return std::isfinite(value) && value >= 0.0;
}

std::string label_cell(const Bar& bar)
{
    const std::string label = escape_html(bar.label);
    const std::string linked = bar.href.empty() ? label : "<a href=\"" + escape_html(bar.href) + "\">" + label + "</a>";
    return "<th scope=\"row\" title=\"" + label + "\">" + linked + "</th>";
}

}  // namespace

std::string chart_rows(const std::vector<Bar>& bars, const std::vector<std::string>& drawings,
                       const std::string& last_row)
{
    const bool notes = std::any_of(bars.begin(), bars.end(), [](const Bar& bar) { return !bar.note.empty(); });
    std::string html = "<table class=\"bars\">\n";
    std::string group;
    for (std::size_t i = 0; i < bars.size(); ++i) {
        const Bar& bar = bars[i];
        if (bar.group != group) {
            group = bar.group;
            html += "<tr class=\"group\"><th colspan=\"4\">" + escape_html(group) + "</th></tr>\n";
        }
        html += "<tr>" + label_cell(bar) + "<td class=\"track " + colour_class(bar.colour) + "\"><div>" + drawings[i] +
                "</div></td><td class=\"value\">" + escape_html(bar.text) + "</td>" +
                (notes ? "<td class=\"note\">" + escape_html(bar.note) + "</td>" : "") + "</tr>\n";
    }
    return html + last_row + "</table>\n";
}

std::string bar_chart(const std::vector<Bar>& bars)
{
    double largest = 0.0;
    for (const Bar& bar : bars) {
        for (const double value : {bar.value, bar.full, bar.mark}) {
            largest = drawable(value) ? std::max(largest, value) : largest;
        }
    }
    std::vector<std::string> drawings;
    for (const Bar& bar : bars) {
        std::string html;
        if (largest > 0.0 && drawable(bar.full)) {
            html += "<i class=\"full\" style=\"width:" + percentage(bar.full / largest) + "\"></i>";
        }
        if (largest > 0.0 && drawable(bar.value) && bar.value > 0.0) {
            html += "<i class=\"bar\" style=\"width:" + percentage(bar.value / largest) + "\"></i>";
        }
        if (largest > 0.0 && drawable(bar.mark)) {
            html += "<i class=\"mark\" style=\"left:" + percentage(bar.mark / largest) + "\"></i>";
        }
        drawings.push_back(html);
    }
    return chart_rows(bars, drawings);
}

std::string interval_chart(const std::vector<Bar>& bars)
{
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const Bar& bar : bars) {
        for (const double value : {bar.value, bar.low, bar.high}) {
            if (drawable(value)) {
                low = std::min(low, 100.0 * value);
                high = std::max(high, 100.0 * value);
            }
        }
    }
    const Axis axis = low <= high ? Axis::linear(low, high, 5, true) : Axis::linear(0.0, 100.0, 5, true);
    const auto place = [&](double value) { return axis.fraction(100.0 * value); };
    std::string rules;
    std::string ticks = "<tr class=\"ticks\"><th></th><td class=\"track\"><div>";
    for (const Tick& tick : axis.ticks()) {
        rules += "<i class=\"rule\" style=\"left:" + percentage(tick.fraction) + "\"></i>";
        ticks += "<span style=\"left:" + percentage(tick.fraction) + "\">" + tick.text + "</span>";
    }
    std::vector<std::string> drawings;
    for (const Bar& bar : bars) {
        std::string html = rules;
        if (drawable(bar.low) && drawable(bar.high) && bar.low <= bar.high) {
            html += "<i class=\"whisker\" style=\"left:" + percentage(place(bar.low)) +
                    ";width:" + percentage(place(bar.high) - place(bar.low)) + "\"></i>";
        }
        if (drawable(bar.value)) {
            html += "<i class=\"dot\" style=\"left:" + percentage(place(bar.value)) + "\"></i>";
        }
        drawings.push_back(html);
    }
    return "<div class=\"intervals\">\n" + chart_rows(bars, drawings, ticks + "</div></td></tr>\n") + "</div>\n";
}

std::string heat_strip(const std::vector<double>& values, double low, double high, const std::string& description)
{
    constexpr std::size_t most_cells = 120;
    constexpr long levels = 24;  // neighbours of one shade are drawn as one rectangle
    constexpr double palest = 0.10;
    const std::size_t group = std::max<std::size_t>(1, (values.size() + most_cells - 1) / most_cells);
    const std::size_t cells = (values.size() + group - 1) / group;
    std::vector<long> shades;  // -1: nothing to show
    for (std::size_t cell = 0; cell < cells; ++cell) {
        double sum = 0.0;
        long terms = 0;
        for (std::size_t i = cell * group; i < std::min(values.size(), (cell + 1) * group); ++i) {
            if (std::isfinite(values[i])) {
                sum += values[i];
                ++terms;
            }
        }
        const double mean = sum / static_cast<double>(std::max(terms, 1L));
        const double part = high > low ? std::clamp((mean - low) / (high - low), 0.0, 1.0) : 1.0;
        shades.push_back(terms == 0 ? -1 : std::lround(part * static_cast<double>(levels)));
    }
    const std::string width = std::to_string(std::max<std::size_t>(cells, 1));
    std::string svg = "<svg class=\"strip\" viewBox=\"0 0 " + width +
                      " 1\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"" + escape_html(description) + "\">";
    for (std::size_t start = 0; start < cells;) {
        std::size_t end = start;
        while (end < cells && shades[end] == shades[start]) {
            ++end;
        }
        if (shades[start] >= 0) {
            const double opacity =
                palest + (1.0 - palest) * static_cast<double>(shades[start]) / static_cast<double>(levels);
            svg += "<rect x=\"" + std::to_string(start) + "\" width=\"" + std::to_string(end - start) +
                   "\" height=\"1\" fill-opacity=\"" + fixed_text(opacity, 2) + "\"/>";
        }
        start = end;
    }
    return svg + "</svg>";
}

}  // namespace page
