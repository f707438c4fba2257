#include "report/subspace_rows.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>

#include <wasi/core/error.hpp>
#include <wasi/core/text_stream.hpp>

#include "options/option_text.hpp"
#include "page/line_chart.hpp"
#include "page/page_numbers.hpp"
#include "page/page_shell.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::io_error;
using wasi::require;
using wasi::measure::LayerSubspaces;
using wasi::measure::SubspaceDrift;

struct Count {
    const char* name;
    Index LayerSubspaces::*value;
};
struct Number {
    const char* name;
    double& (*value)(LayerSubspaces&);
};

constexpr std::string_view first_columns = "step,layer";

const std::vector<Count>& counts()
{
    static const std::vector<Count> all{{"block", &LayerSubspaces::block},
                                        {"outputs", &LayerSubspaces::outputs},
                                        {"inputs", &LayerSubspaces::inputs},
                                        {"rank", &LayerSubspaces::rank},
                                        {"input_rank", &LayerSubspaces::input_rank}};
    return all;
}

const std::vector<Number>& numbers()
{
    using Layer = LayerSubspaces;
    static const std::vector<Number> all{
        {"left_overlap", [](Layer& l) -> double& { return l.left.overlap; }},
        {"left_angle", [](Layer& l) -> double& { return l.left.largest_angle; }},
        {"left_overlap_last", [](Layer& l) -> double& { return l.left.overlap_last; }},
        {"right_overlap", [](Layer& l) -> double& { return l.right.overlap; }},
        {"right_angle", [](Layer& l) -> double& { return l.right.largest_angle; }},
        {"right_overlap_last", [](Layer& l) -> double& { return l.right.overlap_last; }},
        {"held", [](Layer& l) -> double& { return l.held; }},
        {"spectrum_change", [](Layer& l) -> double& { return l.spectrum; }},
        {"gradient_norm", [](Layer& l) -> double& { return l.gradient; }},
        {"gradient_share", [](Layer& l) -> double& { return l.tangent; }},
        {"gradient_share_start", [](Layer& l) -> double& { return l.tangent_of_start; }},
        {"input_overlap", [](Layer& l) -> double& { return l.input.overlap; }},
        {"input_angle", [](Layer& l) -> double& { return l.input.largest_angle; }},
        {"input_overlap_last", [](Layer& l) -> double& { return l.input.overlap_last; }},
        {"input_energy", [](Layer& l) -> double& { return l.input_energy; }},
        {"input_held", [](Layer& l) -> double& { return l.input_held; }}};
    return all;
}

[[nodiscard]] std::string header()
{
    std::string text(first_columns);
    for (const Count& column : counts()) {
        text += std::string(",") + column.name;
    }
    for (const Number& column : numbers()) {
        text += std::string(",") + column.name;
    }
    return text;
}

/// "encoder_layer_3.mlp.0" is of the kind "mlp.0".
[[nodiscard]] std::string kind_of(const SubspaceRow& row)
{
    const std::string number = std::to_string(row.found.block) + ".";
    const auto at = row.found.layer.find(number);
    return row.found.block < 0 || at == std::string::npos ? row.found.layer
                                                          : row.found.layer.substr(at + number.size());
}

/// An overlap as it stands between chance (0) and the same subspace (1).
[[nodiscard]] double above_chance(double overlap, Index rank, Index dimension)
{
    const double chance = static_cast<double>(rank) / static_cast<double>(dimension);
    return chance < 1.0 ? std::max(0.0, (overlap - chance) / (1.0 - chance)) : 1.0;
}

