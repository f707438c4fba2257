// Low-rank weights under the optimisers: momentum of a weight subspace, free factors as two ordinary parameters.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/filled.hpp>
#include <support/recording_sink.hpp>
#include <wasi/nn/layer_setup.hpp>
#include <wasi/optim/any_optimizer.hpp>
#include <wasi/optim/sinks.hpp>
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
namespace nn = wasi::nn;
namespace optim = wasi::optim;

constexpr Index outputs = 8;
constexpr Index inputs = 6;
constexpr Index rank = 3;

template <class T>
using Ref = nn::ParameterRef<T, EigenStorage>;
template <class T>
using Weight = nn::LinearWeight<T, EigenStorage>;
template <class T>
using Sgd = optim::Sgd<T, EigenStorage>;
template <class T>
using AdamW = optim::AdamW<T, EigenStorage>;

/// Applies what it is handed at once, with a factor.
template <class T>
class ApplySink final : public autograd::Sink<T> {
public:
    ApplySink(std::vector<Ref<T>> parameters, optim::Optimizer<T, EigenStorage>& optimizer, T rate, T scale)
        : parameters_(std::move(parameters)), optimizer_(&optimizer), rate_(rate), scale_(scale)
    {
    }
    void take(autograd::Parameter& parameter, const autograd::Gradient<T>& gradient) override
    {
        for (const Ref<T>& held : parameters_) {
            if (&held.identity() == &parameter) {
                optimizer_->apply(held, gradient, rate_, scale_);
            }
        }
    }

private:
    std::vector<Ref<T>> parameters_;
    optim::Optimizer<T, EigenStorage>* optimizer_;
    T rate_;
    T scale_;
};

/// A low-rank weight, and one gradient P Qᵀ in both of its forms.
template <class T>
struct Setup {
    wasi::Ledger memory;
    Weight<T> weight{"fc1.weight", memory, {outputs, inputs}, 2};
    Tensor<T> p = normal<T>(memory, {outputs, 2}, 3);
    Tensor<T> q = normal<T>(memory, {inputs, 2}, 4);
    Tensor<T> d_left{memory, {}, {outputs, rank}};
    Tensor<T> d_right{memory, {}, {rank, inputs}};

    explicit Setup(const nn::WeightSetup& setup)
    {
        EigenStorage::fill_normal(weight.matrix(), wasi::RandomKey(1));
        nn::set_up(weight, setup);
        REQUIRE(weight.rank() == rank);
    }
    [[nodiscard]] std::vector<Ref<T>> parameters() { return weight.form().parameters(); }
    [[nodiscard]] linalg::Factored<T> factored() const { return {p.matrix(), q.matrix(), false}; }
    /// The same gradient as partial gradients at the factors as they are.
    [[nodiscard]] linalg::FactorGradients<T> partial()
    {
        wasi::subspace::add_partial_gradients<EigenStorage, T>(d_left.matrix(), d_right.matrix(), T(0), T(1),
                                                               weight.low_rank().left(), weight.low_rank().right(),
                                                               factored(), memory);
        return {std::as_const(d_left).matrix(), std::as_const(d_right).matrix()};
    }
    /// Free factors: hands their gradients to a sink, made here, or by the weight from P Qᵀ.
    void deliver(autograd::Sink<T>& sink, bool as_partial)
    {
        if (as_partial) {
            const auto gradients = partial();
            sink.take(parameters().at(0).identity(), autograd::Dense<T>{gradients.d_left});
            sink.take(parameters().at(1).identity(), autograd::Dense<T>{gradients.d_right});
            return;
        }
        autograd::Tape<T, EigenStorage> tape(memory);
        std::vector<autograd::Parameter*> trained;
        for (const Ref<T>& parameter : parameters()) {
            trained.push_back(&parameter.identity());
        }
        const auto y = tape.record(Tensor<T>(memory, {}, {1, 1}), trained,
                                   [this](auto, auto& pass) { weight.form().deliver(factored(), pass); });
        tape.backward(y, sink);
    }
    /// One step of free factors.
    void step(optim::Optimizer<T, EigenStorage>& optimizer, T rate, T scale, bool as_partial)
    {
        ApplySink<T> sink(parameters(), optimizer, rate, scale);
        deliver(sink, as_partial);
    }
    [[nodiscard]] std::vector<double> left() const { return elements(weight.low_rank().left()); }
    [[nodiscard]] std::vector<double> right() const { return elements(weight.low_rank().right()); }
    [[nodiscard]] std::vector<double> product() const
    {
        return multiplied_out<T>({weight.low_rank().left(), weight.low_rank().right().transposed(), false});
    }
};

