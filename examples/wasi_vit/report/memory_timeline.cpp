#include "report/memory_timeline.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include <wasi/core/text_stream.hpp>

#include "page/area_chart.hpp"
#include "page/page_numbers.hpp"
#include "page/page_shell.hpp"

namespace wasi_examples {
namespace {

using wasi::Use;

struct Layer {
    Use use;
    const char* label;
    int colour;
};

/// From the bottom up: what stays, then what grows and shrinks, then what flickers.
constexpr std::array<Layer, wasi::use_count> stack{{{Use::weight, "weights", 4},
                                                    {Use::optimiser_state, "optimiser state", 6},
                                                    {Use::input, "input", 7},
                                                    {Use::saved_input, "saved inputs", 0},
                                                    {Use::saved_activation, "other saved values", 2},
                                                    {Use::gradient, "gradients", 1},
                                                    {Use::workspace, "workspace", 3}}};

[[nodiscard]] std::size_t sum(const std::array<std::size_t, wasi::use_count>& bytes)
{
    return std::accumulate(bytes.begin(), bytes.end(), std::size_t{0});
}

}  // namespace

std::vector<std::array<std::size_t, wasi::use_count>> bytes_after_events(const wasi::MemoryEvents& record)
{
    std::vector<std::array<std::size_t, wasi::use_count>> rows{record.start};
    rows.reserve(record.events.size() + 1);
    for (const wasi::MemoryEvent& event : record.events) {
        auto row = rows.back();
        // Wraps around to the right sum when bytes go.
        row[static_cast<std::size_t>(event.use)] += static_cast<std::size_t>(event.bytes);
        rows.push_back(row);
    }
    return rows;
}

std::string memory_csv(const wasi::MemoryEvents& record)
{
    wasi::TextStream out;
    out << "event,mark";
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        out << ',' << to_string(static_cast<Use>(use));
    }
    out << ",total\n";
    const auto rows = bytes_after_events(record);
    auto mark = record.marks.begin();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        out << i << ',';
        for (const char* between = ""; mark != record.marks.end() && mark->position < i; ++mark, between = " ") {
            out << between << mark->label;
        }
        for (const std::size_t bytes : rows[i]) {
            out << ',' << bytes;
        }
        out << ',' << sum(rows[i]) << '\n';
    }
    return out.str();
}

std::string memory_along_step(const wasi::MemoryEvents& record)
{
    if (record.events.empty()) {
        return "";
    }
    const auto rows = bytes_after_events(record);
    std::size_t peak = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        peak = sum(rows[i]) > sum(rows[peak]) ? i : peak;
    }
    const auto most = static_cast<double>(sum(rows[peak]));
    const auto [unit, unit_name] = most < 2.0 * 1024.0 * 1024.0      ? std::pair{1024.0, "KiB"}
                                   : most < 2048.0 * 1024.0 * 1024.0 ? std::pair{1024.0 * 1024.0, "MiB"}
                                                                     : std::pair{1024.0 * 1024.0 * 1024.0, "GiB"};
    page::AreaChart chart{.description = "Bytes held by each class of memory along one training step",
                          .x_label = "allocations, releases and moves between classes, in order",
                          .y_label = std::string(unit_name) + " held"};
    for (const Layer& layer : stack) {
        const auto use = static_cast<std::size_t>(layer.use);
        if (std::all_of(rows.begin(), rows.end(), [&](const auto& row) { return row[use] == 0; })) {
            continue;
        }
        page::Area area{.label = layer.label, .colour = layer.colour};
        area.heights.reserve(rows.size());
        for (const auto& row : rows) {
            area.heights.push_back(static_cast<double>(row[use]) / unit);
        }
        chart.areas.push_back(std::move(area));
    }
    std::string phase = "before";
    auto mark = record.marks.begin();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        for (; mark != record.marks.end() && mark->position <= i; ++mark) {
            phase = mark->label;
            chart.marks.emplace_back(static_cast<double>(mark->position), mark->label);
        }
        std::string text = phase + ", " + page::bytes_text(static_cast<double>(sum(rows[i])));
        for (auto layer = stack.rbegin(); layer != stack.rend(); ++layer) {
            const std::size_t bytes = rows[i][static_cast<std::size_t>(layer->use)];
            text += bytes == 0 ? "" : "\n" + page::bytes_text(static_cast<double>(bytes)) + "  " + layer->label;
        }
        chart.readings.push_back(std::move(text));
    }
    std::string caption = "What the library held after each of the " +
                          page::count_text(static_cast<wasi::Index>(record.events.size())) +
                          " changes of one step, by class; the most, " + page::bytes_text(most) + ", after change " +
                          page::count_text(static_cast<wasi::Index>(peak)) + ". The data are in memory.csv.";
    caption += record.complete ? "" : " The record was full before the step was over.";
    return page::figure_html("Memory along a step", page::area_chart(chart), caption);
}

}  // namespace wasi_examples
