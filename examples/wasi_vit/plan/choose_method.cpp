#include "plan/choose_method.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <wasi/core/process_memory.hpp>
#include <wasi/plan/measure_methods.hpp>
#include <wasi/plan/method_choice.hpp>
#include <wasi/plan/output_ranks.hpp>

#include "commands/weights.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::Precision;
using wasi::plan::MethodErrors;
using wasi::plan::MethodMeasurement;
using Choice = wasi::plan::MethodChoice<PlannedModel>;
using Outputs = std::vector<wasi::plan::LayerOutputs<float>>;

const std::vector<Precision> formats{Precision::bfloat16, Precision::int8};

/// How much is looked at, and in which format the weights of the blocks are held meanwhile.
struct Look {
    Index images = 0;
    Precision held = Precision::full;
    bool outputs = false;
};

/// One choice among methods.
class Chooser {
public:
    Chooser(const FinetuneOptions& options, std::size_t budget, const TrainAndTest& data, GivenModel given)
        : options_(options), data_(data), given_(std::move(given)), run_(describe_run(options, given_.config, data))
    {
        plan_.base = wasi::process_memory().resident + data.working_bytes;  // what decoding takes is not there yet
        plan_.layers = options.layers;
        plan_.keep = options.keep != wasi::nn::KeepOptions{}
                         ? std::vector<wasi::plan::KeepPreset>{{"as asked for", options.keep}}
                         : wasi::plan::method_keep_presets();
        budget_ = budget;
        look_.adapter_rank = options.rank.value_or(8);
        if (!by_output_alone()) {
            ways_.energies = {0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2};
            for (const auto& spectrum : given_.spectra) {
                auto& ranks = look_.weight_ranks.emplace_back();
                for (const double energy : ways_.energies) {
                    ranks.push_back(wasi::plan::rank_for(spectrum, energy).first);
                }
            }
        }
        ways_.weight_ranks = look_.weight_ranks;
        ways_.layers = options.layers;
        ways_.adapter = method_options_of_adapters().adapter;
        ways_.elementwise = options.optimizer != OptimizerName::sgd;
        ways_.frozen = !options.weights.empty() && !by_output_alone();
        ways_.formats = formats;
        ways_.rounding = given_.rounding;
    }

    [[nodiscard]] MethodInBudget choose()
    {
        MethodInBudget result;
        result.options = options_;
        const auto look = what_fits();
        if (!look) {
            const std::vector<double> lower{0.3, 0.2, 0.1};
            result.compared.budget = budget_;
            result.compared.measured =
                low_rank_already()
                    ? "Weights are low rank already, so nothing else is looked at."
                    : "To look at the weights, in 8 bits and with 4 images, would take " + size(needed_) +
                          ": so only weights of low rank come into question, by their own energies.";
            FinetuneOptions plain = options_;
            plain.method.reset();
            result.plan = plan_from(plain, budget_, data_, std::move(given_), lower);
            return result;
        }
        const MethodErrors errors = measure(*look);
        wasi::return_free_memory();
        plan_.reached = wasi::process_memory().peak;
        const auto ways = wasi::plan::ways_to_train<PlannedModel>(run_, errors, ways_);
        const Choice choice = wasi::plan::choose_method<PlannedModel>(std::span(ways), errors, budget_, plan_);
        const auto& best = choice.best();
        result.options = resolved(best);
        result.run = best.run;
        if (best.size) {
            result.start = output_start(options_);
            result.start->size = best.size;
            for (auto& layer : result.run.layers) {
                layer.weight = wasi::nn::DenseOptions{};
            }
        }
        result.compared = table(choice, *look, result.options);
        return result;
    }

private:
    [[nodiscard]] static std::string size(std::size_t bytes) { return page::bytes_text(static_cast<double>(bytes)); }

    /// --memory-budget with --energy-of output or --size alone.
    [[nodiscard]] bool by_output_alone() const { return !options_.method; }

    [[nodiscard]] wasi::train::MethodOptions method_options_of_adapters() const
    {
        FinetuneOptions adapters = options_;
        adapters.method = wasi::train::method("lora");
        adapters.calibration.reset();
        return method_options(adapters);
    }

    [[nodiscard]] bool low_rank_already() const
    {
        return std::any_of(given_.spectra.begin(), given_.spectra.end(),
                           [](const auto& spectrum) { return spectrum.values.empty(); });
    }

    /// Of the images drawn for ranks by output.
    [[nodiscard]] std::pair<std::size_t, std::size_t> fit_and_held() const
    {
        return fit_and_held_out(static_cast<std::size_t>(std::min(data_.train.size(), calibration_images(options_))));
    }
    [[nodiscard]] wasi::plan::OutputCalibration calibration() const
    {
        return {.batch_size = output_start(options_).batch_size};
    }

    /// The most that can be looked at within the budget; nothing where that is nothing.
    [[nodiscard]] std::optional<Look> what_fits()
    {
        if (low_rank_already()) {
            return std::nullopt;
        }
        const auto fits = [&](std::size_t engine) {
            needed_ = plan_.process(engine, run_.threads);
            return needed_ <= budget_;
        };
        const Index all = data_.train.size();
        const auto [fit, held] = fit_and_held();
        if (fit >= 2 && options_.layers == wasi::nn::Layers::all) {
            before_ = wasi::plan::forecast_output_measurement<PlannedModel>(
                given_.config, {static_cast<Index>(fit), static_cast<Index>(held), std::min<Index>(all, 16)},
                calibration(), look_, run_.threads);
            if (fits(before_)) {
                return Look{std::min<Index>(all, 16), Precision::full, true};
            }
        }
        wasi::require<wasi::budget_error>(!by_output_alone(), "ranks by output need the dense model and ", fit + held,
                                          " images at once, ", needed_, " bytes; a budget of ", budget_,
                                          " is too small; leave out --energy-of and --size");
        for (const Look& look : {Look{16, Precision::full}, Look{16, Precision::bfloat16}, Look{16, Precision::int8},
                                 Look{8, Precision::int8}, Look{4, Precision::int8}}) {
            const Index images = std::min(look.images, all);
            if (images >= 2 && fits(wasi::plan::forecast_measurement<PlannedModel>(given_.config, images, look.held,
                                                                                   look_, run_.threads))) {
                return Look{images, look.held};
            }
        }
        return std::nullopt;
    }

