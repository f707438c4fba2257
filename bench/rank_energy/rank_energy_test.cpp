// The program rank_energy: laws that its CSV obeys for every spectrum, a tensor, a file, and what it refuses.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <wasi/io/safetensors.hpp>

// Runs whatever program the name stands for.
#define WASI_VIT_PROGRAM RANK_ENERGY_PROGRAM
#include <program/run_program.hpp>

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

/// Rounding of single precision over n terms.
[[nodiscard]] double tolerance(double n)
{
    return 8.0 * std::sqrt(n) * static_cast<double>(std::numeric_limits<float>::epsilon());
}

struct Row {
    std::map<std::string, std::string> cells;

    [[nodiscard]] const std::string& text(const std::string& column) const { return cells.at(column); }
    [[nodiscard]] double number(const std::string& column) const { return std::stod(cells.at(column)); }
};

[[nodiscard]] std::vector<Row> read_csv(const std::filesystem::path& path)
{
    std::istringstream lines(contents(path));
    std::vector<std::string> names;
    std::vector<Row> rows;
    for (std::string line; std::getline(lines, line);) {
        std::vector<std::string> values;
        std::istringstream cells(line);
        for (std::string cell; std::getline(cells, cell, ',');) {
            values.push_back(cell);
        }
        if (names.empty()) {
            names = values;
            continue;
        }
        REQUIRE(values.size() == names.size());
        Row row;
        for (std::size_t i = 0; i < names.size(); ++i) {
            row.cells[names[i]] = values[i];
        }
        rows.push_back(row);
    }
    return rows;
}

[[nodiscard]] std::vector<Row> measure(const std::string& options, const std::filesystem::path& out)
{
    const auto run = run_program(options + " --out '" + out.string() + "'");
    REQUIRE_MESSAGE(run.status == 0, run.error);
    const std::string svg = contents(out / "rank_energy.svg");
    CHECK(svg.starts_with("<svg"));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(svg.find("nan") == std::string::npos);
    return read_csv(out / "rank_energy.csv");
}

[[nodiscard]] std::vector<Row> of(const std::vector<Row>& rows, const std::string& route, const std::string& rule)
{
    std::vector<Row> result;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(result),
                 [&](const Row& row) { return row.text("route") == route && row.text("rule") == rule; });
    return result;
}

/// "1,2,..,last".
[[nodiscard]] std::string all_ranks(int last)
{
    std::string list;
    for (int rank = 1; rank <= last; ++rank) {
        list += (rank == 1 ? "" : ",") + std::to_string(rank);
    }
    return list;
}

/// More rank, more energy and less error; both are two sides of one thing.
void check_laws(const std::vector<Row>& by_rank, double allowed)
{
    for (std::size_t i = 0; i < by_rank.size(); ++i) {
        const Row& row = by_rank[i];
        const double energy = row.number("captured_energy");
        const double error = row.number("relative_error");
        CAPTURE(row.text("ranks"));
        CHECK(std::abs(error * error + energy - 1.0) < allowed);
        CHECK(row.number("median_seconds") > 0.0);
        if (!row.text("optimal_error").empty()) {
            CHECK(error * error >= std::pow(row.number("optimal_error"), 2) - allowed);
        }
        if (i > 0) {
            CHECK(energy >= by_rank[i - 1].number("captured_energy") - allowed);
            CHECK(std::pow(error, 2) <= std::pow(by_rank[i - 1].number("relative_error"), 2) + allowed);
            CHECK(row.number("bytes") > by_rank[i - 1].number("bytes"));
        }
    }
}

}  // namespace

