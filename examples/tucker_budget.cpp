// Tucker compression of a tensor under a byte budget: which ranks are worth their bytes?
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include <wasi/rank/budget_solver.hpp>
#include <wasi/rank/tucker_budget.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/tensor/hosvd.hpp>

using wasi::EigenStorage;
using wasi::Index;

namespace {

/// Smooth along every mode, rougher with `roughness`, with a little noise.
[[nodiscard]] wasi::Tensor<float> sample(wasi::Ledger& ledger, Index batch, Index tokens, Index features,
                                         float roughness)
{
    wasi::Tensor<float> x(ledger, {}, {batch, tokens, features});
    EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(3));
    Index at = 0;
    for (float& value : x.span()) {
        const auto b = static_cast<float>(at / (tokens * features));
        const auto n = static_cast<float>(at / features % tokens);
        const auto i = static_cast<float>(at % features);
        value = 0.02F * value + std::sin(0.1F * i + 0.3F * n) + roughness * std::cos(0.2F * i * (1.0F + 0.1F * n) - b);
        ++at;
    }
    return x;
}

}  // namespace

int main()
{
    wasi::Ledger ledger;
    bool good = true;

    // One tensor: the ranks that discard least within the budget.
    const wasi::Tensor<float> x = sample(ledger, 16, 20, 64, 0.5F);
    const auto view = x.view<3>();
    const auto spectra = wasi::rank::mode_spectra<EigenStorage, float, 3>(view, ledger);
    std::printf("%10s %14s %8s %12s %12s\n", "budget", "ranks", "bytes", "error", "bound");
    for (const std::int64_t budget : {1000, 2000, 4000, 8000, 16000}) {
        const auto best = wasi::rank::tucker_ranks<3>(view.shape, spectra, budget, sizeof(float));
        const auto tucker = wasi::tensor::hosvd<EigenStorage, float, 3>(view, best.ranks, ledger);
        const double norm = std::sqrt(EigenStorage::dot(x.matrix(), x.matrix()));
        const double bound = std::sqrt(best.discarded) / norm;
        std::printf("%10td %4td %4td %4td %8zu %11.2f%% %11.2f%%\n", static_cast<Index>(budget), best.ranks[0],
                    best.ranks[1], best.ranks[2], tucker.bytes(), 100.0 * tucker.error, 100.0 * bound);
        good = good && tucker.ranks() == best.ranks && static_cast<std::int64_t>(tucker.bytes()) <= budget &&
               tucker.error <= bound + 1e-3;
    }

    // Several tensors share one budget: one option a tensor and budget of its own, then the exact solver.
    std::vector<wasi::rank::LayerOptions> layers;
    for (const float roughness : {0.0F, 0.3F, 3.0F}) {
        const wasi::Tensor<float> one = sample(ledger, 16, 20, 64, roughness);
        const auto values = wasi::rank::mode_spectra<EigenStorage, float, 3>(one.view<3>(), ledger);
        wasi::rank::LayerOptions options;
        for (std::int64_t budget = 1000; budget <= 16000; budget += 500) {
            const auto best = wasi::rank::tucker_ranks<3>(one.view<3>().shape, values, budget, sizeof(float));
            options.push_back({best.bytes, best.discarded});
        }
        layers.push_back(std::move(options));
    }
    const auto solution = wasi::rank::solve_budget(layers, 16000);
    std::printf("\nthree tensors within 16000 bytes:");
    for (std::size_t i = 0; i < layers.size(); ++i) {
        std::printf(" %td", static_cast<Index>(layers[i][static_cast<std::size_t>(solution.choice[i])].bytes));
    }
    std::printf("; discarded %.4g, no choice below %.4g\n", solution.cost, solution.lower_bound);
    good = good && solution.status == wasi::rank::SolveStatus::optimal && solution.bytes <= 16000;
    return good ? 0 : 1;
}
