// The accuracy in the report: of which images, and how sure.
#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <digits.hpp>

#include "run_results.hpp"

namespace {

using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

/// How many of the images the program's predict puts into their class.
[[nodiscard]] long correct(const TemporaryFolder& folder, const wasi_examples::Images& images)
{
    wasi::io::write_safetensors(
        folder / "images.safetensors",
        {{"images", {images.count, 3, images.height, images.width}, std::span<const float>(images.pixels)}}, {});
    const auto run = run_program("predict --weights '" + (folder / "run/model.safetensors").string() + "' --images '" +
                                 (folder / "images.safetensors").string() + "' --out '" +
                                 (folder / "logits.safetensors").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const wasi::io::SafetensorsFile file(folder / "logits.safetensors");
    const auto classes = file.info("logits").shape.at(1);
    std::vector<float> logits(static_cast<std::size_t>(images.count * classes));
    file.read("logits", std::span<float>(logits));
    long result = 0;
    for (std::ptrdiff_t i = 0; i < images.count; ++i) {
        const auto row = logits.begin() + i * classes;
        result += std::max_element(row, row + classes) - row == images.labels[static_cast<std::size_t>(i)] ? 1 : 0;
    }
    return result;
}

}  // namespace

TEST_CASE("accuracy: is that of the images held out, with Wilson's interval of 95 %")
{
    const TemporaryFolder folder;
    const auto run = run_program(
        "finetune --config image=8,patch=4,dim=16,depth=2,heads=2,mlp=32 --data digits:0-4 --epochs 2 --method vanilla "
        "--threads 1 --out '" +
        (folder / "run").string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const auto split = wasi_examples::load_digits(8, 0, 4);
    const auto report = wasi_tests::report(folder / "run");
    REQUIRE(report.at("test_count") == split.test.count);
    const auto n = static_cast<double>(split.test.count);
    const double p = static_cast<double>(correct(folder, split.test)) / n;
    CHECK(report.at("test_accuracy").get<double>() == doctest::Approx(p).epsilon(1e-12));
    // These images tell the two sets apart.
    CHECK(std::abs(p - static_cast<double>(correct(folder, split.train)) / static_cast<double>(split.train.count)) >
          1e-3);
    // The two proportions q whose distance from p is 1.96 of their own standard deviations.
    for (const std::size_t end : {0U, 1U}) {
        const double q = report.at("test_accuracy_95").at(end).get<double>();
        CHECK(std::abs(p - q) / std::sqrt(q * (1.0 - q) / n) == doctest::Approx(1.959963984540054).epsilon(1e-9));
        CHECK((end == 0 ? q < p : q > p));
    }
}
