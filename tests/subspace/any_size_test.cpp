// Weights, velocities and activations of any size that the type holds: steps of 2^k times the numbers make the same
// bases, and 2^k times the rest, bit for bit.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/powers.hpp>
#include <wasi/subspace/activation_subspace.hpp>
#include <wasi/subspace/free_factors.hpp>
#include <wasi/subspace/low_rank_gradient.hpp>
#include <wasi/subspace/polar.hpp>
#include <wasi/subspace/tangent_velocity.hpp>
#include <wasi/subspace/weight_subspace.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::plain_memory;
using wasi::Tag;
using wasi::Tensor;
using namespace wasi_tests;
using wasi::subspace::UpdateForm;
namespace linalg = wasi::linalg;
namespace subspace = wasi::subspace;

template <class T>
[[nodiscard]] Matrix<T> orthonormal(Index rows, Index cols, std::uint64_t seed)
{
    Matrix<T> q(rows, cols);
    wasi::EigenStorage::convert(q.view(), ConstMatrixView<double>(random_orthonormal(rows, cols, seed).view()));
    return q;
}

template <class T>
[[nodiscard]] Tensor<T> tensor(const Matrix<T>& a)
{
    Tensor<T> result(plain_memory(), {}, {a.view().rows, a.view().cols});
    wasi::EigenStorage::copy(result.matrix(), a.view());
    return result;
}

/// L, R and a gradient P Qᵀ of W.
template <class T>
struct Weight {
    Matrix<T> left = orthonormal<T>(48, 6, 1);
    Matrix<T> right = random_matrix<T>(6, 30, 2);
    Matrix<T> p = random_matrix<T>(48, 2, 3);
    Matrix<T> q = orthonormal<T>(30, 2, 4);

    template <class S>
    [[nodiscard]] subspace::WeightSubspace<T, S> at(int k) const
    {
        return subspace::WeightSubspace<T, S>::from_factors(tensor(left), tensor(times_power(right, k)));
    }
};

/// ||(1 - L+ L+ᵀ) W+ W+ᵀ L|| / ||W+ W+ᵀ L||, W+ = 0.999 L R - 0.1 P Qᵀ, in long double, whose range holds every square.
template <class T>
[[nodiscard]] double outside_of_next(ConstMatrixView<T> fresh, const Weight<T>& from, int k)
{
    const Index o = 48;
    const Index i = 30;
    const auto wide = [](T x) { return static_cast<long double>(x); };
    const auto right = times_power(from.right, k);
    const auto p = times_power(from.p, k);
    const auto at = [](Index row, Index col, Index cols) { return static_cast<std::size_t>(row * cols + col); };
    std::vector<long double> w(static_cast<std::size_t>(o * i), 0);
    for (Index a = 0; a < o; ++a) {
        for (Index b = 0; b < i; ++b) {
            for (Index j = 0; j < 6; ++j) {
                w[at(a, b, i)] += (1 - wide(T(1e-3))) * wide(from.left(a, j)) * wide(right(j, b));
            }
            for (Index j = 0; j < 2; ++j) {
                w[at(a, b, i)] -= wide(T(0.1)) * wide(p(a, j)) * wide(from.q(b, j));
            }
        }
    }
    std::vector<long double> y(static_cast<std::size_t>(o * 6), 0);
    for (Index j = 0; j < 6; ++j) {
        for (Index b = 0; b < i; ++b) {
            long double z = 0;
            for (Index a = 0; a < o; ++a) {
                z += w[at(a, b, i)] * wide(from.left(a, j));
            }
            for (Index a = 0; a < o; ++a) {
                y[at(a, j, 6)] += w[at(a, b, i)] * z;
            }
        }
    }
    long double largest = 0;
    for (const long double x : y) {
        largest = std::max(largest, std::abs(x));
    }
    Matrix<double> next(o, 6);
    for (Index a = 0; a < o; ++a) {
        for (Index j = 0; j < 6; ++j) {
            next(a, j) = static_cast<double>(y[at(a, j, 6)] / largest);
        }
    }
    return distance_from_span(fresh, next.view()) / frobenius_norm(next.view());
}

