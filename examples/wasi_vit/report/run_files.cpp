#include "report/run_files.hpp"

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <locale>
#include <sstream>

#include <nlohmann/json.hpp>

#include <wasi/core/error.hpp>
#include <wasi/core/text_stream.hpp>
#include <wasi/plan/memory_plan.hpp>
#include <wasi/storage/eigen.hpp>

#include "plan/activation_budget.hpp"

namespace wasi_examples {
namespace {

using nlohmann::ordered_json;

/// JSON has no NaN; null says that nobody knows.
[[nodiscard]] ordered_json number(double value)
{
    return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}
[[nodiscard]] double number(const ordered_json& value)
{
    return value.is_null() ? not_known : value.get<double>();
}

/// What --activation-budget chose.
[[nodiscard]] ordered_json plan_json(const wasi::plan::ActivationPlan& plan)
{
    ordered_json json;
    json["budget_bytes"] = plan.budget;
    json["bytes"] = plan.solution.bytes;
    json["perplexity"] = number(plan.solution.cost);
    json["lower_bound"] = number(plan.solution.lower_bound);
    json["optimal"] = plan.solution.status == wasi::rank::SolveStatus::optimal;
    json["layers"] = ordered_json::array();
    for (const auto& input : plan.inputs) {
        ordered_json row;
        row["name"] = short_name(input.layer);
        row["form"] = to_string(input.chosen.form);
        row["energy"] = number(input.chosen.energy);
        row["ranks"] = input.chosen.ranks;
        row["bytes"] = input.chosen.bytes;
        row["exact_bytes"] = input.exact_bytes;
        row["perplexity"] = number(input.chosen.perplexity);
        row["gradient_norm"] = number(input.exact_norm);
        json["layers"].push_back(std::move(row));
    }
    return json;
}

/// What --memory-budget chose, with the classes of memory as ledger_peak_bytes has them: the data set is among the
/// input.
[[nodiscard]] ordered_json memory_plan_json(const PlannedMemory& plan, double booked_images)
{
    const auto& chosen = plan.chosen;
    ordered_json json;
    json["budget_bytes"] = plan.budget;
    json["base_bytes"] = plan.base;
    json["process_bytes"] = chosen.process;
    json["arena_bytes"] = chosen.forecast.arena;
    json["predicted_bytes"] = ordered_json::object();
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        const bool input = static_cast<wasi::Use>(use) == wasi::Use::input;
        json["predicted_bytes"][std::string(to_string(static_cast<wasi::Use>(use)))] =
            static_cast<double>(chosen.forecast.peaks[use]) + (input ? booked_images : 0.0);
    }
    json["predicted_bytes"]["total"] = static_cast<double>(chosen.forecast.total) + booked_images;
    json["flops_per_step"] = number(chosen.forecast.flops);
    json["error"] = number(chosen.error());
    json["energy"] = chosen.energy;
    json["blocks_keep"] = chosen.keep.name;
    json["micro_batches"] = chosen.run.training.micro_batches;
    json["input_share"] = chosen.input_share;
    json["weight_ranks"] = ordered_json::array();
    json["input_ranks"] = ordered_json::array();
    for (const LayerRanks& layer : ranks_of_blocks(chosen.run)) {
        json["weight_ranks"].push_back(layer.weight);
        json["input_ranks"].push_back(layer.input ? ordered_json(*layer.input) : ordered_json("exact"));
    }
    return json;
}

/// What --method auto compared, with the classes of memory as memory_plan_json has them.
[[nodiscard]] ordered_json methods_json(const MethodTable& table, double booked_images)
{
    ordered_json json;
    json["budget_bytes"] = table.budget;
    json["measured"] = table.measured;
    json["reason"] = table.reason();
    if (table.rows.empty()) {
        return json;
    }
    json["base_bytes"] = table.base;
    json["process_bytes"] = table.rows[table.chosen].process;
    json["command"] = table.command;
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        const bool input = static_cast<wasi::Use>(use) == wasi::Use::input;
        json["predicted_bytes"][std::string(to_string(static_cast<wasi::Use>(use)))] =
            static_cast<double>(table.predicted[use]) + (input ? booked_images : 0.0);
    }
    json["predicted_bytes"]["total"] = static_cast<double>(table.predicted_total) + booked_images;
    json["flops_per_step"] = number(table.flops);
    json["chosen"] = table.chosen;
    for (const MethodRow& row : table.rows) {
        json["methods"].push_back({{"method", row.method},
                                   {"setting", row.setting},
                                   {"blocks_keep", row.keep},
                                   {"micro_batches", row.micro_batches},
                                   {"process_bytes", row.process},
                                   {"output_error", number(row.output_error)},
                                   {"gradient_error", number(row.gradient_error)},
                                   {"fits", row.fits}});
    }
    return json;
}

