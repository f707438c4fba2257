#include "report/compare_page.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "page/bar_chart.hpp"
#include "page/line_chart.hpp"
#include "page/page_numbers.hpp"
#include "page/page_shell.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

/// A run with the name and colour it has on this page.
struct Entry {
    const RunReport* run;
    std::string name;
    std::string href;
    int colour;
};

/// Colours follow the method, and the second run of a method takes the next free one.
std::vector<Entry> name_and_colour(const std::vector<CompareRow>& rows)
{
    const std::vector<std::string> names = run_names(rows);
    std::vector<Entry> entries;
    std::vector<int> used;
    for (const CompareRow& row : rows) {
        int colour = method_colour(row.run.method);
        for (int tries = 0; tries < page::colour_count && std::find(used.begin(), used.end(), colour) != used.end();
             ++tries) {
            colour = (colour + 5) % page::colour_count;  // 5 and 8 have no common factor: every slot is tried
        }
        used.push_back(colour);
        entries.push_back({&row.run, names[entries.size()], row.href, colour});
    }
    return entries;
}

const RunReport* find_vanilla(const std::vector<Entry>& entries)
{
    const auto found =
        std::find_if(entries.begin(), entries.end(), [](const Entry& entry) { return entry.run->method == "vanilla"; });
    return found == entries.end() ? nullptr : found->run;
}

/// "12.3× less" beside the baseline's value; empty for the baseline itself and where a ratio says nothing.
std::string ratio_text(double value, double baseline, const char* less, const char* more)
{
    if (!std::isfinite(value) || !std::isfinite(baseline) || value <= 0.0 || baseline <= 0.0) {
        return "";
    }
    const double ratio = value < baseline ? baseline / value : value / baseline;
    if (ratio < 1.005) {
        return "same";
    }
    return page::significant(ratio) + "× " + (value < baseline ? less : more);
}

/// One figure of a run that the table and the bars show.
struct Measure {
    const char* name;
    const char* note;
    double (*value)(const RunReport&);
    std::string (*text)(double);
    const char* less;
    const char* more;
};

const std::vector<Measure>& measures()
{
    static const std::vector<Measure> all{
        {"seconds a step", "median", [](const RunReport& run) { return run.seconds_per_step_median; },
         page::seconds_text, "faster", "slower"},
        {"saved inputs", "of the listed layers", saved_input_total, page::bytes_text, "less", "more"},
        {"peak memory", "booked", [](const RunReport& run) { return run.ledger_peak_total; }, page::bytes_text, "less",
         "more"},
        {"peak memory", "process", [](const RunReport& run) { return run.peak_rss_bytes; }, page::bytes_text, "less",
         "more"},
        {"peak memory", "process, without program and data", net_peak, page::bytes_text, "less", "more"},
        {"model", "as saved", [](const RunReport& run) { return run.model_bytes; }, page::bytes_text, "smaller",
         "larger"},
        {"arithmetic", "a step", [](const RunReport& run) { return run.flops_per_step; }, page::flops_text, "less",
         "more"},
    };
    return all;
}

std::string accuracy_text(const RunReport& run)
{
    return page::percent_text(run.test_accuracy);
}

std::string interval_text(const RunReport& run)
{
    if (!std::isfinite(run.test_accuracy_low) || !std::isfinite(run.test_accuracy_high)) {
        return "";
    }
    return page::fixed_text(100.0 * run.test_accuracy_low, 1) + " to " +
           page::fixed_text(100.0 * run.test_accuracy_high, 1);
}

