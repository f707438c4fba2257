// The tables that `wasi_vit inspect` prints.
#include <algorithm>
#include <cstdio>

#include "inspect/inspect.hpp"
#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

[[nodiscard]] std::string shape_words(const InspectedLayer& layer)
{
    std::string words = std::to_string(layer.outputs) + " x " + std::to_string(layer.inputs);
    return layer.stored_rank > 0 ? words + ", as rank " + std::to_string(layer.stored_rank) : words;
}

void print_layers(const Inspection& inspection)
{
    std::size_t name_width = 5;
    std::size_t shape_width = 5;
    bool any_dense = false;
    bool any_factors = false;
    for (const InspectedLayer& layer : inspection.layers) {
        name_width = std::max(name_width, layer.name.size());
        shape_width = std::max(shape_width, shape_words(layer).size());
        any_factors = any_factors || layer.stored_rank > 0;
    }
    const auto print_row = [&](const std::string& name, const std::string& shape, const std::string& even) {
        std::printf("%-*s | %-*s | %10s |", static_cast<int>(name_width), name.c_str(), static_cast<int>(shape_width),
                    shape.c_str(), even.c_str());
    };
    std::printf("%*s   rank that holds this share of the energy\n", static_cast<int>(name_width + shape_width) + 17,
                "");
    print_row("layer", "shape", "break-even");
    for (const double threshold : inspection.thresholds) {
        std::printf(" %6s", threshold_text(threshold).c_str());
    }
    std::printf("\n%s-+-%s-+------------+%s\n", std::string(name_width, '-').c_str(),
                std::string(shape_width, '-').c_str(), std::string(7 * inspection.thresholds.size(), '-').c_str());
    for (const InspectedLayer& layer : inspection.layers) {
        print_row(layer.name, shape_words(layer), page::fixed_text(break_even_rank(layer), 1));
        for (const double threshold : inspection.thresholds) {
            const Cut cut = cut_at(layer, threshold);
            any_dense = any_dense || cut.stays_dense;
            std::printf(" %5td%c", cut.rank, cut.stays_dense ? '*' : ' ');
        }
        std::printf("\n");
    }
    if (any_dense) {
        std::printf("* not below break-even: two factors would be no smaller, the weight stays dense\n");
    }
    if (any_factors) {
        std::printf(
            "\"as rank K\": the file holds factors L and R; the energy is that of L R, not of the weight before "
            "it was cut\n");
    }
}

void print_totals(const Inspection& inspection)
{
    const double layers = dense_layer_bytes(inspection);
    std::printf("\n%6s | %-21s | %-21s | %s\n", "energy", "these layers", "whole model", "stay dense");
    std::printf("-------+-----------------------+-----------------------+-----------\n");
    const auto print_row = [](const std::string& name, double layer_bytes, double layer_ratio, double model_bytes,
                              double model_ratio, Index dense) {
        std::printf("%6s | %11s  %6.2fx  | %11s  %6.2fx  | %td\n", name.c_str(), page::bytes_text(layer_bytes).c_str(),
                    layer_ratio, page::bytes_text(model_bytes).c_str(), model_ratio, dense);
    };
    print_row("dense", layers, 1.0, layers + inspection.other_bytes, 1.0, static_cast<Index>(inspection.layers.size()));
    if (inspection.stored_bytes != layers) {  // some layers are factors
        const double model = inspection.stored_bytes + inspection.other_bytes;
        const auto factors = std::count_if(inspection.layers.begin(), inspection.layers.end(),
                                           [](const InspectedLayer& layer) { return layer.stored_rank > 0; });
        print_row("as is", inspection.stored_bytes, layers / inspection.stored_bytes, model,
                  (layers + inspection.other_bytes) / model, static_cast<Index>(inspection.layers.size()) - factors);
    }
    for (const double threshold : inspection.thresholds) {
        const CutTotals totals = totals_at(inspection, threshold);
        print_row(threshold_text(threshold), totals.layer_bytes, totals.layer_compression, totals.model_bytes,
                  totals.model_compression, totals.dense_layers);
    }
    std::printf("\"2x\" means half the bytes of the dense weights, at 4 bytes a number.\n");
}

}  // namespace

void print_tables(const Inspection& inspection)
{
    print_layers(inspection);
    print_totals(inspection);
}

}  // namespace wasi_examples
