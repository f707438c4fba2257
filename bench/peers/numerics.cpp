// peers_numerics DATA: our side of bench/peers/run.sh numerics. Answers requests on standard input as peer.py does:
//
//   describe            prepare ROW            run ROW ROUNDS            write ROW PATH            release ROW
//
// Every row holds its data from `prepare` on; `round` is what is timed. Memory comes without books.
#include <array>
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>

#include <wasi/core/parallel.hpp>
#include <wasi/core/text_stream.hpp>
#include <wasi/core/version.hpp>

#include "numerics_rows.hpp"

namespace {

using namespace peers;

[[nodiscard]] std::unique_ptr<Row> make_row(const std::string& name, const std::filesystem::path& data)
{
    using wasi::linalg::randomized_svd;
    using wasi::linalg::truncated_svd;
    if (name == "svd_rank") {
        return std::make_unique<SvdRow>(data, [](ConstMatrixView<float> a) {
            return randomized_svd<S, float>(a, {.rank = 64, .oversampling = 10, .power_iterations = 2}, RandomKey(1),
                                            memory());
        });
    }
    if (name == "svd_energy_chosen") {
        return std::make_unique<SvdRow>(data, [](ConstMatrixView<float> a) {
            return randomized_svd<S, float>(a, {.rank = Energy{0.9}}, RandomKey(1), memory());
        });
    }
    if (name == "svd_energy_dense") {
        return std::make_unique<SvdRow>(
            data, [](ConstMatrixView<float> a) { return truncated_svd<S, float>(a, {.rank = Energy{0.9}}, memory()); });
    }
    if (name == "warm_activation_128x50x768") {
        return std::make_unique<WarmActivationRow>(data, "activations_128x50x768");
    }
    if (name == "warm_activation_16x50x3072") {
        return std::make_unique<WarmActivationRow>(data, "activations_16x50x3072");
    }
    if (name == "warm_weight") {
        return std::make_unique<WarmWeightRow>(data);
    }
    if (name == "low_rank_gradient") {
        return std::make_unique<LowRankGradientRow>(data);
    }
    if (name == "cold_tucker") {
        return std::make_unique<ColdTuckerRow>(data);
    }
    if (name == "tucker") {
        return std::make_unique<TuckerRow>(data, std::array<wasi::Index, 3>{8, 4, 8});
    }
    if (name == "partial_tucker") {
        return std::make_unique<TuckerRow>(data, std::array<wasi::Index, 3>{128, 4, 8});
    }
    if (auto row = make_linalg_row(name, data)) {
        return row;
    }
    throw std::invalid_argument("unknown row " + name);
}

using Rows = std::map<std::string, std::unique_ptr<Row>>;

/// "3.4.0" or "5.0.1": from 5 on the major version is no longer behind a 3.
[[nodiscard]] std::string eigen_version()
{
#ifdef EIGEN_VERSION_STRING
    return EIGEN_VERSION_STRING;
#else
    return wasi::message(EIGEN_WORLD_VERSION, ".", EIGEN_MAJOR_VERSION, ".", EIGEN_MINOR_VERSION);
#endif
}

[[nodiscard]] std::string answer(Rows& rows, const std::filesystem::path& data, std::istringstream request)
{
    std::string verb;
    std::string name;
    request >> verb >> name;
    if (verb == "describe") {
        return wasi::message("ok wasi ", WASI_VERSION_MAJOR, ".", WASI_VERSION_MINOR, ".", WASI_VERSION_PATCH,
                             ", Eigen ", eigen_version(), ", ", wasi::thread_count(), " threads");
    }
    if (verb == "prepare") {
        rows[name] = make_row(name, data);
        return "ok";
    }
    if (verb == "release") {
        rows.erase(name);
        return "ok";
    }
    Row& row = *rows.at(name);
    if (verb == "run") {
        int rounds = 0;
        request >> rounds;
        row.round();
        wasi::TextStream times;
        times << "ms";
        for (int round = 0; round < rounds; ++round) {
            const auto start = std::chrono::steady_clock::now();
            row.round();
            times << ' ' << std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
        }
        return times.str();
    }
    if (verb == "write") {
        std::string path;
        std::getline(request >> std::ws, path);
        return "ok " + row.write(path);
    }
    throw std::invalid_argument("unknown request " + verb);
}

}  // namespace

int main(int count, char** arguments)
{
    if (count != 2) {
        std::cerr << "usage: peers_numerics FOLDER-OF-DATA   (bench/peers/run.sh numerics starts it)\n";
        return 2;
    }
    Rows rows;
    for (std::string line; std::getline(std::cin, line);) {
        try {
            std::cout << answer(rows, arguments[1], std::istringstream(line)) << std::endl;
        } catch (const std::exception& error) {
            std::cout << "error " << error.what() << std::endl;
        }
    }
    return 0;
}
