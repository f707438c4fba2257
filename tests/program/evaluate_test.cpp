// predict, evaluate, and epochs that are compared: against numbers found another way.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <regex>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <wasi/io/safetensors.hpp>

#include "../pictures/made_files.hpp"
#include "run_program.hpp"
#include "run_results.hpp"

namespace {

using nlohmann::json;
using wasi_tests::contents;
using wasi_tests::Outcome;
using wasi_tests::reported;
using wasi_tests::run_program;
using wasi_tests::saved_word;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_classes;
using wasi_tests::write_in;
namespace fs = std::filesystem;

const std::string digits_run =
    "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --data digits:0-3 --method vanilla --seed 2 "
    "--threads 1 ";

[[nodiscard]] std::string quoted(const fs::path& path)
{
    return "'" + path.string() + "' ";
}

Outcome run(const std::string& arguments)
{
    auto outcome = run_program(arguments);
    REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
    return outcome;
}

[[nodiscard]] bool says(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

/// The rows of epochs.csv.
[[nodiscard]] std::vector<std::vector<double>> epochs(const fs::path& folder)
{
    std::istringstream lines(contents(folder / "epochs.csv"));
    std::string line;
    std::getline(lines, line);
    CHECK(line == "epoch,loss,correct,images,macro_f1");
    std::vector<std::vector<double>> rows;
    while (std::getline(lines, line)) {
        std::istringstream cells(line);
        rows.emplace_back();
        for (std::string cell; std::getline(cells, cell, ',');) {
            rows.back().push_back(std::stod(cell));
        }
    }
    return rows;
}

/// No model of an epoch is left behind.
[[nodiscard]] bool is_tidy(const fs::path& folder)
{
    return std::none_of(fs::directory_iterator(folder), fs::directory_iterator(),
                        [](const auto& entry) { return entry.path().filename().string().starts_with("best-"); });
}

}  // namespace

TEST_CASE("evaluate: the accuracy that the run itself found, and a matrix that agrees with it")
{
    const TemporaryFolder folder;
    run(digits_run + "--epochs 2 --lr 0.1 --out " + quoted(folder / "run"));
    const auto outcome = run("evaluate --data digits:0-3 --weights " + quoted(folder / "run/model.safetensors") +
                             "--out " + quoted(folder / "how"));
    const json found = json::parse(contents(folder / "how/evaluate.json"));
    CHECK(found.at("accuracy").dump() == reported(folder / "run", "/test_accuracy"));
    CHECK(found.at("accuracy_interval").dump() ==
          json::parse(contents(folder / "run/report.json")).at("test_accuracy_95").dump());
    CHECK(found.at("images").dump() == reported(folder / "run", "/test_count"));
    const auto matrix = found.at("confusion").get<std::vector<std::vector<double>>>();
    REQUIRE(matrix.size() == 4);
    double right = 0.0;
    double all = 0.0;
    double f1 = 0.0;
    for (std::size_t c = 0; c < 4; ++c) {
        double row = 0.0;
        double col = 0.0;
        for (std::size_t k = 0; k < 4; ++k) {
            row += matrix[c][k];
            col += matrix[k][c];
        }
        right += matrix[c][c];
        all += row;
        const double precision = col > 0.0 ? matrix[c][c] / col : 0.0;
        const double recall = matrix[c][c] / row;
        f1 += precision + recall > 0.0 ? 2.0 * precision * recall / (precision + recall) / 4.0 : 0.0;
    }
    CHECK(right / all == doctest::Approx(found.at("accuracy").get<double>()));
    CHECK(found.at("macro_f1").get<double>() == doctest::Approx(f1));
    CHECK(right > 0.4 * all);
    CHECK(right < all);
    CHECK_MESSAGE(says(outcome.out, "macro F1 "), outcome.out);
    CHECK_MESSAGE(says(outcome.out, "true | taken for"), outcome.out);
    for (std::size_t c = 0; c < 4; ++c) {
        std::string line = "    " + std::to_string(c) + " |";
        for (const double count : matrix[c]) {
            const std::string text = std::to_string(static_cast<int>(count));
            line += std::string(6 - text.size(), ' ') + text;
        }
        CHECK_MESSAGE(says(outcome.out, line + "\n"), outcome.out);
    }
    const std::string page = contents(folder / "how/evaluate.html");
    CHECK(says(page, "Most confidently wrong"));
    CHECK(says(page, "data:image/png;base64,iVBORw0KGgo"));
    // The surest mistakes, the surest first.
    std::vector<int> sure;
    const std::regex caption(R"((\d+)[^\d<]*%, is )");
    for (std::sregex_iterator place(page.begin(), page.end(), caption), end; place != end; ++place) {
        sure.push_back(std::stoi((*place)[1]));
    }
    CHECK(sure.size() > 5);
    CHECK(std::is_sorted(sure.rbegin(), sure.rend()));
    CHECK(says(contents(folder / "run/report.html"), "What the model sees"));
}

TEST_CASE("epochs are compared on images that are not trained on; the best model is kept; patience ends a run")
{
    const TemporaryFolder folder;
    const std::string restless =
        digits_run + "--epochs 6 --lr 1 --warmup 60 --clip-norm 0 --schedule constant --validation 0.2 ";
    run(restless + "--out " + quoted(folder / "last"));
    run(restless + "--keep best --out " + quoted(folder / "best"));
    const auto rows = epochs(folder / "last");
    REQUIRE(rows.size() == 6);
    CHECK(contents(folder / "best/epochs.csv") == contents(folder / "last/epochs.csv"));
    CHECK(is_tidy(folder / "best"));
    const auto losses = wasi_tests::column(folder / "last", "loss");
    const std::size_t steps = losses.size() / rows.size();
    for (std::size_t epoch = 0; epoch < rows.size(); ++epoch) {
        double sum = 0.0;
        for (std::size_t i = epoch * steps; i < (epoch + 1) * steps; ++i) {
            sum += std::stod(losses[i]);
        }
        CHECK(rows[epoch][1] == doctest::Approx(sum / static_cast<double>(steps)).epsilon(1e-9));
    }
    const auto best =
        std::max_element(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a[2] < b[2]; });
    WARN_MESSAGE(best + 1 != rows.end(), "the best epoch is the last, so little is tested here");
    CHECK(saved_word(folder / "best", "epoch") == std::to_string(best - rows.begin() + 1));
    const auto accuracy = [&](const std::string& name) {
        run("evaluate --data digits:0-3 --validation 0.2 --seed 2 --weights " +
            quoted(folder / name / "model.safetensors") + "--out " + quoted(folder / (name + "-how")));
        return json::parse(contents(folder / (name + "-how") / "evaluate.json")).at("accuracy").get<double>();
    };
    CHECK(accuracy("best") == doctest::Approx((*best)[2] / (*best)[3]));
    CHECK(accuracy("last") == doctest::Approx(rows.back()[2] / rows.back()[3]));
    CHECK(reported(folder / "best", "/epochs/0/validation_accuracy") == json(rows[0][2] / rows[0][3]).dump());

