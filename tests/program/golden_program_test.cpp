// The program against PyTorch through the command line: predictions and the losses of two epochs, from a safetensors file.
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
    const auto run = run_program("predict --weights '" + golden + "vit_cli_weights.safetensors' --images '" + golden + "vit_cli_data.safetensors' --out '" +
                                 out.string() + "' --batch-size 7");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK(run.error.empty());
    check_close(read(out, "logits"), read(golden + "vit_cli_losses.safetensors", "logits"), 1e-5);
}

TEST_CASE("finetune follows PyTorch's losses")
{
    const auto train = [](const std::string& options, const std::string& series) {
        const TemporaryFolder folder;
        const auto run = run_program("finetune --weights '" + golden + "vit_cli_weights.safetensors' --data 'tensors:" + golden +
                                     "vit_cli_data.safetensors' --method vanilla --epochs 2 --batch-size 8 --shuffle off --schedule constant --clip-norm 0 " +
                                     options + " --out '" + folder.path().string() + "/run'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        check_close(losses(folder / "run/metrics.csv"), read(golden + "vit_cli_losses.safetensors", series), 2e-5);
    };
    train("--optimizer sgd --lr 0.1 --weight-decay 1e-4", "sgd_losses");
    train("--optimizer adamw --lr 1e-3 --weight-decay 0.05", "adamw_losses");
}
