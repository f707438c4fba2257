#include <array>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <variant>
#include <vector>

#include "page/page_numbers.hpp"
#include "plan/plan.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using PlanChoice = PlannedMemory::PlanChoice;

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

/// How the weights and the inputs of each block are held; blocks that follow one another and are alike in one line.
[[nodiscard]] std::string ranks_text(const wasi::plan::RunDescription<PlannedModel>& run)
{
    constexpr std::array<const char*, 4> names{"in_proj", "out_proj", "fc1", "fc2"};
    const std::vector<LayerRanks> layers = ranks_of_blocks(run);
    const auto block = [&](std::size_t number) {
        std::string text;
        for (std::size_t i = 0; i < names.size(); ++i) {
            const LayerRanks& layer = layers[names.size() * number + i];
            append(text, "  %s %s", names[i],
                   layer.weight > 0 ? ("rank " + std::to_string(layer.weight)).c_str() : "dense");
            if (layer.input) {
                append(text, " (input %td,%td,%td)", (*layer.input)[0], (*layer.input)[1], (*layer.input)[2]);
            }
        }
        return text;
    };
    const std::size_t blocks = layers.size() / names.size();
    std::string result;
    for (std::size_t first = 0; first < blocks;) {
        std::size_t last = first;
        while (last + 1 < blocks && block(last + 1) == block(first)) {
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

std::vector<LayerRanks> ranks_of_blocks(const wasi::plan::RunDescription<PlannedModel>& run)
{
    std::vector<LayerRanks> result;
    auto layer = run.layers.begin();
    (void)wasi::plan::setups_of<PlannedModel>(run.model, [&](wasi::nn::Place, Index number) {
        const wasi::nn::LayerSetup& setup = *layer++;
        if (number >= 0) {
            LayerRanks ranks;
            ranks.weight = wasi::nn::fixed_rank(setup.weight);
            if (const auto* tucker = std::get_if<wasi::nn::TuckerOptions>(&setup.input)) {
                ranks.input.emplace();
                for (std::size_t mode = 0; mode < 3; ++mode) {
                    (*ranks.input)[mode] = tucker->ranks[mode].fixed().value_or(0);
                }
            }
            result.push_back(ranks);
        }
        return wasi::nn::LayerSetup{};
    });
    return result;
}

std::string memory_plan_text(const BudgetPlan& budget_plan)
{
    const PlannedMemory& plan = budget_plan.memory;
    const auto size = [](std::size_t bytes) { return page::bytes_text(static_cast<double>(bytes)); };
    const PlanChoice& chosen = plan.chosen;
    std::string text;
    append(text, "Memory plan within %s:\n", size(plan.budget).c_str());
    append(text, "  weights hold %g of their energy, blocks keep %s, %td micro-batch(es) a step\n", chosen.energy,
           chosen.keep.name.c_str(), chosen.run.training.micro_batches);
    append(text, "  saved inputs: %s\n", budget_plan.inputs.c_str());
    append(text, "  %-34s %12s\n", "class", "peak");
    for (std::size_t use = 0; use < wasi::use_count; ++use) {
        append(text, "  %-34s %12s\n", std::string(to_string(static_cast<wasi::Use>(use))).c_str(),
               size(chosen.forecast.peaks[use]).c_str());
    }
    append(text, "  %-34s %12s\n", "all classes together", size(chosen.forecast.total).c_str());
    append(text, "  %-34s %12s\n", "the process beside the engine", size(plan.base).c_str());
    append(text, "  %-34s %12s\n", "the process at its peak", size(chosen.process).c_str());
    text += ranks_text(chosen.run);
    append(text, "  what more memory buys, least error first, then least time (predicted, 1 = dense, all kept):\n");
    append(text, "    %12s %10s %10s %8s %8s %6s  %s\n", "process", "time", "error", "energy", "inputs", "micro",
           "blocks keep");
    for (const PlanChoice& choice : plan.by_budget()) {
        append(text, "  %c %12s %10.2f %10.3g %8g %8.3g %6td  %s\n", choice.process == chosen.process ? '>' : ' ',
               size(choice.process).c_str(), choice.work() / plan.plain_work, choice.error(), choice.energy,
               choice.input_share, choice.run.training.micro_batches, choice.keep.name.c_str());
    }
    return text;
}

std::string frontier_csv(const PlannedMemory& plan)
{
    std::string text =
        "process_bytes,ledger_bytes,relative_time,flops,error,energy,input_share,micro_batches,blocks_keep\n";
    for (const PlanChoice& choice : plan.frontier) {
        append(text, "%zu,%zu,%.6g,%.6g,%.6g,%g,%.6g,%td,\"%s\"\n", choice.process, choice.forecast.total,
               choice.work() / plan.plain_work, choice.forecast.flops, choice.error(), choice.energy,
               choice.input_share, choice.run.training.micro_batches, choice.keep.name.c_str());
    }
    return text;
}

}  // namespace wasi_examples
