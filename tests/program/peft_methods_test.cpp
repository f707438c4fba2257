// The relatives of LoRA against PEFT through the command line: losses from the same start, and files in its format.
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
const std::string random_adapter = "--adapter '" + golden + "peft_adapter' ";
const std::string dora_adapter = golden + "peft_dora_adapter";
const std::string weights = golden + "vit_cli_weights.safetensors";
const std::string data = golden + "vit_cli_data.safetensors";
const std::string common = "finetune --weights '" + weights + "' --data 'tensors:" + data +
                           "' --layers mlp --batch-size 12 --shuffle off --schedule constant --clip-norm 0 ";
const std::string fresh = "--rank 4 --alpha 10 --adapter-start ";

[[nodiscard]] std::vector<double> read(const std::filesystem::path& path, const std::string& name)
{
    const wasi::io::SafetensorsFile file(path);
    std::vector<double> values(static_cast<std::size_t>(file.info(name).element_count()));
    file.read(name, std::span<double>(values));
    return values;
}

void check_close(const std::vector<double>& mine, const std::vector<double>& wanted, double tolerance)
{
    REQUIRE(mine.size() == wanted.size());
    for (std::size_t i = 0; i < mine.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(mine[i] - wanted[i]) <= tolerance * std::max(1.0, std::abs(wanted[i])));
    }
}

