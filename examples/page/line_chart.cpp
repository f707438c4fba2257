#include "page/line_chart.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "page/chart_axis.hpp"
#include "page/page_numbers.hpp"

namespace page {
namespace {

using wasi::Index;

/// The drawing is stretched to whatever width the page gives it, so coordinates are thousandths of the plot's sides.
constexpr double canvas = 1000.0;
constexpr Index groups_on_screen = 400;
constexpr double label_height = 17.0;

std::string coordinate(double value)
{
    return fixed_text(value, 1);
}

std::string percentage(double fraction)
{
    return fixed_text(100.0 * fraction, 2) + "%";
}

/// A point as fractions of the plot; NaN in y is a gap.
struct Point {
    double x;
    double y;
};

/// The points of a series, thinned: of each group of neighbours the lowest and the highest remain, in their order.
std::vector<Point> thinned_points(const Series& series, const Axis& horizontal, const Axis& vertical)
{
    const std::size_t count = std::min(series.x.size(), series.y.size());
    const std::size_t group = std::max<std::size_t>(1, (count + groups_on_screen - 1) / groups_on_screen);
    std::vector<Point> points;
    for (std::size_t start = 0; start < count; start += group) {
        std::size_t lowest = count;  // count: none yet
        std::size_t highest = count;
        for (std::size_t i = start; i < std::min(count, start + group); ++i) {
            if (!horizontal.shows(series.x[i]) || !vertical.shows(series.y[i])) {
                continue;
            }
            lowest = lowest == count || series.y[i] < series.y[lowest] ? i : lowest;
            highest = highest == count || series.y[i] > series.y[highest] ? i : highest;
        }
        if (lowest == count) {
            points.push_back({0.0, std::numeric_limits<double>::quiet_NaN()});
            continue;
        }
        const auto add = [&](std::size_t i) {
            points.push_back({horizontal.fraction(series.x[i]), vertical.fraction(series.y[i])});
        };
        add(std::min(lowest, highest));
        if (lowest != highest) {
            add(std::max(lowest, highest));
        }
    }
    return points;
}

/// SVG path data. A point with no neighbour becomes a very short line, which round caps make a dot.
std::string path_data(const std::vector<Point>& points)
{
    std::string data;
    Index strokes = 0;  // points since the pen came down
    const auto lift = [&] {
        data += strokes == 1 ? "h1" : "";
        strokes = 0;
    };
    for (const Point& point : points) {
        if (std::isnan(point.y)) {
            lift();
            continue;
        }
        data += (strokes == 0 ? 'M' : 'L') + coordinate(canvas * point.x) + ' ' + coordinate(canvas * (1.0 - point.y));
        ++strokes;
    }
    lift();
    return data;
}

struct EndLabel {
    std::string text;
    int colour;
    double anchor;    // CSS pixels from the top: where the line ends
    double position;  // where the label goes
};

/// Moves labels apart until none covers another, as little as a sweep down and a sweep up can.
void spread(std::vector<EndLabel>& labels, double height)
{
    std::stable_sort(labels.begin(), labels.end(),
                     [](const EndLabel& a, const EndLabel& b) { return a.anchor < b.anchor; });
    double free_from = 0.0;
    for (EndLabel& label : labels) {
        label.position = std::max(label.anchor, free_from);
        free_from = label.position + label_height;
    }
    double free_to = height;
    for (std::size_t i = labels.size(); i-- > 0;) {
        labels[i].position = std::min(labels[i].position, free_to);
        free_to = labels[i].position - label_height;
    }
}

std::string end_labels_html(const LineChart& chart, const Axis& vertical)
{
    const double height = chart.height;
    std::vector<EndLabel> labels;
    for (const Series& series : chart.series) {
        const auto last = std::find_if(series.y.rbegin(), series.y.rend(), [&](double y) { return vertical.shows(y); });
        if (!series.label.empty() && last != series.y.rend()) {
            const double anchor = height * (1.0 - vertical.fraction(*last));
            labels.push_back({series.label, series.colour, anchor, anchor});
        }
    }
    spread(labels, height);
    std::string html =
        "<svg class=\"leaders\" width=\"16\" height=\"" + std::to_string(chart.height) + "\" aria-hidden=\"true\">";
    for (const EndLabel& label : labels) {
        html += "<path class=\"" + colour_class(label.colour) + "\" d=\"M3 " + coordinate(label.anchor) + "L14 " +
                coordinate(label.position) + "\"/>";
    }
    html += "</svg>";
    for (const EndLabel& label : labels) {
        html += "<span class=\"end " + colour_class(label.colour) + "\" style=\"top:" + coordinate(label.position) +
                "px\" title=\"" + escape_html(label.text) + "\">" + escape_html(label.text) + "</span>";
    }
    return html;
}

/// "0.1234|first line\nsecond line" for each reading, an empty line between two of them.
std::string readings_text(const LineChart& chart, const Axis& horizontal)
{
    std::string text;
    const std::size_t count = chart.readings.size();
    const std::size_t stride = std::max<std::size_t>(1, (count + groups_on_screen - 1) / groups_on_screen);
    for (std::size_t i = 0; i < count; i += stride) {
        const auto& [x, words] = chart.readings[i];
        if (horizontal.shows(x)) {
            text += (text.empty() ? "" : "\n\n") + fixed_text(horizontal.fraction(x), 4) + "|" + words;
        }
    }
    return text;
}

/// The least and the largest of what can be drawn.
struct Range {
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();