    [[nodiscard]] MethodErrors measure(const Look& look)
    {
        PlannedRun held = run_;
        held.layers = look.outputs ? wasi::plan::wished_layers<PlannedModel>(given_.config, wasi::nn::DenseOptions{})
                                   : wasi::plan::measured_layers<PlannedModel>(given_.config, look.held);
        wasi::Ledger ledger;
        const auto model = make_or_load(options_, held, ledger).model;
        std::vector<Index> which =
            wasi::train::epoch_order(data_.train.size(), run_.training, wasi::RandomKey(options_.seed).derive(3), 0);
        which.resize(static_cast<std::size_t>(look.images));
        if (!look.outputs) {
            return wasi::plan::measure_methods(*model, data_.train, which, look_);
        }
        const auto drawn = draw_examples(data_.train.size(), calibration_images(options_), calibration_key(options_));
        const auto [fit, rest] = fit_and_held();
        const std::span<const Index> all(drawn);
        const Outputs outputs =
            wasi::plan::calibrate_outputs(*model, data_.train, all.first(fit), all.subspan(fit, rest), calibration());
        deal(outputs);
        wasi::plan::hold_for_measurement(*model, Precision::full);
        return wasi::plan::measure_methods(*model, data_.train, which, look_,
                                           std::span<const wasi::plan::LayerOutputs<float>>(outputs));
    }

    /// Ranks by output for each size that can be had.
    void deal(const Outputs& found)
    {
        const std::span<const wasi::plan::LayerOutputs<float>> outputs(found);
        std::vector<double> sizes{0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1};
        if (options_.size) {
            sizes = {*options_.size};
        }
        look_.output_ranks.resize(found.size());
        const auto dense = static_cast<double>(wasi::plan::ranks_by_energy(outputs, 1.0).dense_bytes);
        for (const double share : sizes) {
            wasi::plan::OutputRanks dealt;
            try {
                dealt = wasi::plan::ranks_within(outputs, static_cast<std::int64_t>(share * dense));
            } catch (const wasi::budget_error&) {
                continue;  // not even ranks of one
            }
            ways_.sizes.push_back(share);
            ways_.size_errors.push_back(dealt.error);
            for (std::size_t i = 0; i < found.size(); ++i) {
                look_.output_ranks[i].push_back(dealt.ranks[i]);
            }
        }
        if (ways_.sizes.empty()) {
            look_.output_ranks.clear();
        }
        ways_.output_ranks = look_.output_ranks;
        ways_.before_sizes = plan_.process(before_, run_.threads);
    }

    /// The options that a trial comes to.
    [[nodiscard]] FinetuneOptions resolved(const wasi::plan::MethodTrial<PlannedModel>& trial) const
    {
        FinetuneOptions result = options_;
        result.method = trial.method.method;
        result.frozen_weights = trial.method.frozen_weights;
        result.keep = trial.keep.keep;
        result.accumulate = trial.run.training.micro_batches;
        result.energy = trial.energy.value_or(result.energy);
        result.size = trial.size;
        result.energy_of_output = false;
        if (!trial.size) {
            result.calibration.reset();
        }
        if (has_adapter(result)) {
            result.rank = trial.method.adapter.rank;
        } else {
            without_adapter(result);
        }
        return result;
    }

    [[nodiscard]] MethodTable table(const Choice& choice, const Look& look, const FinetuneOptions& chosen) const
    {
        MethodTable table;
        table.budget = choice.budget;
        table.base = choice.base;
        table.measured = wasi::message(
            "Errors were measured on ", look.images, " training images",
            look.held == Precision::full ? std::string() : ", weights held in " + std::string(to_string(look.held)),
            look.outputs || by_output_alone() || options_.layers != wasi::nn::Layers::all
                ? "."
                : "; ranks by output would need the dense model in memory.");
        for (const auto& trial : choice.rows) {
            table.rows.push_back({trial.name, trial.setting, trial.keep.name, trial.run.training.micro_batches,
                                  trial.process, trial.output_error, trial.gradient_error, trial.work(), trial.fits});
        }
        table.chosen = choice.chosen;
        table.command = command_text(chosen);
        table.predicted = choice.best().forecast.peaks;
        table.predicted_total = choice.best().forecast.total;
        table.flops = choice.best().forecast.flops;
        return table;
    }

    FinetuneOptions options_;
    const TrainAndTest& data_;
    GivenModel given_;
    PlannedRun run_;
    wasi::plan::MemoryPlanOptions plan_;
    std::size_t budget_ = 0;
    MethodMeasurement look_;
    wasi::plan::WaysGiven ways_;
    std::size_t needed_ = 0;
    std::size_t before_ = 0;
};

}  // namespace

MethodInBudget choose_within_budget(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data)
{
    GivenModel given = look_at_model(options, data, formats);
    check_labels(data.train, given.config.classes, options);
    return Chooser(options, budget, data, std::move(given)).choose();
}

}  // namespace wasi_examples
