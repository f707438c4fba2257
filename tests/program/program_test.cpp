// What a user of wasi_vit sees: files, refusals, the same bits for any number of threads.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";
const std::string small = "--config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 ";

/// A quick run of a tiny model on digits.
[[nodiscard]] std::string finetune(const std::string& options, const std::filesystem::path& out)
{
    return "finetune " + small + "--data digits:0-4 --epochs 1 " + options + " --out '" + out.string() + "'";
}

/// metrics.csv without the column of seconds, which no two runs share.
[[nodiscard]] std::string without_seconds(const std::string& csv)
{
    std::istringstream lines(csv);
    std::string result;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream cells(line);
        std::string cell;
        for (int column = 0; std::getline(cells, cell, ','); ++column) {
            result += column == 4 ? "" : cell + ",";
        }
        result += '\n';
    }
    return result;
}

}  // namespace

TEST_CASE("every method leaves its five files, whole and readable")
{
    for (const std::string method : {"vanilla", "head", "wsi", "asi", "wasi", "factors"}) {
        CAPTURE(method);
        const TemporaryFolder folder;
        const auto run = run_program(finetune("--energy 0.6 --method " + method, folder / "run"));
        REQUIRE_MESSAGE(run.status == 0, run.error);
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder / "run")) {
            names.push_back(entry.path().filename().string());
        }
        std::sort(names.begin(), names.end());
        CHECK(names ==
              std::vector<std::string>{"memory.csv", "metrics.csv", "model.safetensors", "report.html", "report.json"});

        const auto report = nlohmann::json::parse(contents(folder / "run/report.json"));
        CHECK(report.at("method") == method);
        CHECK(report.at("test_count") == 400);
        CHECK(report.at("test_accuracy").get<double>() > 0.1);
        CHECK(report.at("flops_per_step").get<double>() > 0.0);
        CHECK(report.at("ledger_peak_bytes").at("total").get<double>() > 0.0);
        CHECK(report.at("layers").size() == 8);
        const bool low_rank = method == "wsi" || method == "wasi" || method == "factors";
        const bool compressed = method == "asi" || method == "wasi";
        CHECK((report.at("layers")[2].at("weight_rank").get<int>() > 0) == low_rank);
        CHECK((report.at("layers")[2].at("activation_ranks")[2].get<int>() > 0) == compressed);
        CHECK((contents(folder / "run/metrics.csv").find("captured_energy:") != std::string::npos) == compressed);
        CHECK(contents(folder / "run/report.html").find("</html>") != std::string::npos);

        // Factors instead of the product, and the program reads its own file back.
        const wasi::io::SafetensorsFile model(folder / "run/model.safetensors");
        const std::string name = "encoder.layers.encoder_layer_0.mlp.0.weight";
        CHECK(model.contains(name) != low_rank);
        CHECK(model.contains(name + ".left") == low_rank);
        CHECK(model.metadata().at("method") == method);
        CHECK(model.metadata().contains("forms") == (method == "wsi" || method == "wasi" || method == "factors"));
        const auto again = run_program("finetune --weights '" + (folder / "run/model.safetensors").string() +
                                       "' --data digits --classes 10 --epochs 1 --method " + method + " --out '" +
                                       (folder / "more").string() + "'");
        CHECK_MESSAGE(again.status == 0, again.error);
        CHECK(again.out.find("head for 5 classes is replaced by a new one for 10") != std::string::npos);
    }
}

