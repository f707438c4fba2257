// At which share of the smaller side does the dense SVD beat the randomized one? `at_share` times the randomized route
// at a given width of its sketch, oversampling included, also where randomized_svd itself would go the dense way;
// `crossover` sweeps the widths and reports the share at which both take the same time. randomized_svd's
// detail::dense_share comes from here. The rank is the width less ten columns of oversampling; A has singular values
// j^-1/2.
#include <cstdint>
#include <map>
#include <optional>
#include <tuple>

#include <wasi/linalg/randomized_svd.hpp>

#include "../support/measure.hpp"

namespace {

using bench::Index;
using bench::Ledger;
using bench::S;
using bench::Tensor;
using Factors = wasi::linalg::SvdFactors<float>;
using Operator = wasi::linalg::MatrixOperator<S, float>;

constexpr Index oversampling = 10;
constexpr Index probes = 8;
constexpr double spectrum = -0.5;

/// What randomized_svd does for a fixed rank once it has chosen the randomized route.
[[nodiscard]] Factors randomized_route(const Tensor<float>& a, Index width, Index power_iterations, Ledger& memory)
{
    const Operator matrix(a.matrix());
    wasi::linalg::detail::GuardedOperator<S, float, Operator> guarded(matrix, "dense_crossover");
    wasi::linalg::detail::RangeFinder<S, float, Operator> finder(guarded, probes, bench::RandomKey(3), memory);
    finder.widen(width, {power_iterations, power_iterations});
    benchmark::DoNotOptimize(finder.residual_squared());
    const Index rank = std::max<Index>(1, width - oversampling);
    Factors svd = wasi::linalg::leading_svd<S, float>(
        finder.projected(), [&](std::span<const double>) { return rank; }, memory);
    Tensor<float> left = wasi::workspace<float>(memory, a.shape()[0], rank);
    S::multiply(left.matrix(), 1.0F, finder.basis(), std::as_const(svd.v).matrix(), 0.0F, memory);
    svd.v = std::move(svd.u);
    svd.u = std::move(left);
    return svd;
}

/// Both routes get the same rank, so that the dense one makes as many vectors.
[[nodiscard]] Factors dense_route(const Tensor<float>& a, Index width, Ledger& memory)
{
    const Index rank = std::max<Index>(1, width - oversampling);
    return wasi::linalg::truncated_svd<S, float>(a.matrix(), {.rank = rank}, memory);
}

[[nodiscard]] Index width_of(const Tensor<float>& a, std::int64_t percent)
{
    const Index smaller = std::min(a.shape()[0], a.shape()[1]);
    return std::max<Index>(1, smaller * static_cast<Index>(percent) / 100);
}

[[nodiscard]] double dense_seconds(const Tensor<float>& a, Index width, Ledger& memory)
{
    static std::map<std::tuple<Index, Index, Index>, double> known;
    double& seconds = known[{a.shape()[0], a.shape()[1], width}];
    if (seconds == 0.0) {
        seconds = bench::seconds_of([&] { benchmark::DoNotOptimize(dense_route(a, width, memory).u.data()); });
    }
    return seconds;
}

void at_share(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> a = bench::matrix_of_spectrum(memory, state.range(0), state.range(1), spectrum);
    const Index width = width_of(a, state.range(2));
    const Index power = state.range(3);
    bench::Report report{.input_bytes = static_cast<double>(a.bytes()),
                         .baseline_seconds = dense_seconds(a, width, memory)};
    {
        const Factors svd = randomized_route(a, width, power, memory);
        const double captured = S::dot(svd.s.matrix(), svd.s.matrix()) / S::dot(a.matrix(), a.matrix());
        report.error = std::sqrt(std::max(0.0, 1.0 - captured));
        report.best = bench::best_error(std::min(state.range(0), state.range(1)), spectrum, svd.s.size());
        report.result_bytes = static_cast<double>(svd.u.bytes() + svd.s.bytes() + svd.v.bytes());
    }
    bench::measure(state, memory, report,
                   [&] { benchmark::DoNotOptimize(randomized_route(a, width, power, memory).u.data()); });
}

void crossover(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> a = bench::matrix_of_spectrum(memory, state.range(0), state.range(1), spectrum);
    const Index power = state.range(2);
    constexpr std::int64_t step = 5;
    constexpr std::int64_t last = 75;
    std::optional<double> share;
    for (auto _ : state) {
        double before = 0.0;
        for (std::int64_t percent = step; percent <= last && !share; percent += step) {
            const Index width = width_of(a, percent);
            const double randomized = bench::seconds_of(
                [&] { benchmark::DoNotOptimize(randomized_route(a, width, power, memory).u.data()); });
            const double ratio = randomized / dense_seconds(a, width, memory);
            if (ratio >= 1.0) {
                // Between the last two shares the ratio is taken as linear.
                const double part = percent == step ? 1.0 : (1.0 - before) / (ratio - before);
                share = 0.01 * (static_cast<double>(percent - step) + part * static_cast<double>(step));
            }
            before = ratio;
        }
    }
    if (share) {
        state.counters["share"] = *share;
    } else {
        state.SetLabel("no crossover up to 0.75");
    }
}

void shapes(benchmark::internal::Benchmark* family, const std::vector<std::int64_t>& shares)
{
    family->Unit(benchmark::kMillisecond)->UseRealTime();
    const std::vector<std::vector<std::int64_t>> matrices{{3072, 768}, {768, 3072}, {768, 768}, {1600, 256}};
    for (auto arguments : matrices) {
        for (const std::int64_t power : {2, 0}) {
            if (shares.empty()) {
                family->Args({arguments[0], arguments[1], power});
            }
            for (const std::int64_t share : shares) {
                family->Args({arguments[0], arguments[1], share, power});
            }
        }
    }
}

}  // namespace

BENCHMARK(at_share)->ArgNames({"rows", "cols", "percent", "power"})->Apply([](auto* family) {
    shapes(family, {10, 20, 30, 40, 50, 60});
});
BENCHMARK(crossover)->ArgNames({"rows", "cols", "power"})->Iterations(1)->Apply([](auto* family) {
    shapes(family, {});
});
