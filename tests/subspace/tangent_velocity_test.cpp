// Momentum in the tangent space against dense momentum followed by truncation, and against a velocity for each factor.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <subspace/weight_problem.hpp>
#include <support/naive_storage.hpp>
#include <wasi/subspace/tangent_velocity.hpp>

namespace {

using wasi::Index;
using wasi::Shape;
using wasi::Tag;
using wasi::Use;
using namespace wasi_tests;

template <class T>
using Velocity = wasi::subspace::TangentVelocity<T, EigenStorage>;

[[nodiscard]] Tensor<double> identity(Index n)
{
    Tensor<double> result(wasi::plain_memory(), {}, {n, n});
    std::ranges::fill(result.span(), 0.0);
    for (Index i = 0; i < n; ++i) {
        result.matrix()(i, i) = 1.0;
    }
    return result;
}

/// v <- mu v + (scale g + lambda w), w <- w - rate v, dense, in double.
void dense_momentum(Tensor<double>& w, Tensor<double>& v, const Tensor<double>& g,
                    const wasi::subspace::MomentumStep<double>& step)
{
    for (Index i = 0; i < w.size(); ++i) {
        v.data()[i] = step.momentum * v.data()[i] + step.scale * g.data()[i] + step.decay * w.data()[i];
        w.data()[i] -= step.rate * v.data()[i];
    }
}

TEST_CASE_TEMPLATE("without momentum it is the tangent update, decay as shrink, from both forms of gradient", T, float,
                   double)
{
    const Problem<T> problem(30, 20, 4);
    auto wanted = problem.start(6);
    auto partial = problem.start(6);
    auto factored = problem.start(6);
    Velocity<T> first(partial, wasi::plain_memory(), {});
    Velocity<T> second(factored, wasi::plain_memory(), {});
    const wasi::subspace::MomentumStep<T> step{T(0.1), T(0), T(0.3), T(0.5)};
    Matrix<T> d_left(30, 6);
    Matrix<T> d_right(6, 20);
    for (int i = 0; i < 3; ++i) {
        wanted.partial_gradients(d_left.view(), d_right.view(), problem.gradient());
        wanted.update(T(0.1) * T(0.5), T(0.1) * T(0.3),
                      linalg::FactorGradients<T>{std::as_const(d_left).view(), std::as_const(d_right).view()});
        partial.partial_gradients(d_left.view(), d_right.view(), problem.gradient());
        first.step(partial, linalg::FactorGradients<T>{std::as_const(d_left).view(), std::as_const(d_right).view()},
                   step);
        second.step(factored, problem.gradient(), step);
        for (const auto* moved : {&partial, &factored}) {
            // (R Rᵀ)⁻¹ has a condition of 6 here: singular values j^-1/2, squared.
            CHECK(distance(moved->left(), wanted.left()) <= 6.0 * tolerance<T>(30 * 6, 1.0));
            CHECK(distance(moved->right(), wanted.right()) <=
                  6.0 * tolerance<T>(20 * 6, frobenius_norm(problem.w.matrix())));
        }
    }
}

TEST_CASE_TEMPLATE("rank K = O: momentum and decay are exactly those of the dense weight", T, float, double)
{
    // L is square, so the whole space is tangent and L stands still.
    const Problem<T> problem(7, 12, 3);
    auto weight = problem.start(7);
    Velocity<T> velocity(weight, wasi::plain_memory(), {});
    auto w = dense_step(weight, 0.0, 0.0, problem.gradient());
    Tensor<double> v(wasi::plain_memory(), {}, w.shape());
    std::ranges::fill(v.span(), 0.0);
    const double scale = frobenius_norm(problem.w.matrix());
    for (std::uint64_t n = 0; n < 20; ++n) {
        const Problem<T> other(7, 12, 3, 0.5, 10 + n);  // another gradient at every step
        Tensor<double> g = dense_step(weight, -1.0, 1.0, other.gradient());
        velocity.step(weight, other.gradient(), {T(0.05), T(0.9), T(0.2), T(0.5)});
        const double momentum = static_cast<double>(T(0.9));
        dense_momentum(
            w, v, g,
            {static_cast<double>(T(0.05)), momentum, static_cast<double>(T(0.2)), static_cast<double>(T(0.5))});
        CHECK(distance(dense(weight).matrix(), w.matrix()) <= tolerance<T>(84 * 20, 3.0 * scale));
    }
}

TEST_CASE("a few steps differ from dense momentum and truncation by the second power of the step")
{
    // Decay 1.5: a gap behind K, so that the truncated SVD is smooth. The gradient turns with W: dW = P Qᵀ + W H.
    const Problem<double> problem(30, 20, 4, 1.5);
    const auto unit = identity(20);
    const std::vector<double> rates{8e-3, 4e-3, 2e-3};
    std::vector<double> errors;
    for (const double rate : rates) {
        const wasi::subspace::MomentumStep<double> step{rate, 0.9, 0.1, 0.7};
        auto weight = problem.start(6);
        Velocity<double> velocity(weight, wasi::plain_memory(), {});
        Tensor<double> w = dense(weight);
        Tensor<double> v(wasi::plain_memory(), {}, w.shape());
        std::ranges::fill(v.span(), 0.0);
        const auto gradient_at = [&](const Tensor<double>& at) {
            Tensor<double> g = dense_step(problem.start(6), -1.0, 1.0, problem.gradient());
            for (Index i = 0; i < g.size(); ++i) {
                g.data()[i] += static_cast<double>(1 + i % 20) / 20.0 * at.data()[i];
            }
            return g;
        };
        for (int n = 0; n < 5; ++n) {
            const auto g = gradient_at(dense(weight));
            velocity.step(weight, linalg::Factored<double>{g.matrix(), unit.matrix(), true}, step);
            dense_momentum(w, v, gradient_at(w), step);
            w = best(w, 6);
        }
        CHECK(weight.orthogonality_defect() <= 1e-13);
        errors.push_back(distance(dense(weight).matrix(), w.matrix()));
    }
    INFO("errors ", errors[0], " ", errors[1], " ", errors[2]);
    CHECK(errors.back() > 1e-10);
    const double order = std::log(errors.front() / errors.back()) / std::log(rates.front() / rates.back());
    CHECK(order == doctest::Approx(2.0).epsilon(0.1));
}

[[nodiscard]] Tensor<double> five_times(Tensor<double> w)
{
    EigenStorage::add_scaled(w.matrix(), 5.0, 0.0, std::as_const(w).matrix());
    return w;
}

/// min ||W - B||² / 2 over W of rank K, from another W of rank K; B has rank K, so the least value is 0. Its curvature
/// is 1, but that of L with R held is R Rᵀ, up to 25.
struct Quadratic {
    static constexpr Index outputs = 24;
    static constexpr Index inputs = 18;
    static constexpr Index rank = 5;
    Problem<double> from{outputs, inputs, 3, 0.5, 1};
    Tensor<double> goal = five_times(best(Problem<double>(outputs, inputs, 3, 0.2, 11).w, rank));

