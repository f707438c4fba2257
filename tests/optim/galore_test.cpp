// GaLore on single parameters: factored gradients against the same multiplied out, shapes at the edges, laws of
// directions and moments.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/filled.hpp>
#include <wasi/nn/layer_setup.hpp>
#include <wasi/optim/galore.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi::Shape;
using wasi::Tensor;
using wasi::Use;
using namespace wasi_tests;
namespace autograd = wasi::autograd;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;
namespace optim = wasi::optim;
using optim::GradientBasis;
using optim::RefreshedMoments;

template <class T>
using Galore = optim::Galore<T, EigenStorage>;
template <class T>
using Parameter = autograd::DenseParameter<T>;
template <class T>
using Ref = nn::ParameterRef<T, EigenStorage>;

struct Size {
    Index rows;
    Index cols;
};

/// W after steps with these gradients.
template <class T, class Gradients>
[[nodiscard]] std::vector<double> trained(Size size, const optim::GaloreOptions& options, int steps, T rate,
                                          const Gradients& gradient_of)
{
    wasi::Ledger memory;
    Galore<T> galore(options, memory);
    Parameter<T> w("w", normal<T>(memory, {size.rows, size.cols}, 1));
    for (int step = 0; step < steps; ++step) {
        gradient_of(step, [&](const autograd::Gradient<T>& g) { galore.apply(Ref<T>(w), g, rate, T(0.5)); });
    }
    return numbers(w.values);
}

TEST_CASE_TEMPLATE("GaLore: a factored gradient does what the same multiplied out does", T, float, double)
{
    for (const Size size : {Size{30, 12}, Size{12, 30}, Size{20, 20}}) {
        for (const auto basis : {GradientBasis::svd, GradientBasis::warm}) {
            for (const auto moments : {RefreshedMoments::kept, RefreshedMoments::rotated}) {
                CAPTURE(size.rows);
                CAPTURE(static_cast<int>(basis));
                CAPTURE(static_cast<int>(moments));
                const optim::GaloreOptions options{
                    .rank = 3, .refresh_every = 2, .basis = basis, .moments = moments, .weight_decay = 0.1};
                const auto run = [&](bool factored) {
                    auto& memory = wasi::plain_memory();
                    return trained<T>(size, options, 5, T(0.02), [&](int step, const auto& apply) {
                        const auto seed = static_cast<std::uint64_t>(2 * step);
                        auto p = normal<T>(memory, {size.rows, 5}, 10 + seed);
                        for (Index j = 0; j < 5; ++j) {  // well apart, so that directions are settled
                            EigenStorage::add_scaled(p.matrix().col_block(j, 1), T(0), T(1) / static_cast<T>(1 + 4 * j),
                                                     std::as_const(p).matrix().col_block(j, 1));
                        }
                        const auto q = normal<T>(memory, {size.cols, 5}, 11 + seed);
                        const auto g = product(memory, p, q);
                        factored ? apply(linalg::Factored<T>{std::as_const(p).matrix(), q.matrix()})
                                 : apply(autograd::Dense<T>{g.matrix()});
                    });
                };
                // A sketch starts warm directions where G is at hand; with rank 3 of 5 it errs.
                const double c = basis == GradientBasis::warm ? 1e4 : 30.0;
                CHECK(relative_distance(run(true), run(false)) <=
                      std::max(c * static_cast<double>(wasi::epsilon<T>), basis == GradientBasis::warm ? 3e-2 : 0.0));
            }
        }
    }
}

TEST_CASE("GaLore: nothing of W's size is formed from a factored gradient, and the state is r (n + 2 m)")
{
    for (const Size size : {Size{384, 256}, Size{256, 384}}) {
        for (const auto basis : {GradientBasis::svd, GradientBasis::randomized, GradientBasis::warm}) {
            wasi::Ledger memory;
            Galore<float> galore({.rank = 4, .refresh_every = 1, .basis = basis, .moments = RefreshedMoments::rotated},
                                 memory);
            Parameter<float> w("w", normal<float>(wasi::plain_memory(), {size.rows, size.cols}, 1));
            const auto p = normal<float>(wasi::plain_memory(), {size.rows, 6}, 2);
            const auto q = normal<float>(wasi::plain_memory(), {size.cols, 6}, 3);
            for (int step = 0; step < 3; ++step) {
                galore.apply(Ref<float>(w), linalg::Factored<float>{p.matrix(), q.matrix()}, 0.01F, 1.0F);
            }
            CHECK(memory.of(Use::optimiser_state).current == 4 * 4 * (256 + 2 * 384));
            CHECK(memory.of(Use::gradient).peak == 0);
            CHECK(memory.of(Use::workspace).peak < 4 * 256 * 384 / 4);
        }
    }
}

