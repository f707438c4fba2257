// What happens to files: names of any bytes, a folder used before, two runs at once, a disk that is full.
#include <csignal>
#include <filesystem>
#include <limits>
#include <string>

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
namespace fs = std::filesystem;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";
const std::string small = "finetune --config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-1 ";

[[nodiscard]] std::string quoted(const fs::path& path)
{
    return "'" + path.string() + "' ";
}

/// No file may grow beyond so many blocks of 512 bytes or, in some shells, 1024; writing more fails with an error.
[[nodiscard]] std::string small_files(int blocks)
{
    return "trap '' XFSZ; ulimit -f " + std::to_string(blocks) + "; ";
}

}  // namespace

TEST_CASE("output: paths that are not UTF-8 are shown with a sign for what is not")
{
    const TemporaryFolder folder;
    const fs::path strange = folder / "caf\xE9";
    fs::create_directories(strange);
    fs::copy_file(golden + "vit_cli_data.safetensors", strange / "d.safetensors");
    fs::copy_file(golden + "vit_cli_weights.safetensors", strange / "w.safetensors");
    const auto run = run_program("finetune --weights " + quoted(strange / "w.safetensors") + "--data tensors:" +
                                 quoted(strange / "d.safetensors") + "--epochs 1 --out " + quoted(strange / "run"));
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const auto report = nlohmann::json::parse(contents(strange / "run/report.json"));
    CHECK(report.at("options").at("data").get<std::string>().find("caf\xEF\xBF\xBD/d.safe") != std::string::npos);
    const std::string page = contents(strange / "run/report.html");
    CHECK(page.find("caf\xEF\xBF\xBD/d.safe") != std::string::npos);
    CHECK(page.find("caf\xE9") == std::string::npos);
    const auto inspect =
        run_program("inspect --weights " + quoted(strange / "w.safetensors") + "--out " + quoted(strange / "ranks"));
    CHECK_MESSAGE(inspect.status == 0, inspect.error);
}

TEST_CASE("output: what cannot be written is refused before the work")
{
    const TemporaryFolder folder;
    for (const std::string name : {"report.json", "report.html", "metrics.csv", "memory.csv", "model.safetensors"}) {
        CAPTURE(name);
        fs::create_directories(folder / "run" / name);
        const auto run = run_program(small + "--epochs 1000 --out " + quoted(folder / "run"));
        CHECK(run.status == 2);
        CHECK(run.error.find(name + ": exists and is not a regular file") != std::string::npos);
        CHECK(run.out.empty());
        fs::remove(folder / "run" / name);
    }
    fs::create_symlink(folder / "nowhere/report.json", folder / "run/report.json");
    const auto run = run_program(small + "--epochs 1000 --out " + quoted(folder / "run"));
    CHECK(run.status == 2);
    CHECK(run.error.find("cannot follow the symbolic link") != std::string::npos);
    CHECK(run.out.empty());
    // A calibration, a model: none is begun.
    for (const std::string command :
         {"plan --config dim=768 --data digits --memory-budget 8GiB --out /nowhere/x.csv",
          "predict --weights /nowhere.safetensors --images /nowhere.safetensors --out /nowhere/x",
          "compare /nowhere --out /nowhere/x"}) {
        CHECK(run_program(command).error.find("/nowhere is not a folder") != std::string::npos);
    }
}

TEST_CASE("output: more bytes than the disk has are refused before training, with both numbers")
{
    const TemporaryFolder folder;
    const auto run = run_program(small + "--epochs 1000000000000 --out " + quoted(folder / "run"));
    CHECK(run.status == 2);
    CHECK(run.error.find(" bytes are to be written there, and ") != std::string::npos);
    CHECK(run.error.find(std::to_string(fs::space(folder.path()).available).substr(0, 2)) != std::string::npos);
    CHECK_FALSE(fs::exists(folder / "run"));
}

TEST_CASE("output: an old report never stands beside a new model")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    REQUIRE(run_program(small + "--epochs 1 --method vanilla --out " + quoted(out)).status == 0);
    // What follows the model is larger than it, so a limit between them stops the second run there.
    REQUIRE(fs::file_size(out / "report.html") > 60 * 1024);
    REQUIRE(fs::file_size(out / "model.safetensors") < 60 * 512);
    const auto second = run_program(small + "--epochs 1 --method asi --out " + quoted(out), small_files(60));
    CHECK(second.status == 2);
    CHECK(second.error.find("cannot write") != std::string::npos);
    CHECK(wasi::io::SafetensorsFile(out / "model.safetensors").metadata().at("method") == "asi");
    CHECK_FALSE(fs::exists(out / "report.html"));
    if (fs::exists(out / "report.json")) {
        CHECK(nlohmann::json::parse(contents(out / "report.json")).at("method") == "asi");
    }
}