void check_losses(const std::string& options, const std::string& series)
{
    CAPTURE(series);
    const TemporaryFolder folder;
    const auto run = run_program(common + "--epochs 5 " + options + " --out '" + (folder / "run").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    std::vector<double> losses;
    for (const std::string& loss : column(folder / "run", "loss")) {
        losses.push_back(std::stod(loss));
    }
    check_close(losses, read(golden + "peft_methods.safetensors", series), 1e-5);
}

[[nodiscard]] std::vector<double> logits(const std::filesystem::path& model, const TemporaryFolder& folder)
{
    const auto out = folder / "logits.safetensors";
    const auto run =
        run_program("predict --weights '" + model.string() + "' --images '" + data + "' --out '" + out.string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    return read(out, "logits");
}

/// Ten steps from fresh adapters or a golden one; returns the folder's model.
[[nodiscard]] std::filesystem::path trained(const std::string& options, const std::filesystem::path& out)
{
    const auto run = run_program(common + options + " --out '" + out.string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    return out / "model.safetensors";
}

const std::string sgd = " --optimizer sgd --lr 0.1 --momentum 0.9 --weight-decay 1e-4";
const std::string slow_sgd = " --optimizer sgd --lr 0.01 --momentum 0.9 --weight-decay 1e-4";
const std::string adamw = " --optimizer adamw --lr 1e-3 --weight-decay 0.05";

}  // namespace

TEST_CASE("adapters that start from the weights follow PEFT's losses")
{
    check_losses("--method lora --rslora on " + fresh + "pissa" + slow_sgd, "rslora_pissa_sgd");
    check_losses("--method lora --rslora on " + fresh + "pissa" + adamw, "rslora_pissa_adamw");
    check_losses("--method lora --rank 4 --alpha 2 --adapter-start olora" + slow_sgd, "olora_sgd");
    check_losses("--method lora --rank 4 --alpha 2 --adapter-start olora" + adamw, "olora_adamw");
    check_losses("--method lora " + fresh + "mica" + sgd, "mica_sgd");
    check_losses("--method lora " + fresh + "mica" + adamw, "mica_adamw");
}

TEST_CASE("adapters that start from the inputs of their layers follow PEFT's losses")
{
    const std::string all =
        " --batch-size 24 --calibration 24 --epochs 10";  // the directions are of all images at once
    check_losses("--method lora " + fresh + "eva" + sgd + all, "eva_sgd");
    check_losses("--method lora " + fresh + "eva" + adamw + all, "eva_adamw");
}

TEST_CASE("LoRA-FA and the preconditioner follow the losses of PEFT's optimisers")
{
    check_losses("--method lora-fa " + random_adapter + "--optimizer adamw --lr 1e-3 --weight-decay 0", "lorafa_adamw");
    check_losses("--method lora --precondition 0.01 " + random_adapter + sgd, "riemannian_sgd");
    check_losses("--method lora --precondition 0.01 " + random_adapter + adamw, "riemannian_adamw");
}

TEST_CASE("dora follows PEFT's losses, and its adapter comes and goes in PEFT's format")
{
    const std::string from_file = "--method dora --adapter '" + dora_adapter + "'";
    check_losses(from_file + sgd, "dora_sgd");
    check_losses(from_file + adamw, "dora_adamw");
    check_losses("--method dora " + fresh + "pissa" + sgd, "dora_pissa_sgd");
    check_losses("--method dora " + fresh + "pissa" + adamw, "dora_pissa_adamw");

    const TemporaryFolder folder;
    const auto model = trained(from_file + " --epochs 1 --lr 0", folder / "run");
    const auto theirs_path = std::filesystem::path(dora_adapter) / "adapter_model.safetensors";
    const wasi::io::SafetensorsFile theirs(theirs_path);
    const wasi::io::SafetensorsFile ours(folder / "run" / "adapter_model.safetensors");
    CHECK(ours.names() == theirs.names());
    for (const std::string& name : theirs.names()) {
        CAPTURE(name);
        CHECK(ours.info(name).shape == theirs.info(name).shape);
        CHECK(read(folder / "run" / "adapter_model.safetensors", name) == read(theirs_path, name));
    }
    CHECK(nlohmann::json::parse(contents(folder / "run" / "adapter_config.json")).at("use_dora") == true);
    check_close(logits(model, folder), read(golden + "peft_methods.safetensors", "dora_logits"), 1e-5);
}

TEST_CASE("an adapter that moved the weights goes on from its own file and the weights as they were")
{
    // With a rate of 0 nothing moves, so what is read back must give the logits of the model that was written, whether
    // the start is made again (pissa, olora), leaves the weights alone (mica), or was converted (pissa-fast).
    for (const std::string start : {"pissa", "olora", "mica", "pissa-fast"}) {
        CAPTURE(start);
        const TemporaryFolder folder;
        const auto first =
            trained("--method lora --rslora on " + fresh + start + " --lr 0.01 --epochs 2", folder / "run");
        const auto again =
            trained("--method lora --adapter '" + (folder / "run").string() + "' --lr 0 --weight-decay 0 --epochs 1",
                    folder / "again");
        check_close(logits(again, folder), logits(first, folder), 1e-5);
        const auto config = nlohmann::json::parse(contents(folder / "run" / "adapter_config.json"));
        CHECK(config.at("r") == (start == "pissa-fast" ? 8 : 4));
        CHECK(config.at("use_rslora") == true);
        CHECK(config.at("lora_alpha").get<double>() ==
              doctest::Approx(start == "pissa-fast" ? 10.0 * std::sqrt(2.0) : 10.0));
        CHECK(config.at("init_lora_weights") == (start == "pissa-fast" ? nlohmann::json(true) : nlohmann::json(start)));
    }
}

TEST_CASE("an adapter is merged into the weights it was started on, and taken out again")
{
    const TemporaryFolder folder;
    for (const std::string options : {"--method lora --adapter-start kaiming", "--method lora --adapter-start olora",
                                      "--method dora --adapter-start kaiming"}) {
        CAPTURE(options);
        const auto out = folder / "run";
        const auto model = trained(options + " --rank 3 --alpha 2 --lr 0.05 --epochs 2", out);
        const auto merged = folder / "merged.safetensors";
        auto run = run_program("expand --weights '" + weights + "' --adapter '" + out.string() + "' --out '" +
                               merged.string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        check_close(logits(merged, folder), logits(model, folder), 1e-5);
        const wasi::io::SafetensorsFile before(weights);
        CHECK(wasi::io::SafetensorsFile(merged).names() == before.names());

        const auto back = folder / "back.safetensors";
        run = run_program("expand --weights '" + merged.string() + "' --without '" + out.string() + "' --out '" +
                          back.string() + "'");
        if (options.find("kaiming") == std::string::npos || options.find("dora") != std::string::npos) {
            CHECK(run.status == 2);  // what the start took away, or lengths before, are in neither file
            continue;
        }
        REQUIRE_MESSAGE(run.status == 0, run.error);
        for (const std::string& name : before.names()) {
            CAPTURE(name);
            if (!name.starts_with("heads.")) {
                check_close(read(back, name), read(weights, name), 1e-6);
                CHECK((read(merged, name) != read(weights, name)) ==
                      (name.find("mlp") != std::string::npos && name.ends_with("weight")));
            }
        }
    }
}

TEST_CASE("adapter options that make no sense together are refused by name")
{
    const TemporaryFolder folder;
    const auto says = [&](const std::string& options, const std::string& text) {
        CAPTURE(options);
        const auto run = run_program(common + options + " --out '" + (folder / "run").string() + "'");
        CHECK(run.status == 2);
        CHECK_MESSAGE(run.error.find(text) != std::string::npos, run.error);
    };
    says("--method wsi --adapter-start pissa", "--adapter-start");
    says("--method wsi --precondition 0.1", "--precondition");
    says("--method lora-fa --precondition 0.1", "--precondition");
    says("--method lora-fa --adapter-start mica", "mica");
    says("--method lora --rslora on " + random_adapter, "--rslora");
    says("--method dora " + random_adapter, "use_dora");
    says("--method lora --adapter '" + dora_adapter + "'", "--method dora");
}
