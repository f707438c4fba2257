#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <wasi/core/process_memory.hpp>
#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/measure/evaluate.hpp>

#include "commands/adapters.hpp"
#include "commands/commands.hpp"
#include "commands/epoch_watch.hpp"
#include "commands/progress.hpp"
#include "commands/run_rows.hpp"
#include "commands/training_setup.hpp"
#include "files/interruption.hpp"
#include "files/output_folder.hpp"
#include "files/result_files.hpp"
#include "options/run_options.hpp"
#include "plan/activation_budget.hpp"
#include "report/memory_timeline.hpp"
#include "report/run_files.hpp"
#include "report/statistics.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;

/// One run: its loop, what it records, what it leaves.
class Finetune {
public:
    explicit Finetune(const FinetuneOptions& given)
        : setup_(set_up_training(given, ledger_, phases_)),
          keeper_(given.out, setup_.facts, std::string(setup_.options.method->name), setup_.training.micro_batches,
                  setup_.origin),
          watch_(setup_.options, given.out)
    {
        run_.method = setup_.options.method->name;
        run_.title = run_.method + (setup_.options.layers == wasi::nn::Layers::mlp ? ", MLP layers" : "") + ", seed " +
                     std::to_string(setup_.options.seed);
        run_.options = shown_options(setup_.options);
        run_.steps = std::move(setup_.steps);
        run_.why = setup_.methods ? setup_.methods->html() : std::string();
        energies_ = std::move(setup_.energies);
        per_epoch_ = wasi::train::steps_per_epoch(setup_.data.train.size(), setup_.options.batch_size);
        require_room();
    }

    /// Throws wasi::divergence_error, with metrics and the last finite model in the folder.
    void train()
    {
        const FinetuneOptions& options = setup_.options;
        const Index first = setup_.training.first_step;
        std::error_code ignored;
        if (options.resume.empty() || !std::filesystem::equivalent(options.resume, options.out, ignored)) {
            keeper_.forget();  // of an earlier run in this folder, not of the one that goes on
        }
        if (!options.resume.empty()) {
            watch_.resume(options.resume, first / per_epoch_);
        }
        if (watch_.stops()) {
            return;
        }
        phases_.end("convert");
        setup_.track.note(setup_.data.train, first);
        run_.base_bytes = base_bytes();
        ledger_.open_arena();
        // The first step makes what stays: momentum, warm bases. The second is like all that follow.
        const Index drawn_step = std::min(first + 1, setup_.total_steps - 1);
        ledger_.record_events(drawn_step == first);
        ledger_.reset_peaks();  // from here on: peaks of training, not of loading and factorizing
        Progress progress(run_.method, setup_.total_steps, per_epoch_, options.batch_size);
        setup_.training.on_step = [&](const wasi::train::StepRecord& record) {
            const bool watched = watch_.active() && (record.step + 1) % per_epoch_ == 0;
            std::string line;
            if (watched) {  // before what comes next is recorded as part of a step
                line = watch_.note(*setup_.model, *setup_.data.validation, epoch_loss(record), evaluation_batch(),
                                   metadata());
            }
            note(record, drawn_step);
            progress.step(record);
            if (watched) {
                progress.say(line);
            }
            setup_.track.note(setup_.data.train, record.step + 1);
            const bool stop = noted_signal() != 0;
            const bool due = options.save_every > 0 &&
                             ((record.step + 1) % options.save_every == 0 || (watched && watch_.improved()));
            if (stop || due) {
                keep(record.step + 1);
            }
            if (options.save_every == 0 || due) {
                watch_.forget_others();
            }
            return !stop && !watch_.stops();
        };
        try {
            wasi::train::train(*setup_.model, setup_.data.train, *setup_.optimizer, setup_.training,
                               run_key(options, 3), wasi::train::MeanCrossEntropy{options.label_smoothing});
        } catch (const wasi::divergence_error& failure) {
            progress.finish();
            throw wasi::divergence_error(wasi::message(failure.what(), " (--lr, --warmup, --clip-norm); ",
                                                       leave_what_is_finite(), watch_.best_text()));
        }
        progress.finish();
        phases_.end("step");
    }

