// Orthonormal bases of tall matrices of three kinds, by the engine's own choice and by Householder alone. The baseline
// is Eigen's blocked Householder QR with its thin Q; the error is ||QᵀQ - 1||_F / sqrt(n).
#include <Eigen/QR>

#include <cstdint>
#include <map>
#include <tuple>

#include <wasi/linalg/orthonormalize.hpp>

#include "../support/measure.hpp"

namespace {

using bench::Index;
using bench::Ledger;
using bench::S;
using bench::Tensor;

enum Kind : std::int64_t { well_conditioned, condition_1e4, half_rank };

[[nodiscard]] Tensor<float> columns(Ledger& memory, Index rows, Index cols, std::int64_t kind)
{
    if (kind == well_conditioned) {
        return bench::normals(memory, {rows, cols}, 1);
    }
    if (kind == condition_1e4) {
        // Values j^power down to 1e-4.
        return bench::matrix_of_spectrum(memory, rows, cols, std::log(1e-4) / std::log(static_cast<double>(cols)));
    }
    const Tensor<float> left = bench::normals(memory, {rows, cols / 2}, 1);
    const Tensor<float> right = bench::normals(memory, {cols / 2, cols}, 2);
    Tensor<float> result = wasi::workspace<float>(memory, rows, cols);
    S::multiply(result.matrix(), 1.0F, left.matrix(), right.matrix(), 0.0F, memory);
    return result;
}

[[nodiscard]] double defect(const Tensor<float>& q, Ledger& memory)
{
    const Index n = q.shape()[1];
    Tensor<float> gram = wasi::workspace<float>(memory, n, n);
    S::multiply(gram.matrix(), 1.0F, q.matrix().transposed(), q.matrix(), 0.0F, memory);
    for (Index j = 0; j < n; ++j) {
        gram.matrix()(j, j) -= 1.0F;
    }
    return std::sqrt(S::dot(gram.matrix(), gram.matrix()) / static_cast<double>(n));
}

[[nodiscard]] double householder_of_eigen(const Tensor<float>& a, std::int64_t kind)
{
    using Matrix = Eigen::MatrixXf;
    static std::map<std::tuple<Index, Index, std::int64_t>, double> known;
    const Index rows = a.shape()[0];
    const Index cols = a.shape()[1];
    double& seconds = known[{rows, cols, kind}];
    if (seconds == 0.0) {
        using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        const Matrix given = Eigen::Map<const RowMajor>(a.data(), rows, cols);
        Matrix q;
        seconds = bench::seconds_of([&] {
            const Eigen::HouseholderQR<Matrix> qr(given);
            q = qr.householderQ() * Matrix::Identity(rows, cols);
        });
        benchmark::DoNotOptimize(q.data());
    }
    return seconds;
}

void orthonormalize(benchmark::State& state, wasi::linalg::OrthonormalizeMethod method)
{
    Ledger memory;
    const Tensor<float> a = columns(memory, state.range(0), state.range(1), state.range(2));
    Tensor<float> q = wasi::workspace<float>(memory, state.range(0), state.range(1));
    wasi::linalg::OrthonormalizeInfo info;
    const auto job = [&] {
        S::copy(q.matrix(), a.matrix());
        info = wasi::linalg::orthonormalize_columns<S, float>(q.matrix(), memory, {.method = method});
    };
    job();
    const auto bytes = static_cast<double>(a.bytes());
    bench::measure(state, memory,
                   {.error = defect(q, memory),
                    .result_bytes = bytes,
                    .input_bytes = bytes,
                    .baseline_seconds = householder_of_eigen(a, state.range(2))},
                   job);
    state.counters["rank"] = static_cast<double>(info.rank);
}

void orthonormalize_automatic(benchmark::State& state)
{
    orthonormalize(state, wasi::linalg::OrthonormalizeMethod::automatic);
}

void orthonormalize_householder(benchmark::State& state)
{
    orthonormalize(state, wasi::linalg::OrthonormalizeMethod::householder);
}

void shapes(benchmark::internal::Benchmark* family)
{
    family->ArgNames({"rows", "cols", "kind"})->Unit(benchmark::kMillisecond)->UseRealTime();
    for (const std::int64_t kind : {well_conditioned, condition_1e4, half_rank}) {
        family->Args({3072, 8, kind})->Args({3072, 74, kind})->Args({3072, 373, kind})->Args({768, 373, kind});
    }
}

}  // namespace

BENCHMARK(orthonormalize_automatic)->Apply(shapes);
BENCHMARK(orthonormalize_householder)->Apply(shapes);
