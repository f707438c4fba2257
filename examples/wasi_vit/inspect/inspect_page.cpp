// The page of `wasi_vit inspect`.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "inspect/inspect.hpp"
#include "page/bar_chart.hpp"
#include "page/line_chart.hpp"
#include "page/page_numbers.hpp"
#include "page/page_shell.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

constexpr int first_colour = 0;
constexpr int last_colour = 1;
constexpr int other_colour = 4;

/// Layers of one kind, block by block; all of one shape in a Vision Transformer.
struct Part {
    std::string name;
    std::vector<const InspectedLayer*> layers;
};

std::vector<Part> parts_of(const Inspection& inspection)
{
    std::vector<Part> parts;
    for (const InspectedLayer& layer : inspection.layers) {
        auto part = std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.name == layer.part; });
        if (part == parts.end()) {
            part = parts.insert(parts.end(), {layer.part, {}});
        }
        part->layers.push_back(&layer);
    }
    return parts;
}

std::string shape_words(const InspectedLayer& layer)
{
    return std::to_string(layer.outputs) + " × " + std::to_string(layer.inputs);
}

std::string times_words(double compression)
{
    return page::significant(compression) + "×";
}

std::string tile(const std::string& name, const std::string& value, const std::string& note)
{
    return "<div><dt>" + name + "</dt><dd><span class=\"big\">" + value + "</span><span class=\"small\">" + note +
           "</span></dd></div>\n";
}

std::string key(int colour)
{
    return "<i class=\"key " + page::colour_class(colour) + "\"></i>";
}

std::string headline(const Inspection& inspection)
{
    const double layers = dense_layer_bytes(inspection);
    // The threshold nearest to the default of training.
    const double middle = *std::min_element(inspection.thresholds.begin(), inspection.thresholds.end(),
                                            [](double a, double b) { return std::abs(a - 0.8) < std::abs(b - 0.8); });
    const CutTotals totals = totals_at(inspection, middle);
    return "<dl class=\"tiles\">\n" +
           tile("Whole model, dense", page::bytes_text(layers + inspection.other_bytes), "at 4 bytes a number") +
           tile("The " + std::to_string(inspection.layers.size()) + " layers below, dense", page::bytes_text(layers),
                page::percent_text(layers / (layers + inspection.other_bytes)) + " of the model") +
           tile("Whole model at energy " + threshold_text(middle), page::bytes_text(totals.model_bytes),
                times_words(totals.model_compression) + " smaller, layers " + times_words(totals.layer_compression) +
                    ", " + std::to_string(totals.dense_layers) + " of " + std::to_string(inspection.layers.size()) +
                    " stay dense") +
           "</dl>\n";
}

std::string size_figure(const Inspection& inspection)
{
    const double layers = dense_layer_bytes(inspection);
    std::vector<page::Bar> layer_bars;
    std::vector<page::Bar> model_bars;
    for (const double threshold : inspection.thresholds) {
        const CutTotals totals = totals_at(inspection, threshold);
        page::Bar bar{.label = threshold_text(threshold),
                      .text = page::bytes_text(totals.layer_bytes),
                      .note = times_words(totals.layer_compression),
                      .value = totals.layer_bytes,
                      .full = layers,
                      .colour = first_colour};
        layer_bars.push_back(bar);
        bar.text = page::bytes_text(totals.model_bytes);
        bar.note = times_words(totals.model_compression);
        bar.value = totals.model_bytes;
        bar.full = layers + inspection.other_bytes;
        model_bars.push_back(bar);
    }
    return page::figure_html(
        "Size by energy kept",
        "<div class=\"pair\">\n<div><h3>These layers</h3>\n" + page::bar_chart(layer_bars) +
            "</div>\n<div><h3>Whole model</h3>\n" + page::bar_chart(model_bars) + "</div>\n</div>\n",
        "Each weight cut to the fewest singular values that hold this share of ‖W‖², where that is "
        "smaller than the dense weight. The pale track is everything dense.");
}

/// Energy at a rank, taken beyond the last value too.
double captured_at(const std::vector<double>& curve, Index rank)
{
    return curve[std::min(static_cast<std::size_t>(rank), curve.size() - 1)];
}

