#include <array>
#include <cstdarg>
#include <cstdio>
#include <string>

#include "page/page_numbers.hpp"
#include "plan/plan.hpp"

namespace wasi_examples {
namespace {

using wasi::Index;
using wasi::plan::MemoryPlan;
using wasi::plan::PlanChoice;

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
[[nodiscard]] std::string ranks_text(const wasi::plan::RunDescription& run)
{
    constexpr std::array<const char*, 4> layers{"in_proj", "out_proj", "fc1", "fc2"};
    const auto block = [&](std::size_t number) {
        std::string text;
        for (std::size_t layer = 0; layer < layers.size(); ++layer) {
            const Index rank = run.weight_ranks[4 * number + layer];
            append(text, "  %s %s", layers[layer], rank > 0 ? ("rank " + std::to_string(rank)).c_str() : "dense");
            if (!run.input_ranks.empty() && run.input_ranks[4 * number + layer]) {
                const auto& ranks = *run.input_ranks[4 * number + layer];
                append(text, " (input %td,%td,%td)", ranks[0], ranks[1], ranks[2]);
            }
        }
        return text;
    };
    std::string result;
    for (std::size_t first = 0; 4 * first < run.weight_ranks.size();) {
        std::size_t last = first;
        while (4 * (last + 1) < run.weight_ranks.size() && block(last + 1) == block(first)) {
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

std::string memory_plan_text(const BudgetPlan& budget_plan)
{
    const MemoryPlan& plan = budget_plan.memory;
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

std::string frontier_csv(const MemoryPlan& plan)
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
