// --activation-budget: the plan is printed, reported and kept; calibration leaves no trace.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "run_program.hpp"

namespace {

using nlohmann::json;
using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

[[nodiscard]] std::string finetune(const std::string& options, const std::filesystem::path& out)
{
    return "finetune --config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-4 --epochs 1 " + options +
           " --out '" + out.string() + "'";
}

/// The losses of metrics.csv, as text.
[[nodiscard]] std::vector<std::string> losses(const std::filesystem::path& folder)
{
    std::istringstream lines(contents(folder / "metrics.csv"));
    std::vector<std::string> result;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream cells(line);
        std::string cell;
        for (int column = 0; std::getline(cells, cell, ','); ++column) {
            if (column == 2) {
                result.push_back(cell);
            }
        }
    }
    return result;
}

[[nodiscard]] json report(const std::filesystem::path& folder)
{
    return json::parse(contents(folder / "report.json"));
}

}  // namespace

TEST_CASE("activation budget: the plan is what is saved, within the budget")
{
    for (const std::string method : {"asi", "wasi"}) {
        CAPTURE(method);
        const TemporaryFolder folder;
        const auto run =
            run_program(finetune("--activation-budget 16KiB --accumulate 3 --method " + method, folder / "run"));
        REQUIRE_MESSAGE(run.status == 0, run.error);
        CHECK(run.out.find("encoder_layer_1.mlp.3") != std::string::npos);
        CHECK(run.out.find("the least possible") != std::string::npos);
        const json whole = report(folder / "run");
        const json& plan = whole.at("activation_plan");
        CHECK(plan.at("budget_bytes") == 16 * 1024);
        CHECK(plan.at("optimal") == true);
        CHECK(plan.at("layers").size() == 8);
        std::int64_t planned = 0;
        double perplexity = 0.0;
        std::int64_t saved = 0;
        bool some_compressed = false;
        for (std::size_t i = 0; i < 8; ++i) {
            const json& layer = plan.at("layers")[i];
            const json& held = whole.at("layers")[i];
            CHECK(layer.at("name") == held.at("name"));
            planned += layer.at("bytes").get<std::int64_t>();
            perplexity += layer.at("perplexity").get<double>();
            saved += held.at("saved_input_bytes").get<std::int64_t>();
            CHECK(held.at("saved_input_bytes") <= layer.at("bytes"));
            CHECK(layer.at("gradient_norm").get<double>() > 0.0);  // though the head starts at zero
            CHECK(layer.at("perplexity").get<double>() < layer.at("gradient_norm").get<double>());
            if (layer.at("form") == "tucker") {
                some_compressed = true;
                CHECK(held.at("activation_ranks")[2] == layer.at("ranks")[2]);
            } else {
                CHECK(held.at("activation_ranks") == json({0, 0, 0}));
            }
        }
        CHECK(some_compressed);
        CHECK(planned == plan.at("bytes"));
        CHECK(planned <= 16 * 1024);
        CHECK(saved <= planned);
        CHECK(saved > planned / 2);
        CHECK(perplexity == doctest::Approx(plan.at("perplexity").get<double>()).epsilon(1e-12));
    }
}

TEST_CASE("activation budget: more bytes, less perplexity; all the bytes there are, the run without compression")
{
    const TemporaryFolder folder;
    double before = std::numeric_limits<double>::infinity();
    for (const std::string budget : {"24KiB", "100kB", "1GB"}) {
        const auto run = run_program(finetune("--method asi --activation-budget " + budget, folder / budget));
        REQUIRE_MESSAGE(run.status == 0, run.error);
        const double perplexity = report(folder / budget).at("activation_plan").at("perplexity").get<double>();
        CHECK(perplexity < before);
        before = perplexity;
    }
    CHECK(before == 0.0);
    // Calibration changed neither weights nor random numbers: the same losses, bit by bit.
    REQUIRE(run_program(finetune("--method vanilla", folder / "vanilla")).status == 0);
    CHECK(losses(folder / "1GB") == losses(folder / "vanilla"));
    CHECK(losses(folder / "24KiB") != losses(folder / "vanilla"));
}

TEST_CASE("activation budget: what makes no sense is refused in one line")
{
    struct Case {
        std::string arguments;
        std::string says;
    };
    const TemporaryFolder folder;
    for (const Case& refused : std::vector<Case>{
             {"--activation-budget 4Mi", "unknown unit 'Mi'"},
             {"--activation-budget MiB", "'MiB' is not a size"},
             {"--activation-budget 0", "'0' is not a size"},
             {"--activation-budget -5KB", "'-5KB' is not a size"},
             {"--activation-budget 9999999999GiB", "more bytes than 64 bits can count"},
             {"--activation-budget 4MiB --method vanilla", "does not go with --method vanilla"},
             {"--activation-budget 4MiB --method wsi", "does not go with --method wsi"},
             {"--activation-budget 4MiB --activation-ranks 1,1,1", "leave out --activation-ranks"},
             {"--activation-budget 4MiB --activation-energy 0.5", "leave out --activation-ranks"},
             {"--activation-budget 100", "the least that any needs is"},
         }) {
        CAPTURE(refused.arguments);
        const auto run = run_program(finetune(refused.arguments, folder / "run"));
        CAPTURE(run.error);
        CHECK(run.status == 2);
        CHECK(std::count(run.error.begin(), run.error.end(), '\n') == 1);
        CHECK(run.error.find(refused.says) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "run"));
    }
}
