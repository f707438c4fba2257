// Activations of a layer, (batch, tokens, features), in Tucker form under a byte budget: the largest energy whose core
// and bases fit, then refined, then followed by a warm step; and the mean of the two, which never is a full tensor.
#include <cmath>
#include <cstdio>
#include <utility>

#include <wasi/storage/eigen.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/round.hpp>
#include <wasi/tensor/warm_tucker.hpp>

using wasi::of_order;
using wasi::linalg::Energy;

namespace {

/// Bytes of core and bases.
std::size_t bytes(const auto& tucker)
{
    std::size_t sum = tucker.core.bytes();
    for (const auto& basis : tucker.bases) {
        sum += basis.bytes();
    }
    return sum;
}

void print(const char* name, const auto& tucker)
{
    const auto& info = tucker.info;
    std::printf("%-22s %5td %4td %4td %8zu %9.3f%% %8.4f\n", name, info.ranks[0], info.ranks[1], info.ranks[2],
                bytes(tucker), 100.0 * info.captured_energy, info.error);
}

}  // namespace

int main()
{
    constexpr wasi::Index batch = 16;
    constexpr wasi::Index tokens = 20;
    constexpr wasi::Index features = 64;
    constexpr std::size_t budget = 4000;  // bytes, of 81920
    wasi::Tensor<float> x(wasi::plain_memory(), {}, {batch, tokens, features});
    // Smooth along every mode, with a little noise.
    wasi::EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(3));
    wasi::Index at = 0;
    for (float& value : x.span()) {
        const auto b = static_cast<float>(at / (tokens * features));
        const auto n = static_cast<float>(at / features % tokens);
        const auto i = static_cast<float>(at % features);
        value = 0.02F * value + std::sin(0.1F * i + 0.3F * n) + 0.5F * std::cos(0.2F * i - 0.4F * b) +
                0.1F * std::sin(0.02F * i * n) * std::cos(0.05F * n * b);
        ++at;
    }

    std::printf("%-22s %15s %8s %10s %8s\n", "form", "ranks", "bytes", "energy", "error");
    std::printf("%-22s %5td %4td %4td %8zu\n", "full", batch, tokens, features, x.bytes());
    // One number decides all three ranks; halve its distance to what does not fit any more.
    double fits = 0.5;
    double too_much = 1.0;
    auto best = wasi::tensor::sequentially_truncated_hosvd(of_order<3>(x), {.ranks = Energy{fits}});
    for (int step = 0; step < 12; ++step) {
        const double middle = 0.5 * (fits + too_much);
        auto tucker = wasi::tensor::sequentially_truncated_hosvd(of_order<3>(x), {.ranks = Energy{middle}});
        if (bytes(tucker) <= budget) {
            fits = middle;
            best = std::move(tucker);
        } else {
            too_much = middle;
        }
    }
    print("truncated", best);
    // The same ranks, better bases.
    const auto refined = wasi::tensor::hooi(of_order<3>(x), {.ranks = best.info.ranks});
    print("refined (hooi)", refined);
    // A step of training later: X has changed a little, the feature basis is warm, the other modes are exact.
    for (float& value : x.span()) {
        value = 0.9F * value + 0.01F * std::sin(value);
    }
    const auto warm = wasi::tensor::warm_tucker_step(of_order<3>(x), refined.bases[2],
                                                     {.ranks = {best.info.ranks[0], best.info.ranks[1]}});
    print("warm, one step later", warm);
    // The mean of both: ranks add, and are taken back to what an error of 1% needs.
    const auto sum = wasi::tensor::add(refined, warm, {.alpha = 0.5, .beta = 0.5});
    print("mean", sum);
    const auto mean = wasi::tensor::round(sum, {.ranks = wasi::tensor::in_total<3>(wasi::linalg::Tolerance{0.01})});
    print("mean, rounded", mean);

    // The error is the truth: compare with the tensor put together again.
    wasi::Tensor<float> rest = wasi::tensor::reconstruct(warm);
    wasi::EigenStorage::add_scaled(rest.matrix(), -1.0F, 1.0F, x.matrix());
    const double lost = wasi::EigenStorage::dot(rest.matrix(), rest.matrix());
    const double error = std::sqrt(lost / wasi::EigenStorage::dot(x.matrix(), x.matrix()));
    const bool good = bytes(best) <= budget && refined.info.error <= best.info.error + 1e-5 &&
                      std::abs(warm.info.error - error) <= 0.02 * error && error < 0.1 && mean.info.error <= 0.01 &&
                      bytes(mean) < bytes(sum);
    return good ? 0 : 1;
}