std::string table_html(const std::vector<Entry>& entries)
{
    const RunReport* const vanilla = find_vanilla(entries);
    std::string html =
        "<div class=\"scroll\"><table class=\"data\">\n<thead><tr><th>method</th><th>test accuracy<small>95 % "
        "interval</small></th>";
    for (const Measure& measure : measures()) {
        html += std::string("<th>") + measure.name + "<small>" + measure.note + "</small></th>";
    }
    html += "</tr></thead>\n<tbody>\n";
    for (const Entry& entry : entries) {
        const std::string name = page::escape_html(entry.name);
        html += "<tr><th scope=\"row\"><i class=\"key " + page::colour_class(entry.colour) + "\"></i>" +
                (entry.href.empty() ? name : "<a href=\"" + page::escape_html(entry.href) + "\">" + name + "</a>") +
                "</th><td>" + accuracy_text(*entry.run) + "<small>" + interval_text(*entry.run) + "</small></td>";
        for (const Measure& measure : measures()) {
            const double value = measure.value(*entry.run);
            html += "<td>" + measure.text(value);
            if (vanilla != nullptr && vanilla != entry.run) {
                html += "<small>" + ratio_text(value, measure.value(*vanilla), measure.less, measure.more) + "</small>";
            }
            html += "</td>";
        }
        html += "</tr>\n";
    }
    return html + "</tbody></table></div>\n";
}

std::string accuracy_figure(const std::vector<Entry>& entries)
{
    std::vector<page::Bar> bars;
    bars.reserve(entries.size());
    for (const Entry& entry : entries) {
        bars.push_back({.label = entry.name,
                        .href = entry.href,
                        .text = accuracy_text(*entry.run),
                        .value = entry.run->test_accuracy,
                        .low = entry.run->test_accuracy_low,
                        .high = entry.run->test_accuracy_high,
                        .colour = entry.colour});
    }
    return page::figure_html(
        "Test accuracy", page::interval_chart(bars),
        "Share of test images classified right, in per cent; the line is the 95 % Wilson interval. All "
        "runs see the same images, so "
        "intervals that overlap do not by themselves mean that two methods are equal. The axis does not "
        "start at zero.");
}

std::string loss_figure(const std::vector<Entry>& entries)
{
    page::LineChart chart{.description = "Smoothed training loss of all runs over the steps",
                          .x_label = "step",
                          .height = 340,
                          .end_labels = true};
    Index window = 1;
    for (const Entry& entry : entries) {
        page::Series series{.label = entry.name, .colour = entry.colour, .broad = entry.run->method == "vanilla"};
        std::vector<double> losses;
        for (const StepRow& step : entry.run->steps) {
            series.x.push_back(static_cast<double>(step.step));
            losses.push_back(step.loss);
        }
        const Index own = page::trend_window(static_cast<Index>(losses.size()));
        window = std::max(window, own);
        series.y = page::running_mean(losses, own);
        // One run that needs the logarithm is enough: the others stay readable on it.
        chart.logarithmic = chart.logarithmic || wide_range(losses);
        chart.series.push_back(std::move(series));
    }
    chart.y_label = std::string("loss") + (chart.logarithmic ? " (logarithmic)" : "");
    const auto longest =
        std::max_element(chart.series.begin(), chart.series.end(),
                         [](const page::Series& a, const page::Series& b) { return a.x.size() < b.x.size(); });
    for (std::size_t i = 0; longest != chart.series.end() && i < longest->x.size(); ++i) {
        std::string words = "step " + page::count_text(static_cast<Index>(longest->x[i]));
        for (const page::Series& series : chart.series) {
            const auto at = std::find(series.x.begin() + static_cast<std::ptrdiff_t>(std::min(i, series.x.size())),
                                      series.x.end(), longest->x[i]);
            if (at != series.x.end()) {
                words += "\n" + series.label + "  " +
                         page::significant(series.y[static_cast<std::size_t>(at - series.x.begin())]);
            }
        }
        chart.readings.emplace_back(longest->x[i], words);
    }
    // The baseline lies below the lines that follow it closely.
    std::stable_sort(chart.series.begin(), chart.series.end(),
                     [](const page::Series& a, const page::Series& b) { return a.broad && !b.broad; });
    std::string caption = window > 1
                              ? "Each line is the mean over up to " + page::count_text(window) + " neighbouring steps."
                              : "Loss of each batch before its update.";
    caption += find_vanilla(entries) != nullptr
                   ? " The broad pale line is vanilla: a method that trains like it runs along it."
                   : "";
    return page::figure_html("Training loss", page::line_chart(chart), caption);
}