/// The steps of the package's AdamW, element by element.
template <class T, class Gradient>
[[nodiscard]] std::vector<double> by_elements(std::vector<double> w, int steps, double rate, double decay,
                                              const Gradient& gradient)
{
    std::vector<double> m(w.size(), 0.0);
    std::vector<double> v(w.size(), 0.0);
    for (int step = 1; step <= steps; ++step) {
        const std::vector<double> g = gradient(step - 1);
        const double size = rate * std::sqrt(1.0 - std::pow(0.999, step)) / (1.0 - std::pow(0.9, step));
        for (std::size_t i = 0; i < w.size(); ++i) {
            m[i] = 0.9 * m[i] + 0.1 * 0.5 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * 0.25 * g[i] * g[i];
            w[i] = (1.0 - rate * decay) * (w[i] - size * m[i] / (std::sqrt(v[i]) + 1e-6));
        }
    }
    return w;
}

TEST_CASE_TEMPLATE("GaLore: what a rank does not make smaller, and what is no matrix, is trained as it is", T, float,
                   double)
{
    CHECK_FALSE(Galore<T>::projects(8, 5, 5));    // r = min
    CHECK_FALSE(Galore<T>::projects(8, 5, 9));    // above
    CHECK_FALSE(Galore<T>::projects(1, 50, 1));   // one row
    CHECK_FALSE(Galore<T>::projects(10, 10, 7));  // 7 * 30 > 200
    CHECK(Galore<T>::projects(10, 10, 6));
    CHECK(Galore<T>::projects(2, 50, 1));
    for (const Shape& shape : {Shape{8, 5}, Shape{1, 50}, Shape{6}, Shape{8, 4, 4, 2}}) {
        auto& memory = wasi::plain_memory();
        const Index rank = shape.order() == 4 ? 2 : 9;
        Galore<T> galore({.rank = rank, .weight_decay = 0.2}, memory);
        Parameter<T> w("w", normal<T>(memory, shape, 1));
        const auto gradient = [&](int step) { return normal<T>(memory, shape, 20 + static_cast<std::uint64_t>(step)); };
        const auto wanted =
            by_elements<T>(numbers(w.values), 4, 0.03, 0.2, [&](int step) { return numbers(gradient(step)); });
        for (int step = 0; step < 4; ++step) {
            const auto g = gradient(step);
            const auto rows = wasi::ConstMatrixView<T>::row_major(g.data(), w.matrix().rows, w.matrix().cols);
            galore.apply(Ref<T>(w), autograd::Dense<T>{rows}, T(0.03), T(0.5));
        }
        CHECK(relative_distance(numbers(w.values), wanted) <= 20.0 * static_cast<double>(wasi::epsilon<T>));
    }
}

/// With an epsilon beside which sqrt(V) is nothing, a step is momentum in the directions, whatever their basis.
constexpr double no_second_moment = 1e18;

TEST_CASE_TEMPLATE("GaLore: of a gradient of rank r every basis keeps all, refreshed at every step", T, float, double)
{
    for (const Size size : {Size{20, 12}, Size{12, 20}, Size{14, 14}, Size{2, 40}}) {
        const Index r = size.rows == 2 ? 1 : 3;
        const auto with = [&](Index rank, GradientBasis basis, RefreshedMoments moments) {
            const optim::GaloreOptions options{.rank = rank,
                                               .refresh_every = 1,
                                               .step_scale = 1.0,
                                               .basis = basis,
                                               .moments = moments,
                                               .epsilon = no_second_moment};
            auto& memory = wasi::plain_memory();
            // The directions stay, the gradients in them change.
            const auto right = normal<T>(memory, {size.cols, r}, 31);
            const auto left = normal<T>(memory, {size.rows, r}, 32);
            return trained<T>(size, options, 4, static_cast<T>(no_second_moment), [&](int step, const auto& apply) {
                auto core = normal<T>(memory, {r, r}, 33 + static_cast<std::uint64_t>(step));
                EigenStorage::add_constant(core.matrix().diagonal(), T(3));
                Tensor<T> p(memory, {}, Shape{size.rows, r});
                EigenStorage::multiply(p.matrix(), T(1), left.matrix(), std::as_const(core).matrix(), T(0), memory);
                apply(autograd::Dense<T>{product(memory, p, right).matrix()});
            });
        };
        // Rank 100: not projected, the dense momentum.
        const auto wanted = with(100, GradientBasis::svd, RefreshedMoments::kept);
        for (const auto basis : {GradientBasis::svd, GradientBasis::randomized, GradientBasis::warm}) {
            CAPTURE(size.rows);
            CAPTURE(static_cast<int>(basis));
            CHECK(relative_distance(with(r, basis, RefreshedMoments::rotated), wanted) <=
                  200.0 * static_cast<double>(wasi::epsilon<T>));
        }
        if (r > 1) {  // coordinates of directions that are gone
            CHECK(relative_distance(with(r, GradientBasis::svd, RefreshedMoments::kept), wanted) > 1e-2);
        }
    }
}

