#include "report/report_page.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "page/bar_chart.hpp"
#include "page/line_chart.hpp"
#include "page/page_numbers.hpp"
#include "page/page_shell.hpp"
#include "report/layer_figures.hpp"
#include "report/memory_timeline.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

std::string tile(const std::string& name, const std::string& value, const std::string& note)
{
    return "<div><dt>" + name + "</dt><dd><span class=\"big\">" + value + "</span><span class=\"small\">" + note +
           "</span></dd></div>\n";
}

/// The process's peak by phase, where it is known by phase.
std::string process_note(const RunReport& run)
{
    std::string note;
    for (const auto& [phase, bytes] : run.process_peaks) {
        note += (note.empty() ? "" : ", ") + page::escape_html(phase) + " " + page::bytes_text(bytes);
    }
    return note.empty() ? "resident, as the system saw it" : note;
}

std::string headline(const RunReport& run)
{
    const bool interval = std::isfinite(run.test_accuracy_low) && std::isfinite(run.test_accuracy_high);
    std::string accuracy_note =
        interval ? page::percent_text(run.test_accuracy_low) + " to " + page::percent_text(run.test_accuracy_high)
                 : "no interval";
    accuracy_note += run.test_count > 0 ? ", " + page::count_text(run.test_count) + " images" : "";
    double total_seconds = 0.0;
    for (const StepRow& step : run.steps) {
        total_seconds += std::isfinite(step.seconds) ? step.seconds : 0.0;
    }
    std::string steps_note = "no steps";
    if (!run.steps.empty()) {
        steps_note =
            page::count_text(static_cast<Index>(run.steps.size())) + (run.steps.size() == 1 ? " step" : " steps");
        steps_note += total_seconds > 0.0 ? ", " + page::seconds_text(total_seconds) : "";
    }
    return "<dl class=\"tiles\">\n" + tile("Test accuracy", page::percent_text(run.test_accuracy), accuracy_note) +
           tile("Median step", page::seconds_text(run.seconds_per_step_median), steps_note) +
           tile("Arithmetic a step", page::flops_text(run.flops_per_step), "counted, not measured") +
           tile("Peak memory, booked", page::bytes_text(run.ledger_peak_total), "by the ledger, all classes at once") +
           tile("Peak memory, process", page::bytes_text(run.peak_rss_bytes), process_note(run)) +
           tile("Without program and data", page::bytes_text(net_peak(run)), "of the process's peak") +
           tile("Model", page::bytes_text(run.model_bytes), "weights as saved") + "</dl>\n";
}

/// A field of every step as one vector.
template <class Field>
std::vector<double> column(const RunReport& run, Field field)
{
    std::vector<double> values;
    values.reserve(run.steps.size());
    for (const StepRow& step : run.steps) {
        values.push_back(static_cast<double>(step.*field));
    }
    return values;
}