TEST_CASE("momentum on low-rank weights and AdamW on free factors run and learn")
{
    for (const std::string options :
         {"--method wasi --momentum 0.9 --lr 0.02", "--method wsi --momentum 0.9 --lr 0.02",
          "--method factors --momentum 0.9 --lr 0.02", "--method factors --optimizer adamw --lr 0.003"}) {
        CAPTURE(options);
        const TemporaryFolder folder;
        const auto run =
            run_program("finetune " + small + "--data digits:0-4 --epochs 6 --batch-size 32 --energy 0.8 " + options +
                        " --out '" + (folder / "run").string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        const auto report = nlohmann::json::parse(contents(folder / "run/report.json"));
        CHECK(report.at("test_accuracy").get<double>() > 0.8);  // chance is 0.2
        CHECK(report.at("layers")[2].at("weight_rank").get<int>() > 0);
    }
}

TEST_CASE("the same bits from one thread and from two")
{
    // Large enough for products to be cut into tiles.
    for (const std::string method : {"vanilla", "wsi", "asi", "wasi"}) {
        CAPTURE(method);
        const TemporaryFolder folder;
        for (const std::string threads : {"1", "2"}) {
            const auto run = run_program(
                "finetune --config image=16,patch=4,dim=96,depth=2,heads=3,mlp=192 --data digits:0-4 --epochs 1 "
                "--batch-size 48 --method " +
                method + " --threads " + threads + " --out '" + (folder / threads).string() + "'");
            REQUIRE_MESSAGE(run.status == 0, run.error);
        }
        CHECK(contents(folder / "1/model.safetensors") == contents(folder / "2/model.safetensors"));
        CHECK(without_seconds(contents(folder / "1/metrics.csv")) ==
              without_seconds(contents(folder / "2/metrics.csv")));
    }
}

TEST_CASE("compare prints a table and writes a page")
{
    const TemporaryFolder folder;
    REQUIRE(run_program(finetune("--method vanilla", folder / "vanilla")).status == 0);
    REQUIRE(run_program(finetune("--method wasi", folder / "wasi")).status == 0);
    const auto run = run_program("compare '" + (folder / "vanilla").string() + "' '" + (folder / "wasi").string() +
                                 "' --out '" + (folder / "index.html").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK(run.out.find("\nvanilla | ") != std::string::npos);
    CHECK(run.out.find("\nwasi    | ") != std::string::npos);
    CHECK(contents(folder / "index.html").find("href=\"wasi/report.html\"") != std::string::npos);
    for (const char* name : {"vanilla", "wasi"}) {
        CAPTURE(name);
        const auto report = nlohmann::json::parse(contents(folder / name / "report.json"));
        const auto& interval = report.at("test_accuracy_95");
        std::array<char, 64> text{};
        std::snprintf(text.data(), text.size(), "(%.1f to %.1f)", 100.0 * interval.at(0).get<double>(),
                      100.0 * interval.at(1).get<double>());
        CHECK_MESSAGE(run.out.find(text.data()) != std::string::npos, run.out);
    }

    // Runs of one method are called by their folders, and the first is what the others are compared with.
    std::filesystem::create_directory(folder / "again");
    std::filesystem::copy_file(folder / "vanilla" / "metrics.csv", folder / "again" / "metrics.csv");
    auto report = nlohmann::json::parse(contents(folder / "vanilla" / "report.json"));
    report["peak_rss_bytes"] = report.at("base_bytes").get<double>() + 9e9;
    std::ofstream(folder / "again" / "report.json") << report;
    report["peak_rss_bytes"] = report.at("base_bytes").get<double>() + 3e9;
    std::ofstream(folder / "vanilla" / "report.json") << report;
    const auto three = run_program("compare '" + (folder / "vanilla").string() + "' '" + (folder / "again").string() +
                                   "/' '" + (folder / "wasi").string() + "' --out '" +
                                   (folder / "three.html").string() + "'");
    REQUIRE_MESSAGE(three.status == 0, three.error);
    CHECK(three.out.find("\nvanilla | ") != std::string::npos);
    const auto line = three.out.find("\nagain   | ");
    REQUIRE(line != std::string::npos);
    CHECK(three.out.substr(line + 1, three.out.find('\n', line + 1) - line).find("8.38\u00a0GiB   0.3x") !=
          std::string::npos);
    CHECK(contents(folder / "three.html").find(">again</a>") != std::string::npos);
    CHECK(run_program("compare '" + folder.path().string() + "'").status == 2);
}

TEST_CASE("what makes no sense is refused in one line, with status 2 and nothing written")
{
    const TemporaryFolder folder;
    const std::string data = "'tensors:" + golden + "vit_cli_data.safetensors'";
    const std::string weights = "--weights '" + golden + "vit_cli_weights.safetensors' ";
    struct Case {
        std::string arguments;
        std::string says;
    };
    const std::vector<Case> cases{
        {"", "subcommand"},
        {"finetune --nonsense", "--"},
        {finetune("--method loro", folder / "run"), "--method: 'loro'"},
        {finetune("--energy 0", folder / "run"), "--energy: must be in (0, 1], got 0"},
        {finetune("--energy 1.5", folder / "run"), "got 1.5"},
        {finetune("--activation-energy -1", folder / "run"), "--activation-energy"},
        {finetune("--activation-ranks 8,4", folder / "run"), "--activation-ranks: '8,4' is not three numbers"},
        {finetune("--activation-ranks 8,0,4", folder / "run"), "--activation-ranks: must be at least 1, got 0"},
        {finetune("--activation-ranks 8,x,4", folder / "run"), "'x' is not a whole number"},
        {finetune("--activation-ranks 8,4,8 --activation-energy 0.5", folder / "run"), "exclude each other"},
        {finetune("--optimizer lion", folder / "run"), "--optimizer: 'lion'"},
        {finetune("--optimizer adamw --method wasi", folder / "run"), "adamw does not go with --method wasi"},
        {finetune("--optimizer adamw --method wsi", folder / "run"), "use sgd, or --method factors"},
        {finetune("--optimizer galore --method wasi", folder / "run"), "galore does not go with --method wasi"},
        {finetune("--optimizer-rank 8 --method vanilla", folder / "run"), "--optimizer-rank is for"},
        {finetune("--optimizer mofasgd --optimizer-refresh 8 --method vanilla", folder / "run"),
         "are for --optimizer galore"},
        {finetune("--optimizer galore --optimizer-form code --method vanilla", folder / "run"),
         "are for --optimizer mofasgd"},
        {finetune("--optimizer mofasgd --momentum 0.9 --method vanilla", folder / "run"), "--momentum is for sgd"},
        {finetune("--optimizer adamw --momentum 0.9 --method factors", folder / "run"), "--momentum is for sgd"},
        {finetune("--momentum 1 --method wsi", folder / "run"), "--momentum: must be in [0, 1), got 1"},
        {finetune("--optimizer adamw --weight-decay 200 --method factors", folder / "run"), "is above 1"},
        {finetune("--activation-budget 1MiB --method factors", folder / "run"),
         "--activation-budget does not go with --method factors"},
        {finetune("--lr nan", folder / "run"), "--lr: 'nan' is not a finite number"},
        {finetune("--lr -1", folder / "run"), "--lr: must be at least 0, got -1"},
        {finetune("--weight-decay -1 --method vanilla", folder / "run"), "--weight-decay: must be at least 0, got -1"},
        {"finetune " + small + "--data digits --epochs 0 --out '" + (folder / "run").string() + "'",
         "--epochs: must be at least 1, got 0"},
        {finetune("--batch-size 0", folder / "run"), "--batch-size"},
        {finetune("--accumulate 99", folder / "run"), "--accumulate"},
        {finetune("--threads -1", folder / "run"), "--threads"},
        {finetune("--classes 3", folder / "run"), "is outside the 3 classes"},
        {finetune("--schedule linear", folder / "run"), "--schedule: 'linear'"},
        {"finetune --config image=10,patch=4 --data digits --out '" + (folder / "run").string() + "'",
         "image 10 is not a multiple of patch 4"},
        {"finetune --config dim=30,heads=4 --data digits --out '" + (folder / "run").string() + "'",
         "dim 30 is not a multiple of heads 4"},
        {"finetune --config width=3 --data digits --out '" + (folder / "run").string() + "'", "'width=3'"},
        {"finetune " + small + "--data digits:7-3 --out '" + (folder / "run").string() + "'", ""},
        {"finetune " + small + "--data cifar --out '" + (folder / "run").string() + "'", "--data: 'cifar'"},
        {"finetune " + small + "--data tensors:/nowhere.safetensors --out '" + (folder / "run").string() + "'",
         "/nowhere.safetensors"},
        {"finetune --weights /nowhere.safetensors --data digits --out '" + (folder / "run").string() + "'",
         "/nowhere.safetensors"},
        {"finetune --weights '" + golden + "vit_cli_data.safetensors' --data digits --out '" +
             (folder / "run").string() + "'",
         "no Vision Transformer is recognised"},
        {"finetune " + small + "--data " + data + " --out '" + (folder / "run").string() + "'",
         "images are 16 x 16 pixels, the model takes 8 x 8"},
        {"finetune " + weights + "--heads 5 --data " + data + " --out '" + (folder / "run").string() + "'",
         "not a multiple of heads 5"},
        {"finetune " + weights + "--data " + data + " --out /proc/nowhere", "/proc/nowhere"},
        {"predict " + weights + "--images '" + golden + "vit_cli_losses.safetensors' --out '" +
             (folder / "run").string() + "'",
         "images"},
        {"predict " + weights + "--images '" + golden + "vit_cli_data.safetensors' --out /proc/nowhere/x",
         "/proc/nowhere"},
    };
    for (const Case& refused : cases) {
        CAPTURE(refused.arguments);
        const auto run = run_program(refused.arguments);
        CHECK(run.status == 2);
        CAPTURE(run.error);
        CHECK(std::count(run.error.begin(), run.error.end(), '\n') == 1);
        CHECK(run.error.starts_with("wasi_vit: "));
        CHECK(run.error.find(refused.says) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "run"));
    }
}

TEST_CASE("a spoilt weight file is refused")
{
    const TemporaryFolder folder;
    const std::string good = contents(golden + "vit_cli_weights.safetensors");
    const auto refuse = [&](const std::string& bytes, const std::string& says) {
        const auto path = folder / "bad.safetensors";
        std::ofstream(path, std::ios::binary) << bytes;
        const auto run = run_program("finetune --weights '" + path.string() + "' --data digits --out '" +
                                     (folder / "run").string() + "'");
        CAPTURE(run.error);
        CHECK(run.status == 2);
        CHECK(run.error.find(says) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "run"));
    };
    refuse(good.substr(0, good.size() - 10), "");
    refuse(good.substr(0, 5), "");
    std::string not_finite = good;
    const float infinity = std::numeric_limits<float>::infinity();
    not_finite.replace(not_finite.size() - sizeof infinity, sizeof infinity, reinterpret_cast<const char*>(&infinity),
                       sizeof infinity);
    refuse(not_finite, "NaN or infinity");
    std::string renamed = good;
    renamed.replace(renamed.find("encoder.ln.bias"), 15, "encoder.ln.bios");
    refuse(renamed, "encoder.ln.bias is missing");
}