TEST_CASE_TEMPLATE("weight: W and its gradient times 2^k make the same L and 2^k R, in both forms", E,
                   WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    const Weight<T> start;
    for (const UpdateForm form : {UpdateForm::plain, UpdateForm::rank_r}) {
        for (const bool orthonormal_q : {true, false}) {
            const auto run = [&](int k, int steps) {
                auto weight = start.template at<S>(k);
                const auto p = times_power(start.p, k);
                for (int step = 0; step < steps; ++step) {
                    weight.update(T(0.1), T(1e-3), {p.view(), start.q.view(), orthonormal_q}, form);
                }
                return weight;
            };
            // Beyond 64 steps the rank-r form computes R Rᵀ anew.
            const int steps = form == UpdateForm::plain || !orthonormal_q ? 4 : 70;
            const auto expected = run(0, steps);
            CHECK(expected.updates().declined == 0);
            for (const int k : powers<T>()) {
                INFO("2^", k, form == UpdateForm::plain ? ", plain" : ", rank r");
                const auto weight = run(k, steps);
                CHECK(weight.updates().declined == 0);
                CHECK(same_bits(weight.left(), expected.left()));
                CHECK(is_power_of<T>(weight.right(), expected.right(), k));
                CHECK(outside_of_next<T>(run(k, 1).left(), start, k) <= tolerance<T>(48, 1.0));
            }
        }
    }
}

TEST_CASE_TEMPLATE("weight: sizes of R, P, Q and the step that make up for one another", T, float, double)
{
    using S = wasi::EigenStorage;
    const Weight<T> start;
    const auto run = [&](int of_right, int of_p, int of_q, int of_step) {
        auto weight = start.template at<S>(of_right);
        const auto p = times_power(start.p, of_p);
        const auto q = times_power(start.q, of_q);
        weight.update(std::ldexp(T(0.1), of_step), T(1e-3), {p.view(), q.view()}, UpdateForm::plain);
        return weight;
    };
    const auto expected = run(0, 0, 0, 0);
    const int far = sizeof(T) == 4 ? 90 : 900;
    struct Sizes {
        int right, p, q, step;
    };
    for (const Sizes& k : {Sizes{-far, -far, 0, 0}, Sizes{-far, far, -far, -far}, Sizes{far, 0, far, 0},
                           Sizes{far, -far / 3, far / 3, far}}) {
        INFO("2^", k.right, " R, 2^", k.p, " P, 2^", k.q, " Q, 2^", k.step, " step");
        const auto weight = run(k.right, k.p, k.q, k.step);
        CHECK(same_bits(weight.left(), expected.left()));
        CHECK(is_power_of<T>(weight.right(), expected.right(), k.right));
    }
    // A gradient that outweighs W by far, and one that is nothing beside it: both steps are what the larger makes.
    for (const UpdateForm form : {UpdateForm::plain, UpdateForm::rank_r}) {
        for (const int k : {-far, far}) {
            auto weight = start.template at<S>(0);
            const auto p = times_power(start.p, k);
            weight.update(T(0.1), T(0), {p.view(), start.q.view(), true}, form);
            CHECK(orthonormality_defect(weight.left()) <= tolerance<T>(48, 1.0));
            CHECK(S::all_finite(weight.right()));
            if (k > 0) {
                CHECK(distance_from_span(weight.left(), start.p.view()) <= tolerance<T>(48, 10.0));
            } else {
                CHECK(distance_from_span(weight.left(), start.left.view()) <= tolerance<T>(48, 1.0));
            }
        }
    }
    // Zeros stay zeros.
    auto zero = subspace::WeightSubspace<T, S>::from_factors(tensor(start.left), [] {
        Tensor<T> right(plain_memory(), {}, {6, 30});
        std::ranges::fill(right.span(), T(0));
        return right;
    }());
    Matrix<T> nothing(48, 2);
    S::add_scaled(nothing.view(), T(0), T(0), start.p.view());
    zero.update(T(0.1), T(0), {nothing.view(), start.q.view(), true}, UpdateForm::plain);
    CHECK(max_abs(zero.right()) == 0.0);
    CHECK(orthonormality_defect(zero.left()) <= tolerance<T>(48, 1.0));
}

