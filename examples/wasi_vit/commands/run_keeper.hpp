#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <wasi/files/run_file.hpp>
#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/storage/eigen.hpp>

#include "options/options.hpp"
#include "report/report_page.hpp"

/// Runs that can be gone on with: --save-every and --resume.
namespace wasi_examples {

using RunModel = wasi::nn::VisionTransformer<float, wasi::EigenStorage>;
using RunOptimizer = wasi::optim::Optimizer<float, wasi::EigenStorage>;

/// What makes a run this one: every option that changes results, as typed, and the fingerprint of the training data.
/// The number of epochs is not among them: a run may be made longer.
[[nodiscard]] wasi::files::RunFacts run_facts(const FinetuneOptions& options, const std::string& training_data);

/// A run as its folder has it. Throws wasi::io_error when there is none.
class SavedRun {
public:
    /// `folder`: the --out of the run.
    explicit SavedRun(const std::filesystem::path& folder);

    /// A model of the run's shape, its values not set.
    [[nodiscard]] std::unique_ptr<RunModel> make_model(wasi::Memory& memory) const;
    /// What the run settled by itself: its method, and micro-batches of a step.
    [[nodiscard]] std::string method() const;
    [[nodiscard]] wasi::Index micro_batches() const;
    /// What its files carry of where the model came from.
    [[nodiscard]] std::map<std::string, std::string> origin() const;
    /// The steps that were done, from metrics.csv: as many as the run file has seen. `energies`: the captured energies
    /// of each.
    [[nodiscard]] std::vector<StepRow> steps(wasi::Index count, std::vector<std::vector<double>>& energies) const;
    [[nodiscard]] const std::filesystem::path& file() const { return file_; }

private:
    [[nodiscard]] std::string word(const std::string& key) const;

    std::filesystem::path file_;
    std::filesystem::path metrics_;
    std::map<std::string, std::string> metadata_;
};

/// Writes a run into its folder: metrics.csv first, then run.safetensors, each whole or not at all; so a run that was
/// killed at any moment has the metrics of every step that its run file has seen.
class RunKeeper {
public:
    RunKeeper(std::filesystem::path folder, wasi::files::RunFacts facts, std::string method, wasi::Index micro_batches,
              std::map<std::string, std::string> origin);

    /// `more`: what goes on beside the model and its optimiser.
    void save(RunModel& model, RunOptimizer& optimizer, wasi::Index next_step, const std::string& metrics,
              const std::function<void(wasi::State&)>& more) const;
    /// Takes away what an earlier run has left.
    void forget() const;

private:
    std::filesystem::path folder_;
    wasi::files::RunFacts facts_;
    std::string method_;
    wasi::Index micro_batches_;
    std::map<std::string, std::string> origin_;
};

}  // namespace wasi_examples