TEST_CASE_TEMPLATE("GaLore: a zero gradient moves nothing but by decay, and directions come when there is one", T,
                   float, double)
{
    for (const auto basis : {GradientBasis::svd, GradientBasis::randomized, GradientBasis::warm}) {
        CAPTURE(static_cast<int>(basis));
        auto& memory = wasi::plain_memory();
        Galore<T> galore({.rank = 2, .refresh_every = 1, .basis = basis, .weight_decay = 0.5}, memory);
        Parameter<T> w("w", normal<T>(memory, {9, 6}, 1));
        std::vector<double> wanted = numbers(w.values);
        const Tensor<T> zero_p = normal<T>(memory, {9, 3}, 2);
        Tensor<T> zero(memory, {}, Shape{6, 3});
        EigenStorage::fill(zero.matrix(), T(0));
        Tensor<T> dense_zero(memory, {}, Shape{9, 6});
        EigenStorage::fill(dense_zero.matrix(), T(0));
        galore.apply(Ref<T>(w), autograd::Dense<T>{std::as_const(dense_zero).matrix()}, T(0.1), T(1));
        galore.apply(Ref<T>(w), linalg::Factored<T>{zero_p.matrix(), std::as_const(zero).matrix()}, T(0.1), T(1));
        for (double& x : wanted) {
            x *= 0.95 * 0.95;
        }
        CHECK(relative_distance(numbers(w.values), wanted) <= 4.0 * static_cast<double>(wasi::epsilon<T>));
        const auto g = normal<T>(memory, {9, 6}, 3);
        for (int step = 0; step < 3; ++step) {
            galore.apply(Ref<T>(w), autograd::Dense<T>{g.matrix()}, T(0.1), T(1));
        }
        CHECK(EigenStorage::all_finite(std::as_const(w.values).matrix()));
        CHECK(relative_distance(numbers(w.values), wanted) > 1e-3);
    }
}

TEST_CASE_TEMPLATE("GaLore: momentum goes on where it was going while the gradient is zero, in warm directions", T,
                   float, double)
{
    auto& memory = wasi::plain_memory();
    Galore<T> galore({.rank = 2,
                      .refresh_every = 1,
                      .step_scale = 1.0,
                      .basis = GradientBasis::warm,
                      .moments = RefreshedMoments::rotated,
                      .epsilon = no_second_moment},
                     memory);
    Tensor<T> start(memory, {}, Shape{12, 8});
    EigenStorage::fill(start.matrix(), T(0));
    Tensor<T> zero = wasi::clone<EigenStorage>(start, wasi::Tag{});
    Parameter<T> w("w", std::move(start));
    const auto g = normal<T>(memory, {12, 8}, 2);
    const auto rate = static_cast<T>(no_second_moment);
    galore.apply(Ref<T>(w), autograd::Dense<T>{g.matrix()}, rate, T(1));
    std::vector<double> wanted = numbers(w.values);
    galore.apply(Ref<T>(w), autograd::Dense<T>{std::as_const(zero).matrix()}, rate, T(1));
    // 0.9 of the moment, over the correction 1 - 0.9² where 1 - 0.9 was; the second one's root likewise.
    const double again = 0.9 * 0.1 / 0.19 * std::sqrt(1.0 - 0.999 * 0.999) / std::sqrt(0.001);
    for (double& x : wanted) {
        x *= 1.0 + again;
    }
    CHECK(relative_distance(numbers(w.values), wanted) <= 100.0 * static_cast<double>(wasi::epsilon<T>));
}

