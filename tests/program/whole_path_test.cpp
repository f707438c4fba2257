// The program on its whole way, as on a small machine: a folder of JPEG files, a checkpoint of another family, a plan,
// a dozen steps within a budget, a run that goes on, what the model then says. Runs under an emulator too.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "../pictures/made_files.hpp"
#include "run_program.hpp"
#include "run_results.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_classes;
namespace fs = std::filesystem;

[[nodiscard]] std::string quoted(const fs::path& path)
{
    return "'" + path.string() + "' ";
}

[[nodiscard]] std::string run(const std::string& command)
{
    const auto outcome = run_program(command);
    REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
    return outcome.out;
}

[[nodiscard]] bool says(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the whole path: JPEG files, a Hugging Face checkpoint, a plan within a budget, a dozen steps, resumed")
{
    const TemporaryFolder folder;
    write_classes(folder / "photos/train", {"daisy", "rose", "tulip"}, 7);
    write_classes(folder / "photos/test", {"daisy", "rose", "tulip"}, 3);
    const std::string from = "--weights " + quoted(fs::path(WASI_TEST_DATA) / "golden/checkpoints/hf_dinov2") +
                             "--data " + quoted(folder / "photos") + "--batch-size 4 --accumulate 1 ";
    const std::string budget = from + "--memory-budget 256MiB ";
    const std::string plan = run("plan " + budget);
    CHECK_MESSAGE(says(plan, "Hugging Face DINOv2: loaded"), plan);
    CHECK_MESSAGE(says(plan, "saved_input"), plan);

    // 21 pictures in batches of 4 are six steps an epoch.
    const std::string train =
        "finetune " + budget + "--augment flip,jitter=0.2 --lr 0.01 --schedule constant --seed 5 ";
    static_cast<void>(run(train + "--epochs 2 --out " + quoted(folder / "whole")));
    static_cast<void>(run(train + "--epochs 1 --save-every 3 --out " + quoted(folder / "part")));
    const std::string resumed =
        run(train + "--epochs 2 --resume " + quoted(folder / "part") + "--out " + quoted(folder / "rest"));
    CHECK_MESSAGE(says(resumed, "Going on after step 6 of 12."), resumed);
    CHECK(contents(folder / "rest/model.safetensors") == contents(folder / "whole/model.safetensors"));
    const auto report = nlohmann::json::parse(contents(folder / "whole/report.json"));
    CHECK(report.at("steps") == 12);
    CHECK(report.at("peak_rss_bytes").get<double>() <= 256.0 * 1024 * 1024);

    const std::string model = "--weights " + quoted(folder / "whole/model.safetensors");
    CHECK(says(run("predict --top 1 " + model + quoted(folder / "photos/test/rose")), "rose/00.JPG"));
    CHECK(says(run("evaluate " + model + "--data " + quoted(folder / "photos")), "macro F1"));
    static_cast<void>(run("export --as hf --dense " + model + "--out " + quoted(folder / "hf")));
    CHECK(says(contents(folder / "hf/config.json"), "rose"));
}
