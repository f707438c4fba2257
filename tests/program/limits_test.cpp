// Numbers at the ends of their types, and a machine without memory.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/core/system_memory.hpp>
#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";
const std::string huge = std::to_string(std::numeric_limits<std::int64_t>::max());
const std::string beyond = huge + "0";
const std::string small = "--config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-1 ";

}  // namespace

TEST_CASE("limits: a batch of more images than there are is all of them")
{
    const TemporaryFolder folder;
    for (const std::string& options : std::vector<std::string>{
             "--batch-size " + huge, "--batch-size " + huge + " --accumulate " + huge, "--batch-size 201"}) {
        CAPTURE(options);
        const auto run =
            run_program("finetune " + small + "--epochs 2 " + options + " --out '" + (folder / "run").string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        CHECK(run.out.find("is more than the 200 images: a batch is all of them") != std::string::npos);
        const auto report = nlohmann::json::parse(contents(folder / "run/report.json"));
        CHECK(report.at("steps") == 2);
        CHECK(report.at("options").at("batch-size") == "200");
    }
    const auto plan = run_program("plan " + small + "--memory-budget 1GiB --batch-size " + huge);
    CHECK_MESSAGE(plan.status == 0, plan.error);
    CHECK(plan.out.find("is more than the 200 images") != std::string::npos);
    const auto predict =
        run_program("predict --weights '" + golden + "vit_cli_weights.safetensors' --images '" + golden +
                    "vit_cli_data.safetensors' --out '" + (folder / "logits").string() + "' --batch-size " + huge);
    REQUIRE_MESSAGE(predict.status == 0, predict.error);
    const wasi::io::SafetensorsFile logits(folder / "logits");
    CHECK(logits.info("logits").shape[0] == 24);
}

TEST_CASE("limits: numbers at the ends of their types are used or refused, never wrapped")
{
    const TemporaryFolder folder;
    const auto run = [&](const std::string& options) {
        return run_program("finetune " + small + "--epochs 1 " + options + " --out '" + (folder / "run").string() +
                           "'");
    };
    for (const std::string& options : std::vector<std::string>{
             "--warmup " + huge, "--seed 18446744073709551615",
             "--method asi --activation-ranks " + huge + ",1," + huge, "--memory-budget " + huge,
             "--method asi --activation-budget 8589934591GiB", "--clip-norm 1e308", "--weight-decay 0 --lr 1e-300"}) {
        CAPTURE(options);
        const auto used = run(options);
        CHECK_MESSAGE(used.status == 0, used.error);
        CHECK(nlohmann::json::parse(contents(folder / "run/report.json")).at("steps") == 7);
    }
    std::filesystem::remove_all(folder / "run");
    for (const std::string& options : std::vector<std::string>{
             "--epochs " + huge, "--classes " + huge, "--heads " + huge, "--threads " + huge, "--accumulate " + huge,
             "--epochs " + beyond, "--batch-size " + beyond, "--seed 18446744073709551616", "--seed -1", "--lr 1e999",
             "--clip-norm inf", "--memory-budget 9999999999GiB", "--config image=" + huge + ",patch=1,dim=8,heads=1",
             "--config image=8,patch=4,dim=" + huge}) {
        CAPTURE(options);
        const auto refused = run(options);
        CHECK(refused.status == 2);
        CHECK(std::count(refused.error.begin(), refused.error.end(), '\n') == 1);
        CHECK_FALSE(std::filesystem::exists(folder / "run"));
    }
}

TEST_CASE("limits: a label beyond every number of classes is named")
{
    const TemporaryFolder folder;
    const std::vector<float> pixels(2 * 3 * 8 * 8, 0.5F);
    const std::vector<std::int64_t> labels{0, std::numeric_limits<std::int64_t>::max()};
    wasi::io::write_safetensors(folder / "d", {{"images", {2, 3, 8, 8}, std::span<const float>(pixels)},
                                               {"labels", {2}, std::span<const std::int64_t>(labels)}});
    const auto run = run_program("finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --data tensors:'" +
                                 (folder / "d").string() + "' --out '" + (folder / "run").string() + "'");
    CHECK(run.status == 2);
    CHECK(run.error.find("the label of image 1 is " + huge) != std::string::npos);
}

TEST_CASE("limits: an option given twice counts as it was given last")
{
    const TemporaryFolder folder;
    const auto run = run_program("finetune " + small + "--epochs 3 --lr 1 --method asi --epochs 1 --lr 0.5 --out '" +
                                 (folder / "first").string() +
                                 "' --method vanilla --data digits:0-2 --schedule "
                                 "constant --out '" +
                                 (folder / "second").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK_FALSE(std::filesystem::exists(folder / "first"));
    const auto report = nlohmann::json::parse(contents(folder / "second/report.json"));
    CHECK(report.at("options").at("epochs") == "1");
    CHECK(report.at("options").at("lr") == "0.5");
    CHECK(report.at("options").at("data") == "digits:0-2");
    CHECK(report.at("method") == "vanilla");
}

// The sanitizer needs more addresses than a limit would leave.
#if !WASI_ADDRESS_SANITIZER
TEST_CASE("limits: without memory the message says so and names the way out")
{
    const TemporaryFolder folder;
    for (const std::string kibibytes : {"60000", "200000"}) {
        const auto run = run_program(
            "finetune --config image=32,patch=4,dim=768,depth=8,heads=12,mlp=3072 --threads 1 --method vanilla --data "
            "digits:0-1 --out '" +
                (folder / "run").string() + "'",
            "ulimit -v " + kibibytes + "; ");
        CHECK(run.status == 2);
        CHECK(run.error.find("out of memory") != std::string::npos);
        CHECK(run.error.find("--memory-budget") != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "run"));
    }
}
#endif
