// --memory-budget and the command plan: the process stays within its budget, and an impossible one is refused.
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/core/system_memory.hpp>

#include "run_program.hpp"

namespace {

using nlohmann::json;
using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string model = "--config image=32,patch=4,dim=96,depth=4,heads=3,mlp=384 --data digits:0-1 --threads 2";

// The sanitizer's shadow is resident too, and what is freed stays for long: only the ledger can be held to a plan then.
constexpr bool sanitized = WASI_ADDRESS_SANITIZER;

/// The least budget that a refusal names.
[[nodiscard]] std::uint64_t least_budget(const std::string& options)
{
    const auto refused = run_program("plan " + model + " --memory-budget 1MiB " + options);
    REQUIRE(refused.status == 2);
    const auto at = refused.error.find("needs is ");
    REQUIRE_MESSAGE(at != std::string::npos, refused.error);
    return std::stoull(refused.error.substr(at + 9));
}

}  // namespace

TEST_CASE("memory budget: the process's peak never passes it, and the ledger's never pass the plan's")
{
    for (const std::string options :
         {"--batch-size 32 --clip-norm 0", "--batch-size 16", "--batch-size 16 --optimizer adamw",
          "--batch-size 32 --clip-norm 0 --gradients stream --probabilities recompute"}) {
        CAPTURE(options);
        const std::uint64_t least = least_budget(options);
        for (const std::uint64_t more : {2U, 10U, 32U}) {  // MiB above the least: the heap differs a little by run
            const TemporaryFolder folder;
            const std::string budget = std::to_string(least + (more << (sanitized ? 28U : 20U)));
            CAPTURE(budget);
            const auto run = run_program("finetune " + model + " --epochs 1 " + options + " --memory-budget " + budget +
                                         " --out '" + (folder / "run").string() + "'");
            REQUIRE_MESSAGE(run.status == 0, run.error);
            CHECK(run.out.find("Memory plan within") != std::string::npos);
            const json report = json::parse(contents(folder / "run" / "report.json"));
            const json& plan = report.at("memory_plan");
            CHECK(plan.at("process_bytes") <= plan.at("budget_bytes"));
            CHECK((sanitized || report.at("peak_rss_bytes") <= plan.at("budget_bytes")));
            for (const auto& predicted : plan.at("predicted_bytes").items()) {
                const std::string& name = predicted.key();
                const double bytes = predicted.value().get<double>();
                CAPTURE(name);
                CHECK(report.at("ledger_peak_bytes").at(name).get<double>() <= bytes);
            }
        }
    }
}

