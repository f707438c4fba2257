#include "plan.hpp"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include <wasi/core/process_memory.hpp>
#include <wasi/train/model_file.hpp>

#include "activation_budget.hpp"
#include "commands.hpp"
#include "page_numbers.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::EigenStorage;
using wasi::Index;
using wasi::require;
using wasi::train::MemoryPlan;
using wasi::train::PlanChoice;
using wasi::train::WeightSpectrum;

/// One more line, printf-like.
[[gnu::format(printf, 2, 3)]] void append(std::string& text, const char* format, ...)
{
    std::array<char, 256> line{};
    va_list values;
    va_start(values, format);
    std::vsnprintf(line.data(), line.size(), format, values);
    va_end(values);
    text += line.data();
}

/// What a plan starts from: the model's shape and spectra.
struct Given {
    wasi::nn::VisionTransformerConfig config;
    std::vector<WeightSpectrum> spectra;
};

/// Reads a weights file once; of the dense weights in blocks only the singular values stay.
[[nodiscard]] Given read_spectra(const FinetuneOptions& options)
{
    Given given;
    wasi::Ledger ledger;
    const auto model = wasi::train::load_model<float, EigenStorage>(
        options.weights, ledger, {.heads = options.heads}, [&](auto& weight, Index depth) {
            if (wasi::train::is_selected(weight, depth, wasi::train::Layers::all)) {
                given.spectra.push_back(wasi::train::spectrum_of<EigenStorage>(weight, ledger));
                if (!weight.is_low_rank()) {
                    weight.dense().reset();
                }
            }
        });
    given.config = model->config();
    given.config.classes = options.classes.value_or(given.config.classes);
    return given;
}

[[nodiscard]] std::size_t process_beside(const wasi::Ledger& ledger)
{
    wasi::return_free_memory();
    const std::size_t resident = wasi::process_memory().resident;
    return resident - std::min(resident, ledger.total().current);
}

[[nodiscard]] MemoryPlan make_plan(const FinetuneOptions& options, std::size_t budget, const Given& given, Index images,
                                   std::size_t base)
{
    wasi::train::StepDescription run;
    run.model = given.config;
    run.training = train_options(options);
    run.images = images;
    if (options.optimizer == "adamw") {
        run.optimizer.name = wasi::train::OptimizerKind::Name::adamw;
        run.form = wasi::nn::LowRankForm::free_factors;
    }
    run.optimizer.momentum = options.momentum > 0.0;
    wasi::train::MemoryPlanOptions choices;
    choices.base = base;
    choices.layers = options.layers == "mlp" ? wasi::train::Layers::mlp : wasi::train::Layers::all;
    if (const auto asked = keep_options(options.keep); asked != wasi::nn::KeepOptions{}) {
        choices.keep = {{"as asked for", asked, 0.0}};
    }
    return wasi::train::plan_memory(run, given.spectra, budget, choices);
}

[[nodiscard]] std::unique_ptr<PlannedModel> new_model(const FinetuneOptions& options, wasi::Ledger& ledger,
                                                      TrainAndTest& data)
{
    auto config = parse_config(options.config);
    config.heads = options.heads.value_or(config.heads);
    data = load_data(options.data, config.image);
    config.classes = options.classes.value_or(class_count(data.train));
    return std::make_unique<PlannedModel>(config, ledger, wasi::RandomKey(options.seed).derive(1));
}

/// How the weights of each block are held; blocks that follow one another and are alike in one line.
[[nodiscard]] std::string ranks_text(const std::vector<Index>& ranks)
{
    constexpr std::array<const char*, 4> layers{"in_proj", "out_proj", "fc1", "fc2"};
    const auto block = [&](std::size_t number) {
        std::string text;
        for (std::size_t layer = 0; layer < layers.size(); ++layer) {
            const Index rank = ranks[4 * number + layer];
            append(text, "  %s %s", layers[layer], rank > 0 ? ("rank " + std::to_string(rank)).c_str() : "dense");
        }
        return text;
    };
    std::string result;
    for (std::size_t first = 0; 4 * first < ranks.size();) {
        std::size_t last = first;
        while (4 * (last + 1) < ranks.size() && block(last + 1) == block(first)) {
            ++last;
        }
        append(result, "  block %zu", first);
        if (last > first) {
            append(result, " to %zu", last);
        }
        result += ":" + block(first) + "\n";
        first = last + 1;
    }
    return result;
}

}  // namespace

std::optional<std::size_t> memory_budget(const FinetuneOptions& options)
{
    if (options.memory_budget.empty()) {
        return std::nullopt;
    }
    require<argument_error>(!options.method_given,
                            "--memory-budget chooses how weights and inputs are held: leave out --method");
    require<argument_error>(
        options.activation_budget.empty() && options.activation_ranks.empty() && !options.activation_energy,
        "--memory-budget saves inputs exactly: leave out the options of compressed inputs");
    return static_cast<std::size_t>(parse_bytes(options.memory_budget, "--memory-budget"));
}