    /// The files that a signal must not keep from being written.
    void save_model(ResultFiles& files)
    {
        if (noted_signal() == 0) {  // else the run may go on, from the last model and with the best
            std::fputs(watch_.finish(*setup_.model).c_str(), stdout);
        }
        if (watch_.active()) {
            files.add("epochs.csv", [&](const auto& path) { watch_.save(path); });
        }
        if (setup_.track.active()) {
            files.add(SubspaceTrack::file_name, [&](const auto& path) { setup_.track.save(path.parent_path()); });
        }
        files.add("metrics.csv", [&](const auto& path) { wasi::io::write_file_atomically(path, metrics()); });
        files.add("model.safetensors",
                  [&](const auto& path) { wasi::files::save_model(*setup_.model, path, metadata()); });
        if (has_adapter(setup_.options)) {
            files.add("adapter_model.safetensors",
                      [&](const auto& path) { write_adapter(setup_, path.parent_path()); });
        }
    }

    /// Accuracy and the reports.
    void finish(ResultFiles& files)
    {
        fill_report();
        files.add("memory.csv",
                  [&](const auto& path) { wasi::io::write_file_atomically(path, memory_csv(run_.memory_of_step)); });
        files.add("report.json",
                  [&](const auto& path) { wasi::io::write_file_atomically(path, report_json(run_, extras())); });
        files.add("report.html", [&](const auto& path) { wasi::io::write_file_atomically(path, report_page(run_)); });
        print_summary(run_);
        std::fputs(setup_.track.cost_text().c_str(), stdout);
        if (noted_signal() != 0) {
            std::printf("Interrupted after step %zu; what was done so far is saved in %s%s.\n", run_.steps.size(),
                        files.folder().c_str(), save_failed_ ? "" : ", to be gone on with by --resume");
        }
    }

private:
    [[nodiscard]] RunExtras extras() const
    {
        const auto at = [](const auto& held) { return held ? &*held : nullptr; };
        return {setup_.options.seed,    noted_signal() != 0, at(setup_.activation_plan),
                at(setup_.memory_plan), at(setup_.methods),  static_cast<double>(setup_.booked_images.bytes())};
    }

    /// What the model's file carries beside its configuration.
    [[nodiscard]] std::map<std::string, std::string> metadata() const
    {
        auto result = setup_.origin;
        result["method"] = run_.method;
        if (watch_.active()) {
            result["epoch"] = std::to_string(watch_.epoch());
        }
        if (!setup_.data.classes.empty()) {
            result["classes"] = wasi::files::class_names_text(setup_.data.classes);
        }
        return result;
    }

    [[nodiscard]] std::string metrics()
    {
        run_.layers = layer_rows(*setup_.model, setup_.options, ledger_, energies_);
        return metrics_csv(run_);
    }

    /// Refused now rather than after training; reports are made for their size, and for whatever they cannot show.
    void require_room()
    {
        const std::size_t pages = report_json(run_, extras()).size() + report_page(run_).size();
        const bool keeps = setup_.options.save_every > 0;
        const std::size_t model = wasi::nn::parameter_bytes(*setup_.model);
        // A run file holds the model and at most two such tensors of optimiser state. Of the best model a new one is
        // written before the old one goes.
        const std::size_t models = (keeps ? 4 : 1) + (setup_.options.keep_best ? 2 : 0);
        // Pictures that do not shrink at all, in base64.
        const auto side = static_cast<std::size_t>(setup_.model->config().image);
        const std::size_t pictures = most_examples * 4 * side * side;
        require_space(setup_.options.out, static_cast<double>(model * models + pages + pictures) + table_bytes(setup_));
    }

    /// Batches as in training, which is what plans count on.
    [[nodiscard]] Index evaluation_batch() const
    {
        return wasi::train::largest_micro_batch(setup_.training, setup_.data.train.size());
    }

    /// The mean over the epoch that ends with this step.
    [[nodiscard]] double epoch_loss(const wasi::train::StepRecord& last) const
    {
        double sum = last.loss;
        for (auto step = run_.steps.end() - (per_epoch_ - 1); step != run_.steps.end(); ++step) {
            sum += step->loss;
        }
        return sum / static_cast<double>(per_epoch_);
    }

    /// What the process holds now beside what the engine booked of it: the program, its libraries, the pictures.
    [[nodiscard]] double base_bytes() const
    {
        const auto engine = static_cast<double>(ledger_.total().current) -
                            static_cast<double>(setup_.booked_images.bytes());
        return std::max(0.0, static_cast<double>(wasi::process_memory().resident) - engine);
    }

