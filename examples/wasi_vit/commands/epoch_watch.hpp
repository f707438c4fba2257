#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "commands/data_source.hpp"
#include "commands/run_keeper.hpp"
#include "report/report_page.hpp"

namespace wasi_examples {

/// Measures a run on its validation images after each epoch, keeps the model that did best so far, and says when to
/// stop. What it knows follows from the rows of epochs.csv, so a resumed run goes on as it would have. The best model
/// is in best-EPOCH.safetensors until the run ends; an older one goes once the run file no longer needs it.
class EpochWatch {
public:
    /// `folder`: the run's --out.
    EpochWatch(const FinetuneOptions& options, std::filesystem::path folder);

    /// Whether it does anything: with --validation.
    [[nodiscard]] bool active() const { return active_; }
    /// Goes on where the run in `folder` stood after so many whole epochs. Throws wasi::io_error.
    void resume(const std::filesystem::path& folder, wasi::Index epochs);
    /// An epoch is over: its mean loss. `metadata` goes into the model's file. Returns a line that says how it did.
    [[nodiscard]] std::string note(RunModel& model, const RunData& validation, double loss, wasi::Index batch_size,
                                   const std::map<std::string, std::string>& metadata);
    /// Whether --patience is at its end.
    [[nodiscard]] bool stops() const;
    /// Whether the last epoch was the best so far.
    [[nodiscard]] bool improved() const { return !rows_.empty() && best() == rows_.size() - 1; }

    /// Writes epochs.csv; with the run file that is written next it makes up the state.
    void save() const
    {
        if (active_) {
            save(table());
        }
    }
    /// The same to another place.
    void save(const std::filesystem::path& path) const;
    /// Removes models that are no longer the best.
    void forget_others() const;
    /// Where the best model so far is, for a run that ends without finish(); "" without one.
    [[nodiscard]] std::string best_text() const;
    /// With --keep best: puts the best model's values into `model`, if they are others, and says so; "" else. Removes
    /// all of its own files but epochs.csv.
    [[nodiscard]] std::string finish(RunModel& model);

    /// The epoch whose model is at hand: the last, or after finish() the best.
    [[nodiscard]] wasi::Index epoch() const { return kept_ > 0 ? kept_ : std::ssize(rows_); }
    [[nodiscard]] const std::vector<EpochRow>& rows() const { return rows_; }

private:
    /// The first of those with the most right. Rows must not be empty.
    [[nodiscard]] std::size_t best() const;
    [[nodiscard]] std::filesystem::path table() const;
    [[nodiscard]] std::filesystem::path best_file(wasi::Index epoch) const;

    std::filesystem::path folder_;
    bool active_;
    bool keep_best_;
    wasi::Index patience_;
    std::vector<EpochRow> rows_;
    wasi::Index kept_ = 0;
};

/// Removes the models of epochs in a folder, all but that of one epoch (0: all).
void remove_epoch_models(const std::filesystem::path& folder, wasi::Index but = 0);

}  // namespace wasi_examples
