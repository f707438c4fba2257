// SGD and AdamW on single parameters, against plain loops written from the definitions.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/recording_sink.hpp>
#include <wasi/nn/layer_setup.hpp>
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

namespace nn = wasi::nn;

template <class T>
using Weight = nn::LinearWeight<T, EigenStorage>;

/// The one parameter of a weight that is dense or a subspace.
template <class T>
[[nodiscard]] nn::ParameterRef<T, EigenStorage> ref(Weight<T>& weight)
{
    return weight.form().parameters().at(0);
}

/// In place, so that the values are booked under the weight's layer.
template <class T>
void fill(Weight<T>& weight, std::uint64_t seed)
{
    EigenStorage::fill_normal(weight.matrix(), wasi::RandomKey(seed));
}

void make_low_rank(Weight<double>& weight, Index rank)
{
    nn::set_up(weight, nn::WeightSetup(nn::SubspaceOptions{{linalg::FixedRank{rank}, false}}));
    REQUIRE(weight.is_low_rank());
}

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
        fill(weight, 1);
        optim::Sgd<T, EigenStorage> sgd({.momentum = momentum, .weight_decay = 0.1}, memory);
        std::vector<double> w = elements(std::as_const(weight).matrix());
        std::vector<double> velocity(12, 0.0);
        for (std::uint64_t step = 0; step < 5; ++step) {
            const auto g = normal<T>(memory, {4, 3}, 10 + step);
            sgd.apply(ref(weight), autograd::Dense<T>{g.matrix()}, T(0.05), T(0.5));
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
    fill(weight, 1);
    optim::AdamW<T, EigenStorage> adamw({.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.1}, memory);
    std::vector<double> w = elements(std::as_const(weight).matrix());
    std::vector<double> m(12, 0.0);
    std::vector<double> v(12, 0.0);
    for (int step = 1; step <= 5; ++step) {
        const auto gradient = normal<T>(memory, {4, 3}, 10 + static_cast<std::uint64_t>(step));
        adamw.apply(ref(weight), autograd::Dense<T>{gradient.matrix()}, T(0.05), T(0.5));
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
        fill(a, 1);
        fill(b, 1);
        for (int step = 0; step < 3; ++step) {
            one.apply(ref(a), factored, 0.1, 0.7);
            other.apply(ref(b), autograd::Dense<double>{wasi::ConstMatrixView<double>::row_major(product.data(), 6, 5)},
                        0.1, 0.7);
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
    fill(weight, 1);
    make_low_rank(weight, 3);
    const auto p = normal<double>(memory, {8, 2}, 3);
    const auto q = normal<double>(memory, {6, 2}, 4);
    const linalg::Factored<double> factored{p.matrix(), q.matrix(), false};
    auto reference = wasi::subspace::WeightSubspace<double, EigenStorage>::start(
        normal<double>(memory, {8, 6}, 1).matrix(), linalg::FixedRank{3}, memory, {});
    optim::Sgd<double, EigenStorage> sgd({.weight_decay = 0.1}, memory);
    sgd.apply(ref(weight), factored, 0.05, 0.5);
    reference.update(0.05 * 0.5, 0.05 * 0.1, factored);
    CHECK(relative_distance(elements(weight.low_rank().left()), elements(reference.left())) <= 1e-14);
    CHECK(relative_distance(elements(weight.low_rank().right()), elements(reference.right())) <= 1e-14);
    const auto d_left = normal<double>(memory, {8, 3}, 5);
    const auto d_right = normal<double>(memory, {3, 6}, 6);
    const linalg::FactorGradients<double> factors{d_left.matrix(), d_right.matrix()};
    sgd.apply(ref(weight), factors, 0.05, 0.5);
    reference.update(0.05 * 0.5, 0.05 * 0.1, factors);
    CHECK(relative_distance(elements(weight.low_rank().left()), elements(reference.left())) <= 1e-14);
    CHECK(relative_distance(elements(weight.low_rank().right()), elements(reference.right())) <= 1e-14);
}

TEST_CASE("what cannot be is refused, and names the weight")
{
    wasi::Ledger memory;
    Weight<double> low("fc1.weight", memory, {8, 6}, 1);
    fill(low, 1);
    make_low_rank(low, 3);
    Weight<double> dense("fc2.weight", memory, {8, 6}, 1);
    fill(dense, 1);
    const auto g = normal<double>(memory, {8, 6}, 2);
    const auto d_left = normal<double>(memory, {8, 3}, 5);
    const auto d_right = normal<double>(memory, {3, 6}, 6);
    const linalg::FactorGradients<double> factors{d_left.matrix(), d_right.matrix()};
    optim::Sgd<double, EigenStorage> plain({}, memory);
    optim::Sgd<double, EigenStorage> momentum({.momentum = 0.9}, memory);
    optim::AdamW<double, EigenStorage> adamw({}, memory);
    const auto before = elements(low.low_rank().left());
    CHECK_THROWS_WITH_AS(momentum.apply(ref(low), autograd::Dense<double>{g.matrix()}, 0.1, 1.0),
                         "Sgd: a dense gradient for the low-rank weight fc1.weight", wasi::argument_error);
    CHECK_THROWS_WITH_AS(adamw.apply(ref(low), factors, 0.1, 1.0),
                         "AdamW: the low-rank weight fc1.weight cannot be trained by AdamW (its moments would be "
                         "dense); use SGD, or free factors",
                         wasi::argument_error);
    CHECK_THROWS_AS(plain.apply(ref(low), autograd::Dense<double>{g.matrix()}, 0.1, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(plain.apply(ref(dense), factors, 0.1, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(adamw.apply(ref(dense), factors, 0.1, 1.0), wasi::argument_error);
    CHECK_THROWS_AS(plain.apply(ref(dense), autograd::Dense<double>{d_left.matrix()}, 0.1, 1.0), wasi::shape_error);
    CHECK(ref(low).dense() == nullptr);
    CHECK(ref(dense).subspace() == nullptr);
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

TEST_CASE("options make the optimiser that they name, with their numbers")
{
    wasi::Ledger memory;
    const auto g = normal<double>(memory, {4, 3}, 2);
    const auto moved = [&](auto& optimizer) {
        autograd::DenseParameter<double> parameter("w", normal<double>(memory, {4, 3}, 1));
        for (int step = 0; step < 2; ++step) {
            optimizer.apply(nn::ParameterRef<double, EigenStorage>(parameter), autograd::Dense<double>{g.matrix()}, 0.1,
                            1.0);
        }
        return elements(std::as_const(parameter.values).matrix());
    };
    const auto check = [&]<class Made>(const optim::OptimizerOptions& options, Made wanted, std::string_view name) {
        CHECK(optim::name_of(options) == name);
        const auto made = optim::make_optimizer<double, EigenStorage>(options, memory);
        CHECK(moved(*made) == moved(*wanted));
    };
    const optim::SgdOptions sgd{.momentum = 0.9, .weight_decay = 0.1};
    const optim::AdamWOptions adamw{.beta1 = 0.5, .weight_decay = 0.3};
    check(sgd, std::make_unique<optim::Sgd<double, EigenStorage>>(sgd, memory), "sgd");
    check(adamw, std::make_unique<optim::AdamW<double, EigenStorage>>(adamw, memory), "adamw");
    const optim::GaloreOptions galore{.rank = 1, .refresh_every = 1, .weight_decay = 0.3};
    check(galore, std::make_unique<optim::Galore<double, EigenStorage>>(galore, memory), "galore");
    const optim::MofasgdOptions mofasgd{.rank = 1, .beta = 0.5, .weight_decay = 0.3};
    check(mofasgd, std::make_unique<optim::Mofasgd<double, EigenStorage>>(mofasgd, memory), "mofasgd");
    const auto refreshed = optim::refreshing(optim::GaloreOptions{.rank = 1, .weight_decay = 0.3});
    CHECK(std::get<optim::GaloreOptions>(refreshed).refresh_every == 1);
    CHECK(std::get<optim::GaloreOptions>(refreshed).rank == 1);
    CHECK(std::get<optim::AdamWOptions>(optim::refreshing(adamw)).beta1 == 0.5);
    CHECK_THROWS_AS((void)(optim::make_optimizer<double, EigenStorage>(optim::SgdOptions{.momentum = 2.0}, memory)),
                    wasi::argument_error);
}

[[nodiscard]] Tensor<float> zeros(wasi::Memory& memory, Shape shape)
{
    Tensor<float> result(memory, {}, shape);
    EigenStorage::fill(result.matrix(), 0.0F);
    return result;
}

/// What a step with a gradient of zero takes of weights in [1, 2), as a share of rate lambda times the weights.
template <class Options>
[[nodiscard]] double decayed_share(const Options& options, double rate)
{
    wasi::Ledger memory;
    autograd::DenseParameter<float> w("w", Tensor<float>(memory, {}, {64, 64}));
    for (Index i = 0; i < 4096; ++i) {
        w.values.span()[static_cast<std::size_t>(i)] = 1.0F + static_cast<float>((i * 2654435761LL) % 4096) / 4096.0F;
    }
    const double before = EigenStorage::dot(std::as_const(w.values).matrix(), std::as_const(w.values).matrix());
    const Tensor<float> zero = zeros(memory, Shape{64, 64});
    const auto optimizer = optim::make_optimizer<float, EigenStorage>(options, memory);
    optimizer->apply(nn::ParameterRef<float, EigenStorage>(w), autograd::Dense<float>{zero.matrix()},
                     static_cast<float>(rate), 1.0F);
    const double after = EigenStorage::dot(std::as_const(w.values).matrix(), std::as_const(w.values).matrix());
    return (before - after) / (2.0 * rate * options.weight_decay * before);
}

TEST_CASE("weight decay: a small one is what it says, for all that 1 - 2e-7 is another float")
{
    // Sizes that 1 - rate lambda rounds by up to a fifth; each weight is rounded, but not all in one direction.
    for (const double rate : {2e-6, 2.7e-6, 3.3e-6}) {
        CAPTURE(rate);
        CHECK(decayed_share(optim::SgdOptions{.weight_decay = 0.1}, rate) == doctest::Approx(1.0).epsilon(0.02));
        CHECK(decayed_share(optim::SgdOptions{.momentum = 0.9, .weight_decay = 0.1}, rate) ==
              doctest::Approx(1.0).epsilon(0.02));
        CHECK(decayed_share(optim::AdamWOptions{.weight_decay = 0.1}, rate) == doctest::Approx(1.0).epsilon(0.02));
        CHECK(decayed_share(optim::GaloreOptions{.rank = 4, .weight_decay = 0.1}, rate) ==
              doctest::Approx(1.0).epsilon(0.02));
        CHECK(decayed_share(optim::MofasgdOptions{.rank = 4, .weight_decay = 0.1}, rate) ==
              doctest::Approx(1.0).epsilon(0.02));
    }
}

TEST_CASE("weight decay: of a subspace, a small one is what it says in every form of its step")
{
    wasi::Ledger memory;
    const auto w = normal<float>(memory, Shape{40, 30}, 3);
    const Tensor<float> p = zeros(memory, Shape{40, 2});
    const Tensor<float> q = zeros(memory, Shape{30, 2});
    const Tensor<float> d_left = zeros(memory, Shape{40, 12});
    const Tensor<float> d_right = zeros(memory, Shape{12, 30});
    const int steps = 100;
    for (const float shrink : {2e-7F, 2.7e-7F, 3.3e-7F}) {
        for (const int form : {0, 1, 2}) {
            CAPTURE(shrink);
            CAPTURE(form);
            const auto norm_after = [&](float lost) {
                auto weight = wasi::subspace::WeightSubspace<float, EigenStorage>::start(
                    w.matrix(), linalg::FixedRank{12}, memory, {});
                for (int step = 0; step < steps; ++step) {
                    if (form == 2) {
                        weight.update(0.1F, lost, linalg::FactorGradients<float>{d_left.matrix(), d_right.matrix()});
                    } else {
                        weight.update(
                            0.1F, lost, linalg::Factored<float>{p.matrix(), q.matrix()},
                            form == 0 ? wasi::subspace::UpdateForm::plain : wasi::subspace::UpdateForm::rank_r);
                    }
                }
                return EigenStorage::dot(weight.right(), weight.right());
            };
            // Against steps without decay, whose rounding changes the weight too.
            const double kept = norm_after(0.0F);
            CHECK((kept - norm_after(shrink)) / (2.0 * static_cast<double>(shrink) * steps * kept) ==
                  doctest::Approx(1.0).epsilon(0.06));
        }
    }
}

}  // namespace
