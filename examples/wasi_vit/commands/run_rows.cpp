#include "commands/run_rows.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "page/page_numbers.hpp"
#include "plan/activation_budget.hpp"

namespace wasi_examples {

using wasi::Index;

std::vector<LayerRow> layer_rows(RunModel& model, const FinetuneOptions& options, const wasi::Ledger& ledger,
                                 const std::vector<std::vector<double>>& energies)
{
    std::vector<LayerRow> rows;
    std::size_t compressed = 0;
    for (const auto* layer : wasi::nn::selected_layers(model, options.layers)) {
        LayerRow row;
        row.name = short_name(layer->weight.name());
        row.outputs = layer->weight.outputs();
        row.inputs = layer->weight.inputs();
        row.weight_rank = layer->weight.rank();
        row.captured_energy = layer->weight.is_low_rank() ? layer->weight.low_rank().energy_at_start() : 1.0;
        row.weight_bytes = static_cast<double>(layer->weight.bytes());
        row.saved_input_bytes = static_cast<double>(ledger.of(wasi::Tag{wasi::Use::saved_input, layer->layer()}).peak);
        if (const auto* saver = layer->saves_with<wasi::nn::TuckerOptions>()) {
            row.activation_ranks = saver->subspace().ranks();
            for (const auto& step : energies) {
                row.activation_energy.push_back(step.at(compressed));
            }
            ++compressed;
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

double table_bytes(const TrainingSetup& setup)
{
    Index compressed = 0;
    wasi::nn::visit_layers(*setup.model, [&](wasi::nn::Place, auto& layer) {
        compressed += layer.template saves_with<wasi::nn::TuckerOptions>() != nullptr ? 1 : 0;
    });
    const double number = 20.0;  // 17 digits, point, exponent or comma
    return static_cast<double>(setup.total_steps) * (4.0 + static_cast<double>(compressed)) * number + 1048576.0;
}

std::vector<ShownPicture> first_examples(const TrainingSetup& setup)
{
    const wasi::RandomKey key = run_key(setup.options, 3);
    const RunData& data = setup.data.train;
    auto which = wasi::train::calibration_images(data.size(), setup.training, key);
    which.resize(std::min(which.size(), most_examples));
    std::vector<ShownPicture> examples;
    try {
        const auto batch = data.gather(which, key.derive(0).derive(1), wasi::plain_memory());  // as train() asks first
        const auto labels = data.gather_labels(which);
        const auto& names = setup.data.classes;
        for (std::size_t i = 0; i < which.size(); ++i) {
            const auto label = static_cast<std::size_t>(labels[i]);
            examples.push_back({picture_source(batch, static_cast<Index>(i), setup.data.pixels),
                                label < names.size() ? names[label] : std::to_string(label),
                                wasi::data::name_of(data, which[i])});
        }
    } catch (const wasi::io_error&) {
        examples.clear();
    }
    return examples;
}

void print_summary(const RunReport& run)
{
    std::printf(
        "%-8s test accuracy %.1f %% (95 %%: %.1f to %.1f), %s a step, saved inputs %s, ledger peak %s, process peak "
        "%s\n",
        run.method.c_str(), 100.0 * run.test_accuracy, 100.0 * run.test_accuracy_low, 100.0 * run.test_accuracy_high,
        page::seconds_text(run.seconds_per_step_median).c_str(), page::bytes_text(saved_input_total(run)).c_str(),
        page::bytes_text(run.ledger_peak_total).c_str(), page::bytes_text(run.peak_rss_bytes).c_str());
}

}  // namespace wasi_examples
