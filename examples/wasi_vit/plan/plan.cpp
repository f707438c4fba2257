#include "plan/plan.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <limits>
#include <utility>

#include <wasi/core/process_memory.hpp>
#include <wasi/io/atomic_file.hpp>
#include <wasi/files/vision_transformer_file.hpp>

#include "commands/commands.hpp"
#include "options/run_options.hpp"
#include "page/page_numbers.hpp"
#include "plan/activation_budget.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::EigenStorage;
using wasi::Index;
using wasi::require;
using wasi::plan::MemoryPlan;
using wasi::plan::PlanChoice;
using wasi::plan::WeightSpectrum;

/// What a plan starts from: the model's shape and spectra.
struct Given {
    wasi::nn::VisionTransformerConfig config;
    std::vector<WeightSpectrum> spectra;
};

/// The model that the options name, its dense weights held with these ranks (0: dense), those that a file holds as
/// factors in this form.
[[nodiscard]] std::unique_ptr<PlannedModel> make_or_load(const FinetuneOptions& options,
                                                         const wasi::nn::VisionTransformerConfig& config,
                                                         const std::vector<Index>& ranks, wasi::nn::LowRankForm form,
                                                         wasi::Ledger& ledger)
{
    if (options.weights.empty()) {
        auto model = std::make_unique<PlannedModel>(config, ledger, wasi::RandomKey(options.seed).derive(1));
        auto rank = ranks.begin();
        for (auto* layer : wasi::nn::selected_layers(*model, wasi::nn::Layers::all)) {
            if (*rank > 0) {
                layer->weight.factorize(wasi::linalg::FixedRank{*rank}, false, form);
            }
            ++rank;
        }
        return model;
    }
    auto rank = ranks.begin();
    auto model = wasi::files::load_model<float, EigenStorage>(
        options.weights, ledger, {.heads = options.heads}, [&](auto& weight, Index depth) {
            if (!wasi::train::is_selected(weight, depth, wasi::nn::Layers::all)) {
                return;
            }
            if (weight.is_low_rank()) {
                weight.change_form(form);
            } else if (*rank > 0) {
                weight.factorize(wasi::linalg::FixedRank{*rank}, false, form);
            }
            ++rank;
        });
    if (config.classes != model->config().classes) {
        model->replace_head(config.classes);
    }
    return model;
}

/// Of a new model, all at once; of a weights file weight by weight: of the dense ones in blocks only the singular
/// values stay. `data` is loaded too.
[[nodiscard]] Given look_at_model(const FinetuneOptions& options, wasi::Ledger& ledger, TrainAndTest& data)
{
    Given given;
    if (options.weights.empty()) {
        given.config = model_config(options);
        data = load_data(options.data, given.config.image);
        given.config.classes = options.classes.value_or(class_count(data.train));
        PlannedModel model(given.config, ledger, wasi::RandomKey(options.seed).derive(1));
        given.spectra = wasi::plan::weight_spectra(model);
        return given;
    }
    const auto model = wasi::files::load_model<float, EigenStorage>(
        options.weights, ledger, {.heads = options.heads}, [&](auto& weight, Index depth) {
            if (wasi::train::is_selected(weight, depth, wasi::nn::Layers::all)) {
                given.spectra.push_back(wasi::plan::spectrum_of<EigenStorage>(weight, ledger));
                if (!weight.is_low_rank()) {
                    weight.dense().reset();
                }
            }
        });
    given.config = model->config();
    given.config.classes = options.classes.value_or(given.config.classes);
    data = load_data(options.data, given.config.image);
    return given;
}

[[nodiscard]] wasi::plan::RunDescription describe_run(const FinetuneOptions& options, const Given& given,
                                                        Index images)
{
    wasi::plan::RunDescription run;
    run.model = given.config;
    run.training = train_options(fit_to_images(options, images));
    run.images = images;
    run.dense_first = options.weights.empty();
    if (options.optimizer == OptimizerName::adamw) {
        run.optimizer.name = wasi::train::OptimizerKind::Name::adamw;
        run.form = wasi::nn::LowRankForm::free_factors;
    }
    run.optimizer.momentum = options.momentum > 0.0;
    return run;
}

/// A plan in the making: what is given, and what may be chosen.
class Planner {
public:
    Planner(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data)
        : options_(options), budget_(budget), data_(data)
    {
        wasi::Ledger ledger;
        given_ = look_at_model(options, ledger, data);
        wasi::return_free_memory();
        choices_.layers = options.layers;
        if (options.keep != wasi::nn::KeepOptions{}) {
            choices_.keep = {{"as asked for", options.keep}};
        }
        run_ = describe_run(options, given_, data.train.count);
        choices_.base = wasi::process_memory().resident;
    }

