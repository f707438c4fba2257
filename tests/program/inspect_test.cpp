// wasi_vit inspect: its ranks are minimal and those that training takes, factors count as their product, its files
// agree with each other.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <wasi/io/safetensors.hpp>

#include "run_program.hpp"

namespace {

using nlohmann::json;
using wasi::Index;
using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string weights = std::string(WASI_TEST_DATA) + "/golden/vit_cli_weights.safetensors";
const std::string thresholds = "0.3,0.5,0.8,0.9,0.99";

/// One line of inspect.csv by column name.
using Line = std::map<std::string, std::string>;

[[nodiscard]] std::vector<Line> read_csv(const std::filesystem::path& path)
{
    std::istringstream lines(contents(path));
    std::string text;
    std::vector<std::string> names;
    std::vector<Line> result;
    while (std::getline(lines, text)) {
        std::istringstream cells(text);
        std::vector<std::string> values;
        for (std::string cell; std::getline(cells, cell, ',');) {
            values.push_back(cell);
        }
        if (names.empty()) {
            names = values;
            continue;
        }
        REQUIRE(values.size() == names.size());
        Line line;
        for (std::size_t i = 0; i < names.size(); ++i) {
            line[names[i]] = values[i];
        }
        result.push_back(line);
    }
    return result;
}

[[nodiscard]] double number(const Line& line, const std::string& column)
{
    return std::stod(line.at(column));
}

struct Named {
    std::vector<Index> shape;
    std::vector<float> values;
};

[[nodiscard]] std::map<std::string, Named> read_tensors(const std::filesystem::path& path)
{
    const wasi::io::SafetensorsFile file(path);
    std::map<std::string, Named> result;
    for (const std::string& name : file.names()) {
        Named& tensor = result[name];
        tensor.shape = file.info(name).shape;
        tensor.values.resize(static_cast<std::size_t>(file.info(name).element_count()));
        file.read(name, std::span<float>(tensor.values));
    }
    return result;
}

void write_tensors(const std::filesystem::path& path, const std::map<std::string, Named>& tensors)
{
    std::vector<wasi::io::TensorToWrite> list;
    for (const auto& [name, tensor] : tensors) {
        list.push_back({name, tensor.shape, std::span<const float>(tensor.values)});
    }
    wasi::io::write_safetensors(path, list, {});
}

[[nodiscard]] json inspect(const std::filesystem::path& file, const std::filesystem::path& out,
                           const std::string& options = "")
{
    const auto run = run_program("inspect --weights '" + file.string() + "' --thresholds " + thresholds + " --out '" +
                                 out.string() + "' " + options);
    REQUIRE_MESSAGE(run.status == 0, run.error);
    CHECK(run.out.find("break-even") != std::string::npos);
    return json::parse(contents(out / "inspect.json"));
}

}  // namespace

TEST_CASE("inspect: the rank at a threshold is the least that holds it, and bytes follow from it")
{
    const TemporaryFolder folder;
    const json report = inspect(weights, folder / "out");
    const auto lines = read_csv(folder / "out/inspect.csv");
    const auto tensors = read_tensors(weights);
    REQUIRE(report.at("layers").size() == 8);  // two blocks of four
    REQUIRE(lines.size() == 8 * 5);
    double numbers = 0.0;
    for (const auto& [name, tensor] : tensors) {
        numbers += static_cast<double>(tensor.values.size());
    }
    CHECK(report.at("dense_layer_bytes").get<double>() + report.at("other_bytes").get<double>() == 4.0 * numbers);
    std::size_t at = 0;
    for (const json& layer : report.at("layers")) {
        const auto name = layer.at("name").get<std::string>();
        CAPTURE(name);
        const auto values = layer.at("singular_values").get<std::vector<double>>();
        const auto outputs = layer.at("outputs").get<double>();
        const auto inputs = layer.at("inputs").get<double>();
        CHECK(layer.at("stored") == "dense");
        CHECK(layer.at("break_even_rank").get<double>() == doctest::Approx(outputs * inputs / (outputs + inputs)));
        CHECK(std::is_sorted(values.rbegin(), values.rend()));

        // The spectrum is the weight's: its squares add up to the squares of the elements.
        double energy = 0.0;
        const bool in_proj = name.ends_with("in_proj");
        for (const float w : tensors.at("encoder.layers." + name + (in_proj ? "_weight" : ".weight")).values) {
            energy += static_cast<double>(w) * static_cast<double>(w);
        }
        std::vector<double> held{0.0};
        for (const double value : values) {
            held.push_back(held.back() + value * value);
        }
        const double tolerance = 8.0 * std::sqrt(inputs) * static_cast<double>(std::numeric_limits<float>::epsilon());
        CHECK(std::abs(held.back() / energy - 1.0) < tolerance);

        double last_energy = 0.0;
        for (int i = 0; i < 5; ++i, ++at) {
            const Line& line = lines[at];
            CHECK(line.at("layer") == name);
            const double threshold = number(line, "threshold");
            CAPTURE(threshold);
            const auto rank = static_cast<std::size_t>(number(line, "rank"));
            const double captured = number(line, "captured_energy");
            CHECK(captured >= threshold - 1e-12);
            CHECK(held[rank - 1] / energy < threshold + tolerance);  // one value fewer would not do
            CHECK(std::abs(captured - held[rank] / energy) < tolerance);
            CHECK(std::abs(std::pow(number(line, "relative_error"), 2) + captured - 1.0) < 1e-12);
            CHECK(captured >= last_energy);
            last_energy = captured;
            const double factors = 4.0 * static_cast<double>(rank) * (outputs + inputs);
            CHECK(number(line, "dense_bytes") == 4.0 * outputs * inputs);
            CHECK(number(line, "bytes") == std::min(factors, 4.0 * outputs * inputs));
            CHECK(number(line, "flops_ratio") == doctest::Approx(number(line, "bytes") / number(line, "dense_bytes")));
            CHECK((line.at("held") == "dense") == (factors >= 4.0 * outputs * inputs));
        }
    }
    for (const json& total : report.at("totals")) {
        double bytes = 0.0;
        for (const Line& line : lines) {
            bytes += number(line, "threshold") == total.at("threshold").get<double>() ? number(line, "bytes") : 0.0;
        }
        CHECK(total.at("layer_bytes").get<double>() == bytes);
        CHECK(total.at("model_bytes").get<double>() == bytes + report.at("other_bytes").get<double>());
    }
}