std::string energy_panel(const Part& part)
{
    const InspectedLayer& any = *part.layers.front();
    const Index full = std::min(any.outputs, any.inputs);
    page::LineChart chart{.description = "Captured energy against rank of the layers " + part.name,
                          .x_label = "rank",
                          .y_label = "share of the energy",
                          .height = 230};
    std::vector<std::vector<double>> curves;
    for (const InspectedLayer* layer : part.layers) {
        curves.push_back(energy_curve(*layer));
    }
    const double even = break_even_rank(any);
    if (even < static_cast<double>(full)) {
        chart.series.push_back({.colour = other_colour, .x = {even, even}, .y = {0.0, 1.0}});
    }
    const auto add = [&](std::size_t i, int colour, bool faint) {
        page::Series series{.label = "", .colour = colour, .faint = faint};
        for (Index rank = 0; rank <= full; ++rank) {
            series.x.push_back(static_cast<double>(rank));
            series.y.push_back(captured_at(curves[i], rank));
        }
        chart.series.push_back(std::move(series));
    };
    for (std::size_t i = 1; i + 1 < curves.size(); ++i) {
        add(i, other_colour, true);
    }
    if (curves.size() > 1) {
        add(curves.size() - 1, last_colour, false);
    }
    add(0, first_colour, false);
    const Index stride = std::max<Index>(1, full / 128);
    for (Index rank = 0; rank <= full; rank += stride) {
        double low = 1.0;
        double high = 0.0;
        for (const auto& curve : curves) {
            low = std::min(low, captured_at(curve, rank));
            high = std::max(high, captured_at(curve, rank));
        }
        std::string words = "rank " + page::count_text(rank) + ": " +
                            page::percent_text(static_cast<double>(rank) / even) + " of the dense bytes\nfirst block " +
                            page::percent_text(captured_at(curves.front(), rank));
        if (curves.size() > 1) {
            words += "\nlast block " + page::percent_text(captured_at(curves.back(), rank));
        }
        if (curves.size() > 2) {
            words += "\nall blocks " + page::percent_text(low) + " to " + page::percent_text(high);
        }
        chart.readings.emplace_back(static_cast<double>(rank), words);
    }
    return "<div><h3>" + page::escape_html(part.name) + ", " + shape_words(any) + "</h3>\n" + page::line_chart(chart) +
           "</div>\n";
}

std::string energy_figure(const Inspection& inspection)
{
    std::string panels = "<div class=\"pair\">\n";
    std::size_t most = 0;
    for (const Part& part : parts_of(inspection)) {
        panels += energy_panel(part);
        most = std::max(most, part.layers.size());
    }
    std::string caption = "Share of ‖W‖² that the first singular values hold. " + key(first_colour) + "first block";
    if (most > 1) {
        caption += ", " + key(last_colour) + "last block";
    }
    if (most > 2) {
        caption += ", thin lines: the blocks between";
    }
    caption +=
        ". The vertical line is break-even, K* = O I / (O + I): from there on two factors are no smaller than the "
        "dense "
        "weight. A curve that rises steeply is a weight that low rank suits; a curve near the diagonal is not.";
    return page::figure_html("Energy against rank", panels + "</div>\n", caption);
}

/// The rank, on a ground that is the darker the more of the dense bytes it takes.
std::string rank_cell(const Cut& cut, double dense)
{
    const double share = cut.bytes / dense;
    const std::string shade = page::fixed_text(cut.stays_dense ? 0.0 : 45.0 * share, 0);
    return "<td style=\"padding-right:.9rem;background:color-mix(in srgb, var(--c0) " + shade + "%, transparent)\">" +
           page::count_text(cut.rank) + "<small>" +
           (cut.stays_dense ? std::string("dense") : page::percent_text(share, 0)) + "</small></td>";
}

std::string rank_figure(const Inspection& inspection)
{
    const bool factors = std::any_of(inspection.layers.begin(), inspection.layers.end(),
                                     [](const InspectedLayer& layer) { return layer.stored_rank > 0; });
    std::string html = "<div class=\"scroll\"><table class=\"data names\">\n<thead><tr><th>layer</th>";
    for (const double threshold : inspection.thresholds) {
        html += "<th style=\"padding-right:.9rem\">" + threshold_text(threshold) + "</th>";
    }
    html += "</tr></thead>\n<tbody>\n";
    for (const InspectedLayer& layer : inspection.layers) {
        html += "<tr><th scope=\"row\">" + page::escape_html(layer.name) + "<small>" + shape_words(layer) +
                (layer.stored_rank > 0 ? ", rank " + page::count_text(layer.stored_rank) + " in the file" : "") +
                ", break-even " + page::fixed_text(break_even_rank(layer), 1) + "</small></th>";
        for (const double threshold : inspection.thresholds) {
            html += rank_cell(cut_at(layer, threshold), dense_bytes(layer));
        }
        html += "</tr>\n";
    }
    std::string caption =
        "The rank that holds this share of a layer's energy, and below it the bytes of its two factors in per cent of "
        "the dense weight; <i>dense</i> where the factors would be no smaller. The forward product shrinks by the same "
        "share. The relative error of a cut is √(1 − energy).";
    if (factors) {
        caption +=
            " Layers with a rank in the file are held there as factors L and R: their energy is that of L R, not of "
            "the weight before it was cut.";
    }
    return page::figure_html("Ranks by layer", html + "</tbody></table></div>\n", caption);
}

}  // namespace

std::string inspect_page(const Inspection& inspection)
{
    const std::size_t slash = inspection.file.rfind('/');
    const std::string title =
        "Rank and energy of " + inspection.file.substr(slash == std::string::npos ? 0 : slash + 1);
    return page::page_shell(
        title,
        "<header>\n<p class=\"over\">wasi: inspect</p>\n<h1>" + page::escape_html(title) +
            "</h1>\n<p class=\"lead\">How many singular values each linear layer needs for a share of its energy, and "
            "what that saves.</p>\n</header>\n" +
            headline(inspection) + size_figure(inspection) + energy_figure(inspection) + rank_figure(inspection) +
            "<footer><p>Energy is spectral energy: the sum of squared singular values, ‖W‖². It says how much of a "
            "weight is kept, not what that does to accuracy.</p>\n<p>1 KiB is 1,024 bytes.</p></footer>\n");
}

}  // namespace wasi_examples