    /// With exact inputs first. Only if that gives something up, or cannot be, a calibration step shows what compressed
    /// inputs would do.
    [[nodiscard]] BudgetPlan plan()
    {
        std::exception_ptr refusal;
        const auto exact = plan_if_possible(refusal);
        const auto exact_or_refusal = [&] {
            if (refusal) {
                std::rethrow_exception(refusal);
            }
            return *exact;
        };
        if (exact && exact->chosen.error() == 0.0) {
            return {*exact, "exact; nothing else was needed"};
        }
        if (run_.form == wasi::nn::LowRankForm::free_factors) {
            return {exact_or_refusal(), "exact, as AdamW has them"};
        }
        wasi::plan::RunDescription calibrated = run_;
        calibrated.keep.recompute = wasi::nn::Recompute::block;
        calibrated.weight_ranks = exact ? exact->chosen.run.weight_ranks : smallest_ranks();
        const std::size_t needed =
            choices_.process(wasi::plan::forecast_calibration(calibrated, choices_.layers), calibrated.threads);
        if (needed > budget_) {
            return {exact_or_refusal(), "exact; to calibrate compressed ones would take " +
                                            page::bytes_text(static_cast<double>(needed)) + " in all"};
        }
        calibrate(calibrated);
        MemoryPlan plan = plan_or_throw();
        const double share = plan.chosen.input_share;
        return {std::move(plan), share < 1.0 ? "compressed to " + page::percent_text(share) + " of exact ones"
                                             : "exact; compressed ones were looked at"};
    }

private:
    [[nodiscard]] MemoryPlan plan_or_throw()
    {
        choices_.reached = wasi::process_memory().peak;
        return wasi::plan::plan_memory(run_, given_.spectra, budget_, choices_);
    }

    [[nodiscard]] std::optional<MemoryPlan> plan_if_possible(std::exception_ptr& refusal)
    {
        try {
            return plan_or_throw();
        } catch (const wasi::budget_error&) {
            refusal = std::current_exception();
            return std::nullopt;
        }
    }

    /// Those of the least energy.
    [[nodiscard]] std::vector<Index> smallest_ranks() const
    {
        auto choices = choices_;
        choices.energies = {choices.energies.back()};
        choices.keep.resize(1);
        constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
        return wasi::plan::plan_memory(run_, given_.spectra, any, choices).chosen.run.weight_ranks;
    }

    void calibrate(const wasi::plan::RunDescription& run)
    {
        {
            wasi::Ledger ledger;
            const auto model = make_or_load(options_, given_.config, run.weight_ranks, run.form, ledger);
            model->keep(run.keep);
            const auto images = wasi::train::calibration_images(data_.train.count, run.training,
                                                                wasi::RandomKey(options_.seed).derive(3));
            data_.train.check(model->config().classes);
            choices_.inputs = wasi::plan::calibrate_inputs(*model, data_.train.gather(images, ledger),
                                                            data_.train.gather_labels(images), choices_.layers);
        }
        wasi::return_free_memory();
    }

    const FinetuneOptions& options_;
    std::size_t budget_;
    TrainAndTest& data_;
    Given given_;
    wasi::plan::RunDescription run_;
    wasi::plan::MemoryPlanOptions choices_;
};

}  // namespace

BudgetPlan plan_for(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data)
{
    return Planner(options, budget, data).plan();
}

ModelInBudget make_model_in_budget(const FinetuneOptions& options, std::size_t budget, wasi::Ledger& ledger,
                                   TrainAndTest& data)
{
    ModelInBudget result;
    result.plan = plan_for(options, budget, data);
    const PlanChoice& chosen = result.plan.memory.chosen;
    const auto form = chosen.run.form;
    result.model = make_or_load(options, chosen.run.model, chosen.run.weight_ranks, form, ledger);
    auto inputs = method_options(options).activation;
    wasi::plan::apply_plan(*result.model, result.plan.memory, inputs, wasi::RandomKey(options.seed).derive(2));
    const auto& ranks = chosen.run.weight_ranks;
    const bool low_rank = std::any_of(ranks.begin(), ranks.end(), [](Index rank) { return rank > 0; });
    if (low_rank && form == wasi::nn::LowRankForm::free_factors) {
        result.method = wasi::train::method("factors");
    } else if (chosen.input_share < 1.0) {
        result.method = low_rank ? wasi::train::method("wasi") : wasi::train::method("asi");
    } else if (low_rank) {
        result.method = wasi::train::method("wsi");
    }
    return result;
}

int plan(const FinetuneOptions& options)
{
    const auto budget = memory_budget(options);
    use_threads(options.threads);
    TrainAndTest data;
    const BudgetPlan result = plan_for(options, *budget, data);
    std::fputs(memory_plan_text(result).c_str(), stdout);
    if (!options.out.empty()) {
        wasi::io::write_file_atomically(options.out, frontier_csv(result.memory));
    }
    return 0;
}

}  // namespace wasi_examples
