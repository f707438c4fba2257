// SGD and AdamW on single parameters, against plain loops written from the definitions.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
using namespace wasi_tests;
namespace autograd = wasi::autograd;
namespace linalg = wasi::linalg;
namespace optim = wasi::optim;

template <class T>
using Ref = nn::ParameterRef<T, EigenStorage>;
template <class T>
using Weight = wasi::nn::LinearWeight<T, EigenStorage>;

template <class T>
[[nodiscard]] Tensor<T> normal(wasi::Memory& memory, Shape shape, std::uint64_t seed)
{
    Tensor<T> result(memory, {}, shape);
    EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
    return result;
}

TEST_CASE_TEMPLATE("SGD: momentum and decay as torch.optim.SGD defines them", T, float, double)
{
    for (const double momentum : {0.0, 0.9}) {
        CAPTURE(momentum);
        wasi::Ledger memory;
        Weight<T> weight("w", memory, {4, 3}, 2);
        weight.dense() = normal<T>(memory, {4, 3}, 1);
        optim::Sgd<T, EigenStorage> sgd({.momentum = momentum, .weight_decay = 0.1}, memory);
        std::vector<double> w = elements(std::as_const(weight).matrix());
        std::vector<double> velocity(12, 0.0);
        for (std::uint64_t step = 0; step < 5; ++step) {
            const auto g = normal<T>(memory, {4, 3}, 10 + step);
            sgd.apply(Ref<T>(weight), autograd::Dense<T>{g.matrix()}, T(0.05), T(0.5));
            for (std::size_t i = 0; i < 12; ++i) {
                velocity[i] = momentum * velocity[i] + 0.5 * static_cast<double>(g.data()[i]) + 0.1 * w[i];
                w[i] -= 0.05 * velocity[i];
            }
        }
        CHECK(relative_distance(weight.dense().span(), w) <= 20.0 * static_cast<double>(wasi::epsilon<T>));
        CHECK(memory.of(Tag{Use::optimiser_state, 2}).current == (momentum > 0.0 ? 12 * sizeof(T) : 0));
    }
}

TEST_CASE_TEMPLATE("AdamW: as torch.optim.AdamW defines it", T, float, double)
{
    wasi::Ledger memory;
    Weight<T> weight("w", memory, {4, 3}, 2);
    weight.dense() = normal<T>(memory, {4, 3}, 1);
    optim::AdamW<T, EigenStorage> adamw({.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.1}, memory);
    std::vector<double> w = elements(std::as_const(weight).matrix());
    std::vector<double> m(12, 0.0);
    std::vector<double> v(12, 0.0);
    for (int step = 1; step <= 5; ++step) {
        const auto gradient = normal<T>(memory, {4, 3}, 10 + static_cast<std::uint64_t>(step));
        adamw.apply(Ref<T>(weight), autograd::Dense<T>{gradient.matrix()}, T(0.05), T(0.5));
        for (std::size_t i = 0; i < 12; ++i) {
            const double g = 0.5 * static_cast<double>(gradient.data()[i]);
            m[i] = 0.8 * m[i] + 0.2 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            w[i] -= 0.05 * 0.1 * w[i];
            w[i] -=
                0.05 * (m[i] / (1.0 - std::pow(0.8, step))) / (std::sqrt(v[i] / (1.0 - std::pow(0.95, step))) + 1e-3);
        }
    }
    CHECK(relative_distance(weight.dense().span(), w) <= 20.0 * static_cast<double>(wasi::epsilon<T>));
    CHECK(memory.of(Tag{Use::optimiser_state, 2}).current == 2 * 12 * sizeof(T));
}

TEST_CASE("a dense weight takes a factored gradient as its product")
{
    wasi::Ledger memory;
    const auto p = normal<double>(memory, {6, 2}, 3);
    const auto q = normal<double>(memory, {5, 2}, 4);
    const linalg::Factored<double> factored{p.matrix(), q.matrix(), false};
    const auto product = multiplied_out(factored);
    const auto check = [&](optim::Optimizer<double, EigenStorage>& one, optim::Optimizer<double, EigenStorage>& other) {
        Weight<double> a("a", memory, {6, 5}, 1);
        Weight<double> b("b", memory, {6, 5}, 1);
        a.dense() = normal<double>(memory, {6, 5}, 1);
        b.dense() = normal<double>(memory, {6, 5}, 1);
        for (int step = 0; step < 3; ++step) {
            one.apply(Ref<double>(a), factored, 0.1, 0.7);
            other.apply(Ref<double>(b),
                        autograd::Dense<double>{wasi::ConstMatrixView<double>::row_major(product.data(), 6, 5)}, 0.1,
                        0.7);
        }
        CHECK(relative_distance(a.dense().span(), b.dense().span()) <= 1e-13);
    };
    for (const double momentum : {0.0, 0.9}) {
        optim::Sgd<double, EigenStorage> one({.momentum = momentum, .weight_decay = 0.1}, memory);
        optim::Sgd<double, EigenStorage> other({.momentum = momentum, .weight_decay = 0.1}, memory);
        check(one, other);
    }
    optim::AdamW<double, EigenStorage> one({}, memory);
    optim::AdamW<double, EigenStorage> other({}, memory);
    check(one, other);
}

