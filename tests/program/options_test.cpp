// Every option of finetune has an effect: the table that defines the options, held against a table of what each does.
#include <algorithm>
#include <cmath>
#include <functional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <options/options.hpp>

#include "../pictures/made_files.hpp"
#include "run_results.hpp"

namespace {

using wasi_examples::Effect;
using wasi_examples::finetune_table;
using wasi_examples::FinetuneOptions;
using wasi_tests::column;
using wasi_tests::reported;
using wasi_tests::run_program;
using wasi_tests::saved_word;
using wasi_tests::TemporaryFolder;

using Folder = std::filesystem::path;
using Look = std::function<std::string(const Folder&)>;

/// One option, two values or more, and the text that tells the runs apart.
struct Trial {
    std::string option;
    std::vector<std::string> values;
    Look look;
    std::vector<std::string> expected = {};  ///< of each value; empty: all differ
    std::string with = {};                   ///< more options, of all the runs
};

// 200 images, so 7 steps an epoch; blocks of B = 32 images with N = 5 tokens of D = 16 features, hidden M = 64.
const std::string start = "--config image=8,patch=4,dim=16,depth=2,heads=2,mlp=64 ";
const std::string usual = "--data digits:0-1 --epochs 1 --threads 1 ";

[[nodiscard]] Look first(const std::string& name)
{
    return [=](const Folder& folder) { return column(folder, name).front(); };
}
[[nodiscard]] Look last(const std::string& name)
{
    return [=](const Folder& folder) { return column(folder, name).back(); };
}
[[nodiscard]] Look in_report(const std::string& pointer)
{
    return [=](const Folder& folder) { return reported(folder, pointer); };
}
[[nodiscard]] Look in_model(const std::string& key)
{
    return [=](const Folder& folder) { return saved_word(folder, key); };
}
/// The steps at which subspaces were measured.
[[nodiscard]] std::string measured_steps(const Folder& folder)
{
    if (!std::filesystem::exists(folder / "subspaces.csv")) {
        return "none";
    }
    std::string all;
    std::string last;
    for (const std::string& step : column(folder, "step", "subspaces.csv")) {
        all += step == last ? "" : step + " ";
        last = step;
    }
    return all;
}
/// The step that a run file would go on with.
[[nodiscard]] std::string saved_step(const Folder& folder)
{
    if (!std::filesystem::exists(folder / "run.safetensors")) {
        return "none";
    }
    return wasi::io::SafetensorsFile(folder / "run.safetensors").metadata().at("next_step");
}
[[nodiscard]] std::string losses(const Folder& folder)
{
    std::string all;
    for (const std::string& loss : column(folder, "loss")) {
        all += loss + " ";
    }
    return all;
}
[[nodiscard]] std::string layer_count(const Folder& folder)
{
    return std::to_string(wasi_tests::report(folder).at("layers").size());
}
[[nodiscard]] std::string class_count(const Folder& folder)
{
    return std::to_string(
        wasi::io::SafetensorsFile(folder / "model.safetensors").info("heads.head.weight").shape.at(0));
}
/// A model of two blocks that has layer scale (tests/golden), and how many of its factors the result has.
const std::string golden_dinov2 = std::string(WASI_TEST_DATA) + "/golden/checkpoints/timm_dinov2";
[[nodiscard]] std::string layer_scales(const Folder& folder)
{
    const auto names = wasi::io::SafetensorsFile(folder / "model.safetensors").names();
    return std::to_string(std::count_if(names.begin(), names.end(), [](const std::string& name) {
        return name.find("layer_scale") != std::string::npos;
    }));
}
const Look saved_inputs = in_report("/ledger_peak_bytes/saved_input");
const Look saved_activations = in_report("/ledger_peak_bytes/saved_activation");

/// Numbers of float: of the inputs of a block's linear layers, of all blocks' and the head's, and so on.
[[nodiscard]] std::string float_bytes(int numbers)
{
    return std::to_string(4 * numbers) + ".0";
}
constexpr int tokens = 32 * 5 * 16;              // B N D
constexpr int attention_inputs = 2 * tokens;     // of in_proj and out_proj
constexpr int mlp_inputs = tokens + 4 * tokens;  // of fc1 and fc2
constexpr int head_input = 32 * 16;

/// `models` holds two models, 0.safetensors and 1.safetensors, and a folder of pictures.
[[nodiscard]] std::vector<Trial> all_trials(const Folder& models)
{
    const std::string model = (models / "0.safetensors").string();
    const std::string other = (models / "1.safetensors").string();
    const std::string pictures = "--data '" + (models / "pictures").string() + "' ";
    const std::string sgd = "--method vanilla --schedule constant ";
    const std::string still = "--method vanilla --validation 0.2 --epochs 3 --lr 0 --weight-decay 0";
    const std::string projected = sgd + "--lr 0.5 --saved-inputs projected --projection-rank 4 ";
    const std::string galore = "--method vanilla --optimizer galore --optimizer-rank 4 --lr 0.01 ";
    const std::string eight_bits = "--method vanilla --lr 0.01 --config image=8,patch=4,dim=64,depth=1,heads=2,mlp=256 ";
    const std::string mofasgd = "--method vanilla --optimizer mofasgd --optimizer-rank 4 --lr 0.01 ";
    const std::string fixed = "--method asi --activation-ranks 4,2,8 ";
    return {
        {"--weights", {model, other}, losses},
        {"--config",
         {"image=8,patch=4,dim=16,depth=2,heads=2,mlp=64", "image=8,patch=4,dim=16,depth=1,heads=2,mlp=64"},
         layer_count,
         {"8", "4"}},
        {"--classes", {"2", "5"}, class_count, {"2", "5"}},
        {"--heads", {"2", "4"}, in_model("heads"), {"2", "4"}},
        {"--heads", {"2", "4"}, in_model("heads"), {"2", "4"}, "--weights '" + model + "'"},
        {"--image", {"8", "16"}, in_model("image"), {"8", "16"}, "--weights '" + model + "'"},
        {"--train-layer-scale",
         {"off", "on"},
         layer_scales,
         {"0", "4"},
         "--classes 2 --weights '" + golden_dinov2 + "'"},
        {"--data", {"digits:0-1", "digits:2-3"}, losses},
        {"--validation", {"0.1", "0.25"}, in_report("/steps"), {"6", "5"}},
        {"--augment", {"flip", "crop=0.5", "crop=0.5,flip,jitter=0.2"}, losses, {}, pictures + "--batch-size 4"},
        {"--data-cache", {"0", "1KiB", "1MiB"}, in_report("/ledger_peak_bytes/input"), {}, pictures},
        {"--skip-broken", {"on", "off"}, in_report("/options/skip-broken"), {"on", "off"}, pictures},
        // Nothing changes, so no epoch is better than the first.
        {"--keep", {"last", "best"}, in_model("epoch"), {"3", "1"}, still},
        {"--patience", {"0", "1"}, in_report("/steps"), {"15", "10"}, still},
        {"--layers", {"mlp", "all"}, layer_count, {"4", "8"}},
        {"--memory-budget", {"1GiB", "2000MB"}, in_report("/memory_plan/budget_bytes"), {"1073741824", "2000000000"}},
        {"--optimizer", {"sgd", "adamw"}, losses, {}, "--method vanilla"},
        {"--optimizer", {"sgd", "adamw"}, in_report("/ledger_peak_bytes/optimiser_state"), {}, "--method factors"},
        {"--optimizer", {"adamw", "galore", "mofasgd"}, losses, {}, "--method vanilla --lr 0.01"},
        {"--optimizer-rank", {"2", "4"}, in_report("/ledger_peak_bytes/optimiser_state"), {}, galore},
        {"--optimizer-refresh", {"2", "3"}, losses, {}, galore},
        {"--optimizer-scale", {"0.25", "1"}, losses, {}, galore},
        // So wide that a sketch is one: of smaller matrices every way has the same directions.
        {"--optimizer-basis",
         {"svd", "randomized", "warm"},
         losses,
         {},
         galore + "--optimizer-refresh 2 --config image=8,patch=4,dim=48,depth=2,heads=2,mlp=96 "},
        {"--optimizer-moments", {"kept", "rotated"}, losses, {}, galore + "--optimizer-refresh 2 "},
        {"--optimizer-state", {"full", "int8"}, losses, {}, eight_bits + "--optimizer adamw "},
        {"--optimizer-state",
         {"full", "int8"},
         in_report("/ledger_peak_bytes/optimiser_state"),
         {},
         eight_bits + "--optimizer galore --optimizer-rank 32 "},
        {"--optimizer-rank", {"2", "4"}, in_report("/ledger_peak_bytes/optimiser_state"), {}, mofasgd},
        {"--optimizer-beta", {"0", "0.9"}, losses, {}, mofasgd},
        {"--optimizer-form", {"paper", "code"}, losses, {}, mofasgd},
        {"--momentum", {"0", "0.9"}, losses, {}, sgd},
        {"--clip-norm", {"0", "0.001"}, losses, {}, sgd},
        {"--clip-norm", {"0.1", "2"}, losses, {}, sgd},
        {"--clip-scope", {"global", "parameter"}, losses, {}, sgd + "--clip-norm 0.1"},
        {"--batch-size", {"32", "64", "1000"}, in_report("/steps"), {"7", "4", "1"}},
        {"--accumulate", {"1", "2", "4"}, saved_activations, {}, sgd},
        {"--gradients", {"stream", "collect"}, in_report("/ledger_peak_bytes/gradient"), {}, sgd + "--clip-norm 0"},
        // What runs again is saved once, for the part of a block whose turn it is.
        {"--recompute",
         {"nothing", "attention", "mlp", "halves", "block"},
         saved_inputs,
         {float_bytes(2 * (attention_inputs + mlp_inputs) + head_input), float_bytes(2 * mlp_inputs + head_input),
          float_bytes(2 * attention_inputs + mlp_inputs), float_bytes(mlp_inputs),
          float_bytes(attention_inputs + mlp_inputs)},
         sgd},
        {"--recompute", {"nothing", "attention", "mlp", "halves", "block"}, saved_activations, {}, sgd},
        {"--probabilities", {"keep", "recompute"}, saved_activations, {}, sgd},
        {"--norm-output", {"keep", "rebuild"}, saved_inputs, {}, sgd},
        {"--gelu-input", {"keep", "rebuild"}, saved_activations, {}, "--method wsi"},
        {"--gelu-output", {"keep", "rebuild"}, saved_inputs, {}, sgd},
        {"--saved-as", {"float", "bfloat16", "half", "int8", "int4"}, losses, {}, sgd},
        {"--saved-rounding", {"nearest", "stochastic"}, losses, {}, sgd + "--saved-as int8"},
        {"--shuffle", {"on", "off"}, losses},
        {"--seed", {"0", "18446744073709551615"}, losses},
        {"--threads", {"1", "2"}, in_report("/options/threads"), {"1", "2"}},
        {"--method",
         {"vanilla", "head", "bitfit", "wsi", "asi", "wasi", "factors", "lora", "lora-fa", "dora"},
         losses,
         {},
         "--energy 0.5 --lr 0.1"},
        {"--method",
         {"vanilla", "head", "bitfit", "wsi", "asi", "wasi", "factors", "lora", "lora-fa", "dora"},
         in_model("method"),
         {"vanilla", "head", "bitfit", "wsi", "asi", "wasi", "factors", "lora", "lora-fa", "dora"}},
        // X A' of rank 8 in place of X, in eight layers.
        {"--method",
         {"lora", "lora-fa"},
         saved_inputs,
         {float_bytes(2 * (attention_inputs + mlp_inputs) + head_input), float_bytes(8 * 32 * 5 * 8 + head_input)}},
        {"--energy", {"0.5", "0.9"}, in_report("/layers/2/weight_rank"), {}, "--method wsi"},
        {"--energy-of", {"weight", "output"}, losses, {}, "--method wsi"},
        {"--size", {"0.5", "0.9"}, losses, {}, "--method wsi"},
        {"--calibration", {"16", "64"}, losses, {}, "--method wsi --energy-of output"},
        {"--activation-energy", {"0.5", "0.9"}, in_report("/layers/2/activation_ranks"), {}, "--method asi"},
        {"--activation-ranks",
         {"2,2,4", "4,3,8"},
         in_report("/layers/2/activation_ranks"),
         {"[2,2,4]", "[4,3,8]"},
         "--method asi"},
        {"--activation-budget",
         {"20000", "20001B", "22kB", "23KB", "1MB", "1GB", "24KiB", "1MiB", "1GiB"},
         in_report("/activation_plan/budget_bytes"),
         {"20000", "20001", "22000", "23000", "1000000", "1000000000", "24576", "1048576", "1073741824"},
         "--method asi"},
        {"--above-break-even",
         {"dense", "low-rank"},
         in_report("/layers/2/weight_rank"),
         {"0", "16"},
         "--method wsi --energy 1"},
        {"--rank", {"2", "4"}, in_report("/layers/2/weight_rank"), {"2", "4"}, "--method lora"},
        {"--alpha", {"1", "100"}, losses, {}, "--method lora --lr 0.5"},
        {"--rslora", {"off", "on"}, losses, {}, "--method lora --lr 0.5"},
        {"--adapter-start",
         {"kaiming", "pissa", "olora", "mica", "eva"},
         losses,
         {},
         "--method lora --alpha 4 --rank 2 --weights '" + model + "'"},
        {"--precondition", {"0", "0.01", "1"}, losses, {}, "--method lora --lr 0.5"},
        {"--precondition", {"0", "0.01", "1"}, losses, {}, "--method factors --energy 0.5"},
        // fc1 of 64 x 16, with factors of rank 2 in floats; in int8 a float a row beside it.
        {"--frozen-weights",
         {"float32", "bfloat16", "half", "int8"},
         in_report("/layers/2/weight_bytes"),
         {"4736.0", "2688.0", "2688.0", "1920.0"},
         "--method lora --rank 2"},
        {"--saved-inputs", {"exact", "tucker", "projected"}, losses, {}, sgd + "--activation-ranks 4,2,8"},
        {"--projection", {"gaussian", "orthonormal", "principal", "prac", "velora"}, losses, {}, projected},
        {"--projection-rank", {"2", "4"}, saved_inputs, {}, "--method compact"},
        {"--principal-rank", {"1", "3"}, losses, {}, "--method prac --projection-rank 4 --lr 0.5"},
        {"--projection-refresh", {"0", "1"}, losses, {}, "--method compact --projection-rank 4 --lr 0.5"},
        {"--projection-scale", {"0.5", "2"}, losses, {}, projected + "--projection velora"},
        {"--restart-below", {"1", "0"}, last("captured_energy:encoder_layer_1.mlp.3"), {}, fixed + "--lr 0.5"},
        {"--lr", {"0.05", "0.25"}, first("learning_rate"), {"0.050000000000000003", "0.25"}, sgd},
        {"--weight-decay", {"0", "0.5"}, losses, {}, sgd},
        {"--weight-decay", {"0", "0.5"}, losses, {}, "--method vanilla --optimizer adamw --lr 0.01"},
        {"--weight-decay", {"0", "0.5"}, losses, {}, galore},
        {"--weight-decay", {"0", "0.5"}, losses, {}, mofasgd},
        {"--label-smoothing", {"0", "0.25"}, losses, {}, sgd},
        {"--schedule", {"constant", "cosine"}, last("learning_rate"), {}, "--lr 0.25"},
        {"--schedule", {"constant", "cosine"}, first("learning_rate"), {"0.25", "0.25"}, "--lr 0.25"},
        {"--warmup", {"0", "4", "1000"}, first("learning_rate"), {}, "--schedule constant --lr 0.25"},
        {"--warmup", {"1", "4"}, first("learning_rate"), {"0.25", "0.0625"}, "--schedule constant --lr 0.25"},
        {"--epochs", {"1", "2"}, in_report("/steps"), {"7", "14"}},
        {"--track-subspaces", {"0", "3", "5"}, measured_steps, {"none", "0 3 6 ", "0 5 "}},
        {"--save-every", {"0", "3", "7"}, saved_step, {"none", "6", "7"}},
    };
}

/// Where files go is looked at in output_test.cpp, with the files; a resumed run in resume_test.cpp, adapters in
/// peft_test.cpp.
const std::set<std::string> looked_at_elsewhere{"--out", "--out-fallback", "--resume", "--adapter"};

[[nodiscard]] Effect effect_of(const std::string& option)
{
    for (const auto& row : finetune_table()) {
        if (row.name == option) {
            return row.effect;
        }
    }
    throw std::runtime_error("finetune has no option " + option);
}

void make_models(const TemporaryFolder& folder)
{
    wasi_tests::write_classes(folder / "pictures", {"a", "b"}, 6);
    for (const std::string seed : {"0", "1"}) {
        const auto run = run_program("finetune " + start + usual + "--method vanilla --lr 0 --weight-decay 0 --seed 1" +
                                     seed + " --out '" + (folder / seed).string() + "'");
        REQUIRE_MESSAGE(run.status == 0, run.error);
        std::filesystem::rename(folder / seed / "model.safetensors", folder / (seed + ".safetensors"));
    }
}

}  // namespace

