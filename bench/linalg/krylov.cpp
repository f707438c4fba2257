// Block Krylov against subspace iteration, at a fixed rank: time and passes beside the error of the values, by
// spectrum. A (2000, 1200), float; singular values j^(-decay / 10) (decay 0: normal random numbers, which have no decay
// to speak of). The error is that of the sum of the leading squared values, relative, against a dense SVD. Read it so:
// of two lines with about the same error the one with less time is the one to take. Then blocks of 8 to 48 columns for
// rank 32 of a sparse matrix, where products are cheap beside keeping the basis orthonormal.
#include <Eigen/SparseCore>
#include <cstdint>
#include <map>
#include <vector>

#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/sparse_operator.hpp>

#include "../support/measure.hpp"

namespace {

using bench::Index;
using bench::Ledger;
using bench::S;
using bench::Tensor;
using wasi::linalg::SketchMethod;

constexpr Index rows = 2000;
constexpr Index cols = 1200;

[[nodiscard]] double sum_of_squares(std::span<const float> values)
{
    double sum = 0.0;
    for (const float value : values) {
        sum += static_cast<double>(value) * static_cast<double>(value);
    }
    return sum;
}

/// The matrix of a decay and its exact leading energy for a rank, made once.
struct Subject {
    Tensor<float> a;
    std::map<Index, double> energy;
};

[[nodiscard]] Subject& subject(std::int64_t decay, Ledger& memory)
{
    static std::map<std::int64_t, Subject> known;
    Subject& result = known[decay];
    if (result.a.empty()) {
        result.a = decay == 0 ? bench::normals(memory, bench::Shape{rows, cols}, 1)
                              : bench::matrix_of_spectrum(memory, rows, cols, -static_cast<double>(decay) / 10.0);
    }
    return result;
}

/// Arguments: rank, decay, method (0 subspace iteration, 1 block Krylov, 2 what is chosen without being asked), steps
/// (-1: as needed).
void fixed_rank(benchmark::State& state)
{
    static Ledger memory;
    const Index rank = state.range(0);
    Subject& data = subject(state.range(1), memory);
    double& exact = data.energy[rank];
    if (exact == 0.0) {
        exact = sum_of_squares(
            wasi::linalg::truncated_svd<S, float>(std::as_const(data.a).matrix(), {.rank = rank}, memory).s.span());
    }
    wasi::linalg::RandomizedSvdOptions options{.rank = rank};
    options.method = state.range(2) == 0   ? SketchMethod::subspace_iteration
                     : state.range(2) == 1 ? SketchMethod::block_krylov
                                           : SketchMethod::automatic;
    if (state.range(3) >= 0) {
        options.power_iterations = state.range(3);
    }
    const auto decompose = [&] {
        return wasi::linalg::randomized_svd<S, float>(std::as_const(data.a).matrix(), options, bench::RandomKey(3),
                                                      memory);
    };
    const auto svd = decompose();
    state.counters["error"] = 1.0 - sum_of_squares(svd.s.span()) / exact;
    state.counters["passes"] = static_cast<double>(svd.info.passes);
    for ([[maybe_unused]] auto round : state) {
        benchmark::DoNotOptimize(decompose().u.data());
    }
}

void cases(benchmark::internal::Benchmark* benchmark)
{
    for (const std::int64_t rank : {10, 64}) {
        for (const std::int64_t decay : {0, 3, 5, 10}) {
            for (const std::int64_t steps : {1, 2, 4, 7}) {
                benchmark->Args({rank, decay, 0, steps});
            }
            for (const std::int64_t steps : {1, 2, 3, 4}) {
                benchmark->Args({rank, decay, 1, steps});
            }
            benchmark->Args({rank, decay, 2, -1});
        }
    }
}

using Sparse = Eigen::SparseMatrix<double, Eigen::RowMajor>;

/// (20000, 5000), some 600,000 non-zeros: every entry belongs to one of 100 groups of rows and columns, some larger
/// than others. Its leading values are close together.
[[nodiscard]] Sparse grouped_entries()
{
    constexpr Index height = 20000;
    constexpr Index width = 5000;
    constexpr int groups = 100;
    const bench::RandomKey key(5);
    std::vector<Eigen::Triplet<double, int>> entries;
    std::uint64_t at = 0;
    const auto below = [&](Index extent, Index start) {  // small ones more often
        const double u = key.uniform(at++);
        return static_cast<int>((start + static_cast<Index>(u * u * static_cast<double>(extent))) % extent);
    };
    for (int group = 0; group < groups; ++group) {
        const auto count = static_cast<Index>(40000.0 * std::pow(group + 1.0, -0.6));
        for (Index i = 0; i < count; ++i) {
            const int row = below(height, group * 7919);
            const int col = below(width, group * 3571);
            entries.emplace_back(row, col, 0.5 + key.uniform(at++));
        }
    }
    Sparse result(height, width);
    result.setFromTriplets(entries.begin(), entries.end());
    return result;
}

/// Arguments: columns of a block (0: as needed), steps (-1: as needed). The error is the largest of a value, relative.
void sparse_blocks(benchmark::State& state)
{
    static Ledger memory;
    static const Sparse a = grouped_entries();
    using Operator = wasi::linalg::SparseOperator<Sparse>;
    const Operator products(a);
    constexpr Index rank = 32;
    const auto decompose = [&](Index block, Index steps) {
        wasi::linalg::RandomizedSvdOptions options{.rank = rank, .method = SketchMethod::block_krylov};
        options.krylov_block = block > 0 ? block : options.krylov_block;
        options.power_iterations = steps >= 0 ? steps : options.power_iterations;
        return wasi::linalg::randomized_svd<S, double, Operator>(products, options, bench::RandomKey(3), memory);
    };
    static const auto exact = decompose(48, 24);
    const auto svd = decompose(state.range(0), state.range(1));
    double error = 0.0;
    for (Index j = 0; j < rank; ++j) {
        error = std::max(error, 1.0 - svd.s.data()[j] / exact.s.data()[j]);
    }
    state.counters["error"] = error;
    state.counters["passes"] = static_cast<double>(svd.info.passes);
    for ([[maybe_unused]] auto round : state) {
        benchmark::DoNotOptimize(decompose(state.range(0), state.range(1)).u.data());
    }
}

void blocks(benchmark::internal::Benchmark* benchmark)
{
    benchmark->Args({0, -1});
    for (const auto& [block, least] : {std::pair<std::int64_t, std::int64_t>{8, 14}, {16, 8}, {32, 5}, {48, 3}}) {
        for (const std::int64_t more : {0, 1, 2, 3, 4}) {
            benchmark->Args({block, least + more * (block == 8 ? 4 : block == 16 ? 2 : 1)});
        }
    }
}

}  // namespace

BENCHMARK(fixed_rank)
    ->Apply(cases)
    ->ArgNames({"rank", "decay", "method", "steps"})
    ->Unit(benchmark::kMillisecond)
    ->MinTime(0.2)
    ->MeasureProcessCPUTime();
BENCHMARK(sparse_blocks)
    ->Apply(blocks)
    ->ArgNames({"block", "steps"})
    ->Unit(benchmark::kMillisecond)
    ->MinTime(0.2)
    ->MeasureProcessCPUTime();
