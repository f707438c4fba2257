// Four panels over one axis of ranks, as an SVG of its own that any browser and any document shows.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "page/chart_axis.hpp"
#include "page/page_numbers.hpp"
#include "report.hpp"

namespace wasi_bench {
namespace {

using page::Axis;
using page::escape_html;
using page::fixed_text;
using page::Tick;

constexpr double width = 1000.0;
constexpr double height = 800.0;
constexpr double panel_width = 400.0;
constexpr double panel_height = 230.0;
constexpr double left_edge = 40.0;
constexpr double axis_room = 50.0;  // for the numbers beside a panel

/// Errors below this are the rounding of single precision, not of the cut; a line into them would hide the others.
constexpr double rounding = 1e-5;

constexpr const char* style =
    "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;fill:#5c646d}"
    ".title{font-size:20px;font-weight:600;fill:#1d2126}.panel{font-size:15px;font-weight:600;fill:#1d2126}"
    ".right{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:#e8e5dc}.frame{stroke:#5c646d}"
    "path,line{fill:none}.line{stroke-width:2;stroke-linejoin:round}.best{stroke:#6c747d;stroke-width:7;opacity:.3}"
    ".dense{stroke:#6c747d;stroke-width:1.5;stroke-dasharray:5 4}.ring{fill:#fff;stroke-width:1.6}"
    ".halo{paint-order:stroke;stroke:#fff;stroke-width:5;stroke-linejoin:round}";

/// One panel: what it shows of a measurement, and how.
struct Panel {
    std::string name;
    std::string unit;
    std::function<double(const Measurement&)> value;
    bool logarithmic = true;
    std::optional<double> dense = {};  ///< a horizontal line: the matrix or tensor itself
    bool best = false;                 ///< the optimal error below the lines
};

std::string number(double value)
{
    return fixed_text(value, 1);
}

std::string text_at(double x, double y, const std::string& kind, const std::string& words)
{
    return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\"" + (kind.empty() ? "" : " class=\"" + kind + "\"") +
           ">" + escape_html(words) + "</text>\n";
}

std::string colour_of(const std::string& route)
{
    return route == "dense" || route == "hosvd" ? "#1f63d0" : "#c9690a";
}

std::vector<std::string> routes_of(const std::vector<Measurement>& measurements)
{
    std::vector<std::string> routes;
    for (const Measurement& m : measurements) {
        if (std::find(routes.begin(), routes.end(), m.route) == routes.end()) {
            routes.push_back(m.route);
        }
    }
    return routes;
}

double rank_of(const Measurement& m)
{
    return static_cast<double>(m.largest_rank());
}

double above_rounding(double error)
{
    return error >= rounding ? error : std::numeric_limits<double>::quiet_NaN();
}

/// The axes of a panel and where its corner is.
class Frame {
public:
    Frame(double left, double top, Axis across, Axis up)
        : left_(left), top_(top), across_(std::move(across)), up_(std::move(up))
    {
    }
    [[nodiscard]] bool shows(double x, double y) const { return across_.shows(x) && up_.shows(y); }
    [[nodiscard]] double x(double value) const { return left_ + panel_width * across_.fraction(value); }
    [[nodiscard]] double y(double value) const { return top_ + panel_height * (1.0 - up_.fraction(value)); }

    [[nodiscard]] std::string svg(const Panel& panel, const std::string& x_name) const
    {
        const double bottom = top_ + panel_height;
        std::string svg = text_at(left_ - axis_room, top_ - 32.0, "panel", panel.name);
        svg += text_at(left_ - axis_room, top_ - 13.0, "", panel.unit);
        for (const Tick& tick : up_.ticks()) {
            const std::string y = number(bottom - panel_height * tick.fraction);
            svg += "<line class=\"grid\" x1=\"" + number(left_) + "\" x2=\"" + number(left_ + panel_width) +
                   "\" y1=\"" + y + "\" y2=\"" + y + "\"/>\n";
            svg += text_at(left_ - 8.0, bottom - panel_height * tick.fraction + 4.5, "right", tick.text);
        }
        for (const Tick& tick : across_.ticks()) {
            const double x = left_ + panel_width * tick.fraction;
            svg += "<line class=\"frame\" x1=\"" + number(x) + "\" x2=\"" + number(x) + "\" y1=\"" + number(bottom) +
                   "\" y2=\"" + number(bottom + 4.0) + "\"/>\n";
            svg += text_at(x, bottom + 18.0, "middle", tick.text);
        }
        svg += "<line class=\"frame\" x1=\"" + number(left_) + "\" x2=\"" + number(left_ + panel_width) + "\" y1=\"" +
               number(bottom) + "\" y2=\"" + number(bottom) + "\"/>\n";
        return svg + text_at(left_ + panel_width, bottom + 36.0, "right", x_name);
    }