TEST_CASE("output: a model that cannot be saved leaves the metrics, and the message says so")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    const auto run = run_program(small + "--epochs 1 --out " + quoted(out) + "--out-fallback " + quoted(folder / "b"),
                                 small_files(20));
    CHECK(run.status == 2);
    CHECK(run.error.find((out / "model.safetensors: ").string()) != std::string::npos);
    CHECK(run.error.find((folder / "b" / "model.safetensors: ").string()) != std::string::npos);
    CHECK(run.error.find("what could be written is in " + out.string()) != std::string::npos);
    CHECK(contents(out / "metrics.csv").starts_with("step,epoch,loss"));
    CHECK_FALSE(fs::exists(out / "model.safetensors"));
}

TEST_CASE("output: when the folder fails at the end, everything goes to another and the message names it")
{
    for (const bool named : {true, false}) {
        CAPTURE(named);
        const TemporaryFolder folder;
        const auto out = folder / "run";
        RunningProgram run(small + "--epochs 20000 --out " + quoted(out) +
                           (named ? "--out-fallback " + quoted(folder / "b/c") : ""));
        REQUIRE(wait_until([&] { return run.printed().find("epoch   1 of") != std::string::npos; }));
        fs::remove_all(out);
        run.signal(SIGINT);
        const auto ended = run.wait();
        CHECK(ended.status == 2);
        const std::string says = "the model and all files are in ";
        const auto at = ended.error.find(says);
        REQUIRE_MESSAGE(at != std::string::npos, ended.error);
        const fs::path where = ended.error.substr(at + says.size(), ended.error.find('\n', at) - at - says.size());
        CHECK((!named || where == folder / "b/c"));
        CHECK(wasi::io::SafetensorsFile(where / "model.safetensors").contains("class_token"));
        CHECK(nlohmann::json::parse(contents(where / "report.json")).at("interrupted") == true);
        CHECK(fs::exists(where / "metrics.csv"));
        if (!named) {
            fs::remove_all(where);
        }
    }
}

TEST_CASE("output: when a later file fails, those before it come along to the other folder")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    RunningProgram run(small + "--epochs 20000 --out " + quoted(out) + "--out-fallback " + quoted(folder / "b"));
    REQUIRE(wait_until([&] { return run.printed().find("epoch   1 of") != std::string::npos; }));
    fs::create_directories(out / "model.safetensors" / "in the way");
    run.signal(SIGINT);
    const auto ended = run.wait();
    CHECK(ended.status == 2);
    CHECK_MESSAGE(ended.error.find("the model and all files are in " + (folder / "b").string()) != std::string::npos,
                  ended.error);
    CHECK(contents(out / "metrics.csv").starts_with("step,epoch,loss"));
    REQUIRE(fs::exists(folder / "b/metrics.csv"));
    CHECK(contents(folder / "b/metrics.csv") == contents(out / "metrics.csv"));
    CHECK(wasi::io::SafetensorsFile(folder / "b/model.safetensors").contains("class_token"));
    CHECK(fs::exists(folder / "b/report.html"));
}

TEST_CASE("output: of two runs into one folder the second is refused, and the first goes on")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    RunningProgram first(small + "--epochs 20000 --seed 1 --out " + quoted(out));
    REQUIRE(wait_until([&] { return first.printed().find("epoch   1 of") != std::string::npos; }));
    const auto second = run_program(small + "--epochs 1 --seed 2 --out " + quoted(out));
    CHECK(second.status == 2);
    CHECK(second.error.find("another run is writing here") != std::string::npos);
    first.signal(SIGINT);
    CHECK(first.wait().status == 130);
    CHECK(nlohmann::json::parse(contents(out / "report.json")).at("seed") == 1);
    CHECK(run_program(small + "--epochs 1 --seed 2 --out " + quoted(out)).status == 0);

    // A run that was killed holds nothing.
    RunningProgram killed(small + "--epochs 20000 --out " + quoted(out));
    REQUIRE(wait_until([&] { return killed.printed().find("epoch   1 of") != std::string::npos; }));
    killed.signal(SIGKILL);
    CHECK(killed.wait().status == 128 + SIGKILL);
    CHECK(run_program(small + "--epochs 1 --out " + quoted(out)).status == 0);
}
