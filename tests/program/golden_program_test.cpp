// The program against PyTorch through the command line: predictions and the losses of two epochs, from a safetensors
// file.
#include <cmath>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";

[[nodiscard]] std::vector<double> read(const std::filesystem::path& path, const std::string& name)
{
    const wasi::io::SafetensorsFile file(path);
    std::vector<double> values(static_cast<std::size_t>(file.info(name).element_count()));
    file.read(name, std::span<double>(values));
    return values;
}

/// The column "loss" of metrics.csv.
[[nodiscard]] std::vector<double> losses(const std::filesystem::path& path)
{
    std::ifstream csv(path);
    std::string line;
    std::getline(csv, line);
    REQUIRE(line.starts_with("step,epoch,loss,learning_rate,seconds"));
    std::vector<double> result;
    while (std::getline(csv, line)) {
        std::istringstream cells(line);
        std::string cell;
        for (int column = 0; column < 3; ++column) {
            std::getline(cells, cell, ',');
        }
        result.push_back(std::stod(cell));
    }
    return result;
}

void check_close(const std::vector<double>& mine, const std::vector<double>& torch, double tolerance)
{
    REQUIRE(mine.size() == torch.size());
    for (std::size_t i = 0; i < mine.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(mine[i] - torch[i]) <= tolerance * std::max(1.0, std::abs(torch[i])));
    }
}

}  // namespace

TEST_CASE("predict writes PyTorch's logits")
{
    const TemporaryFolder folder;
    const auto out = folder / "logits.safetensors";
    const auto run = run_program("predict --weights '" + golden + "vit_cli_weights.safetensors' --images '" + golden +
                                 "vit_cli_data.safetensors' --out '" + out.string() + "' --batch-size 7");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK(run.error.empty());
    check_close(read(out, "logits"), read(golden + "vit_cli_losses.safetensors", "logits"), 1e-5);
}

TEST_CASE("finetune follows PyTorch's losses")
{
    const auto train = [](const std::string& options, const std::string& series) {
        const TemporaryFolder folder;
        const auto run =
            run_program("finetune --weights '" + golden + "vit_cli_weights.safetensors' --data 'tensors:" + golden +
                        "vit_cli_data.safetensors' --method vanilla --epochs 2 --batch-size 8 --shuffle off --schedule "
                        "constant --clip-norm 0 " +
                        options + " --out '" + folder.path().string() + "/run'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        check_close(losses(folder / "run/metrics.csv"), read(golden + "vit_cli_losses.safetensors", series), 2e-5);
    };
    train("--optimizer sgd --lr 0.1 --weight-decay 1e-4", "sgd_losses");
    train("--optimizer adamw --lr 1e-3 --weight-decay 0.05", "adamw_losses");
}

TEST_CASE("at energy 1 wasi follows vanilla, with every layer low rank")
{
    const TemporaryFolder folder;
    const auto train = [&](const std::string& options, const std::string& name) {
        const auto run = run_program(
            "finetune --config image=8,patch=4,dim=32,depth=2,heads=2,mlp=64 --data digits:0-4 --epochs 1 --batch-size "
            "24 "
            "--lr 0.1 --seed 3 " +
            options + " --out '" + (folder / name).string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        return losses(folder / (name + "/metrics.csv"));
    };
    const auto vanilla = train("--method vanilla", "vanilla");
    const auto exact = train("--method wasi --energy 1 --activation-energy 1 --above-break-even low-rank", "wasi");
    const auto lossy = train("--method wasi --energy 0.5 --activation-energy 0.5 --above-break-even low-rank", "lossy");
    check_close(exact, vanilla, 1e-3);  // float: 21 steps of rounding through different products
    CHECK(std::abs(lossy.back() - vanilla.back()) > 1e-2);
    const wasi::io::SafetensorsFile model(folder / "wasi/model.safetensors");
    for (const std::string layer :
         {"mlp.0.weight", "mlp.3.weight", "self_attention.in_proj_weight", "self_attention.out_proj.weight"}) {
        CHECK(model.info("encoder.layers.encoder_layer_1." + layer + ".left").shape[1] == 32);
    }
}
