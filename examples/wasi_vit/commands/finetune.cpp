#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wasi/core/process_memory.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/train/evaluate.hpp>

#include "commands/commands.hpp"
#include "commands/data_source.hpp"
#include "commands/progress.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"
#include "plan/activation_budget.hpp"
#include "plan/plan.hpp"
#include "report/memory_timeline.hpp"
#include "report/run_files.hpp"

namespace wasi_examples {

std::atomic<bool> interrupted{false};

namespace {

using wasi::EigenStorage;
using wasi::Index;
using Model = wasi::nn::VisionTransformer<float, EigenStorage>;
using Layer = wasi::nn::Linear<float, EigenStorage>;

/// The output folder, made if it is not there; taken away again if the run fails before it has written anything.
class OutputFolder {
public:
    explicit OutputFolder(const std::filesystem::path& path) : path_(path)
    {
        std::error_code failure;
        made_ = std::filesystem::create_directories(path_, failure);
        wasi::require<wasi::io_error>(!failure && std::filesystem::is_directory(path_), path.string(),
                                      ": cannot be made a folder", failure ? ": " + failure.message() : std::string());
        // Found out now, not after an hour of training.
        wasi::io::write_file_atomically(path_ / ".wasi_vit", "");
        std::filesystem::remove(path_ / ".wasi_vit", failure);
    }
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;
    ~OutputFolder()
    {
        if (made_) {
            std::error_code failure;
            std::filesystem::remove(path_, failure);  // does nothing to a folder that is not empty
        }
    }

private:
    std::filesystem::path path_;
    bool made_ = false;
};

[[nodiscard]] double median(std::vector<double> values)
{
    if (values.empty()) {
        return not_known;
    }
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

/// How weights and saved inputs are held, and what the ledger has seen of each.
[[nodiscard]] std::vector<LayerRow> layer_rows(Model& model, const FinetuneOptions& options, const wasi::Ledger& ledger,
                                               const std::vector<std::vector<double>>& energies)
{
    std::vector<LayerRow> rows;
    std::size_t compressed = 0;
    for (const Layer* layer : wasi::nn::selected_layers(model, options.layers)) {
        LayerRow row;
        row.name = short_name(layer->weight.name());
        row.outputs = layer->weight.outputs();
        row.inputs = layer->weight.inputs();
        row.weight_rank = layer->weight.rank();
        row.captured_energy = layer->weight.is_low_rank() ? layer->weight.low_rank().energy_at_start() : 1.0;
        row.weight_bytes = static_cast<double>(layer->weight.bytes());
        row.saved_input_bytes = static_cast<double>(ledger.of(wasi::Tag{wasi::Use::saved_input, layer->layer()}).peak);
        if (const auto* saver = layer->saves_with<wasi::nn::TuckerInput>()) {
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

/// The process's peak in one phase after the other. What a phase has freed has left the process before the next begins.
class PhasePeaks {
public:
    /// Ends the phase under its name and begins the next.
    void end(const char* name)
    {
        peaks_.emplace_back(name, static_cast<double>(peak_.bytes()));
        wasi::return_free_memory();
        peak_.restart();
    }
    [[nodiscard]] const std::vector<std::pair<std::string, double>>& all() const { return peaks_; }
    [[nodiscard]] double largest() const
    {
        double most = 0.0;
        for (const auto& [name, bytes] : peaks_) {
            most = std::max(most, bytes);
        }
        return most;
    }

private:
    wasi::ProcessPeak peak_;
    std::vector<std::pair<std::string, double>> peaks_;
};

/// A data set belongs to the program, not to the engine, but it is part of what a run needs.
[[nodiscard]] wasi::Booking book_images(const TrainAndTest& data, wasi::Ledger& ledger)
{
    const auto bytes = [](const auto& set) {
        return set.images.size() * sizeof(float) + set.labels.size() * sizeof(std::int64_t);
    };
    return {ledger, bytes(data.train) + (data.held_out ? bytes(*data.held_out) : 0), {wasi::Use::input, 0}};
}

[[nodiscard]] std::unique_ptr<Model> make_model(const FinetuneOptions& options,
                                                const wasi::train::MethodOptions& method, wasi::Ledger& ledger,
                                                TrainAndTest& data)
{
    const wasi::RandomKey key(options.seed);
    if (options.weights.empty()) {
        auto config = model_config(options);
        data = load_data(options.data, config.image);
        config.classes = options.classes.value_or(class_count(data.train));
        return std::make_unique<Model>(config, ledger, key.derive(1));
    }
    auto model = wasi::files::load_model<float, EigenStorage>(
        options.weights, ledger, {.heads = options.heads},
        [&](wasi::nn::Place place, auto& weight) {
            wasi::nn::set_up(weight, wasi::train::layer_setup(method, place.role).weight);
        });
    data = load_data(options.data, model->config().image);
    const Index before = model->config().classes;
    if (options.classes && *options.classes != before) {
        model->replace_head(*options.classes);
        std::printf("The head for %td classes is replaced by a new one for %td.\n", before, *options.classes);
    }
    return model;
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

}  // namespace

int finetune(const FinetuneOptions& given)
{
    FinetuneOptions options = given;
    const auto memory = memory_budget(options);
    if (memory) {
        options.method = options.optimizer == OptimizerName::adamw ? wasi::train::method("factors")
                                                                   : wasi::train::method("wsi");  // until it is planned
    }
    const auto method = method_options(options);
    (void)train_options(options);  // refused now rather than after loading
    const std::int64_t budget = activation_budget(options);
    use_threads(options.threads);
    const OutputFolder folder(options.out);

    PhasePeaks phases;
    wasi::Ledger ledger;
    TrainAndTest data;
    std::unique_ptr<Model> model;
    std::optional<PlannedMemory> memory_plan;
    if (memory) {
        ModelInBudget planned = make_model_in_budget(options, *memory, ledger, data);
        std::fputs(memory_plan_text(planned.plan).c_str(), stdout);
        model = std::move(planned.model);
        options.method = planned.method;
        options.accumulate = planned.plan.memory.chosen.run.training.micro_batches;
        memory_plan = std::move(planned.plan.memory);
    } else {
        model = make_model(options, method, ledger, data);
    }
    data.train.check(model->config().classes);
    data.test().check(model->config().classes);
    options = fit_to_images(options, data.train.count);
    if (options.batch_size < given.batch_size) {
        std::printf("--batch-size %td is more than the %td images: a batch is all of them.\n", given.batch_size,
                    options.batch_size);
    }
    auto training = train_options(options);
    const wasi::Booking booked_images = book_images(data, ledger);
    phases.end("load");
    const wasi::RandomKey key(options.seed);
    if (memory_plan) {
        // Weights and blocks are as planned.
    } else if (options.weights.empty()) {
        wasi::train::apply_method(*model, method, key.derive(2));
    } else {  // the weights were converted as they were read
        wasi::train::prepare_training(*model, method, key.derive(2));
    }
    if (!memory_plan) {
        wasi::nn::keep(*model, options.keep);
    }

    const auto optimizer = wasi::optim::make_optimizer<float, EigenStorage>(optimizer_options(options), ledger);

    RunReport run;
    run.method = method_options(options).method.name;
    run.title = run.method + (options.layers == wasi::nn::Layers::mlp ? ", MLP layers" : "") + ", seed " +
                std::to_string(options.seed);
    run.options = shown_options(options);
    std::vector<std::vector<double>> energies;
    std::vector<double> seconds;
    std::vector<double> flops;
    const Index per_epoch = wasi::train::steps_per_epoch(data.train.count, options.batch_size);
    const Index total_steps = per_epoch * options.epochs;
    // The first step makes what stays: momentum, warm bases. The second is like all that follow.
    const Index drawn_step = std::min<Index>(1, total_steps - 1);
    Progress progress(run.method, total_steps, per_epoch);
    training.on_step = [&](const wasi::train::StepRecord& record) {
        run.steps.push_back({record.step, record.epoch, record.loss, record.rate, record.seconds});
        energies.push_back(record.captured_energies);
        seconds.push_back(record.seconds);
        flops.push_back(record.flops);
        if (record.step == drawn_step) {
            run.memory_of_step = ledger.events();
        }
        ledger.record_events(record.step + 1 == drawn_step);
        progress.step(record);
        return !interrupted.load();
    };
    std::optional<wasi::plan::ActivationPlan> plan;
    if (budget > 0) {
        const auto images = wasi::train::calibration_images(data.train.count, training, key.derive(3));
        plan = wasi::plan::plan_activations(*model, data.train, images, method.layers, budget);
        wasi::plan::apply_plan(*model, *plan, method.layers, method.activation, key.derive(2));
        std::fputs(plan_text(*plan).c_str(), stdout);
    }
    phases.end("convert");
    ledger.open_arena();
    ledger.record_events(drawn_step == 0);
    ledger.reset_peaks();  // from here on: peaks of training, not of loading and factorizing
    wasi::train::train(*model, data.train, *optimizer, training, key.derive(3));
    progress.finish();

    phases.end("step");
    run.process_peaks = phases.all();
    run.peak_rss_bytes = phases.largest();
    run.arena_high_water = static_cast<double>(ledger.arena_high_water());
    run.arena_held_peak = static_cast<double>(ledger.arena_held_peak());
    run.seconds_per_step_median = median(seconds);
    run.flops_per_step = median(flops);
    run.model_bytes = static_cast<double>(wasi::nn::parameter_bytes(*model));
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        run.ledger_peaks.emplace_back(to_string(static_cast<wasi::Use>(use)),
                                      static_cast<double>(ledger.of(static_cast<wasi::Use>(use)).peak));
    }
    run.ledger_peak_total = static_cast<double>(ledger.total().peak);
    run.layers = layer_rows(*model, options, ledger, energies);
    // Batches as in training: so evaluation needs less memory than a step did.
    const Index correct = wasi::train::count_correct(
        *model, data.test(), (options.batch_size + training.micro_batches - 1) / training.micro_batches);
    run.test_count = data.test().count;
    run.test_accuracy = static_cast<double>(correct) / static_cast<double>(data.test().count);
    std::tie(run.test_accuracy_low, run.test_accuracy_high) = wasi::train::wilson_interval(correct, data.test().count);

    const std::filesystem::path out(options.out);
    wasi::files::save_model(*model, out / "model.safetensors", {{"method", run.method}});
    wasi::io::write_file_atomically(out / "metrics.csv", metrics_csv(run));
    wasi::io::write_file_atomically(out / "memory.csv", memory_csv(run.memory_of_step));
    wasi::io::write_file_atomically(
        out / "report.json",
        report_json(run, {options.seed, interrupted.load(), plan ? &*plan : nullptr,
                          memory_plan ? &*memory_plan : nullptr, static_cast<double>(booked_images.bytes())}));
    wasi::io::write_file_atomically(out / "report.html", report_page(run));
    print_summary(run);
    if (interrupted.load()) {
        std::printf("Interrupted after step %zu; what was done so far is saved in %s.\n", run.steps.size(),
                    options.out.c_str());
        return 130;
    }
    return 0;
}

}  // namespace wasi_examples
