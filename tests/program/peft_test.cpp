// Low-rank adapters against PEFT through the command line: losses from the same adapter, and files in its format.
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/io/safetensors.hpp>

#include "run_results.hpp"

namespace {

using wasi_tests::column;
using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";
const std::string adapter = golden + "peft_adapter";
const std::string common =
    "finetune --weights '" + golden + "vit_cli_weights.safetensors' --data 'tensors:" + golden +
    "vit_cli_data.safetensors' --method lora --epochs 5 --batch-size 12 --shuffle off --schedule "
    "constant --clip-norm 0 ";

[[nodiscard]] std::vector<double> read(const std::filesystem::path& path, const std::string& name)
{
    const wasi::io::SafetensorsFile file(path);
    std::vector<double> values(static_cast<std::size_t>(file.info(name).element_count()));
    file.read(name, std::span<double>(values));
    return values;
}

void check_close(const std::vector<double>& mine, const std::vector<double>& peft, double tolerance)
{
    REQUIRE(mine.size() == peft.size());
    for (std::size_t i = 0; i < mine.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(mine[i] - peft[i]) <= tolerance * std::max(1.0, std::abs(peft[i])));
    }
}

}  // namespace

TEST_CASE("lora follows PEFT's losses from the same adapter")
{
    const auto train = [](const std::string& options, const std::string& series) {
        CAPTURE(series);
        const TemporaryFolder folder;
        const auto run = run_program(common + "--adapter '" + adapter + "' " + options + " --out '" +
                                     (folder / "run").string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        std::vector<double> losses;
        for (const std::string& loss : column(folder / "run", "loss")) {
            losses.push_back(std::stod(loss));
        }
        check_close(losses, read(golden + "peft_losses.safetensors", series), 1e-5);
    };
    train("--optimizer sgd --lr 0.1 --momentum 0.9 --weight-decay 1e-4", "sgd_losses");
    train("--optimizer adamw --lr 1e-3 --weight-decay 0.05", "adamw_losses");
}

TEST_CASE("an adapter that is read and written without a step is the same file, and gives PEFT's logits")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    const auto run = run_program(common + "--epochs 1 --lr 0 --adapter '" + adapter + "' --out '" + out.string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const wasi::io::SafetensorsFile theirs(std::filesystem::path(adapter) / "adapter_model.safetensors");
    const wasi::io::SafetensorsFile ours(out / "adapter_model.safetensors");
    CHECK(ours.names() == theirs.names());
    for (const std::string& name : theirs.names()) {
        CAPTURE(name);
        CHECK(ours.info(name).shape == theirs.info(name).shape);
        CHECK(read(out / "adapter_model.safetensors", name) ==
              read(std::filesystem::path(adapter) / "adapter_model.safetensors", name));
    }
    const auto config = nlohmann::json::parse(contents(out / "adapter_config.json"));
    CHECK(config.at("r") == 4);
    CHECK(config.at("lora_alpha") == 10.0);
    CHECK(config.at("peft_type") == "LORA");
    const auto logits = folder / "logits.safetensors";
    const auto predicted = run_program("predict --weights '" + (out / "model.safetensors").string() + "' --images '" +
                                       golden + "vit_cli_data.safetensors' --out '" + logits.string() + "'");
    REQUIRE_MESSAGE(predicted.status == 0, predicted.error);
    check_close(read(logits, "logits"), read(golden + "peft_losses.safetensors", "logits"), 1e-5);
}

TEST_CASE("what an adapter leaves out stays as it was")
{
    const TemporaryFolder folder;
    const auto out = folder / "run";
    const auto run = run_program(common + "--adapter '" + adapter + "' --lr 0.1 --out '" + out.string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const wasi::io::SafetensorsFile before(golden + "vit_cli_weights.safetensors");
    for (const std::string& name : before.names()) {
        CAPTURE(name);
        const bool same = read(out / "model.safetensors", name) == read(golden + "vit_cli_weights.safetensors", name);
        CHECK(same == !name.starts_with("heads."));
    }
}

TEST_CASE("weights that an adapter from a file leaves out are held in the format asked for")
{
    const TemporaryFolder folder;
    // The adapter is of fc1 and fc2, behind in_proj and out_proj.
    for (const std::string format : {"float32", "bfloat16"}) {
        CAPTURE(format);
        const double bytes = format == "float32" ? 4.0 : 2.0;
        const auto out = folder / format;
        const auto run = run_program(common + "--epochs 1 --adapter '" + adapter + "' --frozen-weights " + format +
                                     " --out '" + out.string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        const auto layers = nlohmann::json::parse(contents(out / "report.json")).at("layers");
        REQUIRE(layers.size() == 8);
        for (const std::size_t layer : {0U, 1U}) {
            CHECK(layers[layer].at("weight_rank") == 0);
            CHECK(layers[layer].at("weight_bytes").get<double>() ==
                  bytes * layers[layer].at("outputs").get<double>() * layers[layer].at("inputs").get<double>());
        }
    }
}

TEST_CASE("an adapter's options are refused where they mean nothing, and a folder that is no adapter by name")
{
    const TemporaryFolder folder;
    const std::string out = " --out '" + (folder / "run").string() + "'";
    const auto says = [&](const std::string& options, const std::string& text) {
        CAPTURE(options);
        const auto run = run_program(common + options + out);
        CHECK(run.status == 2);
        CHECK_MESSAGE(run.error.find(text) != std::string::npos, run.error);
    };
    says("--method wsi --rank 4", "--method lora");
    says("--rank 4 --adapter '" + adapter + "'", "--rank");
    says("--adapter '" + folder.path().string() + "'", "adapter_config.json");
}