std::string training_figure(const RunReport& run)
{
    const std::vector<double> steps = column(run, &StepRow::step);
    const std::vector<double> losses = column(run, &StepRow::loss);
    const Index window = page::trend_window(static_cast<Index>(losses.size()));
    const std::vector<double> trend = page::running_mean(losses, window);
    const int colour = method_colour(run.method);

    page::LineChart loss{.description = "Training loss over the steps",
                         .x_label = "step",
                         .y_label = "loss",
                         .logarithmic = wide_range(losses)};
    loss.y_label += loss.logarithmic ? " (logarithmic)" : "";
    if (window > 1) {
        loss.series.push_back({.colour = colour, .x = steps, .y = losses, .faint = true});
    }
    loss.series.push_back({.colour = colour, .x = steps, .y = trend});
    for (const StepRow& step : run.steps) {
        loss.readings.emplace_back(static_cast<double>(step.step),
                                   "step " + page::count_text(step.step) + ", epoch " +
                                       page::fixed_text(step.epoch, 2) + "\nloss " + page::significant(step.loss, 4) +
                                       "\nlearning rate " + page::significant(step.learning_rate) + "\n" +
                                       page::seconds_text(step.seconds));
    }
    const page::LineChart rate{.description = "Learning rate over the steps",
                               .x_label = "step",
                               .y_label = "learning rate",
                               .series = {{.colour = colour, .x = steps, .y = column(run, &StepRow::learning_rate)}},
                               .height = 110};
    const page::LineChart seconds{.description = "Seconds of each step",
                                  .x_label = "step",
                                  .y_label = "seconds a step",
                                  .series = {{.colour = colour, .x = steps, .y = column(run, &StepRow::seconds)}},
                                  .height = 110};
    const auto missing =
        std::count_if(losses.begin(), losses.end(), [](double value) { return !std::isfinite(value); });
    std::string caption;
    if (missing < static_cast<std::ptrdiff_t>(losses.size())) {
        caption = "Loss of each batch before its update";
        caption += window > 1
                       ? " (thin), and its mean over " + page::count_text(window) + " neighbouring steps (thick)."
                       : ".";
    }
    caption += missing > 0 ? " Left out: " + page::count_text(missing) +
                                 (missing == 1 ? " step whose loss is not finite." : " steps whose loss is not finite.")
                           : "";
    const std::string small = run.steps.empty() ? ""
                                                : "<div class=\"pair\" style=\"margin-top:1.6rem\">\n" +
                                                      page::line_chart(rate) + page::line_chart(seconds) + "</div>\n";
    return page::figure_html("Training", page::line_chart(loss) + small, caption);
}

std::string memory_figure(const RunReport& run)
{
    std::vector<std::pair<std::string, double>> peaks = run.ledger_peaks;
    std::stable_sort(peaks.begin(), peaks.end(), [](const auto& a, const auto& b) {
        return (std::isfinite(a.second) ? a.second : -1.0) > (std::isfinite(b.second) ? b.second : -1.0);
    });
    std::vector<page::Bar> bars;
    bars.reserve(peaks.size() + 1);
    for (const auto& [name, bytes] : peaks) {
        bars.push_back(
            {.label = name, .text = page::bytes_text(bytes), .value = bytes, .colour = method_colour(run.method)});
    }
    if (bars.empty()) {
        return page::figure_html("Memory by class", "<p class=\"none\">n/a: nothing was booked.</p>\n", "");
    }
    bars.push_back({.label = "all at once",
                    .text = page::bytes_text(run.ledger_peak_total),
                    .value = run.ledger_peak_total,
                    .colour = 4});
    return page::figure_html(
        "Memory by class", page::bar_chart(bars),
        "The largest number of bytes that each class held at any moment. Classes peak at different "
        "moments, so the last row, the "
        "peak of all together, is at most their sum.");
}

/// What the model was shown, and how it did after each epoch.
std::string validation_figure(const RunReport& run)
{
    if (run.epochs.empty()) {
        return "";
    }
    const int colour = method_colour(run.method);
    page::Series accuracy{.label = "accuracy", .colour = colour};
    page::Series f1{.label = "macro F1", .colour = colour, .faint = true};
    page::LineChart chart{.description = "Accuracy on the validation images after each epoch",
                          .x_label = "epoch",
                          .y_label = "share",
                          .from_zero = false,
                          .end_labels = true};
    for (const EpochRow& row : run.epochs) {
        const double share = static_cast<double>(row.correct) / static_cast<double>(row.images);
        const auto epoch = static_cast<double>(row.epoch);
        accuracy.x.push_back(epoch);
        accuracy.y.push_back(share);
        f1.x.push_back(epoch);
        f1.y.push_back(row.macro_f1);
        chart.readings.emplace_back(
            epoch, "epoch " + page::count_text(row.epoch) + "\naccuracy " + page::percent_text(share) + "\nmacro F1 " +
                       page::fixed_text(row.macro_f1, 3) + "\nloss " + page::significant(row.loss, 4));
    }
    chart.series = {f1, accuracy};
    return page::figure_html(
        "Validation", page::line_chart(chart),
        "On " + page::count_text(run.epochs.front().images) + " images that were neither trained on nor tested on.");
}