[[nodiscard]] nn::WeightSetup subspace()
{
    return nn::SubspaceOptions{{linalg::FixedRank{rank}, false}};
}
[[nodiscard]] nn::WeightSetup free_factors()
{
    return nn::FactorsOptions{{linalg::FixedRank{rank}, false}};
}

TEST_CASE("SGD with momentum moves a weight subspace by its velocity, whatever form the gradient has")
{
    for (const bool as_partial : {false, true}) {
        CAPTURE(as_partial);
        Setup<double> setup(subspace());
        Sgd<double> sgd({.momentum = 0.9, .weight_decay = 0.1}, setup.memory);
        auto reference = wasi::subspace::WeightSubspace<double, EigenStorage>::start(
            normal<double>(setup.memory, {outputs, inputs}, 1).matrix(), linalg::FixedRank{rank}, setup.memory, {});
        wasi::subspace::TangentVelocity<double, EigenStorage> velocity(reference, setup.memory, {});
        for (int step = 0; step < 4; ++step) {
            const auto gradient =
                as_partial ? autograd::Gradient<double>(setup.partial()) : autograd::Gradient<double>(setup.factored());
            sgd.apply(setup.parameters().at(0), gradient, 0.05, 0.5);
            velocity.step(reference, setup.factored(), {0.05, 0.9, 0.1, 0.5});
        }
        CHECK(relative_distance(setup.left(), elements(reference.left())) <= 1e-13);
        CHECK(relative_distance(setup.right(), elements(reference.right())) <= 1e-13);
        CHECK(setup.memory.of(Tag{Use::optimiser_state, 2}).current == velocity.bytes());
        CHECK(setup.weight.held_as<nn::SubspaceOptions>()->subspace().orthogonality_defect() <= 1e-14);
    }
}

