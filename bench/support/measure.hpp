#pragma once
// What the benchmark programs share: data of a known spectrum, and one way to measure and report.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <utility>

#include <wasi/core/memory.hpp>
#include <wasi/core/random.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/storage/tensor.hpp>

namespace bench {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::Ledger;
using wasi::MatrixView;
using wasi::Memory;
using wasi::RandomKey;
using wasi::Shape;
using wasi::Tensor;
using S = wasi::EigenStorage;

/// Normal random numbers.
[[nodiscard]] inline Tensor<float> normals(Memory& memory, Shape shape, std::uint64_t seed)
{
    Tensor<float> result(memory, {}, shape);
    S::fill_normal(result.matrix(), RandomKey(seed));
    return result;
}

/// A random orthonormal basis (rows, cols).
[[nodiscard]] inline Tensor<float> basis(Memory& memory, Index rows, Index cols, std::uint64_t seed)
{
    Tensor<float> result = normals(memory, Shape{rows, cols}, seed);
    (void)S::orthonormalize(result.matrix(), memory);
    return result;
}

/// Column j, counted from 1, times j^power.
inline void scale_columns(MatrixView<float> a, double power)
{
    for (Index j = 0; j < a.cols; ++j) {
        const auto column = a.col_block(j, 1);
        S::add_scaled(column, static_cast<float>(std::pow(static_cast<double>(j + 1), power)), 0.0F, column);
    }
}

/// A (rows, cols) with singular values j^power and random orthogonal factors.
[[nodiscard]] inline Tensor<float> matrix_of_spectrum(Memory& memory, Index rows, Index cols, double power)
{
    const Index k = std::min(rows, cols);
    Tensor<float> left = basis(memory, rows, k, 1);
    const Tensor<float> right = basis(memory, cols, k, 2);
    scale_columns(left.matrix(), power);
    Tensor<float> result(memory, {}, Shape{rows, cols});
    S::multiply(result.matrix(), 1.0F, left.matrix(), right.matrix().transposed(), 0.0F, memory);
    return result;
}

/// The relative error of the best approximation of rank k of such a matrix.
[[nodiscard]] inline double best_error(Index smaller, double power, Index k)
{
    double total = 0.0;
    double tail = 0.0;
    for (Index j = smaller; j >= 1; --j) {
        total += std::pow(static_cast<double>(j), 2.0 * power);
        if (j == k + 1) {
            tail = total;
        }
    }
    return std::sqrt(tail / total);
}

/// ||A - B||_F / ||A||_F.
[[nodiscard]] inline double relative_difference(ConstMatrixView<float> a, ConstMatrixView<float> b, Memory& memory)
{
    Tensor<float> rest = wasi::workspace<float>(memory, a.rows, a.cols);
    S::copy(rest.matrix(), a);
    S::add_scaled(rest.matrix(), 1.0F, -1.0F, b);
    return std::sqrt(S::dot(std::as_const(rest).matrix(), rest.matrix()) / S::dot(a, a));
}

[[nodiscard]] inline double seconds_since(std::chrono::steady_clock::time_point start)
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The median of three runs after one that warms up.
template <class Job>
[[nodiscard]] double seconds_of(Job job)
{
    job();
    std::array<double, 3> times{};
    for (double& time : times) {
        const auto start = std::chrono::steady_clock::now();
        job();
        time = seconds_since(start);
    }
    std::sort(times.begin(), times.end());
    return times[1];
}

/// What stands beside the time of a benchmark.
struct Report {
    double error = 0.0;             ///< of the result, relative
    double best = 0.0;              ///< what the error cannot be below, where known
    double result_bytes = 0.0;      ///< what the result takes
    double input_bytes = 0.0;       ///< what it was made from
    double baseline_seconds = 0.0;  ///< the dense way to the same, measured in the same run
};

/// Times `job` and reports. Counters: flops as the engine counts them (the leading terms), GFLOP/s by that count, peak
/// = bytes booked at the same time beyond what was there before, ratio = seconds of the baseline over ours.
template <class Job>
void measure(benchmark::State& state, Ledger& memory, const Report& report, Job job)
{
    job();  // warm-up
    memory.reset_peaks();
    const double flops_before = memory.flops();
    const auto alive = memory.total().current;
    job();
    const double flops = memory.flops() - flops_before;
    const auto peak = static_cast<double>(memory.total().peak - alive);
    const auto start = std::chrono::steady_clock::now();
    for (auto _ : state) {
        job();
    }
    const double seconds = seconds_since(start) / static_cast<double>(state.iterations());
    state.counters["error"] = report.error;
    if (report.best > 0.0) {
        state.counters["best_error"] = report.best;
    }
    state.counters["flops"] = flops;
    state.counters["GFLOP/s"] = 1e-9 * flops / seconds;
    state.counters["input_bytes"] = report.input_bytes;
    state.counters["result_bytes"] = report.result_bytes;
    state.counters["peak_bytes"] = peak;
    state.counters["baseline_ms"] = 1e3 * report.baseline_seconds;
    state.counters["ratio"] = report.baseline_seconds / seconds;
}

}  // namespace bench