TEST_CASE("a low-rank weight is moved by its subspace's own step, decay as shrink")
{
    wasi::Ledger memory;
    Weight<double> weight("w", memory, {8, 6}, 1);
    weight.dense() = normal<double>(memory, {8, 6}, 1);
    REQUIRE(weight.factorize(linalg::FixedRank{3}, false));
    const auto p = normal<double>(memory, {8, 2}, 3);
    const auto q = normal<double>(memory, {6, 2}, 4);
    const linalg::Factored<double> factored{p.matrix(), q.matrix(), false};
    auto reference = wasi::subspace::WeightSubspace<double, EigenStorage>::start(
        normal<double>(memory, {8, 6}, 1).matrix(), linalg::FixedRank{3}, memory, {});
    optim::Sgd<double, EigenStorage> sgd({.weight_decay = 0.1}, memory);
    sgd.apply(Ref<double>(weight), factored, 0.05, 0.5);
    reference.update(0.05 * 0.5, 0.05 * 0.1, factored);
    CHECK(relative_distance(elements(weight.low_rank().left()), elements(reference.left())) <= 1e-14);
    CHECK(relative_distance(elements(weight.low_rank().right()), elements(reference.right())) <= 1e-14);
    const auto d_left = normal<double>(memory, {8, 3}, 5);
    const auto d_right = normal<double>(memory, {3, 6}, 6);
    const linalg::FactorGradients<double> factors{d_left.matrix(), d_right.matrix()};
    sgd.apply(Ref<double>(weight), factors, 0.05, 0.5);
    reference.update(0.05 * 0.5, 0.05 * 0.1, factors);
    CHECK(relative_distance(elements(weight.low_rank().left()), elements(reference.left())) <= 1e-14);
    CHECK(relative_distance(elements(weight.low_rank().right()), elements(reference.right())) <= 1e-14);
}

TEST_CASE("what cannot be is refused, and names the weight")
{
    wasi::Ledger memory;
    Weight<double> low("fc1.weight", memory, {8, 6}, 1);
    low.dense() = normal<double>(memory, {8, 6}, 1);
    REQUIRE(low.factorize(linalg::FixedRank{3}, false));
    Weight<double> dense("fc2.weight", memory, {8, 6}, 1);
    dense.dense() = normal<double>(memory, {8, 6}, 1);
    const auto g = normal<double>(memory, {8, 6}, 2);
    const auto d_left = normal<double>(memory, {8, 3}, 5);
    const auto d_right = normal<double>(memory, {3, 6}, 6);
    const linalg::FactorGradients<double> factors{d_left.matrix(), d_right.matrix()};
    optim::Sgd<double, EigenStorage> plain({}, memory);
    optim::Sgd<double, EigenStorage> momentum({.momentum = 0.9}, memory);
    optim::AdamW<double, EigenStorage> adamw({}, memory);
    const auto before = elements(low.low_rank().left());
    CHECK_THROWS_WITH_AS(momentum.apply(Ref<double>(low), autograd::Dense<double>{g.matrix()}, 0.1, 1.0),
                         "Sgd: a dense gradient for the low-rank weight fc1.weight", wasi::argument_error);
    CHECK_THROWS_WITH_AS(adamw.apply(Ref<double>(low), factors, 0.1, 1.0),
                         "AdamW: the low-rank weight fc1.weight cannot be trained by AdamW (its moments would be "
                         "dense); use SGD, or free factors",
                         wasi::argument_error);
    CHECK_THROWS_AS(plain.apply(Ref<double>(low), autograd::Dense<double>{g.matrix()}, 0.1, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(plain.apply(Ref<double>(dense), factors, 0.1, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(adamw.apply(Ref<double>(dense), factors, 0.1, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(plain.apply(Ref<double>(dense), autograd::Dense<double>{d_left.matrix()}, 0.1, 1.0),
                    wasi::shape_error);
    CHECK_THROWS_AS((void)Ref<double>(low).dense(), wasi::argument_error);
    CHECK(elements(low.low_rank().left()) == before);

    const double nan = std::numeric_limits<double>::quiet_NaN();
    const auto sgd = [&](optim::SgdOptions options) { optim::Sgd<double, EigenStorage>(options, memory); };
    CHECK_THROWS_WITH_AS(sgd({.momentum = 1.0}), "Sgd: momentum must be in [0, 1), got 1", wasi::argument_error);
    CHECK_THROWS_AS(sgd({.momentum = -0.1}), wasi::argument_error);
    CHECK_THROWS_AS(sgd({.momentum = nan}), wasi::argument_error);
    CHECK_THROWS_AS(sgd({.weight_decay = -1.0}), wasi::argument_error);
    CHECK_THROWS_AS(sgd({.weight_decay = nan}), wasi::argument_error);
    const auto adam = [&](optim::AdamWOptions options) { optim::AdamW<double, EigenStorage>(options, memory); };
    CHECK_THROWS_AS(adam({.beta1 = 1.0}), wasi::argument_error);
    CHECK_THROWS_AS(adam({.beta2 = -0.1}), wasi::argument_error);
    CHECK_THROWS_AS(adam({.epsilon = 0.0}), wasi::argument_error);
    CHECK_THROWS_AS(adam({.weight_decay = nan}), wasi::argument_error);
}

}  // namespace