TEST_CASE("rank_energy: laws of matrices, spectrum by spectrum")
{
    constexpr int smaller = 24;
    const double allowed = tolerance(40.0 * smaller);
    for (const std::string spectrum :
         {"power:0.5", "power:2", "exponential:0.2", "step:6", "spiked:3", "clustered:5"}) {
        for (const std::string shape : {"40x24", "24x40"}) {
            CAPTURE(spectrum);
            CAPTURE(shape);
            const TemporaryFolder folder;
            const auto rows = measure("--spectrum " + spectrum + " --shape " + shape + " --ranks " +
                                          all_ranks(smaller) + " --energies 0.3,0.55,0.8,0.93 --repeats 1",
                                      folder / "out");
            REQUIRE(rows.size() == 2 * (smaller + 4));
            const auto by_rank = of(rows, "dense", "rank");
            REQUIRE(by_rank.size() == smaller);
            check_laws(by_rank, allowed);
            check_laws(of(rows, "randomized", "rank"), allowed);
            for (std::size_t i = 0; i < by_rank.size(); ++i) {
                const Row& row = by_rank[i];
                CHECK(row.number("rank") == static_cast<double>(i + 1));
                CHECK(row.number("bytes") == 4.0 * static_cast<double>(i + 1) * (40.0 + 24.0));
                CHECK(row.number("dense_bytes") == 4.0 * 40.0 * 24.0);
                // Eckart and Young: a dense SVD is as good as anything can be.
                CHECK(std::abs(std::pow(row.number("relative_error"), 2) - std::pow(row.number("optimal_error"), 2)) <
                      allowed);
            }
            CHECK(by_rank.front().number("captured_energy") < 0.999);
            CHECK(by_rank.back().number("captured_energy") > 1.0 - allowed);

            // The rank for an energy is the least that holds it.
            const auto by_energy = of(rows, "dense", "energy");
            REQUIRE(by_energy.size() == 4);
            for (const Row& row : by_energy) {
                const auto rank = static_cast<std::size_t>(row.number("rank"));
                CHECK(row.number("captured_energy") >= row.number("asked") - allowed);
                if (rank > 1) {
                    CHECK(by_rank[rank - 2].number("captured_energy") < row.number("asked") + allowed);
                }
            }
            for (const Row& row : of(rows, "randomized", "energy")) {
                CHECK(row.number("captured_energy") >= row.number("asked") - allowed);
            }
        }
    }
}

TEST_CASE("rank_energy: the randomized route is taken where it is narrow")
{
    const TemporaryFolder folder;
    const auto rows =
        measure("--spectrum power:1 --shape 90x80 --ranks 2,70 --energies 0.5 --repeats 3", folder / "out");
    const auto by_rank = of(rows, "randomized", "rank");
    REQUIRE(by_rank.size() == 2);
    CHECK(by_rank[0].text("taken") == "randomized");
    CHECK(by_rank[1].text("taken") == "dense");
    CHECK(by_rank[0].number("repeats") == 3.0);
}

TEST_CASE("rank_energy: laws of tensors")
{
    for (const std::string shape : {"12x9x16", "6x8x5x7"}) {
        CAPTURE(shape);
        const int smallest = shape == "12x9x16" ? 9 : 5;
        const double size = shape == "12x9x16" ? 12.0 * 9.0 * 16.0 : 6.0 * 8.0 * 5.0 * 7.0;
        // Squares of singular values are found in single precision: energies hold to n epsilon.
        const double allowed = tolerance(size);
        const TemporaryFolder folder;
        const auto rows = measure("--spectrum exponential:0.4 --shape " + shape + " --ranks " + all_ranks(smallest) +
                                      " --energies 0.5,0.8,0.9 --repeats 1",
                                  folder / "out");
        for (const std::string route : {"hosvd", "sequential"}) {
            CAPTURE(route);
            const auto by_rank = of(rows, route, "rank");
            REQUIRE(by_rank.size() == static_cast<std::size_t>(smallest));
            check_laws(by_rank, allowed);
            for (const Row& row : by_rank) {  // orthogonally decomposable: HOSVD finds the best
                CHECK(std::abs(std::pow(row.number("relative_error"), 2) - std::pow(row.number("optimal_error"), 2)) <
                      allowed);
            }
            CHECK(by_rank[1].text("ranks") == (shape == "12x9x16" ? "2x2x2" : "2x2x2x2"));
            CHECK(by_rank[1].number("bytes") ==
                  (shape == "12x9x16" ? 4.0 * (8.0 + 2.0 * 37.0) : 4.0 * (16.0 + 2.0 * 26.0)));
            const auto by_energy = of(rows, route, "energy");
            REQUIRE(by_energy.size() == 3);
            for (const Row& row : by_energy) {
                CHECK(row.number("captured_energy") >= row.number("asked") - allowed);
            }
        }
    }
}

