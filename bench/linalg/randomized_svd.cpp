// Randomized SVD against the dense one of the same matrix and rank: time, error and memory by rank, power iterations
// and spectrum. A has singular values j^(-decay / 10). The baseline is truncated_svd, measured in the same run.
#include <cstdint>
#include <map>
#include <tuple>

#include <wasi/linalg/randomized_svd.hpp>

#include "../support/measure.hpp"

namespace {

using bench::Index;
using bench::Ledger;
using bench::S;
using bench::Tensor;
using Factors = wasi::linalg::SvdFactors<float>;

[[nodiscard]] double error_of(const Tensor<float>& a, Factors& svd, Ledger& memory)
{
    for (Index j = 0; j < svd.s.size(); ++j) {
        const auto column = svd.u.matrix().col_block(j, 1);
        S::add_scaled(column, svd.s.data()[j], 0.0F, column);
    }
    Tensor<float> again = wasi::workspace<float>(memory, a.shape()[0], a.shape()[1]);
    S::multiply(again.matrix(), 1.0F, std::as_const(svd.u).matrix(), std::as_const(svd.v).matrix().transposed(), 0.0F,
                memory);
    return bench::relative_difference(a.matrix(), std::as_const(again).matrix(), memory);
}

[[nodiscard]] double dense_seconds(const Tensor<float>& a, const wasi::linalg::RankRule& rule, Index rank,
                                   std::int64_t decay, Ledger& memory)
{
    static std::map<std::tuple<Index, Index, Index, std::int64_t>, double> known;
    double& seconds = known[{a.shape()[0], a.shape()[1], rank, decay}];
    if (seconds == 0.0) {
        seconds = bench::seconds_of([&] {
            benchmark::DoNotOptimize(
                wasi::linalg::truncated_svd<S, float>(a.matrix(), {.rank = rule}, memory).u.data());
        });
    }
    return seconds;
}

void measure_svd(benchmark::State& state, const Tensor<float>& a, const wasi::linalg::RandomizedSvdOptions& options,
                 double baseline, Ledger& memory)
{
    const auto decompose = [&] {
        return wasi::linalg::randomized_svd<S, float>(a.matrix(), options, bench::RandomKey(3), memory);
    };
    bench::Report report{.input_bytes = static_cast<double>(a.bytes()), .baseline_seconds = baseline};
    Index rank = 0;
    {
        Factors svd = decompose();
        rank = svd.info.rank;
        report.result_bytes = static_cast<double>(svd.u.bytes() + svd.s.bytes() + svd.v.bytes());
        report.error = error_of(a, svd, memory);
        state.counters["passes"] = static_cast<double>(svd.info.passes);
        state.counters["dense_route"] = svd.info.route == wasi::linalg::Route::dense ? 1.0 : 0.0;
        state.counters["rank"] = static_cast<double>(rank);
    }
    report.best =
        bench::best_error(std::min(a.shape()[0], a.shape()[1]), -static_cast<double>(state.range(3)) / 10.0, rank);
    bench::measure(state, memory, report, [&] { benchmark::DoNotOptimize(decompose().u.data()); });
}

void randomized_svd_rank(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> a =
        bench::matrix_of_spectrum(memory, state.range(0), state.range(1), -static_cast<double>(state.range(3)) / 10.0);
    const Index rank = state.range(2);
    measure_svd(state, a, {.rank = rank, .power_iterations = state.range(4)},
                dense_seconds(a, rank, rank, state.range(3), memory), memory);
}

void randomized_svd_energy(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> a =
        bench::matrix_of_spectrum(memory, state.range(0), state.range(1), -static_cast<double>(state.range(3)) / 10.0);
    const wasi::linalg::Energy energy{static_cast<double>(state.range(2)) / 100.0};
    // Negative in the table of baselines: an energy is no rank.
    measure_svd(state, a, {.rank = energy, .power_iterations = state.range(4)},
                dense_seconds(a, energy, -state.range(2), state.range(3), memory), memory);
}

}  // namespace

BENCHMARK(randomized_svd_rank)
    ->ArgNames({"rows", "cols", "rank", "decay", "power"})
    ->Args({3072, 768, 8, 5, 2})
    ->Args({3072, 768, 64, 5, 0})
    ->Args({3072, 768, 64, 5, 1})
    ->Args({3072, 768, 64, 5, 2})
    ->Args({3072, 768, 64, 10, 0})
    ->Args({3072, 768, 64, 10, 2})
    ->Args({3072, 768, 200, 5, 2})
    ->Args({768, 768, 64, 5, 2})
    ->Args({768, 3072, 64, 5, 2})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(randomized_svd_energy)
    ->ArgNames({"rows", "cols", "percent", "decay", "power"})
    ->Args({3072, 768, 50, 5, 2})
    ->Args({3072, 768, 80, 5, 2})
    ->Args({3072, 768, 90, 5, 2})
    ->Args({3072, 768, 90, 10, 2})
    ->Args({3072, 768, 99, 10, 2})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