#if !WASI_ADDRESS_SANITIZER
TEST_CASE("memory budget: inputs are compressed where what is kept leaves no other way")
{
    const TemporaryFolder folder;
    const std::string options =
        "--batch-size 32 --clip-norm 0 --gradients stream --probabilities recompute --memory-budget ";
    // What exact inputs need at least, with weights of the least energy, is too much by a fifth of the ledger.
    const auto roomy =
        run_program("plan " + model + " " + options + "1GiB --out '" + (folder / "all.csv").string() + "'");
    REQUIRE_MESSAGE(roomy.status == 0, roomy.error);
    std::istringstream lines(contents(folder / "all.csv"));
    std::string line;
    std::getline(lines, line);
    CHECK(line == "process_bytes,ledger_bytes,relative_time,flops,error,energy,input_share,micro_batches,blocks_keep");
    REQUIRE(std::getline(lines, line));
    // process_bytes,ledger_bytes,... of what needs least
    const auto comma = line.find(',');
    REQUIRE(comma != std::string::npos);
    const auto budget = static_cast<std::uint64_t>(std::stod(line) - 0.2 * std::stod(line.substr(comma + 1)));
    const auto run = run_program("finetune " + model + " --epochs 1 " + options + std::to_string(budget) + " --out '" +
                                 (folder / "run").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK(run.out.find("saved inputs: compressed to") != std::string::npos);
    const json report = json::parse(contents(folder / "run" / "report.json"));
    CHECK((report.at("method") == "wasi" || report.at("method") == "asi"));
    CHECK(report.at("peak_rss_bytes") <= budget);
    const json& plan = report.at("memory_plan");
    CHECK(plan.at("input_share") < 1.0);
    // Layers are saved as the plan says.
    std::size_t compressed = 0;
    for (std::size_t i = 0; i < plan.at("input_ranks").size(); ++i) {
        const json& ranks = plan.at("input_ranks").at(i);
        if (ranks != "exact") {
            ++compressed;
            const json& held = report.at("layers").at(i).at("activation_ranks");  // in the last batch, a smaller one
            CHECK(held.at(0) <= ranks.at(0));
            CHECK(held.at(1) == ranks.at(1));
            CHECK(held.at(2) == ranks.at(2));
        }
    }
    CHECK(compressed > 0);
}
#endif

TEST_CASE("memory budget: the command plan prints choices and the frontier, refusals name the least budget")
{
    const auto shown = run_program("plan " + model + " --batch-size 16 --memory-budget 1GiB");
    REQUIRE_MESSAGE(shown.status == 0, shown.error);
    for (const std::string part :
         {"weights hold 1 of their energy", "saved_activation", "fc2", "what more memory buys"}) {
        CAPTURE(part);
        CHECK(shown.out.find(part) != std::string::npos);
    }
    const TemporaryFolder folder;
    const std::string finetune = "finetune " + model + " --out '" + (folder / "run").string() + "' --memory-budget ";
    const auto refused = run_program(finetune + "1MiB");
    CHECK(refused.status == 2);
    CHECK(refused.error.find("the least that any choice needs is") != std::string::npos);
    CHECK(run_program(finetune + "1GiB --method wsi").status == 2);
    CHECK(run_program(finetune + "lots").status == 2);
    CHECK(run_program("plan " + model).status == 2);
}

TEST_CASE("memory budget: the plan counts the state of momentum")
{
    const TemporaryFolder folder;
    const auto run = run_program(
        "finetune --config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-1 --epochs 1 --momentum 0.9 "
        "--memory-budget 1GiB --out '" +
        (folder / "run").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const json report = json::parse(contents(folder / "run/report.json"));
    const double held = report.at("ledger_peak_bytes").at("optimiser_state").get<double>();
    CHECK(held > 0.0);
    CHECK(held <= report.at("memory_plan").at("predicted_bytes").at("optimiser_state").get<double>());
}

#if !WASI_ADDRESS_SANITIZER
TEST_CASE("memory budget: layers that were not named stay dense")
{
    const TemporaryFolder folder;
    // Deep and thin: what a step holds is more than what decompositions hold, so that low ranks pay.
    const std::string options =
        "plan --config image=8,patch=4,dim=64,depth=16,heads=2,mlp=256 --data digits:0-1 --threads 2 --batch-size 8 "
        "--optimizer adamw --layers ";
    const auto least = [&](const std::string& layers) {
        const auto csv = folder / layers;
        const auto plan = run_program(options + layers + " --memory-budget 1GiB --out '" + csv.string() + "'");
        REQUIRE_MESSAGE(plan.status == 0, plan.error);
        std::istringstream lines(contents(csv));
        std::string line;
        std::getline(lines, line);
        REQUIRE(std::getline(lines, line));
        return std::stoull(line);
    };
    const auto budget = least("mlp") + (1U << 20U);
    CHECK(least("all") + (1U << 20U) < budget);
    const auto plan = run_program(options + "mlp --memory-budget " + std::to_string(budget));
    REQUIRE_MESSAGE(plan.status == 0, plan.error);
    CHECK(plan.out.find("in_proj dense  out_proj dense  fc1 rank") != std::string::npos);
    for (const std::string attention : {"in_proj rank", "out_proj rank"}) {
        CHECK(plan.out.find(attention) == std::string::npos);
    }
}
#endif