    run(restless + "--keep best --patience 1 --out " + quoted(folder / "short"));
    const auto few = epochs(folder / "short");
    std::size_t wanted = 1;
    while (wanted < rows.size() && rows[wanted][2] > rows[wanted - 1][2]) {
        ++wanted;
    }
    CHECK(few.size() == std::min(wanted + 1, rows.size()));
    // Gone on with from wherever it was killed: the same files.
    int resumed = 0;
    for (const std::string delay : {"0.06", "0.09", "0.12", "0.16", "0.2", "5"}) {
        CAPTURE(delay);
        static_cast<void>(run_program(restless + "--keep best --save-every 3 --out " + quoted(folder / "part"),
                                      "timeout -s KILL " + delay + " "));
        if (fs::exists(folder / "part/run.safetensors")) {
            ++resumed;
            run(restless + "--keep best --resume " + quoted(folder / "part") + "--out " + quoted(folder / "rest"));
            CHECK(contents(folder / "rest/model.safetensors") == contents(folder / "best/model.safetensors"));
            CHECK(contents(folder / "rest/epochs.csv") == contents(folder / "best/epochs.csv"));
            CHECK(is_tidy(folder / "rest"));
        }
        fs::remove_all(folder / "part");
    }
    CHECK(resumed > 0);
    const auto refused = run_program(digits_run + "--epochs 1 --keep best --out " + quoted(folder / "no"));
    CHECK(refused.status == 2);
    CHECK_MESSAGE(says(refused.error, "--validation"), refused.error);
}