    void include(double value)
    {
        low = std::min(low, value);
        high = std::max(high, value);
    }
};

}  // namespace

std::string colour_class(int colour)
{
    return "c" + std::to_string(((colour % colour_count) + colour_count) % colour_count);
}

std::string line_chart(const LineChart& chart)
{
    const Axis any = chart.logarithmic ? Axis::logarithmic(1.0, 2.0) : Axis::linear(0.0, 1.0, 1, true);
    Range across;
    Range up;
    for (const Series& series : chart.series) {
        for (std::size_t i = 0; i < std::min(series.x.size(), series.y.size()); ++i) {
            if (std::isfinite(series.x[i]) && any.shows(series.y[i])) {
                across.include(series.x[i]);
                up.include(series.y[i]);
            }
        }
    }
    if (up.low > up.high) {
        return "<p class=\"none\">n/a: no finite values to draw.</p>\n";
    }
    if (chart.from_zero && !chart.logarithmic) {
        up.include(0.0);
        up.high = up.high > 0.0 || up.low < 0.0 ? up.high : 1.0;  // nothing but zeros
    }
    const int target = chart.height < 180 ? 3 : 5;
    const Axis horizontal = Axis::linear(across.low, across.high, 6, false);
    const Axis vertical =
        chart.logarithmic ? Axis::logarithmic(up.low, up.high) : Axis::linear(up.low, up.high, target, true);

    std::string html = "<div class=\"plot" + std::string(chart.end_labels ? " labelled" : "") +
                       "\">\n<div class=\"y-name\">" + escape_html(chart.y_label) +
                       "</div>\n<div class=\"area\" style=\"height:" + std::to_string(chart.height) + "px\"";
    const std::string readings = readings_text(chart, horizontal);
    if (!readings.empty()) {
        html += " data-readings=\"" + escape_html(readings) + "\"";
    }
    html += ">\n<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"" +
            escape_html(chart.description) + "\">\n";
    html += "<path class=\"grid\" d=\"";
    for (const Tick& tick : vertical.ticks()) {
        html += "M0 " + coordinate(canvas * (1.0 - tick.fraction)) + "H1000";
    }
    html += "\"/>\n";
    for (const Series& series : chart.series) {
        const std::vector<Point> points = thinned_points(series, horizontal, vertical);
        const auto drawn =
            std::count_if(points.begin(), points.end(), [](const Point& point) { return !std::isnan(point.y); });
        if (drawn == 0) {
            continue;
        }
        html += "<path class=\"line " + colour_class(series.colour) + (series.faint ? " faint" : "") +
                (series.broad ? " broad" : "") + (drawn == 1 ? " point" : "") + "\" d=\"" + path_data(points) +
                "\"/>\n";
        const auto last =
            std::find_if(points.rbegin(), points.rend(), [](const Point& point) { return !std::isnan(point.y); });
        if (chart.end_labels && !series.label.empty() &&
            last->x < 0.995) {  // the line ends early: lead the eye to its label
            html += "<path class=\"lead-out " + colour_class(series.colour) + "\" d=\"M" +
                    coordinate(canvas * last->x) + ' ' + coordinate(canvas * (1.0 - last->y)) + "H1000\"/>\n";
        }
    }
    html += "</svg>\n";
    for (const Tick& tick : vertical.ticks()) {
        html += "<span class=\"tick-y\" style=\"bottom:" + percentage(tick.fraction) + "\">" + tick.text + "</span>";
    }
    for (const Tick& tick : horizontal.ticks()) {
        html += "<span class=\"tick-x\" style=\"left:" + percentage(tick.fraction) + "\">" + tick.text + "</span>";
    }
    if (chart.end_labels) {
        html += end_labels_html(chart, vertical);
    }
    return html + "\n</div>\n<div class=\"x-name\">" + escape_html(chart.x_label) + "</div>\n</div>\n";
}

std::vector<double> running_mean(const std::vector<double>& y, Index window)
{
    const auto count = static_cast<Index>(y.size());
    const Index half = std::max<Index>(window, 1) / 2;
    std::vector<double> mean(y.size(), std::numeric_limits<double>::quiet_NaN());
    for (Index i = 0; i < count; ++i) {
        // Summed afresh: a sum that is carried along would carry the rounding of a diverged loss with it.
        double sum = 0.0;
        Index terms = 0;
        for (Index j = std::max<Index>(0, i - half); j <= std::min(count - 1, i + half); ++j) {
            const double value = y[static_cast<std::size_t>(j)];
            if (std::isfinite(value)) {
                sum += value;
                ++terms;
            }
        }
        if (terms > 0) {
            mean[static_cast<std::size_t>(i)] = sum / static_cast<double>(terms);
        }
    }
    return mean;
}

Index trend_window(Index count)
{
    return count / 60 * 2 + 1;
}

}  // namespace page
