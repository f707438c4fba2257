// Runs that are killed and gone on with end as the uninterrupted one, byte for byte.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <wasi/core/random.hpp>
#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"
#include "run_results.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string tiny =
    "finetune --config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-4 --epochs 1 --batch-size 24 "
    "--lr 0.1 --energy 0.6 --above-break-even low-rank --seed 3 --threads 1 ";

/// metrics.csv without the column of time.
[[nodiscard]] std::string metrics(const std::filesystem::path& folder)
{
    std::istringstream csv(contents(folder / "metrics.csv"));
    std::string result;
    for (std::string line; std::getline(csv, line);) {
        std::istringstream cells(line);
        std::string cell;
        for (int column = 0; std::getline(cells, cell, ','); ++column) {
            result += column == 4 ? "" : cell + ",";
        }
        result += "\n";
    }
    return result;
}

/// Runs the program and kills it after so many microseconds; whether it was killed before it had ended.
[[nodiscard]] bool run_and_kill(const std::string& arguments, std::int64_t microseconds)
{
    const std::string command = "exec '" WASI_VIT_PROGRAM "' " + arguments;
    const pid_t child = fork();
    if (child == 0) {
        const int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
        _exit(127);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
}

struct Variant {
    std::string name;
    std::string options;
};

[[nodiscard]] std::vector<Variant> variants()
{
    std::vector<Variant> result;
    for (const std::string method : {"vanilla", "head", "wsi", "asi", "wasi", "factors", "lora"}) {
        result.push_back({method, "--method " + method + " --momentum 0.9"});
    }
    result.push_back({"plain wasi", "--method wasi"});
    for (const std::string method : {"vanilla", "asi", "factors", "lora"}) {
        result.push_back({"adamw " + method, "--optimizer adamw --lr 1e-3 --method " + method});
    }
    result.push_back({"dora from pissa", "--method dora --adapter-start pissa --rslora on --momentum 0.9"});
    result.push_back({"lora-fa", "--method lora-fa --optimizer adamw --lr 1e-3"});
    result.push_back({"mica", "--method lora --adapter-start mica --optimizer adamw --lr 1e-3"});
    result.push_back({"eva", "--method dora --adapter-start eva --calibration 16 --momentum 0.9"});
    result.push_back({"preconditioned", "--method lora --precondition 0.01 --momentum 0.9"});
    result.push_back({"preconditioned factors", "--method factors --precondition 0.01 --momentum 0.9"});
    result.push_back({"budget", "--method wasi --activation-budget 64KiB --accumulate 2"});
    return result;
}

}  // namespace

TEST_CASE("a run that is killed again and again ends as the uninterrupted one")
{
    // WASI_KILLS=50 for a long look.
    const char* const asked = std::getenv("WASI_KILLS");
    const int kills_wanted = asked != nullptr ? std::atoi(asked) : 6;
    const wasi::RandomKey key(static_cast<std::uint64_t>(asked != nullptr ? std::time(nullptr) : 1));
    const auto all = variants();
    int kills = 0;
    for (std::size_t i = 0; kills < kills_wanted; i = (i + 1) % all.size()) {
        const Variant& variant = all[i];
        CAPTURE(variant.name);
        const TemporaryFolder folder;
        const auto whole = folder / "whole";
        const auto killed = folder / "killed";
        const auto begin = std::chrono::steady_clock::now();
        const auto run = run_program(tiny + variant.options + " --out '" + whole.string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        bool done = false;
        for (int attempt = 0; !done && attempt < 40; ++attempt) {
            const bool can_resume = std::filesystem::exists(killed / "run.safetensors");
            const std::string arguments = tiny + variant.options + " --save-every 1 --out '" + killed.string() + "'" +
                                          (can_resume ? " --resume '" + killed.string() + "'" : "");
            if (attempt < 3) {
                const double share = key.derive(kills).uniform(static_cast<std::uint64_t>(attempt));
                kills += run_and_kill(arguments, static_cast<std::int64_t>(1e6 * seconds * 1.2 * share)) ? 1 : 0;
            } else {
                const auto last = run_program(arguments);
                REQUIRE_MESSAGE(last.status == 0, last.error);
                done = true;
            }
        }
        CHECK(contents(killed / "model.safetensors") == contents(whole / "model.safetensors"));
        CHECK(metrics(killed) == metrics(whole));
        for (const auto& entry : std::filesystem::directory_iterator(killed)) {
            // No temporary file of a killed save stays.
            CHECK_MESSAGE(entry.path().filename().string().find(".tmp") == std::string::npos, entry.path().string());
        }
    }
    MESSAGE(kills, " kills");
}

TEST_CASE("--resume takes the same run only, and says what differs")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    const std::string options = tiny + "--method wsi --save-every 2 --out '" + out.string() + "'";
    REQUIRE(run_program(options).status == 0);
    const std::string resume = " --resume '" + out.string() + "'";
    struct Case {
        std::string more;
        std::string says;
    };
    for (const Case& one :
         {Case{" --method wasi", "--method 'wsi', this one has 'wasi'"},
          Case{" --optimizer adamw --method factors", "factors"}, Case{" --lr 0.2", "--lr '0.1', this one has '0.2'"},
          Case{" --momentum 0.9", "--momentum '0', this one has '0.9'"},
          Case{" --seed 4", "--seed '3', this one has '4'"},
          Case{" --batch-size 12", "--batch-size '24', this one has '12'"}, Case{" --data digits:0-3", "digits"}}) {
        CAPTURE(one.more);
        const auto run = run_program(options + resume + one.more);
        CHECK(run.status == 2);
        CHECK_MESSAGE(run.error.find(one.says) != std::string::npos, run.error);
    }
    const auto nowhere = run_program(options + " --resume '" + (folder / "nothing").string() + "'");
    CHECK(nowhere.status == 2);
    CHECK_MESSAGE(nowhere.error.find("run.safetensors") != std::string::npos, nowhere.error);
}