constexpr std::string_view energy_prefix = "captured_energy:";

}  // namespace

std::string metrics_csv(const RunReport& run)
{
    wasi::TextStream out;
    out.precision(std::numeric_limits<double>::max_digits10);
    out << "step,epoch,loss,learning_rate,seconds";
    for (const LayerRow& layer : run.layers) {
        if (!layer.activation_energy.empty()) {
            out << ',' << energy_prefix << layer.name;
        }
    }
    out << '\n';
    for (std::size_t i = 0; i < run.steps.size(); ++i) {
        const StepRow& step = run.steps[i];
        out << step.step << ',' << step.epoch << ',' << step.loss << ',' << step.learning_rate << ',' << step.seconds;
        for (const LayerRow& layer : run.layers) {
            if (!layer.activation_energy.empty()) {
                out << ',' << layer.activation_energy.at(i);
            }
        }
        out << '\n';
    }
    return out.str();
}

std::string report_json(const RunReport& run, const RunExtras& extras)
{
    ordered_json json;
    json["title"] = run.title;
    json["method"] = run.method;
    json["seed"] = extras.seed;
    json["interrupted"] = extras.interrupted;
    json["options"] = ordered_json::object();
    for (const auto& [name, value] : run.options) {
        json["options"][name] = value;
    }
    json["test_accuracy"] = number(run.test_accuracy);
    json["test_accuracy_95"] = {number(run.test_accuracy_low), number(run.test_accuracy_high)};
    json["test_count"] = run.test_count;
    for (const EpochRow& row : run.epochs) {
        json["epochs"].push_back(
            {{"epoch", row.epoch},
             {"loss", number(row.loss)},
             {"validation_accuracy", static_cast<double>(row.correct) / static_cast<double>(row.images)},
             {"macro_f1", number(row.macro_f1)}});
    }
    json["steps"] = run.steps.size();
    json["seconds_per_step_median"] = number(run.seconds_per_step_median);
    json["flops_per_step"] = number(run.flops_per_step);
    json["model_bytes"] = number(run.model_bytes);
    json["peak_rss_bytes"] = number(run.peak_rss_bytes);
    json["base_bytes"] = number(run.base_bytes);
    json["process_peak_bytes"] = ordered_json::object();
    for (const auto& [phase, bytes] : run.process_peaks) {
        json["process_peak_bytes"][phase] = number(bytes);
    }
    json["arena_high_water_bytes"] = number(run.arena_high_water);
    json["arena_held_peak_bytes"] = number(run.arena_held_peak);
    json["ledger_peak_bytes"] = ordered_json::object();
    for (const auto& [name, bytes] : run.ledger_peaks) {
        json["ledger_peak_bytes"][name] = number(bytes);
    }
    json["ledger_peak_bytes"]["total"] = number(run.ledger_peak_total);
    json["saved_input_bytes_of_layers"] = number(saved_input_total(run));
    json["layers"] = ordered_json::array();
    for (const LayerRow& layer : run.layers) {
        ordered_json row;
        row["name"] = layer.name;
        row["outputs"] = layer.outputs;
        row["inputs"] = layer.inputs;
        row["weight_rank"] = layer.weight_rank;
        row["activation_ranks"] = layer.activation_ranks;
        row["weight_energy"] = number(layer.captured_energy);
        row["saved_input_bytes"] = number(layer.saved_input_bytes);
        row["weight_bytes"] = number(layer.weight_bytes);
        json["layers"].push_back(std::move(row));
    }
    if (extras.activation_plan != nullptr) {
        json["activation_plan"] = plan_json(*extras.activation_plan);
    }
    if (extras.memory_plan != nullptr) {
        json["memory_plan"] = memory_plan_json(*extras.memory_plan, extras.booked_images);
    }
    if (extras.methods != nullptr) {
        json["method_choice"] = methods_json(*extras.methods, extras.booked_images);
    }
    return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

RunReport read_run(const std::filesystem::path& folder)
{
    const auto json_path = folder / "report.json";
    std::ifstream json_file(json_path);
    wasi::require<wasi::io_error>(json_file.good(), json_path.string(),
                                  ": cannot be read; is this the output folder of a finished run?");
    RunReport run;
    try {
        const auto json = ordered_json::parse(json_file);
        run.title = json.at("title").get<std::string>();
        run.method = json.at("method").get<std::string>();
        for (const auto& [name, value] : json.at("options").items()) {
            run.options.emplace_back(name, value.get<std::string>());
        }
        run.test_accuracy = number(json.at("test_accuracy"));
        run.test_accuracy_low = number(json.at("test_accuracy_95").at(0));
        run.test_accuracy_high = number(json.at("test_accuracy_95").at(1));
        run.test_count = json.at("test_count").get<wasi::Index>();
        run.seconds_per_step_median = number(json.at("seconds_per_step_median"));
        run.flops_per_step = number(json.at("flops_per_step"));
        run.model_bytes = number(json.at("model_bytes"));
        run.peak_rss_bytes = number(json.at("peak_rss_bytes"));
        if (json.contains("base_bytes")) {  // older reports lack it
            run.base_bytes = number(json.at("base_bytes"));
        }
        for (const auto& [name, bytes] : json.at("ledger_peak_bytes").items()) {
            if (name == "total") {
                run.ledger_peak_total = number(bytes);
            } else {
                run.ledger_peaks.emplace_back(name, number(bytes));
            }
        }
        for (const auto& row : json.at("layers")) {
            LayerRow layer;
            layer.name = row.at("name").get<std::string>();
            layer.outputs = row.at("outputs").get<wasi::Index>();
            layer.inputs = row.at("inputs").get<wasi::Index>();
            layer.weight_rank = row.at("weight_rank").get<wasi::Index>();
            layer.activation_ranks = row.at("activation_ranks").get<std::array<wasi::Index, 3>>();
            layer.captured_energy = number(row.at("weight_energy"));
            layer.saved_input_bytes = number(row.at("saved_input_bytes"));
            layer.weight_bytes = number(row.at("weight_bytes"));
            run.layers.push_back(std::move(layer));
        }
    } catch (const nlohmann::json::exception& failure) {
        throw wasi::io_error(wasi::message(json_path.string(), ": ", failure.what()));
    }

    const auto csv_path = folder / "metrics.csv";
    std::ifstream csv(csv_path);
    std::string line;
    wasi::require<wasi::io_error>(static_cast<bool>(std::getline(csv, line)), csv_path.string(), ": cannot be read");
    while (std::getline(csv, line)) {
        std::istringstream cells(line);
        cells.imbue(std::locale::classic());  // as metrics_csv wrote it
        StepRow step;
        char comma = ',';
        cells >> step.step >> comma >> step.epoch >> comma >> step.loss >> comma >> step.learning_rate >> comma >>
            step.seconds;
        wasi::require<wasi::io_error>(!cells.fail(), csv_path.string(), ": the line '", line, "' is not a step");
        run.steps.push_back(step);
    }
    return run;
}

}  // namespace wasi_examples