    [[nodiscard]] Tensor<double> gradient(const Tensor<double>& w) const
    {
        Tensor<double> g = wasi::clone<wasi::EigenStorage>(w, wasi::Tag{});
        EigenStorage::add_scaled(g.matrix(), 1.0, -1.0, goal.matrix());
        return g;
    }
    /// Losses of 200 steps; `next` makes a step from a gradient and returns the new W.
    template <class Next>
    [[nodiscard]] std::vector<double> run(Tensor<double> w, Next next) const
    {
        std::vector<double> losses;
        for (int n = 0; n < 200; ++n) {
            const auto g = gradient(w);
            losses.push_back(0.5 * std::pow(frobenius_norm(g.matrix()), 2));
            if (!(losses.back() < 1e12)) {
                break;
            }
            w = next(g);
        }
        return losses;
    }
};

[[nodiscard]] std::size_t steps_to(const std::vector<double>& losses, double level)
{
    std::size_t last = losses.size();
    while (last > 0 && losses[last - 1] <= level) {
        --last;
    }
    return last;
}

TEST_CASE("a quadratic: converges like dense momentum, where a velocity for each factor diverges")
{
    const Quadratic problem;
    constexpr double rate = 0.2;
    constexpr double momentum = 0.9;
    auto& memory = wasi::plain_memory();
    const auto unit = identity(Quadratic::inputs);

    auto weight = problem.from.start(Quadratic::rank);
    Velocity<double> velocity(weight, memory, {});
    const auto ours = problem.run(dense(weight), [&](const Tensor<double>& g) {
        velocity.step(weight, linalg::Factored<double>{g.matrix(), unit.matrix(), true}, {rate, momentum, 0.0, 1.0});
        return dense(weight);
    });

    Tensor<double> w = dense(problem.from.start(Quadratic::rank));
    Tensor<double> v(memory, {}, w.shape());
    std::ranges::fill(v.span(), 0.0);
    const auto reference = problem.run(wasi::clone<wasi::EigenStorage>(w, wasi::Tag{}), [&](const Tensor<double>& g) {
        dense_momentum(w, v, g, {rate, momentum, 0.0, 1.0});
        w = best(w, Quadratic::rank);
        return wasi::clone<wasi::EigenStorage>(w, wasi::Tag{});
    });

    // L <- L - rate v_L, R <- R - rate v_R, then L orthonormal again with R paired, and the velocities as they were.
    auto bare = problem.from.start(Quadratic::rank);
    Tensor<double> v_left(memory, {}, {Quadratic::outputs, Quadratic::rank});
    Tensor<double> v_right(memory, {}, {Quadratic::rank, Quadratic::inputs});
    std::ranges::fill(v_left.span(), 0.0);
    std::ranges::fill(v_right.span(), 0.0);
    const auto by_factor = problem.run(dense(bare), [&](const Tensor<double>& g) {
        wasi::subspace::add_partial_gradients<EigenStorage, double>(v_left.matrix(), v_right.matrix(), momentum, 1.0,
                                                                    bare.left(), bare.right(),
                                                                    {g.matrix(), unit.matrix(), true}, memory);
        Tensor<double> l(memory, {}, v_left.shape());
        Tensor<double> r(memory, {}, v_right.shape());
        EigenStorage::copy(l.matrix(), bare.left());
        EigenStorage::copy(r.matrix(), bare.right());
        EigenStorage::add_scaled(l.matrix(), 1.0, -rate, std::as_const(v_left).matrix());
        EigenStorage::add_scaled(r.matrix(), 1.0, -rate, std::as_const(v_right).matrix());
        bare = Subspace<double>::orthonormal(l.matrix(), r.matrix(), memory, {});
        return dense(bare);
    });

    INFO("losses at the end: ", ours.back(), " dense ", reference.back(), " by factor ", by_factor.back());
    CHECK(reference.back() <= 1e-6 * reference.front());
    CHECK(ours.back() <= 1e-6 * ours.front());
    const auto wanted = static_cast<double>(steps_to(reference, 1e-4 * reference.front()));
    CHECK(static_cast<double>(steps_to(ours, 1e-4 * ours.front())) <= 1.2 * wanted);
    CHECK(by_factor.back() > 1e3 * by_factor.front());
}

TEST_CASE_TEMPLATE("a long run: L orthonormal, the velocity tangent, memory booked once and as state", T, float, double)
{
    wasi::Ledger memory;
    const Problem<T> problem(40, 24, 4);
    auto weight = Subspace<T>::start(problem.w.matrix(), linalg::FixedRank{8}, memory, Tag{Use::weight, 3});
    Velocity<T> velocity(weight, memory, Tag{Use::optimiser_state, 3});
    CHECK(velocity.bytes() == sizeof(T) * 8 * (40 + 24));
    CHECK(memory.of(Tag{Use::optimiser_state, 3}).current == velocity.bytes());
    const T* left = weight.left().data;
    const T* right = weight.right().data;
    memory.reset_peaks();
    for (std::uint64_t n = 0; n < 300; ++n) {
        const Problem<T> noise(40, 24, 4, 0.5, 10 * n);
        const auto before = Problem<T>::tensor([&] {
            Matrix<T> m(40, 8);
            EigenStorage::copy(m.view(), weight.left());
            return m;
        }());
        velocity.step(weight, noise.gradient(), {T(0.02), T(0.9), T(0.1), T(1)});
        Matrix<T> onto(8, 8);
        EigenStorage::multiply(onto.view(), T(1), before.matrix().transposed(), velocity.left(), T(0), memory);
        CHECK(frobenius_norm(onto.view()) <=
              tolerance<T>(40 * 8, frobenius_norm(velocity.left()) + frobenius_norm(velocity.right())));
    }
    CHECK(orthonormality_defect(weight.left()) <= tolerance<T>(40, 1.0));
    CHECK(weight.left().data == left);
    CHECK(weight.right().data == right);
    CHECK(memory.of(Use::weight).peak == weight.bytes());
    CHECK(memory.of(Use::optimiser_state).peak == velocity.bytes());
    CHECK(weight.updates().tangent == 300);
}

TEST_CASE("the naive storage takes the same steps")
{
    const Problem<double> problem(14, 11, 3);
    auto& memory = wasi::plain_memory();
    using NaiveSubspace = wasi::subspace::WeightSubspace<double, NaiveStorage>;
    auto weight = problem.start(4);
    auto clone = [&](ConstMatrixView<double> m) {
        Tensor<double> result(memory, {}, {m.rows, m.cols});
        EigenStorage::copy(result.matrix(), m);
        return result;
    };
    auto naive = NaiveSubspace::from_factors(clone(weight.left()), clone(weight.right()));
    Velocity<double> velocity(weight, memory, {});
    wasi::subspace::TangentVelocity<double, NaiveStorage> naive_velocity(naive, memory, {});
    for (int n = 0; n < 3; ++n) {
        velocity.step(weight, problem.gradient(), {0.1, 0.9, 0.1, 0.5});
        naive_velocity.step(naive, problem.gradient(), {0.1, 0.9, 0.1, 0.5});
    }
    CHECK(distance(naive.left(), weight.left()) <= 10.0 * tolerance<double>(14 * 4, 1.0));
    CHECK(distance(naive.right(), weight.right()) <= 10.0 * tolerance<double>(14 * 4, frobenius_norm(weight.right())));
}

TEST_CASE("a velocity of other factors is refused")
{
    const Problem<double> problem(12, 9, 2);
    auto weight = problem.start(3);
    Velocity<double> velocity(weight, wasi::plain_memory(), {});
    const wasi::subspace::MomentumStep<double> step{0.1, 0.9, 0.0, 1.0};
    velocity.step(weight, problem.gradient(), step);
    const auto wide = Problem<double>(12, 10, 2);
    CHECK_THROWS_AS(velocity.step(weight, wide.gradient(), step), wasi::shape_error);
    Matrix<double> d(3, 3);
    CHECK_THROWS_AS(velocity.step(weight, linalg::FactorGradients<double>{d.view(), d.view()}, step),
                    wasi::shape_error);
    auto other = problem.start(3);
    CHECK_THROWS_WITH_AS(
        velocity.step(other, problem.gradient(), step),
        "TangentVelocity: L (12, 3) and R (3, 9) after 0 steps are not those that the velocity belongs "
        "to (1 steps)",
        wasi::argument_error);
    auto narrower = problem.start(2);
    CHECK_THROWS_AS(velocity.step(narrower, problem.gradient(), step), wasi::argument_error);
    // A plain step orthonormalises by QR, which may flip columns.
    weight.update(0.1, 0.0, problem.gradient(), wasi::subspace::UpdateForm::plain);
    CHECK_THROWS_AS(velocity.step(weight, problem.gradient(), step), wasi::argument_error);
}

}  // namespace