std::string cost_figure(const std::vector<Entry>& entries)
{
    const RunReport* const vanilla = find_vanilla(entries);
    std::string panels = "<div class=\"pair\">\n";
    for (const Measure& measure : measures()) {
        std::vector<page::Bar> bars;
        for (const Entry& entry : entries) {
            const double value = measure.value(*entry.run);
            page::Bar bar{.label = entry.name, .text = measure.text(value), .value = value, .colour = entry.colour};
            if (vanilla != nullptr && vanilla != entry.run) {
                bar.note = ratio_text(value, measure.value(*vanilla), measure.less, measure.more);
            }
            bars.push_back(bar);
        }
        panels += std::string("<div><h3>") + measure.name + ", " + measure.note + "</h3>\n" + page::bar_chart(bars) +
                  "</div>\n";
    }
    std::string caption =
        "Saved inputs: what the listed linear layers keep from the forward pass for the backward pass. Booked: every "
        "buffer of the "
        "library, at its peak. Process: all resident memory, with program, data and the allocator's slack.";
    caption += vanilla != nullptr ? " Pale words compare with vanilla." : "";
    return page::figure_html("Memory and time", panels + "</div>\n", caption);
}

}  // namespace

std::vector<std::string> run_names(const std::vector<CompareRow>& rows)
{
    std::vector<std::string> names;
    names.reserve(rows.size());
    for (const CompareRow& row : rows) {
        const auto shared = [&](const auto& field) {
            return field(row).empty() || std::count_if(rows.begin(), rows.end(), [&](const CompareRow& other) {
                                             return field(other) == field(row);
                                         }) > 1;
        };
        if (!shared([](const CompareRow& one) { return one.run.method; })) {
            names.push_back(row.run.method);
        } else if (!shared([](const CompareRow& one) { return one.folder; })) {
            names.push_back(row.folder);
        } else if (!shared([](const CompareRow& one) { return one.run.title; })) {
            names.push_back(row.run.title);
        } else {
            names.push_back("run " + std::to_string(names.size() + 1) +
                            (row.run.method.empty() ? "" : ", " + row.run.method));
        }
    }
    return names;
}

std::string compare_page(const std::vector<CompareRow>& rows, const std::string& heading)
{
    const std::string title = heading.empty() ? "Methods compared" : heading;
    std::string body = "<header>\n<p class=\"over\">wasi: " + page::count_text(static_cast<Index>(rows.size())) +
                       (rows.size() == 1 ? " run" : " runs compared") + "</p>\n<h1>" + page::escape_html(title) +
                       "</h1>\n</header>\n";
    if (rows.empty()) {
        return page::page_shell(title, body + "<p class=\"none\">n/a: no runs.</p>\n");
    }
    const std::vector<Entry> entries = name_and_colour(rows);
    body += "<section>\n" + table_html(entries) + "</section>\n" + accuracy_figure(entries) + loss_figure(entries) +
            cost_figure(entries);
    std::string meanings;
    for (const Entry& entry : entries) {
        const std::string sentence = method_sentence(entry.run->method);
        const std::string term = "<b>" + page::escape_html(entry.run->method) + "</b>: ";
        if (!sentence.empty() && meanings.find(term) == std::string::npos) {
            meanings.append("<p>").append(term).append(sentence).append("</p>\n");
        }
    }
    body += "<footer>" + meanings +
            "<p>1 KiB is 1,024 bytes; 1 GFLOP is 10<sup>9</sup> operations, counted, not measured.</p></footer>\n";
    return page::page_shell(title, body);
}

}  // namespace wasi_examples
