// Activations of a layer, (batch, tokens, features), in Tucker form: a small core and one basis for each mode.
#include <cmath>
#include <cstdio>
#include <utility>

#include <wasi/storage/eigen.hpp>
#include <wasi/tensor/hosvd.hpp>
#include <wasi/tensor/warm_tucker.hpp>

using wasi::EigenStorage;
using wasi::linalg::Energy;

int main()
{
    constexpr wasi::Index batch = 16;
    constexpr wasi::Index tokens = 20;
    constexpr wasi::Index features = 64;
    wasi::Ledger ledger;
    wasi::Tensor<float> x(ledger, {wasi::Use::saved_input, 1}, {batch, tokens, features});
    // Smooth along every mode, with a little noise.
    EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(3));
    wasi::Index at = 0;
    for (float& value : x.span()) {
        const auto b = static_cast<float>(at / (tokens * features));
        const auto n = static_cast<float>(at / features % tokens);
        const auto i = static_cast<float>(at % features);
        value = 0.02F * value + std::sin(0.1F * i + 0.3F * n) + 0.5F * std::cos(0.2F * i - 0.4F * b);
        ++at;
    }
    const auto view = std::as_const(x).view<3>();
    const auto exact =
        wasi::tensor::hosvd<EigenStorage, float, 3>(view, {Energy{0.99}, Energy{0.99}, Energy{0.99}}, ledger);
    // The next step starts from the feature basis of the last one.
    const auto warm = wasi::tensor::warm_tucker_step<EigenStorage, float>(view, exact.bases[2].matrix(), Energy{0.99},
                                                                          Energy{0.99}, ledger);

    std::printf("%-10s %14s %8s %12s %10s\n", "form", "ranks", "bytes", "compression", "energy");
    std::printf("%-10s %14s %8zu\n", "full", "", x.bytes());
    bool good = true;
    for (const auto* tucker : {&exact, &warm}) {
        const auto ranks = tucker->ranks();
        std::printf("%-10s %5td %4td %4td %7zu %11.1fx %9.2f%%\n", tucker == &exact ? "HOSVD" : "warm step", ranks[0],
                    ranks[1], ranks[2], tucker->bytes(),
                    static_cast<double>(x.bytes()) / static_cast<double>(tucker->bytes()),
                    100.0 * tucker->captured_energy);
        // The energy that is reported is the truth: compare with the tensor put together again.
        wasi::Tensor<float> rest = wasi::tensor::reconstruct<EigenStorage, float, 3>(*tucker, ledger);
        EigenStorage::add_scaled(rest.matrix(), -1.0F, 1.0F, x.matrix());
        const double lost = EigenStorage::dot(rest.matrix(), rest.matrix()) / EigenStorage::dot(x.matrix(), x.matrix());
        good = good && std::abs(tucker->captured_energy - (1.0 - lost)) < 1e-4 && lost < 0.03 &&
               10 * tucker->bytes() < x.bytes();
    }
    return good ? 0 : 1;
}
