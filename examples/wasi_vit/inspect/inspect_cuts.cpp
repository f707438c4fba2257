// What a cut costs and keeps, and the two files for other programs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <nlohmann/json.hpp>

#include <wasi/core/text_stream.hpp>
#include <wasi/linalg/rank_rule.hpp>

#include "inspect/inspect.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

[[nodiscard]] double numbers(Index rows, Index cols)
{
    return static_cast<double>(rows) * static_cast<double>(cols);
}

}  // namespace

double break_even_rank(const InspectedLayer& layer)
{
    return numbers(layer.outputs, layer.inputs) / static_cast<double>(layer.outputs + layer.inputs);
}

double dense_bytes(const InspectedLayer& layer)
{
    return bytes_of_number * numbers(layer.outputs, layer.inputs);
}

std::vector<double> energy_curve(const InspectedLayer& layer)
{
    std::vector<double> captured{layer.energy > 0.0 ? 0.0 : 1.0};
    double kept = 0.0;
    for (const double value : layer.values) {
        kept += value * value;
        captured.push_back(layer.energy > 0.0 ? std::min(1.0, kept / layer.energy) : 1.0);
    }
    return captured;
}

Cut cut_at(const InspectedLayer& layer, double threshold)
{
    const wasi::linalg::RankRule rule{wasi::linalg::Energy{threshold}};
    Cut cut;
    cut.threshold = threshold;
    cut.rank = rule.choose({layer.values, layer.energy, layer.energy});
    const std::vector<double> captured = energy_curve(layer);
    cut.captured_energy = captured[static_cast<std::size_t>(cut.rank)];
    cut.relative_error = std::sqrt(1.0 - cut.captured_energy);
    const double factors = numbers(cut.rank, layer.outputs + layer.inputs);
    const double dense = numbers(layer.outputs, layer.inputs);
    cut.stays_dense = factors >= dense;
    cut.bytes = bytes_of_number * std::min(factors, dense);
    cut.flops_ratio = std::min(factors, dense) / dense;
    return cut;
}

double dense_layer_bytes(const Inspection& inspection)
{
    return std::accumulate(inspection.layers.begin(), inspection.layers.end(), 0.0,
                           [](double sum, const InspectedLayer& layer) { return sum + dense_bytes(layer); });
}

CutTotals totals_at(const Inspection& inspection, double threshold)
{
    CutTotals totals;
    totals.threshold = threshold;
    for (const InspectedLayer& layer : inspection.layers) {
        const Cut cut = cut_at(layer, threshold);
        totals.layer_bytes += cut.bytes;
        totals.dense_layers += cut.stays_dense ? 1 : 0;
    }
    const double dense = dense_layer_bytes(inspection);
    totals.model_bytes = totals.layer_bytes + inspection.other_bytes;
    totals.layer_compression = dense / totals.layer_bytes;
    totals.model_compression = (dense + inspection.other_bytes) / totals.model_bytes;
    return totals;
}

std::string threshold_text(double threshold)
{
    wasi::TextStream out;
    out.precision(10);
    out << threshold;
    return out.str();
}

std::string inspect_csv(const Inspection& inspection)
{
    wasi::TextStream out;
    out.precision(std::numeric_limits<double>::max_digits10);
    out << "layer,threshold,rank,bytes,dense_bytes,flops_ratio,relative_error,captured_energy,held\n";
    for (const InspectedLayer& layer : inspection.layers) {
        for (const double threshold : inspection.thresholds) {
            const Cut cut = cut_at(layer, threshold);
            out << layer.name << ',' << threshold_text(threshold) << ',' << cut.rank << ',' << cut.bytes << ','
                << dense_bytes(layer) << ',' << cut.flops_ratio << ',' << cut.relative_error << ','
                << cut.captured_energy << ',' << (cut.stays_dense ? "dense" : "low_rank") << '\n';
        }
    }
    return out.str();
}

std::string inspect_json(const Inspection& inspection)
{
    nlohmann::ordered_json json;
    json["file"] = inspection.file;
    json["thresholds"] = inspection.thresholds;
    json["bytes_of_number"] = bytes_of_number;
    json["dense_layer_bytes"] = dense_layer_bytes(inspection);
    json["stored_layer_bytes"] = inspection.stored_bytes;
    json["other_bytes"] = inspection.other_bytes;
    json["totals"] = nlohmann::ordered_json::array();
    for (const double threshold : inspection.thresholds) {
        const CutTotals totals = totals_at(inspection, threshold);
        nlohmann::ordered_json row;
        row["threshold"] = totals.threshold;
        row["layer_bytes"] = totals.layer_bytes;
        row["layer_compression"] = totals.layer_compression;
        row["model_bytes"] = totals.model_bytes;
        row["model_compression"] = totals.model_compression;
        row["dense_layers"] = totals.dense_layers;
        json["totals"].push_back(std::move(row));
    }
    json["layers"] = nlohmann::ordered_json::array();
    for (const InspectedLayer& layer : inspection.layers) {
        nlohmann::ordered_json row;
        row["name"] = layer.name;
        row["outputs"] = layer.outputs;
        row["inputs"] = layer.inputs;
        row["stored"] = layer.stored_rank > 0 ? "factors" : "dense";
        row["stored_rank"] = layer.stored_rank;
        row["break_even_rank"] = break_even_rank(layer);
        row["dense_bytes"] = dense_bytes(layer);
        row["energy"] = layer.energy;
        row["ranks"] = nlohmann::ordered_json::array();
        for (const double threshold : inspection.thresholds) {
            row["ranks"].push_back(cut_at(layer, threshold).rank);
        }
        row["singular_values"] = layer.values;
        json["layers"].push_back(std::move(row));
    }
    return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace wasi_examples
