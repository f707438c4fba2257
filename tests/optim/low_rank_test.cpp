// Low-rank weights under the optimisers: momentum of a weight subspace, free factors as two ordinary parameters.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/recording_sink.hpp>
#include <wasi/optim/sinks.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
using wasi::nn::LowRankForm;
using namespace wasi_tests;
namespace autograd = wasi::autograd;
namespace linalg = wasi::linalg;
namespace optim = wasi::optim;

constexpr Index outputs = 8;
constexpr Index inputs = 6;
constexpr Index rank = 3;

template <class T>
using Ref = nn::ParameterRef<T, EigenStorage>;
template <class T>
using Weight = wasi::nn::LinearWeight<T, EigenStorage>;
template <class T>
using Sgd = optim::Sgd<T, EigenStorage>;
template <class T>
using AdamW = optim::AdamW<T, EigenStorage>;

template <class T>
[[nodiscard]] Tensor<T> normal(wasi::Memory& memory, Shape shape, std::uint64_t seed)
{
    Tensor<T> result(memory, {}, shape);
    EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
    return result;
}

/// A low-rank weight, and one gradient P Qᵀ in both of its forms.
template <class T>
struct Setup {
    wasi::Ledger memory;
    Weight<T> weight{"fc1.weight", memory, {outputs, inputs}, 2};
    Tensor<T> p = normal<T>(memory, {outputs, 2}, 3);
    Tensor<T> q = normal<T>(memory, {inputs, 2}, 4);
    Tensor<T> d_left{memory, {}, {outputs, rank}};
    Tensor<T> d_right{memory, {}, {rank, inputs}};

    explicit Setup(LowRankForm form)
    {
        weight.dense() = normal<T>(memory, {outputs, inputs}, 1);
        REQUIRE(weight.factorize(linalg::FixedRank{rank}, false, form));
    }
    [[nodiscard]] linalg::Factored<T> factored() const { return {p.matrix(), q.matrix(), false}; }
    /// The same gradient as partial gradients at the factors as they are.
    [[nodiscard]] linalg::FactorGradients<T> partial()
    {
        wasi::subspace::add_partial_gradients<EigenStorage, T>(d_left.matrix(), d_right.matrix(), T(0), T(1),
                                                               weight.low_rank().left(), weight.low_rank().right(),
                                                               factored(), memory);
        return {std::as_const(d_left).matrix(), std::as_const(d_right).matrix()};
    }
    [[nodiscard]] autograd::Gradient<T> gradient(bool as_partial)
    {
        return as_partial ? autograd::Gradient<T>(partial()) : autograd::Gradient<T>(factored());
    }
    [[nodiscard]] std::vector<double> left() const { return elements(weight.low_rank().left()); }
    [[nodiscard]] std::vector<double> right() const { return elements(weight.low_rank().right()); }
    [[nodiscard]] std::vector<double> product() const
    {
        return multiplied_out<T>({weight.low_rank().left(), weight.low_rank().right().transposed(), false});
    }
};

TEST_CASE("SGD with momentum moves a weight subspace by its velocity, whatever form the gradient has")
{
    for (const bool as_partial : {false, true}) {
        CAPTURE(as_partial);
        Setup<double> setup(LowRankForm::subspace);
        Sgd<double> sgd({.momentum = 0.9, .weight_decay = 0.1}, setup.memory);
        auto reference = wasi::subspace::WeightSubspace<double, EigenStorage>::start(
            normal<double>(setup.memory, {outputs, inputs}, 1).matrix(), linalg::FixedRank{rank}, setup.memory, {});
        wasi::subspace::TangentVelocity<double, EigenStorage> velocity(reference, setup.memory, {});
        for (int step = 0; step < 4; ++step) {
            sgd.apply(Ref<double>(setup.weight), setup.gradient(as_partial), 0.05, 0.5);
            velocity.step(reference, setup.factored(), {0.05, 0.9, 0.1, 0.5});
        }
        CHECK(relative_distance(setup.left(), elements(reference.left())) <= 1e-13);
        CHECK(relative_distance(setup.right(), elements(reference.right())) <= 1e-13);
        CHECK(setup.memory.of(Tag{Use::optimiser_state, 2}).current == velocity.bytes());
        CHECK(setup.weight.weight_subspace()->orthogonality_defect() <= 1e-14);
    }
}

