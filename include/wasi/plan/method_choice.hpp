#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/plan/memory_plan.hpp"
#include "wasi/plan/ways_to_train.hpp"

/// Choosing among methods: the least error that fits.
namespace wasi::plan {

/// What blocks may keep where methods are chosen among: keep_presets, everything in 8 and 4 bits without running
/// anything again, and blocks' inputs in 4 bits.
[[nodiscard]] inline std::vector<KeepPreset> method_keep_presets()
{
    std::vector<KeepPreset> presets = keep_presets();
    const auto add = [&](std::size_t at, std::string name, nn::KeepOptions keep, Precision format) {
        keep.saved_as = format;
        presets.insert(presets.begin() + static_cast<std::ptrdiff_t>(at), KeepPreset{std::move(name), keep});
    };
    const nn::KeepOptions least = presets.back().keep;
    add(presets.size(), "the same in int4", least, Precision::int4);
    add(1, "everything, in int8", {}, Precision::int8);
    add(2, "everything, in int4", {}, Precision::int4);
    return presets;
}

/// One way to train with what blocks keep and how a batch is cut.
template <nn::Model M>
struct MethodTrial {
    std::string name;     ///< WayToTrain::name
    std::string setting;  ///< WayToTrain::setting
    train::MethodOptions method;
    std::optional<double> energy;  ///< WayToTrain::energy
    std::optional<double> size;    ///< WayToTrain::size
    KeepPreset keep;
    RunDescription<M> run;
    Forecast forecast;
    double output_error = 0.0;
    double gradient_error = 0.0;  ///< sqrt(what cannot be followed ² + what saves err ²)
    std::size_t process = 0;      ///< predicted peak of the process
    bool fits = false;

    /// What trials are ordered by first.
    [[nodiscard]] double error() const { return output_error + gradient_error; }
    /// error() to two digits, as it is printed: what differs by less than one batch can tell is alike.
    [[nodiscard]] double rounded_error() const
    {
        const double value = error();
        if (!(value > 0.0) || !std::isfinite(value)) {
            return value;
        }
        const double unit = std::pow(10.0, std::floor(std::log10(value)) - 1.0);
        return std::round(value / unit) * unit;
    }
    /// What they are ordered by next.
    [[nodiscard]] double work() const { return work_of(run, forecast); }
    [[nodiscard]] bool is_better_than(const MethodTrial& other) const
    {
        return std::pair{rounded_error(), work()} < std::pair{other.rounded_error(), other.work()};
    }
};

/// The choice among methods.
template <nn::Model M>
struct MethodChoice {
    std::size_t budget = 0;
    std::size_t base = 0;
    /// Of each name the trial that is best of those that fit, or the one that needs least of those looked at; in the
    /// order of their errors.
    std::vector<MethodTrial<M>> rows;
    std::size_t chosen = 0;  ///< of rows

    [[nodiscard]] const MethodTrial<M>& best() const { return rows[chosen]; }
};

namespace detail {

template <nn::Model M>
class MethodSearch {
public:
    using Trial = MethodTrial<M>;

    MethodSearch(std::size_t budget, const MemoryPlanOptions& options, const MethodErrors& errors)
        : budget_(budget), options_(options), errors_(errors)
    {
    }

    /// Tries a way with everything that blocks may keep, least error first, until one level of error has something that
    /// fits. Where its weights alone are too much, only with what keeps least.
    void look(const WayToTrain<M>& way)
    {
        std::vector<Trial> trials;
        for (const KeepPreset& preset : options_.keep) {
            const double saves = errors_.save_error(preset.keep.saved_as);
            Trial& trial = trials.emplace_back();
            trial.name = way.name;
            trial.setting = way.setting;
            trial.method = way.method;
            trial.energy = way.energy;
            trial.size = way.size;
            trial.keep = preset;
            trial.run = way.run;
            trial.run.keep.assign(count_parts<nn::KeepOptions, M>(way.run.model), preset.keep);
            trial.output_error = way.output_error;
            trial.gradient_error = std::hypot(way.gradient_error, saves);
        }
        std::vector<Trial> by_error = trials;
        std::stable_sort(by_error.begin(), by_error.end(),
                         [](const Trial& a, const Trial& b) { return a.rounded_error() < b.rounded_error(); });
        const Trial* fitting = nullptr;
        for (Trial& trial : by_error) {
            if (fitting != nullptr && fitting->rounded_error() < trial.rounded_error()) {
                break;  // nothing that follows is better
            }
            cut(trial, way.before);
            take(trial);
            fitting = trial.fits ? &trial : fitting;
            const std::size_t weights = options_.process(trial.forecast.at_start, trial.run.threads);
            if (fitting == nullptr && weights > budget_) {
                // Most is saved by what stands last, if not always by the last of all.
                for (std::size_t i = trials.size() - std::min<std::size_t>(trials.size(), 3); i < trials.size(); ++i) {
                    cut(trials[i], way.before);
                    take(trials[i]);
                }
                break;
            }
        }
    }

