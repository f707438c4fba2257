// What the ledger says a step needs against what the system sees: a ViT-B/32 of random weights.
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/core/process_memory.hpp>
#include <wasi/core/random.hpp>
#include <wasi/core/system_memory.hpp>
#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

constexpr double mib = 1024.0 * 1024.0;

/// Four random images of 224 x 224 with two labels.
void write_images(const std::filesystem::path& path)
{
    const wasi::RandomKey key(3);
    std::vector<float> pixels(std::size_t{4} * 3 * 224 * 224);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
        pixels[i] = static_cast<float>(key.normal(i));
    }
    const std::vector<std::int64_t> labels{0, 1, 0, 1};
    wasi::io::write_safetensors(path, {{"images", {4, 3, 224, 224}, std::span<const float>(pixels)},
                                       {"labels", {4}, std::span<const std::int64_t>(labels)}});
}

}  // namespace

// The sanitizer's shadow is resident too, and its blocks come one by one.
#if !WASI_ADDRESS_SANITIZER
TEST_CASE("ViT-B/32: the process's peak while it trains is the ledger's, to 5 % and 16 MiB")
{
    if (!wasi::pages::available || wasi::ProcessPeak().source() == wasi::PeakSource::whole_process) {
        return;
    }
    const TemporaryFolder folder;
    write_images(folder / "data.safetensors");
    for (const std::string method : {"vanilla", "wasi"}) {
        CAPTURE(method);
        const auto run =
            run_program("finetune --config image=224,patch=32,dim=768,depth=12,heads=12,mlp=3072 --data 'tensors:" +
                        (folder / "data.safetensors").string() + "' --batch-size 2 --epochs 1 --method " + method +
                        (method == "wasi" ? " --layers mlp --energy 0.2 --activation-ranks 2,16,32" : "") + " --out '" +
                        (folder / method).string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        const auto report = nlohmann::json::parse(contents(folder / method / "report.json"));
        const auto& process = report.at("process_peak_bytes");
        const double step = process.at("step").get<double>();
        const double ledger = report.at("ledger_peak_bytes").at("total").get<double>();
        MESSAGE(method, ": process ", step / mib, " MiB, ledger ", ledger / mib, " MiB, arena ",
                report.at("arena_high_water_bytes").get<double>() / mib, " MiB");
        CHECK(report.at("steps") == 2);
        CHECK(std::abs(step - ledger) <= 0.05 * ledger + 16.0 * mib);
        CHECK(report.at("arena_high_water_bytes").get<double>() > 0.0);
        CHECK(report.at("arena_held_peak_bytes").get<double>() <= step);
        // Program and pictures: the rest of the peak is what the engine booked, pictures aside.
        const double base = report.at("base_bytes").get<double>();
        CHECK(base >= 2.0 * 3.0 * 224.0 * 224.0 * sizeof(float));
        CHECK(base <= 40.0 * mib);
        CHECK(std::abs(step - base - ledger) <= 0.05 * ledger + 8.0 * mib);
        CHECK(report.at("peak_rss_bytes").get<double>() ==
              std::max({process.at("load").get<double>(), process.at("convert").get<double>(), step}));
    }
}
#endif

TEST_CASE("memory.csv: the classes of a step, event by event, up to the peak in the report")
{
    const TemporaryFolder folder;
    const auto run = run_program(
        "finetune --config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-4 --epochs 1 "
        "--batch-size 200 --clip-norm 0 --method vanilla --out '" +
        (folder / "run").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    std::istringstream csv(contents(folder / "run/memory.csv"));
    std::string line;
    REQUIRE(std::getline(csv, line));
    CHECK(line == "event,mark,weight,gradient,optimiser_state,saved_input,saved_activation,workspace,input,total");
    double most = 0.0;
    std::string marks;
    for (int row = 0; std::getline(csv, line); ++row) {
        std::istringstream cells(line);
        std::string cell;
        std::vector<std::string> words;
        while (std::getline(cells, cell, ',')) {
            words.push_back(cell);
        }
        REQUIRE(words.size() == 10);
        CHECK(words[0] == std::to_string(row));
        marks += words[1].empty() ? "" : words[1] + ";";
        double sum = 0.0;
        for (std::size_t use = 2; use < 9; ++use) {
            sum += std::stod(words[use]);
        }
        CHECK(std::stod(words[9]) == sum);
        most = std::max(most, sum);
    }
    CHECK(marks == "forward;backward;");
    const auto report = nlohmann::json::parse(contents(folder / "run/report.json"));
    CHECK(most == report.at("ledger_peak_bytes").at("total").get<double>());
    const std::string page = contents(folder / "run/report.html");
    CHECK(page.find("Memory along a step") != std::string::npos);
    CHECK(page.find(">forward</span>") != std::string::npos);
}