    void note(const wasi::train::StepRecord& record, Index drawn_step)
    {
        run_.steps.push_back({record.step, record.epoch, record.loss, record.rate, record.seconds});
        energies_.push_back(record.captured_energies);
        seconds_.push_back(record.seconds);
        flops_.push_back(record.flops);
        if (record.step == drawn_step) {
            run_.memory_of_step = ledger_.events();
        }
        ledger_.record_events(record.step + 1 == drawn_step);
    }

    /// A run file that cannot be written, on a full disk say, does not end the training that it is to secure.
    void keep(Index next_step)
    {
        try {
            watch_.save();
            setup_.track.save(setup_.options.out);
            keeper_.save(*setup_.model, *setup_.optimizer, next_step, metrics(),
                         [&](wasi::State& state) { setup_.track.state(state); });
        } catch (const wasi::io_error& failure) {
            if (!save_failed_) {
                std::fprintf(stderr, "\nwasi_vit: the run is not saved, and goes on: %s\n", failure.what());
            }
            save_failed_ = true;
        }
    }

    /// After divergence. Says what there is.
    [[nodiscard]] std::string leave_what_is_finite()
    {
        const std::filesystem::path out(setup_.options.out);
        wasi::io::write_file_atomically(out / "metrics.csv", metrics());
        if (!wasi::nn::all_finite(*setup_.model)) {
            return "its parameters are no longer finite; metrics.csv is in " + out.string() +
                   (setup_.options.save_every > 0 ? ", and the last run that was saved" : ", no model");
        }
        wasi::files::save_model(*setup_.model, out / "model.safetensors", metadata());
        return "metrics.csv and the last finite model are in " + out.string();
    }

    void fill_report()
    {
        run_.process_peaks = phases_.all();
        run_.peak_rss_bytes = phases_.largest();
        run_.arena_high_water = static_cast<double>(ledger_.arena_high_water());
        run_.arena_held_peak = static_cast<double>(ledger_.arena_held_peak());
        run_.seconds_per_step_median = median(seconds_);
        run_.flops_per_step = median(flops_);
        run_.model_bytes = static_cast<double>(wasi::nn::parameter_bytes(*setup_.model));
        for (std::size_t use = 0; use < wasi::use_count; ++use) {
            run_.ledger_peaks.emplace_back(to_string(static_cast<wasi::Use>(use)),
                                           static_cast<double>(ledger_.of(static_cast<wasi::Use>(use)).peak));
        }
        run_.ledger_peak_total = static_cast<double>(ledger_.total().peak);
        run_.layers = layer_rows(*setup_.model, setup_.options, ledger_, energies_);
        run_.epochs = watch_.rows();
        run_.subspaces = setup_.track.rows();
        run_.examples = first_examples(setup_);
        const auto& test = setup_.data.test();
        const Index correct = wasi::measure::count_correct(*setup_.model, test, evaluation_batch());
        run_.test_count = test.size();
        run_.test_accuracy = static_cast<double>(correct) / static_cast<double>(test.size());
        std::tie(run_.test_accuracy_low, run_.test_accuracy_high) =
            wasi::measure::wilson_interval(correct, test.size());
    }

    PhasePeaks phases_;
    wasi::Ledger ledger_;
    TrainingSetup setup_;
    RunKeeper keeper_;
    EpochWatch watch_;
    Index per_epoch_ = 1;
    RunReport run_;
    std::vector<std::vector<double>> energies_;
    std::vector<double> seconds_;
    std::vector<double> flops_;
    bool save_failed_ = false;
};

}  // namespace

int finetune(const FinetuneOptions& given)
{
    use_threads(given.threads);
    const OutputFolder folder(given.out);
    Finetune run(given);
    std::optional<FinishStepFirst> careful(std::in_place);
    run.train();
    ResultFiles files(given.out, given.out_fallback);
    run.save_model(files);  // before the evaluation, which a signal ends
    careful.reset();
    run.finish(files);
    if (!files.failure().empty()) {
        throw wasi::io_error(
            wasi::message(files.failure(), "; the model and all files are in ", files.folder().string()));
    }
    return noted_signal() != 0 ? 128 + noted_signal() : 0;
}

}  // namespace wasi_examples