TEST_CASE_TEMPLATE("free factors: SGD moves each as torch.optim.SGD would, with half the decay", T, float, double)
{
    for (const double momentum : {0.0, 0.9}) {
        for (const bool as_partial : {false, true}) {
            CAPTURE(momentum);
            CAPTURE(as_partial);
            Setup<T> setup(LowRankForm::free_factors);
            Sgd<T> sgd({.momentum = momentum, .weight_decay = 0.4}, setup.memory);
            std::array<std::vector<double>, 2> w{setup.left(), setup.right()};
            std::array<std::vector<double>, 2> v{std::vector<double>(w[0].size()), std::vector<double>(w[1].size())};
            for (int step = 0; step < 5; ++step) {
                const auto g = setup.partial();
                const std::array<std::vector<double>, 2> gradients{elements(g.d_left), elements(g.d_right)};
                sgd.apply(Ref<T>(setup.weight), setup.gradient(as_partial), T(0.05), T(0.5));
                for (std::size_t f = 0; f < 2; ++f) {
                    for (std::size_t i = 0; i < w[f].size(); ++i) {
                        v[f][i] = momentum * v[f][i] + 0.5 * gradients[f][i] + 0.2 * w[f][i];
                        w[f][i] -= 0.05 * v[f][i];
                    }
                }
            }
            CHECK(relative_distance(setup.left(), w[0]) <= 20.0 * static_cast<double>(wasi::epsilon<T>));
            CHECK(relative_distance(setup.right(), w[1]) <= 20.0 * static_cast<double>(wasi::epsilon<T>));
            CHECK(setup.memory.of(Tag{Use::optimiser_state, 2}).current == (momentum > 0.0 ? setup.weight.bytes() : 0));
        }
    }
}

TEST_CASE_TEMPLATE("free factors: AdamW moves each as torch.optim.AdamW would, with the root of the decay", T, float,
                   double)
{
    for (const bool as_partial : {false, true}) {
        CAPTURE(as_partial);
        Setup<T> setup(LowRankForm::free_factors);
        AdamW<T> adamw({.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 2.0}, setup.memory);
        std::array<std::vector<double>, 2> w{setup.left(), setup.right()};
        std::array<std::vector<double>, 2> m{std::vector<double>(w[0].size()), std::vector<double>(w[1].size())};
        std::array<std::vector<double>, 2> v = m;
        for (int step = 1; step <= 5; ++step) {
            const auto partial = setup.partial();
            const std::array<std::vector<double>, 2> gradients{elements(partial.d_left), elements(partial.d_right)};
            adamw.apply(Ref<T>(setup.weight), setup.gradient(as_partial), T(0.05), T(0.5));
            for (std::size_t f = 0; f < 2; ++f) {
                for (std::size_t i = 0; i < w[f].size(); ++i) {
                    const double g = 0.5 * gradients[f][i];
                    m[f][i] = 0.8 * m[f][i] + 0.2 * g;
                    v[f][i] = 0.95 * v[f][i] + 0.05 * g * g;
                    w[f][i] *= std::sqrt(1.0 - 0.05 * 2.0);
                    w[f][i] -= 0.05 * (m[f][i] / (1.0 - std::pow(0.8, step))) /
                               (std::sqrt(v[f][i] / (1.0 - std::pow(0.95, step))) + 1e-3);
                }
            }
        }
        CHECK(relative_distance(setup.left(), w[0]) <= 50.0 * static_cast<double>(wasi::epsilon<T>));
        CHECK(relative_distance(setup.right(), w[1]) <= 50.0 * static_cast<double>(wasi::epsilon<T>));
        CHECK(setup.memory.of(Tag{Use::optimiser_state, 2}).current == 2 * setup.weight.bytes());
    }
}