TEST_CASE_TEMPLATE("tangent steps and momentum: a weight of any size, as long as the partial gradients are numbers", E,
                   WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    const Weight<T> start;
    const auto d_left = random_matrix<T>(48, 6, 5);
    const auto d_right = random_matrix<T>(6, 30, 6);
    // R 2^k, dW as it is: the step, of W by its gradient, is 2^k times as large.
    const auto tangent = [&](int k) {
        auto weight = start.template at<S>(k);
        const auto scaled_left = times_power(d_left, k);
        weight.update(std::ldexp(T(0.01), k), T(1e-3), linalg::FactorGradients<T>{scaled_left.view(), d_right.view()});
        return weight;
    };
    const auto momentum = [&](int k) {
        auto weight = start.template at<S>(k);
        subspace::TangentVelocity<T, S> velocity(weight, plain_memory(), {});
        for (int step = 0; step < 3; ++step) {
            velocity.step(weight, linalg::Factored<T>{start.p.view(), start.q.view(), true},
                          {std::ldexp(T(0.01), k), T(0.9), std::ldexp(T(0.1), -k), T(1)});
        }
        return weight;
    };
    const auto expected = tangent(0);
    const auto carried = momentum(0);
    for (const int k : powers<T>()) {
        CAPTURE(k);
        const auto weight = tangent(k);
        CHECK(same_bits(weight.left(), expected.left()));
        CHECK(is_power_of<T>(weight.right(), expected.right(), k));
        const auto moved = momentum(k);
        CHECK(same_bits(moved.left(), carried.left()));
        CHECK(is_power_of<T>(moved.right(), carried.right(), k));
    }
}

TEST_CASE_TEMPLATE("starts: the same L and 2^k R; free factors share an even k", T, float, double)
{
    using S = wasi::EigenStorage;
    const auto w = random_matrix<T>(40, 25, 7);
    const auto left = random_matrix<T>(40, 5, 8);
    const auto right = random_matrix<T>(5, 25, 9);
    const linalg::RankRule rule = linalg::Energy{0.8};
    const auto expected = subspace::WeightSubspace<T, S>::start(w.view(), rule, plain_memory(), {});
    const auto free = subspace::FreeFactors<T, S>::start(w.view(), rule, plain_memory(), {});
    const auto turned = subspace::WeightSubspace<T, S>::orthonormal(left.view(), right.view(), plain_memory(), {});
    const auto balanced = subspace::FreeFactors<T, S>::balanced(left.view(), right.view(), plain_memory(), {});
    for (const int k : powers<T>()) {
        CAPTURE(k);
        const auto scaled = times_power(w, k);
        const auto weight = subspace::WeightSubspace<T, S>::start(scaled.view(), rule, plain_memory(), {});
        CHECK(weight.energy_at_start() == doctest::Approx(expected.energy_at_start()).epsilon(1e-12));
        CHECK(same_bits(weight.left(), expected.left()));
        CHECK(is_power_of<T>(weight.right(), expected.right(), k));

        const int even = k / 2 * 2;
        const auto scaled_evenly = times_power(w, even);
        const auto factors = subspace::FreeFactors<T, S>::start(scaled_evenly.view(), rule, plain_memory(), {});
        CHECK(is_power_of<T>(factors.left(), free.left(), even / 2));
        CHECK(is_power_of<T>(factors.right(), free.right(), even / 2));

        // L 2^k R 2^-k is the same product.
        const auto more = times_power(left, k);
        const auto less = times_power(right, -k);
        const auto same = subspace::WeightSubspace<T, S>::orthonormal(more.view(), less.view(), plain_memory(), {});
        CHECK(same_bits(same.left(), turned.left()));
        CHECK(same_bits(same.right(), turned.right()));
        const auto alike = subspace::FreeFactors<T, S>::balanced(more.view(), less.view(), plain_memory(), {});
        CHECK(same_bits(alike.left(), balanced.left()));
        CHECK(same_bits(alike.right(), balanced.right()));
    }
}

TEST_CASE_TEMPLATE("polar factor: that of 2^k A is that of A", T, float, double)
{
    const auto a = random_matrix<T>(20, 6, 1);
    Matrix<T> expected = a;
    subspace::polar_factor<wasi::EigenStorage, T>(expected.view(), plain_memory());
    for (const int k : powers<T>()) {
        CAPTURE(k);
        Matrix<T> scaled = times_power(a, k);
        subspace::polar_factor<wasi::EigenStorage, T>(scaled.view(), plain_memory());
        CHECK(same_bits(scaled.view(), expected.view()));
        CHECK(orthonormality_defect(scaled.view()) <= tolerance<T>(20, 10.0));
    }
}

