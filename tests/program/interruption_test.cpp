// SIGINT and SIGTERM: at once outside the training loop, after the step at hand within it, at once when asked again.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::RunningProgram;
using wasi_tests::TemporaryFolder;
using wasi_tests::wait_until;

/// Decompositions of weights this large take many seconds.
const std::string large = "--config image=32,patch=4,dim=768,depth=6,heads=12,mlp=3072 --data digits:0-1 --threads 1 ";
const std::string small = "--config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-4 ";

}  // namespace

TEST_CASE("interruption: outside the training loop a signal ends the program at once and leaves nothing")
{
    const TemporaryFolder folder;
    const auto out = folder / "a" / "run";
    for (const int number : {SIGINT, SIGTERM}) {
        CAPTURE(number);
        RunningProgram finetune("finetune " + large + "--method wsi --out '" + out.string() + "'");
        REQUIRE(wait_until([&] { return std::filesystem::exists(out); }));
        finetune.signal(number);
        CHECK(finetune.wait().status == 128 + number);
        CHECK_FALSE(std::filesystem::exists(folder / "a"));

        RunningProgram plan("plan " + large + "--memory-budget 1GiB");
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        plan.signal(number);
        const auto ended = plan.wait();
        CHECK(ended.status == 128 + number);
        CHECK(ended.out.empty());
    }
}

TEST_CASE("interruption: predict and inspect end at once too")
{
    const TemporaryFolder folder;
    const auto weights = folder / "w.safetensors";
    {
        // Enough of a Vision Transformer for inspect to take long, and for predict to read all the time it is given.
        const std::int64_t d = 1536;
        std::vector<float> numbers(static_cast<std::size_t>(4 * d * d));
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            numbers[i] = static_cast<float>((i * 2654435761U) % 1000U) / 1000.0F - 0.5F;
        }
        const auto values = [&](std::int64_t count) {
            return std::span<const float>(numbers).subspan(0, static_cast<std::size_t>(count));
        };
        std::vector<wasi::io::TensorToWrite> tensors{
            {"class_token", {1, 1, d}, values(d)},        {"conv_proj.weight", {d, 3, 4, 4}, values(48 * d)},
            {"conv_proj.bias", {d}, values(d)},           {"encoder.pos_embedding", {1, 5, d}, values(5 * d)},
            {"encoder.ln.weight", {d}, values(d)},        {"encoder.ln.bias", {d}, values(d)},
            {"heads.head.weight", {2, d}, values(2 * d)}, {"heads.head.bias", {2}, values(2)}};
        const std::string block = "encoder.layers.encoder_layer_0.";
        for (const auto& [name, outputs, inputs] :
             std::vector<std::tuple<std::string, std::int64_t, std::int64_t>>{{"mlp.0.", d, d},
                                                                              {"mlp.3.", d, d},
                                                                              {"self_attention.out_proj.", d, d},
                                                                              {"self_attention.in_proj_", 3 * d, d}}) {
            tensors.push_back({block + name + "weight", {outputs, inputs}, values(outputs * inputs)});
            tensors.push_back({block + name + "bias", {outputs}, values(outputs)});
        }
        for (const std::string name : {"ln_1.", "ln_2."}) {
            tensors.push_back({block + name + "weight", {d}, values(d)});
            tensors.push_back({block + name + "bias", {d}, values(d)});
        }
        wasi::io::write_safetensors(weights, tensors, {{"heads", "16"}});
        wasi::io::write_safetensors(folder / "images.safetensors",
                                    {{"images", {20000, 3, 8, 8}, values(20000 * 3 * 64)}}, {});
    }
    const std::string given = " --threads 1 --weights '" + weights.string() + "' --out '" + (folder / "out").string();
    for (const std::string& arguments :
         {"predict --images '" + (folder / "images.safetensors").string() + "'" + given + "'",
          "inspect" + given + "'"}) {
        CAPTURE(arguments);
        RunningProgram run(arguments);
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        run.signal(SIGTERM);
        const auto ended = run.wait();
        CHECK_MESSAGE(ended.status == 128 + SIGTERM, ended.error);
        CHECK_FALSE(std::filesystem::exists(folder / "out"));
    }
}

TEST_CASE("interruption: within the loop the step at hand is finished, and what is done is saved")
{
    for (const int number : {SIGINT, SIGTERM}) {
        CAPTURE(number);
        const TemporaryFolder folder;
        RunningProgram run("finetune " + small + "--epochs 20000 --method wasi --out '" + (folder / "run").string() +
                           "'");
        REQUIRE(wait_until([&] { return run.printed().find("epoch   1 of") != std::string::npos; }));
        run.signal(number);
        const auto ended = run.wait();
        CHECK(ended.status == 128 + number);
        CHECK(ended.out.find("Interrupted after step") != std::string::npos);
        const auto report = nlohmann::json::parse(contents(folder / "run/report.json"));
        CHECK(report.at("interrupted") == true);
        CHECK(report.at("steps").get<long>() >= 1);
        CHECK(wasi::io::SafetensorsFile(folder / "run/model.safetensors").contains("class_token"));
        CHECK_FALSE(std::filesystem::exists(folder / "run/.wasi_vit.lock"));
    }
}

TEST_CASE("interruption: a signal that whoever started the program ignores stays ignored")
{
    const TemporaryFolder folder;
    const auto before = std::signal(SIGINT, SIG_IGN);  // as of a job in the background of a shell
    RunningProgram run("finetune " + small + "--epochs 20000 --method vanilla --out '" + (folder / "run").string() +
                       "'");
    std::signal(SIGINT, before);
    const auto epochs = [&] {
        const std::string text = run.printed();
        return std::count(text.begin(), text.end(), '\n');
    };
    REQUIRE(wait_until([&] { return epochs() >= 1; }));
    run.signal(SIGINT);
    const auto so_far = epochs();
    CHECK(wait_until([&] { return epochs() >= so_far + 3; }, 20.0));
    run.signal(SIGTERM);
    CHECK(run.wait().status == 128 + SIGTERM);
}

TEST_CASE("interruption: a second signal within the loop ends at once")
{
    const TemporaryFolder folder;
    // One step an epoch, of seconds.
    RunningProgram run(
        "finetune --config image=32,patch=2,dim=192,depth=6,heads=3,mlp=768 --data digits:0-1 --threads 1 --method "
        "vanilla --batch-size 100 --epochs 1000 --out '" +
        (folder / "run").string() + "'");
    REQUIRE(wait_until([&] { return std::filesystem::exists(folder / "run"); }));
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    run.signal(SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    run.signal(SIGINT);
    const auto ended = run.wait();
    CHECK(ended.status == 128 + SIGINT);
    CHECK(ended.out.empty());
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
}
