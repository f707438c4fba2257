#include "commands/run_keeper.hpp"

#include <fstream>
#include <utility>

#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/io/atomic_file.hpp>

#include "commands/epoch_watch.hpp"
#include "options/option_text.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::io_error;
using wasi::require;

constexpr const char* run_name = "run.safetensors";
constexpr const char* metrics_name = "metrics.csv";
constexpr const char* method_key = "method";
constexpr const char* micro_batches_key = "micro_batches";
constexpr const char* preprocessing_key = "preprocessing";

}  // namespace

wasi::files::RunFacts run_facts(const FinetuneOptions& options, const std::string& training_data)
{
    wasi::files::RunFacts facts;
    for (const auto& row : finetune_table()) {
        if (row.effect == Effect::results && row.name != "--epochs") {
            facts[row.name] = row.value.show(options);
        }
    }
    facts["training data"] = training_data;
    return facts;
}

SavedRun::SavedRun(const std::filesystem::path& folder) : file_(folder / run_name), metrics_(folder / metrics_name)
{
    require<io_error>(std::filesystem::exists(file_), file_.string(),
                      ": is not there; --resume takes the --out of a run that was interrupted or had --save-every");
    metadata_ = wasi::io::SafetensorsFile(file_).metadata();
}

std::unique_ptr<RunModel> SavedRun::make_model(wasi::Memory& memory) const
{
    return std::make_unique<RunModel>(wasi::files::config_from_file(file_), memory);
}

std::string SavedRun::word(const std::string& key) const
{
    const auto found = metadata_.find(key);
    require<io_error>(found != metadata_.end(), file_.string(), ": metadata ", key, " is missing");
    return found->second;
}

std::string SavedRun::method() const
{
    return word(method_key);
}

Index SavedRun::micro_batches() const
{
    return parse_number<Index>(word(micro_batches_key), file_.string(), {.least = 1});
}

std::map<std::string, std::string> SavedRun::origin() const
{
    const auto found = metadata_.find(preprocessing_key);
    return found == metadata_.end() ? std::map<std::string, std::string>() : std::map<std::string, std::string>{*found};
}

std::vector<StepRow> SavedRun::steps(Index count, std::vector<std::vector<double>>& energies) const
{
    std::ifstream file(metrics_);
    std::string line;
    require<io_error>(static_cast<bool>(std::getline(file, line)), metrics_.string(), ": cannot be read");
    std::vector<StepRow> steps;
    while (static_cast<Index>(steps.size()) < count && std::getline(file, line)) {
        const auto cells = split(line, ',');
        require<io_error>(cells.size() >= 5, metrics_.string(), ": the line '", line, "' is not a step");
        const auto number = [&](std::size_t cell) { return parse_number<double>(cells[cell], metrics_.string()); };
        steps.push_back({parse_number<Index>(cells[0], metrics_.string()), number(1), number(2), number(3), number(4)});
        energies.emplace_back();
        for (std::size_t cell = 5; cell < cells.size(); ++cell) {
            energies.back().push_back(number(cell));
        }
        require<io_error>(steps.back().step == static_cast<Index>(steps.size()) - 1, metrics_.string(), ": step ",
                          steps.back().step, " where step ", steps.size() - 1, " belongs");
    }
    require<io_error>(static_cast<Index>(steps.size()) == count, metrics_.string(), ": has ", steps.size(),
                      " steps, the run file beside it has seen ", count);
    return steps;
}

RunKeeper::RunKeeper(std::filesystem::path folder, wasi::files::RunFacts facts, std::string method, Index micro_batches,
                     std::map<std::string, std::string> origin)
    : folder_(std::move(folder)),
      facts_(std::move(facts)),
      method_(std::move(method)),
      micro_batches_(micro_batches),
      origin_(std::move(origin))
{
}

void RunKeeper::save(RunModel& model, RunOptimizer& optimizer, Index next_step, const std::string& metrics,
                     const std::function<void(wasi::State&)>& more) const
{
    wasi::io::write_file_atomically(folder_ / metrics_name, metrics);
    auto metadata = wasi::files::config_metadata(model.config());
    metadata.insert(origin_.begin(), origin_.end());
    metadata[method_key] = method_;
    metadata[micro_batches_key] = number_text(micro_batches_);
    wasi::files::save_run(model, optimizer, next_step, facts_, folder_ / run_name, metadata, more);
}

void RunKeeper::forget() const
{
    std::error_code ignored;
    std::filesystem::remove(folder_ / run_name, ignored);
    remove_epoch_models(folder_);
}

}  // namespace wasi_examples