TEST_CASE("options: each of finetune's is tried here, and this page tries no other")
{
    std::set<std::string> tried = looked_at_elsewhere;
    for (const Trial& trial : all_trials("")) {
        tried.insert(trial.option);
        CHECK(trial.values.size() >= 2);
    }
    std::set<std::string> known;
    for (const auto& row : finetune_table()) {
        known.insert(row.name);
    }
    for (const std::string& option : known) {
        CHECK_MESSAGE(tried.contains(option), "no trial of ", option);
    }
    for (const std::string& option : tried) {
        CHECK_MESSAGE(known.contains(option), "finetune has no option ", option);
    }
}

TEST_CASE("options: each of finetune's is on the page about the program")
{
    const std::string page = wasi_tests::contents(std::string(WASI_TEST_DATA) + "/../docs/train.md");
    for (const auto& row : finetune_table()) {
        CHECK_MESSAGE(std::regex_search(page, std::regex(row.name + "[^a-z-]")), "docs/train.md does not name ",
                      row.name);
    }
}

TEST_CASE("options: each does what it says, nothing more where it says so, and counts as it was given last")
{
    const TemporaryFolder folder;
    make_models(folder);
    for (const Trial& trial : all_trials(folder.path())) {
        CAPTURE(trial.option);
        CAPTURE(trial.with);
        const bool has_start = trial.option == "--weights" || trial.option == "--config" ||
                               trial.with.find("--weights") != std::string::npos;
        std::vector<std::string> looks;
        std::vector<std::string> results;
        for (std::size_t i = 0; i < trial.values.size(); ++i) {
            CAPTURE(trial.values[i]);
            std::string arguments = "finetune " + usual + (has_start ? "" : start) + trial.with;
            if (i > 0) {  // the value before, which does not count
                arguments += " " + trial.option + " '" + trial.values[i - 1] + "'";
            }
            arguments += " " + trial.option + " '" + trial.values[i] + "' --out '" + (folder / "run").string() + "'";
            const auto run = run_program(arguments);
            REQUIRE_MESSAGE(run.status == 0, run.error);
            looks.push_back(trial.look(folder / "run"));
            results.push_back(losses(folder / "run"));
        }
        if (trial.expected.empty()) {
            CHECK(std::set<std::string>(looks.begin(), looks.end()).size() == looks.size());
        } else {
            CHECK(looks == trial.expected);
        }
        if (effect_of(trial.option) == Effect::cost) {
            CHECK(std::set<std::string>(results.begin(), results.end()).size() == 1);
        }
    }
}

TEST_CASE("options: what is shown can be typed")
{
    FinetuneOptions options;
    const TemporaryFolder folder;
    for (const Trial& trial : all_trials(folder.path())) {
        CAPTURE(trial.option);
        for (const auto& row : finetune_table()) {
            if (row.name != trial.option) {
                continue;
            }
            for (const std::string& value : trial.values) {
                row.value.parse(options, value, row.name);
                const std::string shown = row.value.show(options);
                CHECK((shown == value || row.type == "SIZE"));
                row.value.parse(options, shown, row.name);
                CHECK(row.value.show(options) == shown);
            }
        }
    }
    const auto shown = [&](const std::string& size) {
        for (const auto& row : finetune_table()) {
            if (row.name == "--memory-budget") {
                row.value.parse(options, size, row.name);
                return row.value.show(options);
            }
        }
        return std::string();
    };
    CHECK(shown("4MiB") == "4MiB");
    CHECK(shown("4096KiB") == "4MiB");
    CHECK(shown("1GB") == "1GB");
    CHECK(shown("12345") == "12345");
    CHECK(shown("1B") == "1");
}