TEST_CASE("a finished run may be made longer, in another folder, on other threads")
{
    const TemporaryFolder folder;
    const std::string constant = tiny + "--method wasi --schedule constant ";
    const auto shorter = folder / "shorter";
    const auto longer = folder / "longer";
    const auto whole = folder / "whole";
    REQUIRE(run_program(constant + "--save-every 7 --out '" + shorter.string() + "'").status == 0);
    // Of another run, which must not stand beside this one's model.
    REQUIRE(run_program(tiny + "--method head --save-every 7 --out '" + longer.string() + "'").status == 0);
    const auto run = run_program(constant + "--epochs 2 --threads 2 --resume '" + shorter.string() + "' --out '" +
                                 longer.string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    REQUIRE(run_program(constant + "--epochs 2 --out '" + whole.string() + "'").status == 0);
    CHECK(contents(longer / "model.safetensors") == contents(whole / "model.safetensors"));
    CHECK(metrics(longer) == metrics(whole));
    CHECK_FALSE(std::filesystem::exists(longer / "run.safetensors"));
    CHECK(std::filesystem::exists(shorter / "run.safetensors"));
}

TEST_CASE("subspaces are measured at the same steps by a run that was resumed and made longer, and change nothing")
{
    const TemporaryFolder folder;
    for (const std::string method : {"vanilla", "wasi", "lora --lr 0.3"}) {
        CAPTURE(method);
        const std::string constant = tiny + "--schedule constant --method " + method + " ";
        const auto path = [&](const char* name) { return (folder / (method + name)).string(); };
        REQUIRE(run_program(constant + "--epochs 2 --out '" + path("plain") + "'").status == 0);
        REQUIRE(run_program(constant + "--track-subspaces 2 --epochs 2 --out '" + path("whole") + "'").status == 0);
        REQUIRE(run_program(constant + "--track-subspaces 2 --save-every 5 --out '" + path("part") + "'").status == 0);
        const auto run = run_program(constant + "--track-subspaces 2 --epochs 2 --resume '" + path("part") +
                                     "' --out '" + path("rest") + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        const std::filesystem::path whole = path("whole");
        CHECK(contents(whole / "model.safetensors") == contents(folder / (method + "plain") / "model.safetensors"));
        CHECK(contents(whole / "model.safetensors") == contents(folder / (method + "rest") / "model.safetensors"));
        CHECK(contents(whole / "subspaces.csv") == contents(folder / (method + "rest") / "subspaces.csv"));
        CHECK(std::stod(wasi_tests::column(whole, "left_overlap", "subspaces.csv").back()) < 1.0 - 1e-9);
        CHECK(contents(whole / "report.html").find("Subspaces</h2>") != std::string::npos);
    }
}

TEST_CASE("--resume refuses other labels, and metrics that are not those of the run file")
{
    const TemporaryFolder folder;
    const std::vector<float> images(12 * 3 * 8 * 8, 0.25F);
    const auto write = [&](std::int64_t last_label) {
        std::vector<std::int64_t> labels{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1};
        labels.push_back(last_label);
        wasi::io::write_safetensors(folder / "data.safetensors",
                                    {{"images", {12, 3, 8, 8}, std::span<const float>(images)},
                                     {"labels", {12}, std::span<const std::int64_t>(labels)}},
                                    {});
    };
    write(2);
    const std::string command =
        "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --classes 3 --method vanilla --batch-size 4 "
        "--threads 1 --data 'tensors:" +
        (folder / "data.safetensors").string() + "' --out '" + (folder / "run").string() + "' ";
    REQUIRE(run_program(command + "--epochs 2 --save-every 1").status == 0);
    const std::string resume = command + "--epochs 3 --resume '" + (folder / "run").string() + "' ";
    write(0);
    auto refused = run_program(resume);
    CHECK(refused.status == 2);
    CHECK_MESSAGE(refused.error.find("training data") != std::string::npos, refused.error);
    write(2);

    const std::string sound = contents(folder / "run/metrics.csv");
    std::vector<std::string> lines;
    std::istringstream csv(sound);
    for (std::string line; std::getline(csv, line);) {
        lines.push_back(line + "\n");
    }
    REQUIRE(lines.size() == 7);
    std::swap(lines[2], lines[4]);
    std::ofstream file(folder / "run/metrics.csv");
    for (const std::string& line : lines) {
        file << line;
    }
    file.close();
    refused = run_program(resume);
    CHECK(refused.status == 2);
    CHECK_MESSAGE(refused.error.find("step 3 where step 1 belongs") != std::string::npos, refused.error);
    std::ofstream(folder / "run/metrics.csv") << sound;
    CHECK(run_program(resume).status == 0);
}

TEST_CASE("a run within a budget goes on in the micro-batches that its plan chose")
{
    const TemporaryFolder folder;
    const std::string model =
        "--config image=32,patch=4,dim=32,depth=2,heads=2,mlp=64 --data digits:0-1 --batch-size 64 "
        "--threads 1 ";
    REQUIRE(
        run_program("plan " + model + "--memory-budget 1GiB --out '" + (folder / "all.csv").string() + "'").status ==
        0);
    // The smallest process of all choices; a little more, since a process is not always of the same size.
    std::istringstream csv(contents(folder / "all.csv"));
    std::string line;
    std::getline(csv, line);
    double least = 1e12;
    while (std::getline(csv, line)) {
        least = std::min(least, std::stod(line));
    }
    for (const double room : {1.02, 1.05, 1.1}) {
        const std::string command = "finetune " + model + "--memory-budget " +
                                    std::to_string(static_cast<std::int64_t>(least * room)) + " --out '";
        const auto report = [&](const std::string& name) {
            return nlohmann::json::parse(contents(folder / name / "report.json"));
        };
        if (run_program(command + (folder / "first").string() + "' --epochs 1 --save-every 1").status != 0) {
            continue;  // the process is larger today
        }
        const auto first = report("first");
        WARN(first.at("memory_plan").at("micro_batches").get<int>() > 1);  // else nothing is tested
        const auto run = run_program(command + (folder / "second").string() + "' --epochs 2 --resume '" +
                                     (folder / "first").string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        CHECK(report("second").at("ledger_peak_bytes").at("saved_activation") ==
              first.at("ledger_peak_bytes").at("saved_activation"));
        return;
    }
    FAIL("no budget near the smallest was enough");
}

TEST_CASE("saving does not change the run")
{
    const TemporaryFolder folder;
    for (const std::string method : {"wsi --momentum 0.9", "wasi", "factors --optimizer adamw --lr 1e-3"}) {
        CAPTURE(method);
        const auto with = folder / "with";
        const auto without = folder / "without";
        REQUIRE(run_program(tiny + "--method " + method + " --out '" + without.string() + "'").status == 0);
        REQUIRE(run_program(tiny + "--method " + method + " --save-every 3 --out '" + with.string() + "'").status == 0);
        CHECK(contents(with / "model.safetensors") == contents(without / "model.safetensors"));
    }
}

TEST_CASE("divergence names step and cure, and leaves metrics and the last finite model, whatever the method")
{
    for (const std::string method : {"vanilla", "head", "wsi", "asi", "wasi", "factors"}) {
        for (const std::string rate : {"1e6", "1e30"}) {
            CAPTURE(method);
            CAPTURE(rate);
            const TemporaryFolder folder;
            const auto out = folder / "run";
            const auto run = run_program(tiny + "--method " + method + " --clip-norm 0 --epochs 2 --lr " + rate +
                                         " --schedule constant --out '" + out.string() + "'");
            if (run.status == 0 && method == "head") {
                continue;  // one linear layer on fixed features may stay finite at any rate
            }
            CHECK(run.status == 2);
            CHECK_MESSAGE(run.error.find("diverged at step") != std::string::npos, run.error);
            CHECK_MESSAGE(run.error.find("--clip-norm") != std::string::npos, run.error);
            CHECK(std::filesystem::exists(out / "metrics.csv"));
            const wasi::io::SafetensorsFile model(out / "model.safetensors");
            for (const std::string& name : model.names()) {
                std::vector<float> values(static_cast<std::size_t>(model.info(name).element_count()));
                model.read(name, std::span<float>(values));
                bool finite = true;
                for (const float value : values) {
                    finite = finite && std::isfinite(value);
                }
                CHECK_MESSAGE(finite, name);
            }
        }
    }
}
