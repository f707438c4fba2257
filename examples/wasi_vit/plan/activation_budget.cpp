#include "plan/activation_budget.hpp"

#include <array>
#include <cstdio>
#include <string_view>

#include "page/page_numbers.hpp"

namespace wasi_examples {

std::string short_name(std::string name)
{
    for (const std::string_view cut :
         {std::string_view("encoder.layers."), std::string_view(".weight"), std::string_view("_weight")}) {
        if (const auto at = name.find(cut); at != std::string::npos) {
            name.erase(at, cut.size());
        }
    }
    return name;
}

std::string plan_text(const wasi::plan::ActivationPlan& plan)
{
    std::string text =
        "Saved inputs within " + page::bytes_text(static_cast<double>(plan.budget)) + ", chosen on the first batch:\n";
    std::array<char, 200> line{};
    std::snprintf(line.data(), line.size(), "  %-38s %8s %16s %12s %12s %12s\n", "layer", "energy", "ranks", "bytes",
                  "of exact", "perplexity");
    text += line.data();
    for (const auto& input : plan.inputs) {
        const auto& chosen = input.chosen;
        const bool exact = chosen.form == wasi::rank::SavedForm::exact;
        std::array<char, 40> ranks{};
        std::snprintf(ranks.data(), ranks.size(), "%td,%td,%td", chosen.ranks[0], chosen.ranks[1], chosen.ranks[2]);
        std::array<char, 16> energy{};
        std::snprintf(energy.data(), energy.size(), "%g", chosen.energy);
        std::snprintf(
            line.data(), line.size(), "  %-38s %8s %16s %12lld %11.1f%% %12.4g\n", short_name(input.layer).c_str(),
            exact ? "-" : energy.data(), exact ? "exact" : ranks.data(), static_cast<long long>(chosen.bytes),
            100.0 * static_cast<double>(chosen.bytes) / static_cast<double>(input.exact_bytes), chosen.perplexity);
        text += line.data();
    }
    const bool optimal = plan.solution.status == wasi::rank::SolveStatus::optimal;
    std::snprintf(line.data(), line.size(), "  in all %lld bytes, perplexity %.4g, %s (lower bound %.4g)\n",
                  static_cast<long long>(plan.solution.bytes), plan.solution.cost,
                  optimal ? "the least possible" : "not proven least", plan.solution.lower_bound);
    return text + line.data();
}

}  // namespace wasi_examples