TEST_CASE("predict: the likeliest classes of pictures and folders, as text and as JSON")
{
    const TemporaryFolder folder;
    write_classes(folder / "p", {"cat", "dog", "ox"}, 4);
    run("finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --method vanilla --epochs 2 --batch-size 5 "
        "--data " +
        quoted(folder / "p") + "--out " + quoted(folder / "run"));
    const std::string command = "predict --weights " + quoted(folder / "run/model.safetensors");
    const auto text = run(command + "--top 2 " + quoted(folder / "p/cat") + quoted(folder / "p/ox/00.JPG"));
    CHECK_MESSAGE(says(text.out, "ox/00.JPG\n"), text.out);
    const json found =
        json::parse(run(command + "--json " + quoted(folder / "p/cat") + quoted(folder / "p/ox/00.JPG")).out);
    REQUIRE(found.size() == 5);
    for (const json& entry : found) {
        REQUIRE(entry.at("classes").size() == 3);  // no more than there are
        double sum = 0.0;
        double before = 1.0;
        for (const json& guess : entry.at("classes")) {
            const double probability = guess.at("probability");
            CHECK(probability <= before);
            sum += before = probability;
            const std::vector<std::string> names{"cat", "dog", "ox"};
            CHECK(guess.at("class") == names.at(guess.at("number").get<std::size_t>()));
        }
        CHECK(sum == doctest::Approx(1.0));
        const std::string likeliest = entry.at("classes")[0].at("class");
        CHECK_MESSAGE(says(text.out, likeliest), text.out);
    }
    // The whole set by evaluate takes as many for their own class as predict does.
    const json all = json::parse(run(command + "--json --batch-size 2 " + quoted(folder / "p")).out);
    REQUIRE(all.size() == 12);
    double right = 0.0;
    for (const json& entry : all) {
        const std::string own = fs::path(entry.at("picture").get<std::string>()).parent_path().filename().string();
        right += entry.at("classes")[0].at("class") == own ? 1.0 : 0.0;
    }
    run("evaluate --weights " + quoted(folder / "run/model.safetensors") + "--data " + quoted(folder / "p") + "--out " +
        quoted(folder / "how"));
    CHECK(json::parse(contents(folder / "how/evaluate.json")).at("accuracy").get<double>() ==
          doctest::Approx(right / 12.0));

    write_in(folder / "p/cat/bad.jpg", "text");
    CHECK(run_program(command + quoted(folder / "p/cat")).status == 2);
    const auto skipped = run(command + "--skip-broken on --json " + quoted(folder / "p/cat"));
    CHECK(json::parse(skipped.out).size() == 4);
    CHECK_MESSAGE(says(skipped.error, "1 broken picture"), skipped.error);
    const std::vector<float> grey(2 * 8 * 8, 0.5F);
    wasi::io::write_safetensors(folder / "grey.safetensors", {{"images", {2, 1, 8, 8}, std::span<const float>(grey)}},
                                {});
    const auto refused = run_program(command + "--images " + quoted(folder / "grey.safetensors") + "--out " +
                                     quoted(folder / "logits.safetensors"));
    CHECK(refused.status == 2);
    CHECK_MESSAGE(says(refused.error, "images have shape (2, 1, 8, 8), (n, 3, H, W) is expected"), refused.error);
    for (const std::string wrong : {"", "--images x.safetensors", "--out x", "--images x --out y z.png"}) {
        CAPTURE(wrong);
        CHECK(run_program(command + wrong).status == 2);
    }
}

TEST_CASE("tensors: as many labels as images, or the tensors are refused")
{
    const TemporaryFolder folder;
    const std::vector<float> images(2 * 3 * 8 * 8, 0.5F);
    const std::vector<std::int64_t> labels{0, 1, 1};
    wasi::io::write_safetensors(folder / "data.safetensors",
                                {{"images", {2, 3, 8, 8}, std::span<const float>(images)},
                                 {"labels", {3}, std::span<const std::int64_t>(labels)}},
                                {});
    const auto refused =
        run_program("finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --method head --data 'tensors:" +
                    (folder / "data.safetensors").string() + "' --out " + quoted(folder / "run"));
    CHECK(refused.status == 2);
    CHECK_MESSAGE(says(refused.error, "labels have shape (3) for 2 images"), refused.error);
}

TEST_CASE("a run that diverges says where its best model is")
{
    const TemporaryFolder folder;
    const std::string command =
        "finetune --config image=8,patch=4,dim=16,depth=1,heads=2,mlp=32 --method vanilla --threads 1 --data "
        "digits:0-1 "
        "--validation 0.2 --epochs 30 --lr 30 --warmup 100000 --schedule constant --clip-norm 0 --out " +
        quoted(folder / "run");
    for (const bool keep : {false, true}) {
        const auto outcome = run_program(command + (keep ? "--keep best" : "--keep last"));
        CHECK(outcome.status == 2);
        CHECK_MESSAGE(says(outcome.error, "training diverged at step"), outcome.error);
        CHECK(says(outcome.error, "; the best model so far, of epoch ") == keep);
        const auto at = outcome.error.find((folder / "run/best-").string());
        CHECK((at != std::string::npos) == keep);
        if (keep && at != std::string::npos) {
            const std::string path = outcome.error.substr(at, outcome.error.find('\n', at) - at);
            CHECK_MESSAGE(fs::exists(path), path);
        }
    }
}
