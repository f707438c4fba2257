// --method auto: the process stays within its budget whatever is chosen, the choice can be made by hand and gone on
// with.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <wasi/core/system_memory.hpp>

#include "run_results.hpp"

namespace {

using nlohmann::json;
using wasi_tests::column;
using wasi_tests::Outcome;
using wasi_tests::report;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

// The sanitizer's shadow is resident too, and what is freed stays for long: only the ledger can be held to a plan then.
constexpr bool sanitized = WASI_ADDRESS_SANITIZER;

const std::string data = " --data digits:0-1 --threads 2 ";

/// A model that was trained a little, to start from.
[[nodiscard]] std::string trained_model(const TemporaryFolder& folder, const std::string& config)
{
    const std::string out = (folder / "start").string();
    const auto run =
        run_program("finetune --config " + config + data + "--method vanilla --epochs 1 --lr 0.1 --out '" + out + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    return " --weights '" + out + "/model.safetensors'" + data;
}

/// The least budget that a refusal names.
[[nodiscard]] std::uint64_t least_budget(const std::string& options)
{
    const auto refused = run_program("plan --method auto --memory-budget 1MiB " + options);
    REQUIRE(refused.status == 2);
    const auto at = refused.error.find("needs is ");
    REQUIRE_MESSAGE(at != std::string::npos, refused.error);
    return std::stoull(refused.error.substr(at + 9));
}

/// What stands behind a text, up to the end of the line.
[[nodiscard]] std::string rest_of_line(const std::string& text, const std::string& before)
{
    const auto from = text.find(before);
    REQUIRE_MESSAGE(from != std::string::npos, text);
    const auto begin = from + before.size();
    return text.substr(begin, text.find('\n', begin) - begin);
}

/// The row of a method in report.json.
[[nodiscard]] json row_of(const json& choice, const std::string& method)
{
    for (const json& row : choice.at("methods")) {
        if (row.at("method") == method) {
            return row;
        }
    }
    FAIL("no row of " << method);
    return {};
}

/// Of the rows of plan's table that fit, all but the chosen one, the method that errs least.
[[nodiscard]] std::string second_best(const std::string& table)
{
    std::istringstream lines(table);
    std::string line;
    std::getline(lines, line);
    std::string method;
    double least = 1e9;
    while (std::getline(lines, line)) {
        const std::string name = line.substr(1, line.find('"', 1) - 1);
        std::istringstream numbers(line.substr(line.rfind('"') + 2));  // behind what the blocks keep
        std::vector<double> cells;
        for (std::string cell; std::getline(numbers, cell, ',');) {
            cells.push_back(std::stod(cell));
        }
        const double error = cells.at(2) + cells.at(3);
        if (cells.at(4) == 1.0 && cells.at(5) == 0.0 && error < least) {
            least = error;
            method = name;
        }
    }
    return method;
}

/// The choice can be asked for by hand, and a run of half the epochs gone on with, to the same losses.
void check_by_hand_and_resumed(const TemporaryFolder& folder, const std::string& common, const std::string& budget)
{
    const auto in = [&](const char* name) { return " --out '" + (folder / name).string() + "' "; };
    const std::string chosen =
        "finetune --schedule constant --lr 0.001 --method auto " + common + " --memory-budget " + budget;
    const auto by_hand = [&](const std::string& command) {
        const auto run =
            run_program("finetune --schedule constant --lr 0.001 --epochs 2 " + common + " " + command + in("hand"));
        REQUIRE_MESSAGE(run.status == 0, run.error);
    };
    const auto whole = run_program(chosen + " --epochs 2" + in("whole"));
    REQUIRE_MESSAGE(whole.status == 0, whole.error);
    const std::string command = rest_of_line(whole.out, "The same by hand: ");
    CAPTURE(command);
    CHECK(report(folder / "whole").at("method_choice").at("command") == command);
    by_hand(command);
    CHECK(column(folder / "hand", "loss") == column(folder / "whole", "loss"));
    const auto half = run_program(chosen + " --epochs 1 --save-every 1" + in("half"));
    REQUIRE_MESSAGE(half.status == 0, half.error);
    // What the process held before it chose differs by some pages from run to run, and with it what just fits.
    const std::string chosen_by_half = rest_of_line(half.out, "The same by hand: ");
    CAPTURE(chosen_by_half);
    if (chosen_by_half != command) {
        by_hand(chosen_by_half);
    }
    const auto rest =
        run_program(chosen + " --epochs 2" + in("half") + "--resume '" + (folder / "half").string() + "'");
    REQUIRE_MESSAGE(rest.status == 0, rest.error);
    CHECK(column(folder / "half", "loss") == column(folder / "hand", "loss"));
    CHECK(report(folder / "half").at("method") == report(folder / "hand").at("method"));
}

}  // namespace

TEST_CASE(
    "method auto: the process's peak never passes its budget, and what is chosen errs least of what fits; "
    "by hand or gone on with it is the same")
{
    const TemporaryFolder folder;
    // Weights are most of it, so that not everything fits where something does.
    const std::string model = trained_model(folder, "image=8,patch=4,dim=256,depth=4,heads=4,mlp=1024");
    std::set<std::string> chosen;
    for (const std::string options : {"--batch-size 32 --clip-norm 0 ", "--batch-size 16 --optimizer adamw "}) {
        CAPTURE(options);
        const std::uint64_t least = least_budget(model + options);
        for (const std::uint64_t more : {4U, 60U}) {  // MiB above the least: the heap differs a little by run
            const std::string budget = std::to_string(least + (more << (sanitized ? 28U : 20U)));
            CAPTURE(budget);
            const auto run = run_program("finetune --method auto --epochs 1 --lr 0.001 " + model + options +
                                         " --memory-budget " + budget + " --out '" + (folder / "run").string() + "'");
            REQUIRE_MESSAGE(run.status == 0, run.error);
            CHECK(run.out.find("Methods within") != std::string::npos);
            const json made = report(folder / "run");
            const json& choice = made.at("method_choice");
            CHECK((sanitized || made.at("peak_rss_bytes") <= choice.at("budget_bytes")));
            CHECK_FALSE(choice.at("reason").get<std::string>().empty());
            if (!choice.contains("methods")) {
                chosen.insert("not measured");
                CHECK(made.at("memory_plan").at("process_bytes") <= choice.at("budget_bytes"));
                continue;
            }
            CHECK(choice.at("process_bytes") <= choice.at("budget_bytes"));
            for (const auto& predicted : choice.at("predicted_bytes").items()) {
                const std::string& name = predicted.key();
                CAPTURE(name);
                CHECK(made.at("ledger_peak_bytes").at(name).get<double>() <= predicted.value().get<double>());
            }
            const json& best = choice.at("methods").at(choice.at("chosen").get<std::size_t>());
            const auto error = [](const json& row) {
                return row.at("output_error").get<double>() + row.at("gradient_error").get<double>();
            };
            CHECK(best.at("fits") == true);
            if (chosen.insert(best.at("method").get<std::string>()).second) {
                check_by_hand_and_resumed(folder, model + options, budget);
            }
            CHECK(best.at("method").get<std::string>().starts_with(made.at("method").get<std::string>()));
            for (const json& row : choice.at("methods")) {
                if (row.at("fits") == true) {
                    CHECK(error(best) <= 1.1 * error(row));  // two digits are compared
                } else {
                    CHECK(row.at("process_bytes") > choice.at("budget_bytes"));
                }
            }
            CHECK(row_of(choice, "vanilla").at("output_error") == 0.0);
            CHECK(row_of(choice, "head").at("gradient_error") == doctest::Approx(1.0).epsilon(0.01));
            CHECK(wasi_tests::contents(folder / "run" / "report.html").find("Why this method") != std::string::npos);
        }
    }
    CHECK((sanitized || chosen.contains("vanilla")));
    CHECK((sanitized || chosen.size() >= 2));
}

TEST_CASE("method auto: the command plan prints rows and reasons; ranks by output within a budget; refusals")
{
    const TemporaryFolder folder;
    const std::string model = trained_model(folder, "image=8,patch=4,dim=32,depth=2,heads=2,mlp=64");
    const std::string csv = " --out '" + (folder / "rows.csv").string() + "'";
    const auto shown = run_program("plan --method auto --memory-budget 1GiB " + model + csv);
    REQUIRE_MESSAGE(shown.status == 0, shown.error);
    for (const std::string part : {"vanilla", "wsi, by output", "lora-fa", "head", "Errors were measured on 16",
                                   "vanilla (dense) fits and errs nothing", "--method vanilla"}) {
        CAPTURE(part);
        CHECK(shown.out.find(part) != std::string::npos);
    }
    const std::string rows = wasi_tests::contents(folder / "rows.csv");
    CHECK(rows.starts_with("method,setting,blocks_keep,micro_batches,process_bytes,output_error,gradient_error"));
    CHECK(std::count(rows.begin(), rows.end(), '\n') == 7);
    const std::string next = second_best(rows);
    CHECK_MESSAGE(shown.out.find("next would be " + next + " ") != std::string::npos, next);

    const auto by_output = run_program("plan --energy-of output --calibration 32 --memory-budget 1GiB " + model + csv);
    REQUIRE_MESSAGE(by_output.status == 0, by_output.error);
    const std::string some = wasi_tests::contents(folder / "rows.csv");
    CHECK(std::count(some.begin(), some.end(), '\n') == 3);
    CHECK(some.find("\"wsi, by output\"") != std::string::npos);
    const auto sized = run_program("plan --size 0.4 --calibration 32 --memory-budget 1GiB " + model + csv);
    REQUIRE_MESSAGE(sized.status == 0, sized.error);
    CHECK(wasi_tests::contents(folder / "rows.csv").find("\"wsi, by output\",\"size 0.4\"") != std::string::npos);

    // A new model: nothing to freeze. Weights that are low rank already: the plan that there is for them.
    const auto fresh = run_program(
        "plan --config image=8,patch=4,dim=32,depth=1,heads=2,mlp=64 --method auto "
        "--memory-budget 1GiB" +
        data);
    REQUIRE_MESSAGE(fresh.status == 0, fresh.error);
    CHECK(fresh.out.find("lora") == std::string::npos);
    const auto small = run_program("compress " + model + "--size 0.5 --out '" + (folder / "small").string() + "'");
    REQUIRE_MESSAGE(small.status == 0, small.error);
    const auto low =
        run_program("plan --method auto --memory-budget 1GiB --weights '" + (folder / "small").string() + "'" + data);
    REQUIRE_MESSAGE(low.status == 0, low.error);
    CHECK(low.out.find("Weights are low rank already") != std::string::npos);
    CHECK(low.out.find("Memory plan within") != std::string::npos);

    const auto idle = run_program("plan --rank 4 --memory-budget 1GiB " + model);
    CHECK(idle.status == 2);
    CHECK(idle.error.find("are for --method auto") != std::string::npos);

    const std::string out = " --out '" + (folder / "out").string() + "'";
    for (const auto& refused : std::vector<std::pair<std::string, std::string>>{
             {"--method auto", "give --memory-budget"},
             {"--method auto --memory-budget 1GiB --size 0.5", "leave out --energy-of and --size"},
             {"--method auto --memory-budget 1GiB --frozen-weights int8", "--frozen-weights"},
             {"--method auto --memory-budget 1GiB --adapter-start pissa", "--adapter-start"},
             {"--method auto --memory-budget 1GiB --projection-rank 3", "--projection"},
             {"--memory-budget 1GiB --layers mlp --size 0.5", "--layers all"},
             {"--method lora --memory-budget 1GiB", "leave out --method"},
             {"--method auto --memory-budget 1MiB", "the least that any choice needs is"}}) {
        const std::string& arguments = refused.first;
        CAPTURE(arguments);
        const Outcome run = run_program("finetune " + model + arguments + out);
        CHECK(run.status == 2);
        CAPTURE(run.error);
        CHECK(run.error.find(refused.second) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "out"));
    }
}
