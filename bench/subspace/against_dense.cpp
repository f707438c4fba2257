// What a subspace saves: each pair does the same job in full and in the subspace, on the shapes of ViT-B/32's MLP. Read
// the ratio of the two, not the times. Counters: flops as the engine counts them, workspace = peak bytes booked.
#include <benchmark/benchmark.h>

#include <cmath>

#include <wasi/core/parallel.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/activation_subspace.hpp>
#include <wasi/subspace/low_rank_gradient.hpp>
#include <wasi/subspace/weight_subspace.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi::Ledger;
using wasi::RandomKey;
using wasi::Shape;
using wasi::Tensor;
using S = EigenStorage;

constexpr Index outputs = 3072;
constexpr Index inputs = 768;
constexpr Index tokens = 50;

[[nodiscard]] Tensor<float> random_tensor(Ledger& memory, Shape shape, std::uint64_t seed)
{
    Tensor<float> result(memory, {}, shape);
    S::fill_normal(result.matrix(), RandomKey(seed));
    return result;
}

/// A weight whose singular values fall like 1/sqrt(j): the columns of a random matrix, scaled.
[[nodiscard]] Tensor<float> decaying_weight(Ledger& memory)
{
    Tensor<float> w = random_tensor(memory, Shape{outputs, inputs}, 1);
    for (Index j = 0; j < inputs; ++j) {
        const auto column = w.matrix().col_block(j, 1);
        S::add_scaled(column, 1.0F / std::sqrt(static_cast<float>((j + 1) * outputs)), 0.0F, column);
    }
    return w;
}

/// Runs `job` and reports flops and workspace of one round.
template <class Job>
void measure(benchmark::State& state, Ledger& memory, Job job)
{
    job();  // warm-up
    memory.reset_peaks();
    const double before = memory.flops();
    const auto alive = memory.total().current;
    job();
    state.counters["flops"] = memory.flops() - before;
    state.counters["workspace"] = static_cast<double>(memory.total().peak - alive);
    for (auto _ : state) {
        job();
    }
}

void weight_gradient_dense(benchmark::State& state)
{
    Ledger memory;
    const Index batch = state.range(0);
    const Tensor<float> x = random_tensor(memory, Shape{batch, tokens, inputs}, 1);
    const Tensor<float> dy = random_tensor(memory, Shape{batch, tokens, outputs}, 2);
    Tensor<float> dw(memory, {}, Shape{outputs, inputs});
    measure(state, memory, [&] { S::multiply(dw.matrix(), 1.0F, dy.matrix().transposed(), x.matrix(), 0.0F, memory); });
}

void weight_gradient_low_rank(benchmark::State& state)
{
    Ledger memory;
    const Index batch = state.range(0);
    const Tensor<float> x = random_tensor(memory, Shape{batch, tokens, inputs}, 1);
    const Tensor<float> dy = random_tensor(memory, Shape{batch, tokens, outputs}, 2);
    const auto factors = wasi::tensor::hosvd<S, float, 3>(x.view<3>(), {8, 4, 8}, memory);
    measure(state, memory, [&] {
        benchmark::DoNotOptimize(wasi::subspace::low_rank_gradient<S, float>(dy.view<3>(), factors, memory).data());
    });
}

void activations_cold(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> x = random_tensor(memory, Shape{state.range(0), tokens, inputs}, 1);
    measure(state, memory, [&] {
        benchmark::DoNotOptimize(wasi::tensor::hosvd<S, float, 3>(x.view<3>(), {8, 4, 8}, memory).captured_energy);
    });
}

void activations_warm(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> x = random_tensor(memory, Shape{state.range(0), tokens, inputs}, 1);
    wasi::subspace::ActivationSubspace<float, S> subspace({.ranks = {8, 4, 8}}, RandomKey(3), memory, {});
    measure(state, memory, [&] { benchmark::DoNotOptimize(subspace.compress(x.view<3>()).captured_energy); });
}

void weight_step_dense_svd(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> w = decaying_weight(memory);
    const wasi::linalg::Energy energy{static_cast<double>(state.range(0)) / 100.0};
    measure(state, memory, [&] {
        benchmark::DoNotOptimize(wasi::linalg::truncated_svd<S, float>(w.matrix(), {.rank = energy}, memory).info.rank);
    });
}

void weight_step_warm(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> w = decaying_weight(memory);
    const wasi::linalg::Energy energy{static_cast<double>(state.range(0)) / 100.0};
    auto weight = wasi::subspace::WeightSubspace<float, S>::start(w.matrix(), energy, memory, {});
    const Tensor<float> p = random_tensor(memory, Shape{outputs, 8}, 4);
    Tensor<float> q = random_tensor(memory, Shape{inputs, 8}, 5);
    (void)S::orthonormalize(q.matrix(), memory);
    measure(state, memory, [&] {
        weight.update(1e-6F, 0.0F, wasi::linalg::Factored<float>{p.matrix(), q.matrix(), true});
    });
    state.counters["rank"] = static_cast<double>(weight.rank());
}

}  // namespace

BENCHMARK(weight_gradient_dense)->Arg(16)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(weight_gradient_low_rank)->Arg(16)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(activations_cold)->Arg(16)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(activations_warm)->Arg(16)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(weight_step_dense_svd)->Arg(90)->Arg(60)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(weight_step_warm)->Arg(90)->Arg(60)->Unit(benchmark::kMillisecond)->UseRealTime();
