// The two subspaces in a training loop of one's own: linear regression Y = X Wᵀ by hand, no autograd.
// The weight is L R and is never multiplied out; of the input only Tucker factors are kept until the gradient is made.
#include <cmath>
#include <cstdio>
#include <utility>

#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/activation_subspace.hpp>
#include <wasi/subspace/low_rank_gradient.hpp>
#include <wasi/subspace/weight_subspace.hpp>

using wasi::Index;
using wasi::Tensor;
using S = wasi::EigenStorage;

namespace {

constexpr Index batch = 8;
constexpr Index tokens = 10;
constexpr Index inputs = 64;
constexpr Index outputs = 48;

[[nodiscard]] Tensor<float> normal(wasi::Memory& memory, wasi::Shape shape, wasi::RandomKey key)
{
    Tensor<float> result(memory, {}, shape);
    S::fill_normal(result.matrix(), key);
    return result;
}

/// C = A B as a new tensor of the given shape.
[[nodiscard]] Tensor<float> product(wasi::Memory& memory, wasi::Shape shape, wasi::ConstMatrixView<float> a,
                                    wasi::ConstMatrixView<float> b)
{
    Tensor<float> c(memory, {}, shape);
    S::multiply(c.matrix(), 1.0F, a, b, 0.0F, memory);
    return c;
}

}  // namespace

int main()
{
    wasi::Ledger memory;
    const wasi::RandomKey key(1);
    // What is to be learned has rank 4, and the inputs lie in 6 dimensions of 64.
    const auto target = product(memory, {outputs, inputs}, normal(memory, {outputs, 4}, key.derive(1)).matrix(),
                                normal(memory, {4, inputs}, key.derive(2)).matrix());
    const auto feature_space = normal(memory, {6, inputs}, key.derive(3));

    auto weight =
        wasi::subspace::WeightSubspace<float, S>::start(normal(memory, {outputs, inputs}, key.derive(4)).matrix(),
                                                        wasi::linalg::FixedRank{8}, memory, {wasi::Use::weight, 1});
    wasi::subspace::ActivationSubspace<float, S> saved_input({.ranks = {batch, tokens, 6}}, key.derive(5), memory,
                                                             {wasi::Use::weight, 1});

    double first = 0.0;
    double loss = 0.0;
    for (int step = 0; step <= 200; ++step) {
        const auto sources = normal(memory, {batch * tokens, 6}, key.derive(6, step));
        const auto x = product(memory, {batch, tokens, inputs}, sources.matrix(), feature_space.matrix());
        // Forward: Y = (X Rᵀ) Lᵀ. The error Y - X targetᵀ is the gradient of the loss, up to a factor.
        const auto inner = product(memory, {batch * tokens, weight.rank()}, x.matrix(), weight.right().transposed());
        auto error = product(memory, {batch, tokens, outputs}, inner.matrix(), weight.left().transposed());
        S::multiply(error.matrix(), -1.0F, x.matrix(), target.matrix().transposed(), 1.0F, memory);
        const auto factors = saved_input.compress(x.view<3>());  // all that need be kept of x

        loss = 0.5 * S::dot(std::as_const(error).matrix(), error.matrix()) / (batch * tokens);
        first = step == 0 ? loss : first;
        if (step % 40 == 0) {
            std::printf("step %3d  loss %10.4f  captured energy %.4f\n", step, loss, saved_input.captured_energy());
        }
        // Backward: dW = P U_3ᵀ without X and without dW, then one warm step of the weight's subspace.
        const auto p = wasi::subspace::low_rank_gradient<S, float>(std::as_const(error).view<3>(), factors, memory);
        const float rate = 0.005F / (batch * tokens);
        weight.update(rate, 0.0F, wasi::linalg::Factored<float>{p.matrix(), factors.bases[2].matrix(), true});
    }
    return std::isfinite(loss) && loss < 0.01 * first ? 0 : 1;
}