    [[nodiscard]] double right() const { return left_ + panel_width; }
    [[nodiscard]] double left() const { return left_; }

private:
    double left_;
    double top_;
    Axis across_;
    Axis up_;
};

/// A line through the fixed ranks, from small to large.
std::string line_through(const Frame& frame, std::vector<const Measurement*> points,
                         const std::function<double(const Measurement&)>& value, const std::string& attributes)
{
    std::sort(points.begin(), points.end(),
              [](const Measurement* a, const Measurement* b) { return rank_of(*a) < rank_of(*b); });
    std::string data;
    for (const Measurement* m : points) {
        if (frame.shows(rank_of(*m), value(*m))) {
            data += (data.empty() ? 'M' : 'L') + number(frame.x(rank_of(*m))) + ' ' + number(frame.y(value(*m)));
        }
    }
    return data.empty() ? "" : "<path " + attributes + " d=\"" + data + "\"/>\n";
}

std::string marks(const Frame& frame, const Panel& panel, const std::vector<Measurement>& measurements)
{
    std::string svg;
    if (panel.dense && frame.shows(1.0, *panel.dense)) {
        const std::string y = number(frame.y(*panel.dense));
        svg += "<line class=\"dense\" x1=\"" + number(frame.left()) + "\" x2=\"" + number(frame.right()) + "\" y1=\"" +
               y + "\" y2=\"" + y + "\"/>\n" +
               text_at(frame.left() + 8.0, frame.y(*panel.dense) - 6.0, "halo", "held in full");
    }
    for (const std::string& route : routes_of(measurements)) {
        std::vector<const Measurement*> fixed;
        std::string dots;
        for (const Measurement& m : measurements) {
            if (m.route != route || !frame.shows(rank_of(m), panel.value(m))) {
                continue;
            }
            const bool by_rank = m.rule == "rank";
            if (by_rank) {
                fixed.push_back(&m);
            }
            dots += "<circle " + std::string(by_rank ? "fill" : "class=\"ring\" stroke") + "=\"" + colour_of(route) +
                    "\" cx=\"" + number(frame.x(rank_of(m))) + "\" cy=\"" + number(frame.y(panel.value(m))) +
                    "\" r=\"" + (by_rank ? "2.6" : "4.2") + "\"/>\n";
        }
        if (panel.best && svg.find("class=\"best\"") == std::string::npos) {
            svg += line_through(
                frame, fixed, [](const Measurement& m) { return above_rounding(m.optimal_error); }, "class=\"best\"");
        }
        svg += line_through(frame, fixed, panel.value, "class=\"line\" stroke=\"" + colour_of(route) + "\"") + dots;
    }
    return svg;
}

/// Whether the errors span more than a linear axis can show.
bool wide_errors(const std::vector<Measurement>& measurements)
{
    return std::any_of(measurements.begin(), measurements.end(),
                       [](const Measurement& m) { return above_rounding(m.relative_error) < 1.0 / 30.0; });
}

/// The axis that holds every value of a panel.
Axis axis_for(const Panel& panel, const std::vector<Measurement>& measurements)
{
    if (!panel.logarithmic) {
        return Axis::linear(0.0, 1.0, 5, true);
    }
    double low = std::numeric_limits<double>::infinity();
    double high = 0.0;
    const auto include = [&](double value) {
        if (std::isfinite(value) && value > 0.0) {
            low = std::min(low, value);
            high = std::max(high, value);
        }
    };
    for (const Measurement& m : measurements) {
        include(panel.value(m));
        include(panel.best ? above_rounding(m.optimal_error) : panel.value(m));
    }
    include(panel.dense.value_or(0.0));
    return Axis::logarithmic(low, high);
}

std::string legend(const Setting& setting, const std::vector<Measurement>& measurements)
{
    double x = left_edge;
    constexpr double y = 84.0;
    std::string svg;
    const auto entry = [&](const std::string& mark, const std::string& words, double room) {
        svg += "<g transform=\"translate(" + number(x) + " " + number(y) + ")\">" + mark + "</g>\n" +
               text_at(x + 34.0, y + 4.5, "", words);
        x += room;
    };
    for (const std::string& route : routes_of(measurements)) {
        const std::string words = route == "dense"        ? "dense SVD"
                                  : route == "randomized" ? "randomized SVD"
                                  : route == "hosvd"      ? "HOSVD"
                                                          : "sequentially truncated HOSVD";
        entry("<path class=\"line\" stroke=\"" + colour_of(route) +
                  "\" d=\"M0 0H26\"/><circle r=\"2.6\" cx=\"13\" fill=\"" + colour_of(route) + "\"/>",
              words, 56.0 + 7.2 * static_cast<double>(words.size()));
    }
    entry("<circle class=\"ring\" stroke=\"#5c646d\" r=\"4.2\" cx=\"13\"/>", "asked for an energy", 190.0);
    if (std::any_of(measurements.begin(), measurements.end(),
                    [](const Measurement& m) { return std::isfinite(m.optimal_error); })) {
        entry("<path class=\"best\" d=\"M0 0H26\"/>", "best possible", 150.0);
    }
    const std::string times =
        setting.repeats > 1 ? "medians of " + std::to_string(setting.repeats) + " runs" : "of one run";
    return text_at(left_edge, 40.0, "title", "Energy, error, size and time against rank") +
           text_at(left_edge, 60.0, "", setting.source + ", " + setting.shape + ", single precision, times " + times) +
           svg;
}

}  // namespace

std::string picture(const Setting& setting, const std::vector<Measurement>& measurements)
{
    const bool large = setting.dense_bytes >= 1024.0 * 1024.0;
    const double unit = large ? 1024.0 * 1024.0 : 1024.0;
    const bool wide = wide_errors(measurements);
    const std::vector<Panel> panels{
        {.name = "Captured energy",
         .unit = "share of the squared norm",
         .value = [](const Measurement& m) { return m.captured_energy; },
         .logarithmic = false},
        {.name = "Error",
         .unit = std::string("relative, Frobenius norm") + (wide ? " (logarithmic, without rounding)" : ""),
         .value = [wide](const Measurement& m) { return wide ? above_rounding(m.relative_error) : m.relative_error; },
         .logarithmic = wide,
         .best = true},
        {.name = "Size",
         .unit = std::string(large ? "MiB" : "KiB") + " (logarithmic)",
         .value = [unit](const Measurement& m) { return m.bytes / unit; },
         .dense = setting.dense_bytes / unit},
        {.name = "Time", .unit = "ms (logarithmic)", .value = [](const Measurement& m) { return 1e3 * m.seconds; }},
    };
    double least = std::numeric_limits<double>::infinity();
    double most = 1.0;
    for (const Measurement& m : measurements) {
        least = std::min(least, rank_of(m));
        most = std::max(most, rank_of(m));
    }
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + fixed_text(width, 0) + ' ' +
        fixed_text(height, 0) + "\" width=\"" + fixed_text(width, 0) + "\" height=\"" + fixed_text(height, 0) +
        "\" role=\"img\">\n<title>" +
        escape_html("Energy, error, size and time against rank of " + setting.source + ", " + setting.shape) +
        "</title>\n<style>" + style + "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n" +
        legend(setting, measurements);
    const std::string x_name = setting.order == 2 ? "rank" : "largest rank of a mode";
    for (std::size_t i = 0; i < panels.size(); ++i) {
        const Frame frame(left_edge + axis_room + (i % 2 == 1 ? 490.0 : 0.0), i < 2 ? 165.0 : 510.0,
                          Axis::logarithmic(least, most), axis_for(panels[i], measurements));
        svg += frame.svg(panels[i], x_name) + marks(frame, panels[i], measurements);
    }
    return svg + "</svg>\n";
}

}  // namespace wasi_bench