TEST_CASE("GaLore: moments that are carried over, by hand, where a difference of squares falls below zero")
{
    auto& memory = wasi::plain_memory();
    Galore<double> galore({.rank = 2,
                           .refresh_every = 2,
                           .step_scale = 1.0,
                           .moments = RefreshedMoments::rotated,
                           .beta1 = 0.0,
                           .beta2 = 0.5,
                           .epsilon = 1e-3},
                          memory);
    const auto matrix = [&](std::vector<std::pair<double, double>> leading_columns) {
        Tensor<double> g(memory, {}, Shape{8, 4});
        EigenStorage::fill(g.matrix(), 0.0);
        for (std::size_t i = 0; i < leading_columns.size(); ++i) {
            g.matrix()(static_cast<Index>(i), 0) = leading_columns[i].first;
            g.matrix()(static_cast<Index>(i), 1) = leading_columns[i].second;
        }
        return g;
    };
    Parameter<double> w("w", matrix({}));
    // Singular vectors e1, e2; at the third step, a refresh, (e1 + e2, e1 - e2) / sqrt(2).
    const auto first = matrix({{1, 1}, {1, -1}, {3, 0}, {0, 2}});
    const auto second = matrix({{2, 2}, {2, -2}, {6, 0}, {0, 4}});
    const auto third = matrix({{5, 3}, {3, 5}});
    for (const auto* g : {&first, &second, &third}) {
        galore.apply(Ref<double>(w), autograd::Dense<double>{g->matrix()}, 0.1, 1.0);
    }
    const double root = std::sqrt(0.5);
    for (Index i = 0; i < 4; ++i) {
        double v[2] = {0.0, 0.0};
        double wanted[2] = {0.0, 0.0};
        double t = 0.0;
        for (const auto* g : {&first, &second}) {
            ++t;
            for (Index j = 0; j < 2; ++j) {
                const double r = g->matrix()(i, j);
                v[j] = 0.5 * v[j] + 0.5 * r * r;
                wanted[j] -= 0.1 * std::sqrt(1.0 - std::pow(0.5, t)) * r / (std::sqrt(v[j]) + 1e-3);
            }
        }
        const double m[2] = {second.matrix()(i, 0), second.matrix()(i, 1)};
        const double spread = 0.5 * (v[0] / 0.75 - m[0] * m[0] + v[1] / 0.75 - m[1] * m[1]);
        for (const double sign : {1.0, -1.0}) {
            const double turned = root * (m[0] + sign * m[1]);
            const double r = root * (third.matrix()(i, 0) + sign * third.matrix()(i, 1));
            const double moment = 0.5 * 0.75 * std::abs(spread + turned * turned) + 0.5 * r * r;
            const double step = 0.1 * std::sqrt(1.0 - 0.125) * r / (std::sqrt(moment) + 1e-3);
            wanted[0] -= root * step;
            wanted[1] -= sign * root * step;
        }
        CAPTURE(i);
        CHECK(w.matrix()(i, 0) == doctest::Approx(wanted[0]).epsilon(1e-12));
        CHECK(w.matrix()(i, 1) == doctest::Approx(wanted[1]).epsilon(1e-12));
    }
}

TEST_CASE("GaLore: the scale is the gradient's")
{
    for (const auto basis : {GradientBasis::svd, GradientBasis::randomized, GradientBasis::warm}) {
        const auto run = [&](double size, double scale) {
            auto& memory = wasi::plain_memory();
            Galore<double> galore({.rank = 2, .refresh_every = 2, .basis = basis}, memory);
            Parameter<double> w("w", normal<double>(memory, {12, 8}, 1));
            for (std::uint64_t step = 0; step < 3; ++step) {
                auto g = normal<double>(memory, {12, 8}, 2 + step);
                EigenStorage::add_scaled(g.matrix(), 0.0, size, std::as_const(g).matrix());
                galore.apply(Ref<double>(w), autograd::Dense<double>{std::as_const(g).matrix()}, 0.1, scale);
            }
            return numbers(w.values);
        };
        CHECK(run(0.5, 1.0) == run(1.0, 0.5));
    }
}

TEST_CASE("GaLore: what cannot be is refused by name")
{
    auto& memory = wasi::plain_memory();
    const auto make = [&](optim::GaloreOptions options) { Galore<double>(options, memory); };
    CHECK_THROWS_AS(make({.rank = 0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.refresh_every = 0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.step_scale = -1.0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.beta1 = 1.0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.epsilon = 0.0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.weight_decay = -0.1}), wasi::argument_error);
    Galore<double> galore({.rank = 2}, memory);
    nn::LinearWeight<double, EigenStorage> weight("low", memory, {9, 6}, 1);
    EigenStorage::fill_normal(weight.matrix(), wasi::RandomKey(1));
    nn::set_up(weight, nn::WeightSetup(nn::SubspaceOptions{{linalg::FixedRank{2}, false}}));
    const auto g = normal<double>(memory, {9, 6}, 3);
    CHECK_THROWS_WITH_AS(galore.apply(weight.form().parameters().at(0), autograd::Dense<double>{g.matrix()}, 0.1, 1.0),
                         doctest::Contains("low"), wasi::argument_error);
    Parameter<double> w("dense", normal<double>(memory, {9, 6}, 1));
    CHECK_THROWS_WITH_AS(
        galore.apply(Ref<double>(w), linalg::FactorGradients<double>{g.matrix(), g.matrix()}, 0.1, 1.0),
        doctest::Contains("dense"), wasi::argument_error);
    const auto other = normal<double>(memory, {7, 3}, 4);
    CHECK_THROWS_AS(galore.apply(Ref<double>(w), autograd::Dense<double>{other.matrix()}, 0.1, 1.0), wasi::shape_error);
    CHECK_THROWS_AS(galore.apply(Ref<double>(w), linalg::Factored<double>{other.matrix(), other.matrix()}, 0.1, 1.0),
                    wasi::shape_error);
}

}  // namespace