TEST_CASE("free factors without a gradient: the product decays as a dense weight does")
{
    const auto share_left = [](auto make, double rate) {
        Setup<double> setup(LowRankForm::free_factors);
        setup.p.fill(0.0);
        const auto before = setup.product();
        auto optimizer = make(setup.memory);
        optimizer->apply(Ref<double>(setup.weight), setup.factored(), rate, 1.0);
        const auto after = setup.product();
        const double share = after[0] / before[0];
        for (std::size_t i = 0; i < before.size(); ++i) {
            CHECK(after[i] == doctest::Approx(share * before[i]).epsilon(1e-12));
        }
        return share;
    };
    const auto adamw = [](wasi::Memory& memory) {
        return std::make_unique<AdamW<double>>(optim::AdamWOptions{.weight_decay = 0.5}, memory);
    };
    const auto sgd = [](wasi::Memory& memory) {
        return std::make_unique<Sgd<double>>(optim::SgdOptions{.weight_decay = 0.5}, memory);
    };
    CHECK(share_left(adamw, 0.1) == doctest::Approx(1.0 - 0.1 * 0.5).epsilon(1e-13));
    CHECK(share_left(adamw, 2.0) == doctest::Approx(0.0));
    CHECK(share_left(sgd, 0.1) == doctest::Approx(std::pow(1.0 - 0.1 * 0.25, 2)).epsilon(1e-13));
}

TEST_CASE("free factors: the clip norm is that of both gradients together, in either form")
{
    Setup<double> setup(LowRankForm::free_factors);
    const auto partial = setup.partial();
    double wanted = 0.0;
    for (const auto& g : {elements(partial.d_left), elements(partial.d_right)}) {
        for (const double value : g) {
            wanted += value * value;
        }
    }
    const Ref<double> parameter(setup.weight);
    for (const bool as_partial : {false, true}) {
        CHECK(optim::squared_norm<double, EigenStorage>(parameter, setup.gradient(as_partial), setup.memory) ==
              doctest::Approx(wanted).epsilon(1e-13));
    }
}

TEST_CASE("free factors: micro-batches add up, and the step is that of the sum")
{
    Setup<double> one(LowRankForm::free_factors);
    Setup<double> two(LowRankForm::free_factors);
    Sgd<double> sgd({.momentum = 0.9}, one.memory);
    const std::vector<Ref<double>> parameters{Ref<double>(two.weight)};
    optim::CollectSink<double, EigenStorage> sink(parameters, sgd, two.memory, 0.0, true);
    const auto before = two.left();
    sink.take(two.weight, two.factored());
    sink.take(two.weight, two.factored());
    CHECK(two.left() == before);
    (void)sink.finish(0.05);
    sgd.apply(Ref<double>(one.weight), one.factored(), 0.05, 2.0);
    CHECK(relative_distance(two.left(), one.left()) <= 1e-14);
    CHECK(relative_distance(two.right(), one.right()) <= 1e-14);
}

TEST_CASE("free factors: gradients and decays that cannot be are refused")
{
    Setup<double> setup(LowRankForm::free_factors);
    const Ref<double> parameter(setup.weight);
    CHECK(parameter.weight_subspace() == nullptr);
    CHECK_THROWS_AS((void)parameter.dense(), wasi::argument_error);
    Sgd<double> sgd({.momentum = 0.9}, setup.memory);
    AdamW<double> adamw({.weight_decay = 11.0}, setup.memory);
    const auto before = setup.left();
    const auto dense = normal<double>(setup.memory, {outputs, inputs}, 9);
    const linalg::FactorGradients<double> swapped{std::as_const(setup.d_right).matrix(),
                                                  std::as_const(setup.d_left).matrix()};
    CHECK_THROWS_WITH_AS(sgd.apply(parameter, autograd::Dense<double>{dense.matrix()}, 0.1, 1.0),
                         "optimiser: a dense gradient for the low-rank weight fc1.weight", wasi::argument_error);
    CHECK_THROWS_AS(adamw.apply(parameter, autograd::Dense<double>{dense.matrix()}, 0.01, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(sgd.apply(parameter, swapped, 0.1, 1.0), wasi::shape_error);
    CHECK_THROWS_WITH_AS(adamw.apply(parameter, setup.factored(), 0.1, 1.0),
                         "AdamW: rate 0.1 times weight_decay 11 is above 1", wasi::argument_error);
    CHECK(setup.left() == before);
}

}  // namespace
