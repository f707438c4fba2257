// Tucker decompositions from cold and one warm step, on activations of order 3 and 4. The baseline is what the
// definition says: a dense SVD of every unfolding of the full tensor. Errors are measured on the reconstruction.
#include <cstdint>
#include <map>
#include <string>

#include <wasi/linalg/svd.hpp>
#include <wasi/tensor/hosvd.hpp>
#include <wasi/tensor/warm_tucker.hpp>

#include "../support/measure.hpp"

namespace {

using bench::Index;
using bench::Ledger;
using bench::S;
using bench::Shape;
using bench::Tensor;
using wasi::linalg::Energy;

/// A core with entries that decay in every mode, at most 48 wide, on random orthonormal bases; and noise of a hundredth
/// of its norm on top.
template <std::size_t N>
[[nodiscard]] Tensor<float> decaying_tensor(Ledger& memory, const std::array<Index, N>& shape)
{
    constexpr Index widest = 48;
    std::array<Index, N> inner{};
    for (std::size_t m = 0; m < N; ++m) {
        inner[m] = std::min(shape[m], widest);
    }
    Tensor<float> x = bench::normals(memory, Shape(inner), 1);
    for (std::size_t m = 0; m < N; ++m) {
        Tensor<float> basis = bench::basis(memory, shape[m], inner[m], 2 + m);
        bench::scale_columns(basis.matrix(), -0.75);
        x = wasi::tensor::mode_product<S, float, N>(std::as_const(x).template view<N>(), std::as_const(basis).matrix(),
                                                    m, memory);
    }
    const Tensor<float> noise = bench::normals(memory, Shape(shape), 9);
    const double share =
        0.01 * std::sqrt(S::dot(std::as_const(x).matrix(), x.matrix()) / static_cast<double>(x.size()));
    S::add_scaled(x.matrix(), 1.0F, static_cast<float>(share), noise.matrix());
    return x;
}

/// All singular vectors of every unfolding.
template <std::size_t N>
[[nodiscard]] double dense_seconds(const Tensor<float>& x, Ledger& memory)
{
    static std::map<std::string, double> known;
    double& seconds = known[wasi::shape_text(x.shape())];
    if (seconds == 0.0) {
        seconds = bench::seconds_of([&] {
            for (std::size_t m = 0; m < N; ++m) {
                const Tensor<float> unfolded = wasi::tensor::unfold<S, float, N>(x.template view<N>(), m, memory);
                benchmark::DoNotOptimize(wasi::linalg::thin_svd<S, float>(unfolded.matrix(), memory).u.data());
            }
        });
    }
    return seconds;
}

template <std::size_t N, class Decompose>
void measure_tucker(benchmark::State& state, Ledger& memory, const Tensor<float>& x, Decompose decompose)
{
    bench::Report report{.input_bytes = static_cast<double>(x.bytes()),
                         .baseline_seconds = dense_seconds<N>(x, memory)};
    {
        const auto tucker = decompose();
        report.result_bytes = static_cast<double>(tucker.bytes());
        const Tensor<float> again = wasi::tensor::reconstruct<S, float, N>(tucker, memory);
        report.error = bench::relative_difference(x.matrix(), again.matrix(), memory);
        for (std::size_t m = 0; m < N; ++m) {
            state.counters["rank" + std::to_string(m + 1)] = static_cast<double>(tucker.ranks()[m]);
        }
    }
    bench::measure(state, memory, report, [&] { benchmark::DoNotOptimize(decompose().captured_energy); });
}

template <std::size_t N>
[[nodiscard]] std::array<Index, N> shape_of(const benchmark::State& state)
{
    std::array<Index, N> shape{};
    for (std::size_t m = 0; m < N; ++m) {
        shape[m] = state.range(m);
    }
    return shape;
}

template <std::size_t N>
[[nodiscard]] wasi::tensor::ModeRules<N> energies(double fraction)
{
    return wasi::linalg::RankRule(Energy{fraction});
}

template <std::size_t N>
void hosvd(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> x = decaying_tensor(memory, shape_of<N>(state));
    measure_tucker<N>(state, memory, x,
                      [&] { return wasi::tensor::hosvd<S, float, N>(x.template view<N>(), energies<N>(0.9), memory); });
}

template <std::size_t N>
void sequential_hosvd(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> x = decaying_tensor(memory, shape_of<N>(state));
    measure_tucker<N>(state, memory, x, [&] {
        return wasi::tensor::sequentially_truncated_hosvd<S, float, N>(x.template view<N>(), energies<N>(0.9), {},
                                                                       memory);
    });
}

void warm_step(benchmark::State& state)
{
    Ledger memory;
    const Tensor<float> x = decaying_tensor(memory, shape_of<3>(state));
    const auto start = wasi::tensor::hosvd<S, float, 3>(x.view<3>(), {8, 4, 8}, memory);
    measure_tucker<3>(state, memory, x, [&] {
        return wasi::tensor::warm_tucker_step<S, float>(x.view<3>(), start.bases[2].matrix(), 8, 4, memory);
    });
}

void of_order_3(benchmark::internal::Benchmark* family)
{
    family->ArgNames({"batch", "tokens", "features"})->Unit(benchmark::kMillisecond)->UseRealTime();
    family->Args({128, 50, 768})->Args({16, 50, 3072});
}

void of_order_4(benchmark::internal::Benchmark* family)
{
    family->ArgNames({"batch", "height", "width", "features"})->Unit(benchmark::kMillisecond)->UseRealTime();
    family->Args({32, 14, 14, 384});
}

}  // namespace

BENCHMARK(hosvd<3>)->Apply(of_order_3);
BENCHMARK(sequential_hosvd<3>)->Apply(of_order_3);
BENCHMARK(warm_step)->Apply(of_order_3);
BENCHMARK(hosvd<4>)->Apply(of_order_4);
BENCHMARK(sequential_hosvd<4>)->Apply(of_order_4);
