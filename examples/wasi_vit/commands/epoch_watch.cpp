#include "commands/epoch_watch.hpp"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include <wasi/files/vision_transformer_file.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/measure/evaluate.hpp>

#include "options/option_text.hpp"
#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::io_error;
using wasi::require;
namespace fs = std::filesystem;

constexpr const char* table_name = "epochs.csv";
constexpr const char* header = "epoch,loss,correct,images,macro_f1";
constexpr std::string_view model_prefix = "best-";
constexpr std::string_view model_suffix = ".safetensors";

/// The epoch in the name of a kept model; 0 for other files.
[[nodiscard]] Index epoch_of(const std::string& name)
{
    if (!name.starts_with(model_prefix) || !name.ends_with(model_suffix)) {
        return 0;
    }
    const std::string number =
        name.substr(model_prefix.size(), name.size() - model_prefix.size() - model_suffix.size());
    const bool digits =
        !number.empty() && number.size() < 10 && number.find_first_not_of("0123456789") == std::string::npos;
    return digits ? static_cast<Index>(std::stol(number)) : 0;
}

[[nodiscard]] bool is_of_epoch(const fs::path& model, Index epoch)
{
    const auto metadata = wasi::io::SafetensorsFile(model).metadata();
    const auto found = metadata.find("epoch");
    return found != metadata.end() && found->second == std::to_string(epoch);
}

}  // namespace

void remove_epoch_models(const fs::path& folder, Index but)
{
    std::error_code failure;
    std::vector<fs::path> old;
    for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end; entry.increment(failure)) {
        const Index epoch = epoch_of(entry->path().filename().string());
        if (epoch > 0 && epoch != but) {
            old.push_back(entry->path());
        }
    }
    for (const fs::path& path : old) {
        fs::remove(path, failure);
    }
}

EpochWatch::EpochWatch(const FinetuneOptions& options, fs::path folder)
    : folder_(std::move(folder)),
      active_(options.validation.has_value()),
      keep_best_(options.keep_best),
      patience_(options.patience)
{
}

void EpochWatch::resume(const fs::path& folder, Index epochs)
{
    if (!active_ || epochs == 0) {
        return;
    }
    const fs::path path = folder / table_name;
    std::ifstream file(path);
    std::string line;
    require<io_error>(static_cast<bool>(std::getline(file, line)), path.string(), ": cannot be read");
    while (std::ssize(rows_) < epochs && std::getline(file, line)) {
        const auto cells = split(line, ',');
        require<io_error>(cells.size() == 5, path.string(), ": the line '", line, "' is not an epoch");
        const auto whole = [&](std::size_t cell) { return parse_number<Index>(cells[cell], path.string()); };
        const auto number = [&](std::size_t cell) { return parse_number<double>(cells[cell], path.string()); };
        rows_.push_back({whole(0), number(1), whole(2), whole(3), number(4)});
        require<io_error>(rows_.back().epoch == std::ssize(rows_), path.string(), ": epoch ", rows_.back().epoch,
                          " where epoch ", rows_.size(), " belongs");
    }
    require<io_error>(std::ssize(rows_) == epochs, path.string(), ": has ", rows_.size(),
                      " epochs, the run file beside it has seen ", epochs);
    if (!keep_best_) {
        return;
    }
    const Index epoch = rows_[best()].epoch;
    const fs::path kept = best_file(epoch);
    fs::path source = folder / kept.filename();
    if (!fs::exists(source)) {
        source = folder / "model.safetensors";  // of a run that has ended, and is made longer
        require<io_error>(fs::exists(source) && is_of_epoch(source, epoch), folder.string(), ": the model of epoch ",
                          epoch, ", the best so far, is not there");
    }
    std::error_code failure;
    if (!fs::equivalent(source, kept, failure)) {
        failure.clear();
        fs::copy_file(source, kept, fs::copy_options::overwrite_existing, failure);
        require<io_error>(!failure, source.string(), ": cannot be copied: ", failure.message());
    }
}

std::string EpochWatch::note(RunModel& model, const RunData& validation, double loss, Index batch_size,
                             const std::map<std::string, std::string>& metadata)
{
    const auto matrix = wasi::measure::confusion(model, validation, batch_size);
    const auto epoch = static_cast<Index>(rows_.size()) + 1;
    rows_.push_back({epoch, loss, matrix.correct(), matrix.total(), matrix.macro_f1()});
    if (keep_best_ && improved()) {
        auto words = metadata;
        words["epoch"] = std::to_string(epoch);
        wasi::files::save_model(model, best_file(epoch), words);
    }
    const double share = static_cast<double>(matrix.correct()) / static_cast<double>(matrix.total());
    return wasi::message("epoch ", epoch, ": loss ", page::fixed_text(loss, 4), ", validation ",
                         page::percent_text(share), ", macro F1 ", page::fixed_text(matrix.macro_f1(), 3),
                         improved() && epoch > 1 ? ", the best so far" : "");
}

bool EpochWatch::stops() const
{
    return patience_ > 0 && !rows_.empty() && std::ssize(rows_) - 1 - static_cast<Index>(best()) >= patience_;
}

fs::path EpochWatch::table() const
{
    return folder_ / table_name;
}

void EpochWatch::save(const fs::path& path) const
{
    std::string text = std::string(header) + "\n";
    for (const EpochRow& row : rows_) {
        text += wasi::message(row.epoch, ",") + number_text(row.loss) +
                wasi::message(",", row.correct, ",", row.images, ",") + number_text(row.macro_f1) + "\n";
    }
    wasi::io::write_file_atomically(path, text);
}

std::string EpochWatch::best_text() const
{
    if (!keep_best_ || rows_.empty()) {
        return {};
    }
    const fs::path path = best_file(rows_[best()].epoch);
    return wasi::message("; the best model so far, of epoch ", rows_[best()].epoch, ", is ", path.string());
}

void EpochWatch::forget_others() const
{
    if (keep_best_ && !rows_.empty()) {
        remove_epoch_models(folder_, rows_[best()].epoch);
    }
}

std::string EpochWatch::finish(RunModel& model)
{
    std::string said;
    if (keep_best_ && !rows_.empty() && !improved()) {
        const Index epoch = rows_[best()].epoch;
        const fs::path path = best_file(epoch);
        const wasi::io::SafetensorsFile file(path);
        wasi::files::read_model(model, file, path);
        kept_ = epoch;
        said = wasi::message("The model of epoch ", epoch, " did best and is kept.\n");
    }
    remove_epoch_models(folder_);
    return said;
}

std::size_t EpochWatch::best() const
{
    const auto most = std::max_element(rows_.begin(), rows_.end(),
                                       [](const EpochRow& a, const EpochRow& b) { return a.correct < b.correct; });
    return static_cast<std::size_t>(most - rows_.begin());
}

fs::path EpochWatch::best_file(Index epoch) const
{
    return folder_ / (std::string(model_prefix) + std::to_string(epoch) + std::string(model_suffix));
}

}  // namespace wasi_examples