TEST_CASE_TEMPLATE("free factors: SGD moves each as torch.optim.SGD would, with half the decay", T, float, double)
{
    for (const double momentum : {0.0, 0.9}) {
        for (const bool as_partial : {false, true}) {
            CAPTURE(momentum);
            CAPTURE(as_partial);
            Setup<T> setup(free_factors());
            Sgd<T> sgd({.momentum = momentum, .weight_decay = 0.4}, setup.memory);
            std::array<std::vector<double>, 2> w{setup.left(), setup.right()};
            std::array<std::vector<double>, 2> v{std::vector<double>(w[0].size()), std::vector<double>(w[1].size())};
            for (int step = 0; step < 5; ++step) {
                const auto g = setup.partial();
                const std::array<std::vector<double>, 2> gradients{elements(g.d_left), elements(g.d_right)};
                setup.step(sgd, T(0.05), T(0.5), as_partial);
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
        Setup<T> setup(free_factors());
        AdamW<T> adamw({.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 2.0}, setup.memory);
        std::array<std::vector<double>, 2> w{setup.left(), setup.right()};
        std::array<std::vector<double>, 2> m{std::vector<double>(w[0].size()), std::vector<double>(w[1].size())};
        std::array<std::vector<double>, 2> v = m;
        for (int step = 1; step <= 5; ++step) {
            const auto partial = setup.partial();
            const std::array<std::vector<double>, 2> gradients{elements(partial.d_left), elements(partial.d_right)};
            setup.step(adamw, T(0.05), T(0.5), as_partial);
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
        Setup<double> setup(free_factors());
        std::ranges::fill(setup.p.span(), 0.0);
        const auto before = setup.product();
        auto optimizer = make(setup.memory);
        setup.step(*optimizer, rate, 1.0, false);
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
    Setup<double> setup(free_factors());
    const auto partial = setup.partial();
    double wanted = 0.0;
    for (const auto& g : {elements(partial.d_left), elements(partial.d_right)}) {
        for (const double value : g) {
            wanted += value * value;
        }
    }
    Sgd<double> sgd({}, setup.memory);
    for (const bool as_partial : {false, true}) {
        optim::CollectSink<double, EigenStorage> sink(setup.parameters(), sgd, setup.memory, 0.0, false);
        sink.begin(0.0);
        setup.deliver(sink, as_partial);
        sink.end();
        CHECK(sink.norm() == doctest::Approx(std::sqrt(wanted)).epsilon(1e-13));
    }
}

TEST_CASE("free factors: micro-batches add up, and the step is that of the sum")
{
    Setup<double> one(free_factors());
    Setup<double> two(free_factors());
    Sgd<double> sgd({.momentum = 0.9}, one.memory);
    Sgd<double> collected({.momentum = 0.9}, two.memory);
    optim::CollectSink<double, EigenStorage> sink(two.parameters(), collected, two.memory, 0.0, true);
    const auto before = two.left();
    sink.begin(0.05);
    two.deliver(sink, false);
    two.deliver(sink, true);
    CHECK(two.left() == before);
    sink.end();
    one.step(sgd, 0.05, 2.0, false);
    CHECK(relative_distance(two.left(), one.left()) <= 1e-14);
    CHECK(relative_distance(two.right(), one.right()) <= 1e-14);
}

TEST_CASE("free factors: two dense parameters, named after the weight, with half of the decay each")
{
    Setup<double> setup(free_factors());
    const auto parameters = setup.parameters();
    REQUIRE(parameters.size() == 2);
    CHECK(parameters[0].name() == "fc1.weight.left");
    CHECK(parameters[1].name() == "fc1.weight.right");
    for (const Ref<double>& parameter : parameters) {
        CHECK(parameter.subspace() == nullptr);
        REQUIRE(parameter.dense() != nullptr);
        CHECK(parameter.dense()->decay_share == 0.5);
        CHECK(parameter.state_tag().layer == 2);
    }
}

TEST_CASE("free factors: gradients and decays that cannot be are refused")
{
    Setup<double> setup(free_factors());
    const Ref<double> left = setup.parameters().at(0);
    Sgd<double> sgd({.momentum = 0.9}, setup.memory);
    AdamW<double> adamw({.weight_decay = 11.0}, setup.memory);
    const auto before = setup.left();
    const auto of_weight = normal<double>(setup.memory, {outputs, inputs}, 9);
    CHECK_THROWS_AS(sgd.apply(left, autograd::Dense<double>{of_weight.matrix()}, 0.1, 1.0), wasi::shape_error);
    CHECK_THROWS_AS(adamw.apply(left, autograd::Dense<double>{of_weight.matrix()}, 0.01, 1.0), wasi::shape_error);
    const autograd::Dense<double> of_right{std::as_const(setup.d_right).matrix()};
    CHECK_THROWS_AS(sgd.apply(left, of_right, 0.1, 1.0), wasi::shape_error);
    CHECK_THROWS_WITH_AS(sgd.apply(left, setup.partial(), 0.1, 1.0), "Sgd: factor gradients for a dense parameter",
                         wasi::argument_error);
    CHECK_THROWS_WITH_AS(adamw.apply(left, autograd::Dense<double>{setup.partial().d_left}, 0.1, 1.0),
                         "AdamW: rate 0.1 times weight_decay 11 is above 1", wasi::argument_error);
    CHECK(setup.left() == before);
}

}  // namespace
