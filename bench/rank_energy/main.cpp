// rank_energy: what each rank of a matrix or tensor keeps, costs and takes, as a table, a CSV and a picture.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include <wasi/core/error.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/io/atomic_file.hpp>

#include "measurement.hpp"
#include "report.hpp"
#include "subject.hpp"

namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::require;

struct Options {
    std::string spectrum = "power:0.5";
    std::string shape = "768x768";
    std::string from;
    std::string tensor;
    std::vector<Index> ranks;
    std::vector<double> energies{0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99};
    int repeats = 3;
    int threads = 0;
    std::uint64_t seed = 0;
    std::string out;
};

void add_options(CLI::App& app, Options& options)
{
    app.option_defaults()->always_capture_default();
    auto* spectrum =
        app.add_option("--spectrum", options.spectrum, "power:P, exponential:R, step:K, spiked:K or clustered:C")
            ->type_name("KIND");
    auto* shape = app.add_option("--shape", options.shape, "3072x768, or a tensor: 64x50x768")->type_name("SHAPE");
    auto* tensor = app.add_option("--tensor", options.tensor, "which one of the file")->type_name("NAME");
    auto* from = app.add_option("--from", options.from, "take a tensor of this safetensors file instead")
                     ->type_name("FILE")
                     ->needs(tensor)
                     ->excludes(spectrum)
                     ->excludes(shape);
    tensor->needs(from);
    app.add_option("--ranks", options.ranks, "ranks to try (default: 1, 2, 3, 4, 6, 8, .. to the full rank)")
        ->delimiter(',')
        ->type_name("LIST");
    app.add_option("--energies", options.energies, "shares of the energy to try")->delimiter(',')->type_name("LIST");
    app.add_option("--repeats", options.repeats, "times each is computed; the median time counts")->type_name("N");
    app.add_option("--threads", options.threads, "0 = one for each processor")->type_name("N");
    app.add_option("--seed", options.seed, "of everything random")->type_name("N");
    app.add_option("--out", options.out, "folder for rank_energy.csv and rank_energy.svg")->type_name("DIR");
}

[[nodiscard]] wasi_bench::Subject subject_of(const Options& options, wasi::RandomKey key)
{
    return options.from.empty()
               ? wasi_bench::make_subject(options.spectrum, wasi_bench::parse_shape(options.shape), key)
               : wasi_bench::read_subject(options.from, options.tensor);
}

/// Refuses a grid before anything is computed.
[[nodiscard]] wasi_bench::Grid grid_of(const Options& options, Index largest)
{
    wasi_bench::Grid grid{options.ranks, options.energies, options.repeats};
    if (grid.ranks.empty()) {
        grid.ranks = wasi_bench::rank_grid(largest);
    }
    require<argument_error>(grid.repeats >= 1, "--repeats: must be at least 1, got ", grid.repeats);
    for (const Index rank : grid.ranks) {
        require<argument_error>(rank >= 1, "--ranks: a rank must be at least 1, got ", rank);
    }
    for (const double energy : grid.energies) {
        require<argument_error>(energy > 0.0 && energy <= 1.0, "--energies: an energy must be in (0, 1], got ", energy);
    }
    return grid;
}

void run(const Options& options)
{
    require<argument_error>(options.threads >= 0 && options.threads <= 4096,
                            "--threads: must be between 0 and 4096, got ", options.threads);
    wasi::set_thread_count(options.threads > 0 ? options.threads
                                               : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
    (void)grid_of(options, 1);
    const wasi::RandomKey key(options.seed);
    const wasi_bench::Subject subject = subject_of(options, key.derive(1));
    const wasi_bench::Grid grid = grid_of(options, wasi_bench::largest_rank(subject));
    const std::filesystem::path out(options.out);
    if (!options.out.empty()) {
        std::error_code failure;
        std::filesystem::create_directories(out, failure);
        require<wasi::io_error>(!failure, options.out, ": cannot be made a folder: ", failure.message());
        wasi::io::write_file_atomically(out / "rank_energy.csv", "");  // found out now, not after the measurements
    }
    const auto& shape = subject.values.shape();
    const wasi_bench::Setting setting{
        options.from.empty() ? subject.title
                             : std::filesystem::path(options.from).filename().string() + ": " + subject.title,
        wasi_bench::shape_name(shape), shape.order(), wasi_bench::dense_bytes(subject), grid.repeats};
    std::printf("%s, %s\n%s", setting.source.c_str(), setting.shape.c_str(), wasi_bench::table_heading().c_str());
    const auto measurements =
        wasi_bench::measure(subject, grid, key.derive(2), [&](const wasi_bench::Measurement& measurement) {
            std::fputs(wasi_bench::table_row(measurement, setting.dense_bytes).c_str(), stdout);
            std::fflush(stdout);
        });
    if (!options.out.empty()) {
        wasi::io::write_file_atomically(out / "rank_energy.csv", wasi_bench::csv(setting, measurements));
        wasi::io::write_file_atomically(out / "rank_energy.svg", wasi_bench::picture(setting, measurements));
    }
}

/// One line on standard error, whatever a library's message holds, and the status for what the user can mend.
int fail(std::string text)
{
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    std::fprintf(stderr, "rank_energy: %s\n", text.c_str());
    return 2;
}

}  // namespace

int main(int argument_count, char** arguments)
{
    CLI::App app{"Energy, error, bytes and time against rank, of a matrix or tensor.", "rank_energy"};
    Options options;
    add_options(app, options);
    try {
        app.parse(argument_count, arguments);
        run(options);
    } catch (const CLI::Success& asked) {  // --help
        return app.exit(asked);
    } catch (const std::exception& failure) {
        return fail(failure.what());
    }
    return 0;
}
