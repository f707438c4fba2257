// Ranks by what weights put out, through the program: compress, probe, finetune.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "run_results.hpp"

namespace {

using wasi_tests::reported;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

/// The number that stands between two texts.
[[nodiscard]] double between(const std::string& text, const std::string& before, const std::string& after)
{
    const auto from = text.find(before);
    REQUIRE_MESSAGE(from != std::string::npos, text);
    const auto to = text.find(after, from + before.size());
    REQUIRE_MESSAGE(to != std::string::npos, text);
    const std::string number = text.substr(from + before.size(), to - from - before.size());
    return std::strtod(number.substr(number.find_last_of(' ') + 1).c_str(), nullptr);
}

const std::string quiet = " --threads 1 ";

}  // namespace

TEST_CASE("ranks by output: compress keeps within the size and within the features, probe and finetune go on from it")
{
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return "'" + (folder / name).string() + "'"; };
    const auto trained = run_program(
        "finetune --config image=8,patch=4,dim=24,depth=2,heads=2,mlp=96 --data digits "
        "--method vanilla --epochs 2 --lr 0.2 --out " +
        path("run") + quiet);
    REQUIRE_MESSAGE(trained.status == 0, trained.error);
    const std::string model = path("run/model.safetensors");

    double agreed = 1.0;
    for (const std::string size : {"0.8", "0.5", "0.3"}) {
        const auto made = run_program("compress --weights " + model + " --data digits --calibration 64 --size " + size +
                                      " --out " + path("small.safetensors") + quiet);
        REQUIRE_MESSAGE(made.status == 0, made.error);
        CHECK(made.out.find("found on 48 images: 8 weights") != std::string::npos);
        CHECK(made.out.find("On 16 other images") != std::string::npos);
        CHECK(between(made.out, " MB, ", " times smaller") >= 1.0 / std::strtod(size.c_str(), nullptr) - 0.005);
        const auto probed = run_program("probe --weights " + path("small.safetensors") + " --against " + model +
                                        " --data digits --train-examples 200 --test-examples 100" + quiet);
        REQUIRE_MESSAGE(probed.status == 0, probed.error);
        CHECK(probed.out.find("of 100 test images") != std::string::npos);
        CHECK(probed.out.find("24 features of 200 training images") != std::string::npos);
        const double agreement = between(probed.out, "agree to ", " with those");
        CHECK(agreement < agreed);
        CHECK(agreement > 0.1);
        agreed = agreement;
    }
    const auto itself = run_program("probe --weights " + model + " --against " + model + " --data digits" + quiet);
    CHECK(between(itself.out, "agree to ", " with those") == 1.0);

    // In finetune the layers that were left dense stay so, though the method would make them low rank.
    const auto started =
        run_program("finetune --weights " + model + " --data digits --method wsi --epochs 1 --size 0.9 --out " +
                    path("start") + quiet);
    REQUIRE_MESSAGE(started.status == 0, started.error);
    const double dense = between(started.out, "times smaller (", " stay dense");
    CHECK(dense >= 1.0);
    double held_dense = 0.0;
    for (int layer = 0; layer < 8; ++layer) {
        held_dense +=
            reported(folder / "start", "/layers/" + std::to_string(layer) + "/weight_rank") == "0" ? 1.0 : 0.0;
    }
    CHECK(held_dense == dense);
}

TEST_CASE("ranks by output: what would not be looked at is refused")
{
    const TemporaryFolder folder;
    const std::string weights = std::string(WASI_TEST_DATA) + "/golden/vit_cli_weights.safetensors";
    const std::string out = " --out '" + (folder / "out").string() + "'";
    const std::string compress = "compress --weights '" + weights + "' ";
    const std::string finetune = "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --data digits ";
    for (const auto& refused : std::vector<std::pair<std::string, std::string>>{
             {compress + "--size 0.5", "--data"},
             {compress + "--data digits", "--size"},
             {compress + "--data digits --size 0.5 --rank 4", "--rank does not go with"},
             {compress + "--calibration 9", "--calibration is for"},
             {compress + "--data digits --size 0.001", "no choice fits"},
             {finetune + "--calibration 9", "--calibration is for"},
             {finetune + "--method vanilla --size 0.5", "--size do not go with --method vanilla"},
             {finetune + "--method lora --energy-of output", "do not go with --method lora"},
             {finetune + "--method wsi --size 0.5 --above-break-even low-rank", "--above-break-even"},
             {"probe --weights '" + weights + "' --data 'tensors:" + std::string(WASI_TEST_DATA) +
                  "/golden/vit_cli_data.safetensors'",
              "has no images to measure on"}}) {
        const std::string& arguments = refused.first;
        CAPTURE(arguments);
        const auto run = run_program(arguments + (arguments.starts_with("probe") ? std::string() : out));
        CHECK(run.status == 2);
        CAPTURE(run.error);
        CHECK(run.error.find(refused.second) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "out"));
    }
}