TEST_CASE_TEMPLATE("low-rank gradient: 2^a dY and 2^b X make 2^(a+b) P", T, float, double)
{
    using S = wasi::EigenStorage;
    const std::array<Index, 3> shape{4, 7, 12};
    const auto x = random_matrix<T>(28, 12, 1);
    const auto dy = random_matrix<T>(28, 9, 2);
    auto factors = wasi::tensor::tucker_from_feature_basis<S, T>(wasi::ConstTensorView<T, 3>{x.view().data, shape},
                                                                 tensor(orthonormal<T>(12, 5, 3)), 3, 4,
                                                                 S::dot(x.view(), x.view()), plain_memory());
    using wasi::subspace::ContractionOrder;
    for (const ContractionOrder order :
         {ContractionOrder::feature_first, ContractionOrder::batch_token_core, ContractionOrder::batch_then_core,
          ContractionOrder::token_batch_core, ContractionOrder::token_then_core}) {
        const auto gradient = [&](int of_dy, int of_x) {
            const auto scaled = times_power(dy, of_dy);
            wasi::tensor::Tucker<T, 3> of_scaled;
            of_scaled.core = wasi::clone<wasi::EigenStorage>(factors.core, wasi::Tag{});
            for (T& value : of_scaled.core.span()) {
                value = std::ldexp(value, of_x);
            }
            for (std::size_t mode = 0; mode < 3; ++mode) {
                of_scaled.bases[mode] = wasi::clone<wasi::EigenStorage>(factors.bases[mode], wasi::Tag{});
            }
            return subspace::low_rank_gradient<S, T>({scaled.view().data, {4, 7, 9}}, of_scaled, order, plain_memory());
        };
        const auto expected = gradient(0, 0);
        for (const int k : powers<T>()) {
            CAPTURE(k);
            CHECK(is_power_of<T>(gradient(k, 0).matrix(), expected.matrix(), k));
            CHECK(is_power_of<T>(gradient(k, -k).matrix(), expected.matrix(), 0));
            CHECK(is_power_of<T>(gradient(-k / 2, -k / 3).matrix(), expected.matrix(), -k / 2 - k / 3));
        }
    }
}

TEST_CASE_TEMPLATE("activations: 2^k X has the bases, ranks and energies of X, and 2^k times its core", E,
                   WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    // Restarts at the first step and the fourth, warm steps between.
    const auto run = [](int k) {
        subspace::ActivationSubspace<T, S> activations({.ranks = {linalg::Energy{0.9}, 3, 4}, .restart_every = 3},
                                                       wasi::RandomKey(1), plain_memory(), {});
        std::vector<wasi::tensor::Tucker<T, 3>> results;
        for (int step = 0; step < 5; ++step) {
            auto x = random_matrix<T>(4 * 7, 12, static_cast<std::uint64_t>(step));
            for (Index j = 0; j < 12; ++j) {
                for (Index i = 0; i < 4 * 7; ++i) {
                    x(i, j) /= static_cast<T>(1 + j * j);
                }
            }
            const auto scaled = times_power(x, k);
            results.push_back(activations.compress({scaled.view().data, {4, 7, 12}}));
        }
        return std::pair(std::move(results), activations.restarts());
    };
    const auto [expected, restarts] = run(0);
    for (const int k : powers<T>()) {
        CAPTURE(k);
        const auto [results, restarted] = run(k);
        CHECK(restarted == restarts);
        for (std::size_t step = 0; step < results.size(); ++step) {
            CAPTURE(step);
            CHECK(results[step].captured_energy == doctest::Approx(expected[step].captured_energy).epsilon(1e-12));
            CHECK(is_power_of<T>(results[step].core.matrix(), expected[step].core.matrix(), k));
            for (std::size_t mode = 0; mode < 3; ++mode) {
                CHECK(same_bits(results[step].bases[mode].matrix(), expected[step].bases[mode].matrix()));
            }
        }
    }
}

}  // namespace