TEST_CASE("rank_energy: a matrix from a file is that matrix")
{
    const TemporaryFolder folder;
    // diag(3, 2, 1, 0) in a (4, 6) matrix: 9, 13 and 14 of 14.
    std::vector<float> values(24, 0.0F);
    values[0] = 2.0F;
    values[7] = 3.0F;
    values[14] = 1.0F;
    std::vector<float> vector(5, 1.0F);
    std::vector<float> bad(4, std::numeric_limits<float>::infinity());
    wasi::io::write_safetensors(folder / "m.safetensors",
                                {{"a", {4, 6}, std::span<const float>(values)},
                                 {"flat", {5}, std::span<const float>(vector)},
                                 {"bad", {2, 2}, std::span<const float>(bad)}},
                                {});
    const std::string from = "--from '" + (folder / "m.safetensors").string() + "' ";
    const auto rows = measure(from + "--tensor a --energies 0.9 --repeats 1", folder / "out");
    const auto by_rank = of(rows, "dense", "rank");
    REQUIRE(by_rank.size() == 4);  // 1, 2, 3, 4
    CHECK(by_rank[0].number("captured_energy") == doctest::Approx(9.0 / 14.0));
    CHECK(by_rank[1].number("captured_energy") == doctest::Approx(13.0 / 14.0));
    CHECK(by_rank[2].number("captured_energy") == doctest::Approx(1.0));
    CHECK(by_rank[0].text("optimal_error").empty());
    CHECK(of(rows, "dense", "energy")[0].number("rank") == 2.0);

    struct Case {
        std::string arguments;
        std::string says;
    };
    const std::string out = " --out '" + (folder / "none").string() + "'";
    const std::vector<Case> cases{
        {from + "--tensor b", "'b'"},
        {from + "--tensor flat", "(5)"},
        {from + "--tensor bad", "NaN or infinity"},
        {from, "--tensor"},
        {"--tensor a", "--from"},
        {"--from /nowhere.safetensors --tensor a", "/nowhere.safetensors"},
        {"--spectrum flat", "'flat' is none of power"},
        {"--spectrum power:x", "positive number"},
        {"--spectrum power:-1", "positive number"},
        {"--shape 30", "--shape: '30'"},
        {"--shape 30x", "--shape: '30x'"},
        {"--shape 30x0", "--shape: '30x0'"},
        {"--shape 2x2x2x2x2", "two to four"},
        {"--shape 9x9 --ranks 0", "at least 1, got 0"},
        {"--shape 9x9 --energies 1.5", "got 1.5"},
        {"--shape 9x9 --energies nan", "nan"},
        {"--shape 9x9 --repeats 0", "--repeats"},
        {"--shape 9x9 --threads -1", "--threads"},
        {"--nonsense", "--nonsense"},
    };
    for (const Case& refused : cases) {
        CAPTURE(refused.arguments);
        const auto run = run_program(refused.arguments + out);
        CHECK(run.status == 2);
        CAPTURE(run.error);
        CHECK(std::count(run.error.begin(), run.error.end(), '\n') == 1);
        CHECK(run.error.starts_with("rank_energy: "));
        CHECK(run.error.find(refused.says) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(folder / "none"));
    }
}