MemoryPlan plan_for(const FinetuneOptions& options, std::size_t budget, TrainAndTest& data)
{
    wasi::Ledger ledger;
    if (options.weights.empty()) {
        const auto model = new_model(options, ledger, data);
        const Given given{model->config(), wasi::train::weight_spectra(*model)};
        return make_plan(options, budget, given, data.train.count, process_beside(ledger));
    }
    const Given given = read_spectra(options);
    data = load_data(options.data, given.config.image);
    return make_plan(options, budget, given, data.train.count, process_beside(ledger));
}

ModelInBudget make_model_in_budget(const FinetuneOptions& options, std::size_t budget, wasi::Ledger& ledger,
                                   TrainAndTest& data)
{
    ModelInBudget result;
    if (options.weights.empty()) {
        result.model = new_model(options, ledger, data);
        const Given given{result.model->config(), wasi::train::weight_spectra(*result.model)};
        result.plan = make_plan(options, budget, given, data.train.count, process_beside(ledger));
    } else {
        result.plan = plan_for(options, budget, data);
        const auto& ranks = result.plan.chosen.run.weight_ranks;
        std::size_t next = 0;
        result.model = wasi::train::load_model<float, EigenStorage>(
            options.weights, ledger, {.heads = options.heads}, [&](auto& weight, Index depth) {
                if (!wasi::train::is_selected(weight, depth, wasi::train::Layers::all)) {
                    return;
                }
                const Index rank = ranks.at(next++);
                if (weight.is_low_rank()) {
                    weight.change_form(result.plan.chosen.run.form);
                } else if (rank > 0) {
                    weight.factorize(wasi::linalg::FixedRank{rank}, false, result.plan.chosen.run.form);
                }
            });
        if (options.classes && *options.classes != result.model->config().classes) {
            result.model->replace_head(*options.classes);
        }
    }
    wasi::train::apply_plan(*result.model, result.plan);
    for (const Index rank : result.plan.chosen.run.weight_ranks) {
        if (rank > 0) {
            result.method = result.plan.chosen.run.form == wasi::nn::LowRankForm::subspace
                                ? wasi::train::Method::wsi
                                : wasi::train::Method::factors;
        }
    }
    return result;
}

std::string memory_plan_text(const MemoryPlan& plan)
{
    const auto size = [](std::size_t bytes) { return bytes_text(static_cast<double>(bytes)); };
    const PlanChoice& chosen = plan.chosen;
    std::string text;
    append(text, "Memory plan within %s:\n", size(plan.budget).c_str());
    append(text, "  weights hold %g of their energy, blocks keep %s, %td micro-batch(es) a step\n", chosen.energy,
           chosen.keep.name.c_str(), chosen.run.training.micro_batches);
    append(text, "  %-34s %12s\n", "class", "peak");
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        append(text, "  %-34s %12s\n", std::string(to_string(static_cast<wasi::Use>(use))).c_str(),
               size(chosen.forecast.peaks[use]).c_str());
    }
    append(text, "  %-34s %12s\n", "all classes together", size(chosen.forecast.total).c_str());
    append(text, "  %-34s %12s\n", "the process beside the engine", size(plan.base).c_str());
    append(text, "  %-34s %12s\n", "the process at its peak", size(chosen.process).c_str());
    text += ranks_text(chosen.run.weight_ranks);
    append(text,
           "  what nothing beats in bytes, time and error alike (time: predicted, 1 = dense, everything kept):\n");
    append(text, "  %12s %10s %10s %10s %8s %6s  %s\n", "process", "time", "GFLOP", "error", "energy", "micro",
           "blocks keep");
    for (const PlanChoice& choice : plan.frontier) {
        append(text, "  %12s %10.2f %10.3g %10.3g %8g %6td  %s%s\n", size(choice.process).c_str(),
               choice.work() / plan.plain_work, 1e-9 * choice.forecast.flops, choice.error(), choice.energy,
               choice.run.training.micro_batches, choice.keep.name.c_str(),
               choice.process <= plan.budget ? "" : " (above the budget)");
    }
    return text;
}

int plan(const FinetuneOptions& options)
{
    const auto budget = memory_budget(options);
    require<argument_error>(budget.has_value(), "plan: --memory-budget is missing");
    use_threads(options.threads);
    TrainAndTest data;
    std::fputs(memory_plan_text(plan_for(options, *budget, data)).c_str(), stdout);
    return 0;
}

}  // namespace wasi_examples