    [[nodiscard]] std::vector<Trial> rows() const { return rows_; }

private:
    /// As few micro-batches as fit, or as help.
    void cut(Trial& trial, std::size_t before) const
    {
        std::size_t least = 0;
        Trial best = trial;
        for (const Index pieces : micro_batch_choices(trial.run.training, trial.run.images)) {
            Trial one = trial;
            one.run.training.micro_batches = pieces;
            one.forecast = forecast_step(one.run);
            one.process =
                std::max({options_.process(std::max(one.forecast.process, one.forecast.convert), one.run.threads),
                          before, options_.reached});
            one.fits = one.process <= budget_;
            if (least != 0 && one.process >= least) {
                break;
            }
            least = one.process;
            best = one;
            if (one.fits) {
                break;
            }
        }
        trial = std::move(best);
    }
    void take(const Trial& trial)
    {
        auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Trial& one) { return one.name == trial.name; });
        if (row == rows_.end()) {
            rows_.push_back(trial);
        } else if (trial.fits ? !row->fits || trial.is_better_than(*row) : !row->fits && trial.process < row->process) {
            *row = trial;
        }
    }

    std::size_t budget_;
    const MemoryPlanOptions& options_;
    const MethodErrors& errors_;
    std::vector<Trial> rows_;
};

}  // namespace detail

/// Of these ways, with what blocks may keep (`options.keep`) and batches cut as far as is needed and helps, the one
/// with the least error whose forecast is within `budget`; of errors that are alike to two digits the one that takes
/// the least time (work_of). The error of a trial is
///
///     relative error of the features  +  sqrt((what of the gradient it cannot follow)² + (what its saves err)²),
///
/// all as measure_methods has seen them. What a process takes is MemoryPlanOptions::process of the larger of
/// Forecast::process and convert, WayToTrain::before, and what was reached already. Each trial is a forecast_step.
/// Throws budget_error naming the least that anything needs, argument_error for no ways.
template <nn::Model M>
[[nodiscard]] MethodChoice<M> choose_method(std::span<const WayToTrain<M>> ways, const MethodErrors& errors,
                                            std::size_t budget, const MemoryPlanOptions& options)
{
    require<argument_error>(!ways.empty() && !options.keep.empty(), "choose_method: nothing to choose from");
    detail::MethodSearch<M> search(budget, options, errors);
    for (const WayToTrain<M>& way : ways) {
        search.look(way);
    }
    MethodChoice<M> result{budget, options.base, search.rows(), 0};
    std::stable_sort(result.rows.begin(), result.rows.end(),
                     [](const auto& a, const auto& b) { return a.rounded_error() < b.rounded_error(); });
    const MethodTrial<M>* best = nullptr;
    const MethodTrial<M>* least = &result.rows.front();
    for (const MethodTrial<M>& row : result.rows) {
        least = row.process < least->process ? &row : least;
        if (row.fits && (best == nullptr || row.is_better_than(*best))) {
            best = &row;
        }
    }
    require<budget_error>(best != nullptr, "choose_method: a budget of ", budget,
                          " bytes is too small; the least that any choice needs is ", least->process, " bytes, by ",
                          least->name, " (", least->setting, ')');
    result.chosen = static_cast<std::size_t>(best - result.rows.data());
    return result;
}

}  // namespace wasi::plan