std::string examples_figure(const RunReport& run)
{
    return run.examples.empty() ? ""
                                : page::figure_html("What the model sees", picture_grid(run.examples),
                                                    "The first images of the first batch, as they go in.");
}

std::string options_section(const RunReport& run)
{
    std::string html = "<section><h2>Options</h2>\n";
    if (run.options.empty()) {
        return html + "<p class=\"none\">None given.</p></section>\n";
    }
    html += "<dl class=\"options\" style=\"margin-top:.9rem\">\n";
    for (const auto& [name, value] : run.options) {
        html += "<div><dt>" + page::escape_html(name) + "</dt><dd>" + page::escape_html(value) + "</dd></div>\n";
    }
    return html + "</dl></section>\n";
}

}  // namespace

std::string method_sentence(const std::string& method)
{
    if (method == "vanilla") {
        return "All weights dense, all saved inputs exact: ordinary training, the baseline.";
    }
    if (method == "head") {
        return "Only the classification head is trained; everything before it stands still.";
    }
    if (method == "wsi") {
        return "Weights of the chosen linear layers are held and trained as low-rank factors L R; their saved inputs "
               "are exact.";
    }
    if (method == "asi") {
        return "Weights are dense; the chosen linear layers save their inputs for the backward pass in Tucker form.";
    }
    if (method == "wasi") {
        return "The chosen linear layers are held and trained as low-rank factors L R, and save their inputs for the "
               "backward pass in Tucker form.";
    }
    if (method == "factors") {
        return "Weights of the chosen linear layers are products L R of two free factors, each trained as a parameter "
               "of "
               "its own; their saved inputs are exact.";
    }
    return "";
}

int method_colour(const std::string& method)
{
    const std::array<const char*, 6> names{"wasi", "head", "asi", "wsi", "vanilla", "factors"};
    const auto found = std::find(names.begin(), names.end(), method);
    return static_cast<int>(found - names.begin());
}

double net_peak(const RunReport& run)
{
    return run.peak_rss_bytes - run.base_bytes;
}

double saved_input_total(const RunReport& run)
{
    double sum = run.layers.empty() ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    for (const LayerRow& layer : run.layers) {
        sum += layer.saved_input_bytes;
    }
    return sum;
}

bool wide_range(const std::vector<double>& losses)
{
    const std::vector<double> trend = page::running_mean(losses, page::trend_window(static_cast<Index>(losses.size())));
    double low = std::numeric_limits<double>::infinity();
    double high = 0.0;
    for (const double loss : losses) {
        if (loss <= 0.0) {
            return false;
        }
    }
    for (const double loss : trend) {
        if (std::isfinite(loss)) {
            low = std::min(low, loss);
            high = std::max(high, loss);
        }
    }
    return low < high / 30.0;
}

std::string report_page(const RunReport& run)
{
    const std::string title = run.title.empty() ? "Training report" : run.title;
    std::string body = "<header>\n<p class=\"over\">wasi: report of one run</p>\n<h1>" + page::escape_html(title) +
                       "</h1>\n<p class=\"lead\">" +
                       (run.method.empty() ? "" : "Method <b>" + page::escape_html(run.method) + "</b>. ") +
                       method_sentence(run.method) + "</p>\n</header>\n";
    body += headline(run) + training_figure(run) + validation_figure(run) + examples_figure(run) + memory_figure(run) +
            memory_along_step(run.memory_of_step);
    body += run.why + subspace_figure(run.subspaces) + layer_figures(run) + options_section(run);
    body +=
        "<footer><p>Test accuracy: the share of test images classified right, with its 95 % Wilson interval, which "
        "covers the choice of the test "
        "images but not that of the seed. Booked memory is every buffer the library owns; the process holds more "
        "(program, libraries, data, the "
        "allocator's slack). 1 KiB is 1,024 bytes; 1 GFLOP is 10<sup>9</sup> operations.</p></footer>\n";
    return page::page_shell(title, body);
}

}  // namespace wasi_examples
