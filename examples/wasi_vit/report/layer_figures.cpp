#include "report/layer_figures.hpp"

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

/// "encoder.layers." when every name starts so: the part up to the last dot that all have in common.
std::string common_prefix(const std::vector<LayerRow>& layers)
{
    if (layers.size() < 2) {
        return "";
    }
    std::string prefix = layers.front().name;
    for (const LayerRow& layer : layers) {
        const auto end = std::mismatch(prefix.begin(), prefix.end(), layer.name.begin(), layer.name.end()).first;
        prefix.erase(end, prefix.end());
    }
    const std::size_t dot = prefix.rfind('.');
    return dot == std::string::npos ? "" : prefix.substr(0, dot + 1);
}

/// Layer names as the figures show them: without what all have in common, and by block where blocks have several
/// layers.
struct LayerNames {
    std::string prefix;
    std::vector<std::string> groups;  // "encoder_layer_0", or all empty
    std::vector<std::string> rests;   // "mlp.0"

    /// A sentence on what was cut off.
    [[nodiscard]] std::string note() const
    {
        return prefix.empty() ? "" : " All names start with <code>" + page::escape_html(prefix) + "</code>";
    }
};

LayerNames layer_names(const std::vector<LayerRow>& layers)
{
    LayerNames names;
    names.prefix = common_prefix(layers);
    std::size_t blocks = 0;
    for (const LayerRow& layer : layers) {
        const std::string name = layer.name.substr(names.prefix.size());
        const std::size_t dot = std::min(name.find('.'), name.size());
        const bool split = dot > 0 && dot + 1 < name.size();
        const std::string group = split ? name.substr(0, dot) : "";
        blocks += names.groups.empty() || names.groups.back() != group ? 1U : 0U;
        names.groups.push_back(group);
        names.rests.push_back(split ? name.substr(dot + 1) : name);
    }
    if (2 * blocks > layers.size()) {  // headings over single layers only cost room
        for (std::size_t i = 0; i < layers.size(); ++i) {
            names.groups[i].clear();
            names.rests[i] = layers[i].name.substr(names.prefix.size());
        }
    }
    return names;
}

std::string ranks_text(const std::array<Index, 3>& ranks)
{
    if (ranks == std::array<Index, 3>{}) {
        return "exact";
    }
    return std::to_string(ranks[0]) + ", " + std::to_string(ranks[1]) + ", " + std::to_string(ranks[2]);
}

std::string layer_table(const RunReport& run, const std::string& prefix)
{
    std::string html =
        "<details><summary>All figures by layer</summary>\n<div class=\"scroll\"><table class=\"data "
        "names\">\n<thead><tr><th>layer</th>"
        "<th>outputs × inputs</th><th>weight rank</th><th>weight energy</th><th>weight</th>"
        "<th>input ranks<small>batch, token, feature</small></th><th>saved input</th></tr></thead>\n<tbody>\n";
    for (const LayerRow& layer : run.layers) {
        html += "<tr><th scope=\"row\">" + page::escape_html(layer.name.substr(prefix.size())) + "</th><td>" +
                std::to_string(layer.outputs) + " × " + std::to_string(layer.inputs) + "</td><td>" +
                (layer.weight_rank > 0 ? page::count_text(layer.weight_rank) : "dense") + "</td><td>" +
                page::percent_text(layer.captured_energy) + "</td><td>" + page::bytes_text(layer.weight_bytes) +
                "</td><td>" + ranks_text(layer.activation_ranks) + "</td><td>" +
                page::bytes_text(layer.saved_input_bytes) + "</td></tr>\n";
    }
    return html + "</tbody></table></div></details>\n";
}

std::string rank_figure(const RunReport& run, const LayerNames& names)
{
    std::vector<page::Bar> bars;
    bool low_rank = false;
    for (std::size_t i = 0; i < run.layers.size(); ++i) {
        const LayerRow& layer = run.layers[i];
        const Index full = std::min(layer.outputs, layer.inputs);
        const bool dense = layer.weight_rank <= 0;
        low_rank = low_rank || !dense;
        page::Bar bar{.group = names.groups[i],
                      .label = names.rests[i],
                      .value = static_cast<double>(dense ? full : layer.weight_rank),
                      .full = static_cast<double>(full),
                      .colour = dense ? 4 : method_colour(run.method)};
        bar.text = dense ? "dense" : page::count_text(layer.weight_rank);
        bar.note = "of " + page::count_text(full);
        if (layer.outputs > 0 && layer.inputs > 0) {
            bar.mark = static_cast<double>(layer.outputs) * static_cast<double>(layer.inputs) /
                       static_cast<double>(layer.outputs + layer.inputs);
        }
        bars.push_back(bar);
    }
    std::string caption = low_rank ? "The rank K in which each weight is held, on the pale track of its full rank. "
                                   : "Every weight is dense: held in full, at full rank. ";
    caption +=
        "<i class=\"key tick\"></i>break-even: from K = O I / (O + I) on, two factors are no smaller than the dense "
        "weight." +
        names.note();
    return page::figure_html(
        "Weight ranks by layer",
        "<div class=\"names\">" + page::bar_chart(bars) + "</div>" + layer_table(run, names.prefix), caption);
}

std::string energy_figure(const RunReport& run, const LayerNames& names)
{
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const LayerRow& layer : run.layers) {
        for (const double energy : layer.activation_energy) {
            if (std::isfinite(energy)) {
                low = std::min(low, energy);
                high = std::max(high, energy);
            }
        }
    }
    if (low > high) {
        return "";
    }
    // Whole per cents at the ends of the scale.
    low = std::floor(100.0 * low + 1e-6) / 100.0;
    high = std::max(std::ceil(100.0 * high - 1e-6) / 100.0, low + 0.01);
    const int colour = method_colour(run.method);
    const auto smaller = [](double a, double b) { return std::isfinite(a) && (!std::isfinite(b) || a < b); };
    std::vector<page::Bar> rows;
    std::vector<std::string> strips;
    for (std::size_t i = 0; i < run.layers.size(); ++i) {
        const LayerRow& layer = run.layers[i];
        if (layer.activation_energy.empty()) {
            continue;
        }
        const double least = *std::min_element(layer.activation_energy.begin(), layer.activation_energy.end(), smaller);
        rows.push_back({.group = names.groups[i],
                        .label = names.rests[i],
                        .text = page::percent_text(layer.activation_energy.back()),
                        .note = "least " + page::percent_text(least),
                        .colour = colour});
        strips.push_back(page::heat_strip(layer.activation_energy, low, high,
                                          "Captured energy of " + layer.name + " over the steps"));
    }
    const std::string caption =
        "How much of each layer's saved input its Tucker form keeps, ‖S‖² / ‖X‖², from the first step (left) to the "
        "last (right): " +
        page::percent_text(low, 0) + "<span class=\"ramp " + page::colour_class(colour) + "\"></span>" +
        page::percent_text(high, 0) + ". Beside it the value at the last step, and the least of all steps." +
        names.note();
    return page::figure_html("Captured energy of saved inputs",
                             "<div class=\"names strips\">" + page::chart_rows(rows, strips) + "</div>\n", caption);
}

}  // namespace

std::string layer_figures(const RunReport& run)
{
    if (run.layers.empty()) {
        return "";
    }
    const LayerNames names = layer_names(run.layers);
    return rank_figure(run, names) + energy_figure(run, names);
}

}  // namespace wasi_examples