/// Of each kind of layer a line: the median over blocks.
template <class Value>
[[nodiscard]] std::string chart_of(const std::vector<SubspaceRow>& rows, const char* description, const char* y_label,
                                   const Value& value)
{
    std::map<std::string, std::map<Index, std::vector<double>>> found;
    std::vector<std::string> kinds;
    for (const SubspaceRow& row : rows) {
        const double y = value(row.found);
        const std::string kind = kind_of(row);
        if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
            kinds.push_back(kind);
        }
        if (y >= 0.0) {
            found[kind][row.step].push_back(y);
        }
    }
    page::LineChart chart{
        .description = description, .x_label = "step", .y_label = y_label, .height = 200, .end_labels = true};
    for (std::size_t k = 0; k < kinds.size(); ++k) {
        page::Series line{.label = kinds[k], .colour = static_cast<int>(k)};
        for (auto& [step, values] : found[kinds[k]]) {
            const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
            std::nth_element(values.begin(), middle, values.end());
            line.x.push_back(static_cast<double>(step));
            line.y.push_back(*middle);
        }
        chart.series.push_back(std::move(line));
    }
    return page::line_chart(chart);
}

}  // namespace

std::string subspaces_csv(const std::vector<SubspaceRow>& rows)
{
    wasi::TextStream out;
    out.precision(std::numeric_limits<double>::max_digits10);
    out << header() << '\n';
    for (SubspaceRow row : rows) {
        out << row.step << ',' << row.found.layer;
        for (const Count& column : counts()) {
            out << ',' << row.found.*column.value;
        }
        for (const Number& column : numbers()) {
            out << ',' << column.value(row.found);
        }
        out << '\n';
    }
    return out.str();
}

std::vector<SubspaceRow> read_subspaces(const std::filesystem::path& file, Index last)
{
    std::ifstream in(file);
    std::string line;
    require<io_error>(std::getline(in, line) && line == header(), file.string(),
                      ": is not the table of subspaces of this program");
    std::vector<SubspaceRow> rows;
    while (std::getline(in, line)) {
        const auto cells = split(line, ',');
        require<io_error>(cells.size() == 2 + counts().size() + numbers().size(), file.string(), ": the line '", line,
                          "' is not a row of it");
        SubspaceRow row;
        row.step = parse_number<Index>(cells[0], file.string());
        row.found.layer = cells[1];
        std::size_t cell = 2;
        for (const Count& column : counts()) {
            row.found.*column.value = parse_number<Index>(cells[cell++], file.string());
        }
        for (const Number& column : numbers()) {
            column.value(row.found) = parse_number<double>(cells[cell++], file.string());
        }
        if (row.step <= last) {
            rows.push_back(std::move(row));
        }
    }
    return rows;
}

std::string subspace_figure(const std::vector<SubspaceRow>& rows)
{
    if (rows.empty()) {
        return "";
    }
    const std::string weights = chart_of(
        rows, "Overlap of the subspaces of weights with those of the start", "weights", [](const LayerSubspaces& l) {
            return 0.5 *
                   (above_chance(l.left.overlap, l.rank, l.outputs) + above_chance(l.right.overlap, l.rank, l.inputs));
        });
    const std::string inputs =
        chart_of(rows, "Overlap of the subspaces of inputs with those of the start", "inputs",
                 [](const LayerSubspaces& l) { return above_chance(l.input.overlap, l.input_rank, l.inputs); });
    const std::string gradients = chart_of(rows, "Share of the gradient in the tangent space", "gradient",
                                           [](const LayerSubspaces& l) { return l.tangent; });
    const std::string of_start =
        chart_of(rows, "Share of the gradient in the tangent space of the start", "gradient, start",
                 [](const LayerSubspaces& l) { return l.tangent_of_start; });
    return page::figure_html(
        "Subspaces",
        "<div class=\"pair\">\n" + weights + inputs + "</div>\n<div class=\"pair\" style=\"margin-top:1.6rem\">\n" +
            gradients + of_start + "</div>\n",
        "On the same images every time; the median over blocks of each kind of layer. Above: the overlap with the "
        "subspaces of the start, of the leading singular vectors of each weight and of its inputs, where 1 is the same "
        "subspace and 0 what a random one would have. Below: the share of the exact gradient's energy that a step "
        "which keeps the rank can follow, from the weight as it is and as it was at the start. Layer by layer: "
        "subspaces.csv.");
}

}  // namespace wasi_examples