TEST_CASE("inspect: its ranks are those that training takes")
{
    const TemporaryFolder folder;
    const json report = inspect(weights, folder / "out");
    const auto lines = read_csv(folder / "out/inspect.csv");
    const auto run = run_program("finetune --weights '" + weights +
                                 "' --data 'tensors:" WASI_TEST_DATA
                                 "/golden/vit_cli_data.safetensors' --method wsi --energy 0.8 --epochs 1 --out '" +
                                 (folder / "run").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const json trained = json::parse(contents(folder / "run/report.json"));
    std::size_t compared = 0;
    for (const json& layer : trained.at("layers")) {
        for (const Line& line : lines) {
            if (line.at("layer") == layer.at("name") && number(line, "threshold") == 0.8) {
                const double rank = line.at("held") == "dense" ? 0.0 : number(line, "rank");  // 0: dense
                CHECK(layer.at("weight_rank").get<double>() == rank);
                CHECK(layer.at("weight_bytes").get<double>() == number(line, "bytes"));
                ++compared;
            }
        }
    }
    CHECK(compared == 8);

    // The model of that run holds factors, and says so.
    const json again = inspect(folder / "run/model.safetensors", folder / "again");
    std::size_t factored = 0;
    for (std::size_t i = 0; i < again.at("layers").size(); ++i) {
        const json& layer = again.at("layers")[i];
        const auto rank = trained.at("layers")[i].at("weight_rank").get<std::size_t>();
        CHECK(layer.at("stored_rank").get<std::size_t>() == rank);
        CHECK((layer.at("stored") == "factors") == (rank > 0));
        if (rank > 0) {
            CHECK(layer.at("singular_values").size() <= rank);
            ++factored;
        }
    }
    CHECK(factored > 0);
}

TEST_CASE("inspect: factors, orthonormal or not, have the spectrum of their product")
{
    const TemporaryFolder folder;
    auto tensors = read_tensors(weights);
    const std::string name = "encoder.layers.encoder_layer_1.mlp.0.weight";
    const auto outputs = tensors.at(name).shape[0];
    const auto inputs = tensors.at(name).shape[1];
    constexpr Index rank = 5;
    Named left{{outputs, rank}, {}};
    Named right{{rank, inputs}, {}};
    for (Index i = 0; i < outputs * rank; ++i) {
        left.values.push_back(static_cast<float>(std::sin(1.7 * static_cast<double>(i * i + 1))));
    }
    for (Index i = 0; i < rank * inputs; ++i) {
        right.values.push_back(static_cast<float>(std::cos(0.9 * static_cast<double>(i * i + 2))));
    }
    Named& product = tensors.at(name);
    for (Index o = 0; o < outputs; ++o) {
        for (Index i = 0; i < inputs; ++i) {
            double sum = 0.0;
            for (Index k = 0; k < rank; ++k) {
                sum += static_cast<double>(left.values[static_cast<std::size_t>(o * rank + k)]) *
                       static_cast<double>(right.values[static_cast<std::size_t>(k * inputs + i)]);
            }
            product.values[static_cast<std::size_t>(o * inputs + i)] = static_cast<float>(sum);
        }
    }
    write_tensors(folder / "dense.safetensors", tensors);
    tensors.erase(name);
    tensors[name + ".left"] = left;
    tensors[name + ".right"] = right;
    write_tensors(folder / "factors.safetensors", tensors);
    const json dense = inspect(folder / "dense.safetensors", folder / "dense").at("layers")[6];
    const json of_factors = inspect(folder / "factors.safetensors", folder / "factors");
    double numbers = 0.0;
    for (const auto& [tensor, held] : tensors) {
        numbers += static_cast<double>(held.values.size());
    }
    CHECK(of_factors.at("stored_layer_bytes").get<double>() + of_factors.at("other_bytes").get<double>() ==
          4.0 * numbers);
    const json factors = of_factors.at("layers")[6];
    REQUIRE(dense.at("name") == "encoder_layer_1.mlp.0");
    CHECK(dense.at("stored") == "dense");
    CHECK(factors.at("stored") == "factors");
    CHECK(factors.at("stored_rank") == rank);
    CHECK(factors.at("ranks") == dense.at("ranks"));
    const auto a = dense.at("singular_values").get<std::vector<double>>();
    const auto b = factors.at("singular_values").get<std::vector<double>>();
    REQUIRE(a.size() == rank);  // what is beyond is rounding
    REQUIRE(b.size() == rank);
    const double tolerance = 8.0 * std::sqrt(static_cast<double>(outputs)) *
                             static_cast<double>(std::numeric_limits<float>::epsilon()) * a.front();
    for (std::size_t i = 0; i < rank; ++i) {
        CHECK(std::abs(a[i] - b[i]) < tolerance);
    }

    // Factors that do not fit each other.
    tensors[name + ".right"].shape = {inputs, rank};
    write_tensors(folder / "bad.safetensors", tensors);
    const auto run = run_program("inspect --weights '" + (folder / "bad.safetensors").string() + "'");
    CHECK(run.status == 2);
    CHECK(run.error.find("do not fit") != std::string::npos);
}

TEST_CASE("inspect: --layers mlp leaves attention out, and the page is one file of its own")
{
    const TemporaryFolder folder;
    const json report = inspect(weights, folder / "out", "--layers mlp");
    CHECK(report.at("layers").size() == 4);
    CHECK(contents(folder / "out/inspect.csv").find("attention") == std::string::npos);
    const std::string page = contents(folder / "out/inspect.html");
    CHECK(page.find("</html>") != std::string::npos);
    CHECK(page.find("encoder_layer_1.mlp.3") != std::string::npos);
    CHECK(page.find("http") == std::string::npos);  // loads nothing
    CHECK(page.find("nan") == std::string::npos);
    CHECK(page.find("Whole model at energy 0.8<") != std::string::npos);  // the default of training

    // Without --out the table alone; every weight of zeros has rank 1 and no error.
    auto tensors = read_tensors(weights);
    auto& zero = tensors.at("encoder.layers.encoder_layer_0.mlp.0.weight").values;
    std::fill(zero.begin(), zero.end(), 0.0F);
    write_tensors(folder / "zero.safetensors", tensors);
    CHECK(run_program("inspect --weights '" + (folder / "zero.safetensors").string() + "'").status == 0);
    const json with_zero = inspect(folder / "zero.safetensors", folder / "zero", "--layers mlp");
    CHECK(with_zero.at("layers")[0].at("ranks") == json::array({1, 1, 1, 1, 1}));
}

TEST_CASE("inspect: what makes no sense is refused in one line, with status 2 and nothing written")
{
    const TemporaryFolder folder;
    const std::string good = "inspect --weights '" + weights + "' --out '" + (folder / "run").string() + "' ";
    auto tensors = read_tensors(weights);
    tensors.at("encoder.layers.encoder_layer_1.mlp.3.weight").values[7] = std::numeric_limits<float>::quiet_NaN();
    write_tensors(folder / "nan.safetensors", tensors);
    tensors.erase("encoder.layers.encoder_layer_1.mlp.3.weight");
    write_tensors(folder / "missing.safetensors", tensors);
    const auto on = [&](const std::string& file) {
        return "inspect --weights '" + (folder / file).string() + "' --out '" + (folder / "run").string() + "'";
    };
    struct Case {
        std::string arguments;
        std::string says;
    };
    const std::vector<Case> cases{
        {"inspect", "--weights"},
        {good + "--thresholds 0", "--thresholds: an energy must be in (0, 1], got 0"},
        {good + "--thresholds 0.5,1.5", "got 1.5"},
        {good + "--thresholds 0.5,nan", "nan"},
        {good + "--thresholds 0.5,x", "x"},
        {good + "--layers attention", "--layers: 'attention' is none of mlp, all"},
        {good + "--threads -1", "--threads"},
        {"inspect --weights /nowhere.safetensors --out '" + (folder / "run").string() + "'", "/nowhere.safetensors"},
        {"inspect --weights '" WASI_TEST_DATA "/golden/vit_cli_data.safetensors' --out '" + (folder / "run").string() +
             "'",
         "no Vision Transformer is recognised"},
        {on("nan.safetensors"), "encoder_layer_1.mlp.3.weight"},
        {on("missing.safetensors"), "encoder_layer_1.mlp.3.weight is missing"},
        {"inspect --weights '" + weights + "' --out '" + weights + "'", "is not a folder"},
        {"inspect --weights '" + weights + "' --out /proc/nowhere", "/proc/nowhere"},
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
