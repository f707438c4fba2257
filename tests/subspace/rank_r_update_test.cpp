// The rank-r update against the plain one, in every edge case.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <subspace/weight_steps.hpp>
#include <support/engines.hpp>

namespace {

using wasi::Index;
using namespace wasi_tests;

/// R with singular values that fall over so many decades, and no row smaller than the others.
template <class T>
void give_condition(Step<T>& step, double decades)
{
    const Index rank = step.right.matrix().rows;
    auto turn = filled<double>(rank, rank, 6, true);
    for (Index i = 0; i < rank; ++i) {
        for (Index k = 0; k < rank; ++k) {
            turn.matrix()(i, k) *= std::pow(10.0, -decades * static_cast<double>(k) / static_cast<double>(rank - 1));
        }
    }
    const auto v = filled<double>(step.right.matrix().cols, rank, 2, true);
    Tensor<double> right(wasi::plain_memory(), {}, {rank, step.right.matrix().cols});
    EigenStorage::multiply(right.matrix(), 1.0, std::as_const(turn).matrix(), v.matrix().transposed(), 0.0,
                           wasi::plain_memory());
    EigenStorage::convert(step.right.matrix(), std::as_const(right).matrix());
}

/// Every case that a step of training may meet.
template <class T>
[[nodiscard]] std::vector<Step<T>> all_steps()
{
    auto& memory = wasi::plain_memory();
    std::vector<Step<T>> steps;
    steps.push_back(generic<T>("generic", 96, 64, 16, 4));
    steps.push_back(generic<T>("wide", 40, 90, 10, 3));
    steps.push_back(generic<T>("rank 1", 9, 7, 1, 1));
    steps.push_back(generic<T>("one output", 1, 6, 1, 1));
    steps.push_back(generic<T>("K = O: L is square", 12, 20, 12, 3));
    steps.push_back(generic<T>("K = I: R is square", 30, 12, 12, 3));
    steps.push_back(generic<T>("r > O - K", 24, 64, 20, 10));
    steps.push_back(generic<T>("r > K", 96, 64, 6, 12));
    steps.push_back(generic<T>("r > O", 16, 40, 5, 30));
    steps.push_back(generic<T>("no decay", 50, 40, 8, 4));
    steps.back().shrink = 0.0;
    steps.push_back(generic<T>("eta lambda = 1e-8", 50, 40, 8, 4));
    steps.back().shrink = 1e-8;
    steps.push_back(generic<T>("no step, only decay", 50, 40, 8, 4));
    steps.back().eta = 0.0;
    steps.push_back(generic<T>("a step that outweighs W", 50, 40, 8, 4));
    steps.back().eta = 30.0;

    steps.push_back(generic<T>("P = 0", 96, 64, 16, 4));
    std::ranges::fill(steps.back().p.span(), T(0));
    steps.push_back(generic<T>("P in span(L)", 96, 64, 16, 4));
    const Tensor<T> mix = filled<T>(16, 4, 9);
    EigenStorage::multiply(steps.back().p.matrix(), T(1), std::as_const(steps.back().left).matrix(), mix.matrix(), T(0),
                           memory);
    steps.push_back(generic<T>("3 of 8 columns of P in span(L)", 96, 64, 16, 8));
    EigenStorage::multiply(steps.back().p.matrix().col_block(0, 3), T(1), std::as_const(steps.back().left).matrix(),
                           mix.matrix().col_block(0, 3), T(0), memory);
    steps.push_back(generic<T>("P nearly in span(L)", 96, 64, 16, 4));
    EigenStorage::multiply(steps.back().p.matrix(), T(1), std::as_const(steps.back().left).matrix(), mix.matrix(),
                           T(1e-2), memory);
    steps.push_back(generic<T>("repeated and zero columns of P", 60, 40, 8, 5));
    {
        const auto p = steps.back().p.matrix();
        EigenStorage::copy(p.col_block(1, 1), p.col_block(0, 1));
        EigenStorage::add_scaled(p.col_block(2, 1), T(0), T(0), ConstMatrixView<T>(p.col_block(0, 1)));
        EigenStorage::add_scaled(p.col_block(3, 1), T(1e-5), T(1), ConstMatrixView<T>(p.col_block(0, 1)));
    }
    steps.push_back(generic<T>("zero rows of R", 96, 64, 16, 6));
    scale_rows(steps.back().right, [](Index k) { return k < 12 ? 1.0 : 0.0; });
    // Float's rounding of R Rᵀ would leave nothing of the smallest value from 1e4 on.
    for (const double decades : {4.0, 6.0}) {
        steps.push_back(generic<T>("condition 1e" + std::to_string(static_cast<int>(decades)), 96, 64, 16, 4));
        give_condition(steps.back(), decades);
    }
    steps.push_back(generic<T>("Q not orthonormal", 60, 40, 12, 5));
    steps.back().q = filled<T>(40, 5, 4);
    steps.back().q_orthonormal = false;
    steps.push_back(generic<T>("Q with repeated columns", 60, 40, 12, 5));
    EigenStorage::copy(steps.back().q.matrix().col_block(1, 1), steps.back().q.matrix().col_block(0, 1));
    steps.back().q_orthonormal = false;
    return steps;
}

TEST_CASE_TEMPLATE("rank-r update: the same weight and subspace as the plain form, in every edge case", T, float,
                   double)
{
    for (const auto& step : all_steps<T>()) {
        CAPTURE(step.name);
        const auto exact = step.in_double();
        const auto w_plus = dense_step(exact.subspace(), exact.eta, exact.shrink, exact.gradient());
        const auto plain = exact.after(UpdateForm::plain);
        const auto update = step.after(UpdateForm::rank_r);
        CHECK(update.updates().rank_r == 1);
        CHECK(update.updates().declined == 0);

        const Index terms = step.left.size();
        const double scale = frobenius_norm(w_plus.matrix()) + frobenius_norm(step.right.matrix());
        CHECK(orthonormality_defect(update.left()) <= tolerance<T>(step.left.matrix().rows, 1.0));
        CHECK(pairing_error(update, w_plus) <= tolerance<T>(terms, scale));
        // Rounding of W+ turns the subspace by its share of the smallest value of A. Both forms go through W+ W+ᵀ, in
        // double here, which squares that. The angle moves the weight by what the subspace misses of W+ and by what the
        // direction that turns most carries, which is that smallest value.
        const double smallest = step.smallest_value();
        const double sensitivity = scale / smallest;
        const double angle = tolerance<T>(step.left.matrix().cols, sensitivity, 1.0) +
                             tolerance<double>(step.left.matrix().cols, sensitivity * sensitivity, 1.0);
        const double missed = distance(dense(plain).matrix(), w_plus.matrix());
        CHECK(projector_distance(plain.left(), update.left()) <= angle);
        CHECK(distance(dense(plain).matrix(), dense(update).matrix()) <=
              tolerance<T>(terms, scale) + (missed + smallest) * angle);
    }
}

TEST_CASE_TEMPLATE("rank-r update: the same on the strict storage, which poisons results and finds overlaps", T, float,
                   double)
{
    for (const auto& step : all_steps<T>()) {
        CAPTURE(step.name);
        const auto exact = step.in_double();
        const auto w_plus = dense_step(exact.subspace(), exact.eta, exact.shrink, exact.gradient());
        auto update = wasi::subspace::WeightSubspace<T, NaiveStorage>::from_factors(
            wasi::clone<wasi::EigenStorage>(step.left, wasi::Tag{}),
            wasi::clone<wasi::EigenStorage>(step.right, wasi::Tag{}));
        update.update(static_cast<T>(step.eta), static_cast<T>(step.shrink), step.gradient(), UpdateForm::rank_r);
        CHECK(update.updates().rank_r == 1);
        CHECK(orthonormality_defect(update.left()) <= tolerance<T>(step.left.matrix().rows, 1.0));
        const double scale = frobenius_norm(w_plus.matrix()) + frobenius_norm(step.right.matrix());
        const double smallest = step.smallest_value();
        const double sensitivity = scale / smallest;
        const double angle = tolerance<T>(step.left.matrix().cols, sensitivity, 1.0) +
                             tolerance<double>(step.left.matrix().cols, sensitivity * sensitivity, 1.0);
        CHECK(projector_distance(exact.after(UpdateForm::plain).left(), update.left()) <= angle);
    }
}

TEST_CASE_TEMPLATE("rank-r update: more zero rows of R than the gradient fills", T, float, double)
{
    // A is singular: its null directions carry no weight, and any direction may take their place. What has to hold is
    // that the rest is as in the plain form, which truncates W+ no worse than its best approximation of the rank of A.
    auto step = generic<T>("", 60, 40, 12, 2);
    scale_rows(step.right, [](Index k) { return k < 6 ? 1.0 : 0.0; });
    const auto exact = step.in_double();
    const auto w_plus = dense_step(exact.subspace(), exact.eta, exact.shrink, exact.gradient());
    const double scale = frobenius_norm(w_plus.matrix());
    const auto update = step.after(UpdateForm::rank_r);
    CHECK(orthonormality_defect(update.left()) <= tolerance<T>(60, 1.0));
    CHECK(pairing_error(update, w_plus) <= tolerance<T>(60 * 12, scale));
    // W+ has rank 8 = 6 + 2 and fits into K = 12 columns but for what one warm step cannot see yet.
    const auto plain = exact.after(UpdateForm::plain);
    const double missed = distance(dense(plain).matrix(), w_plus.matrix());
    CHECK(distance(dense(update).matrix(), w_plus.matrix()) <= missed + tolerance<T>(60 * 12, scale));
}

TEST_CASE_TEMPLATE("rank-r update: declines where the plain form is safer, and the plain form answers", T, float,
                   double)
{
    const auto same_as_plain = [](const Step<T>& step) {
        const auto plain = step.after(UpdateForm::plain);
        const auto update = step.after(UpdateForm::rank_r);
        CHECK(update.updates().declined == 1);
        CHECK(update.updates().plain == 1);
        CHECK(update.updates().rank_r == 0);
        CHECK(same_bits(plain.left(), update.left()));
        CHECK(same_bits(plain.right(), update.right()));
    };
    SUBCASE("R = 0 and a gradient that R does not meet")
    {
        // L is a part of the identity and P is zero there, so A = 0 without rounding.
        auto step = generic<T>("", 20, 15, 4, 2);
        std::ranges::fill(step.right.span(), T(0));
        std::ranges::fill(step.left.span(), T(0));
        for (Index k = 0; k < 4; ++k) {
            step.left.matrix()(k, k) = T(1);
            step.p.matrix()(k, 0) = T(0);
            step.p.matrix()(k, 1) = T(0);
        }
        same_as_plain(step);
    }
    SUBCASE("more columns than inputs: no orthonormal Q")
    {
        auto step = generic<T>("", 20, 6, 4, 4);
        step.p = filled<T>(20, 9, 3);
        step.q = filled<T>(6, 9, 4);
        step.q_orthonormal = false;
        same_as_plain(step);
    }
    SUBCASE("a gradient that is not finite")
    {
        for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
            auto step = generic<T>("", 20, 15, 4, 2);
            step.p.data()[5] = bad;
            const auto update = step.after(UpdateForm::rank_r);
            CHECK(update.updates().declined == 1);
        }
    }
}

TEST_CASE_TEMPLATE("the part of P outside span(L): orthonormal, orthogonal to L also where little is left of P", T,
                   float, double)
{
    auto& memory = wasi::plain_memory();
    struct Case {
        Index outputs, rank, r;
        double outside;  // share of P outside span(L)
        Index wanted;
    };
    for (const Case c : {Case{60, 10, 4, 1.0, 4}, Case{60, 10, 4, 1e-3, 4}, Case{60, 10, 4, 0.0, 0},
                         Case{20, 17, 6, 1.0, 3}, Case{20, 17, 6, 1e-3, 3}, Case{12, 12, 5, 1.0, 0}}) {
        CAPTURE(wasi::shape_text({c.outputs, c.rank, c.r}));
        CAPTURE(c.outside);
        const auto left = filled<T>(c.outputs, c.rank, 1, true);
        Tensor<T> p = filled<T>(c.outputs, c.r, 2);
        const auto mix = filled<T>(c.rank, c.r, 3);
        EigenStorage::multiply(p.matrix(), T(1), left.matrix(), mix.matrix(), static_cast<T>(c.outside), memory);
        Tensor<T> inside(memory, {}, {c.rank, c.r});
        EigenStorage::multiply(inside.matrix(), T(1), left.matrix().transposed(), std::as_const(p).matrix(), T(0),
                               memory);
        const auto part = wasi::subspace::detail::outside_part<EigenStorage, T>(
            left.matrix(), std::as_const(p).matrix(), std::as_const(inside).matrix(), memory);
        REQUIRE(part.has_value());
        CHECK(part->rank == c.wanted);
        Tensor<double> rest = as<double, T>(std::as_const(p).matrix());  // P - L C - basis triangle
        const auto wide_left = as<double, T>(left.matrix());
        const auto wide_inside = as<double, T>(std::as_const(inside).matrix());
        EigenStorage::multiply(rest.matrix(), -1.0, wide_left.matrix(), wide_inside.matrix(), 1.0, memory);
        if (c.wanted > 0) {
            CHECK(orthonormality_defect(part->basis.matrix()) <= tolerance<T>(c.outputs, 1.0));
            // All of the basis is outside: ||(1 - L Lᵀ) basis|| = sqrt(k), and ||Lᵀ basis|| is rounding.
            Tensor<T> overlap(memory, {}, {c.rank, c.wanted});
            EigenStorage::multiply(overlap.matrix(), T(1), left.matrix().transposed(), part->basis.matrix(), T(0),
                                   memory);
            CHECK(max_abs(overlap.matrix()) <= tolerance<T>(c.outputs, 1.0));
            const auto wide_basis = as<double, T>(part->basis.matrix());
            EigenStorage::multiply(rest.matrix(), -1.0, wide_basis.matrix(), part->triangle.matrix(), 1.0, memory);
        }
        CHECK(frobenius_norm(rest.matrix()) <= tolerance<T>(c.outputs * c.rank, frobenius_norm(p.matrix())));
    }
}

TEST_CASE_TEMPLATE("rank-r update: a Gram matrix that is no longer one is computed again", T, float, double)
{
    const auto step = generic<T>("", 40, 30, 8, 3);
    auto& memory = wasi::plain_memory();
    Tensor<T> left = wasi::clone<wasi::EigenStorage>(step.left, wasi::Tag{});
    Tensor<T> right = wasi::clone<wasi::EigenStorage>(step.right, wasi::Tag{});
    wasi::subspace::RightGram<T, EigenStorage> gram(memory, {});
    gram.compute(step.right.matrix());
    Tensor<double> wrong(memory, {}, {8, 8});
    EigenStorage::add_scaled(wrong.matrix(), 0.0, -1.0, gram.matrix());
    gram.advance(std::as_const(wrong).matrix());
    CHECK(gram.age() == 1);
    CHECK(wasi::subspace::rank_r_update<EigenStorage, T>(left.matrix(), right.matrix(), gram, T(0.1), T(1e-3),
                                                         step.gradient(), memory));
    CHECK(gram.age() == 1);  // computed, then one step
    const auto update = step.after(UpdateForm::rank_r);
    CHECK(same_bits(update.left(), std::as_const(left).matrix()));
    CHECK(same_bits(update.right(), std::as_const(right).matrix()));
}

/// ||M - R Rᵀ||_F with R Rᵀ in double.
template <class T>
[[nodiscard]] double gram_error(ConstMatrixView<double> m, ConstMatrixView<T> right)
{
    Tensor<double> exact(wasi::plain_memory(), {}, {right.rows, right.rows});
    EigenStorage::gram(exact.matrix(), 0.0, right.transposed(), wasi::plain_memory());
    return distance(std::as_const(exact).matrix(), m);
}

TEST_CASE_TEMPLATE("rank-r update: the Gram matrix follows R, and is computed again when it is old", T, float, double)
{
    const auto step = generic<T>("", 48, 40, 10, 3);
    auto& memory = wasi::plain_memory();
    Tensor<T> left = wasi::clone<wasi::EigenStorage>(step.left, wasi::Tag{});
    Tensor<T> right = wasi::clone<wasi::EigenStorage>(step.right, wasi::Tag{});
    wasi::subspace::RightGram<T, EigenStorage> gram(memory, {});
    Index computed = 0;
    for (std::uint64_t n = 0; n < 2 * 64 + 1; ++n) {
        const auto p = filled<T>(48, 3, 100 + n);
        computed += !gram.known() || gram.age() == 64 ? 1 : 0;
        REQUIRE(wasi::subspace::rank_r_update<EigenStorage, T>(left.matrix(), right.matrix(), gram, T(0.05), T(1e-3),
                                                               {p.matrix(), step.q.matrix(), true}, memory));
        const double scale = std::pow(frobenius_norm(std::as_const(right).matrix()), 2.0);
        CHECK(gram.age() == static_cast<Index>(n % 64) + 1);
        // Rounding of R, which M does not see, step by step with random signs.
        CHECK(gram_error(gram.matrix(), std::as_const(right).matrix()) <= tolerance<T>(gram.age(), scale, 1.0));
    }
    CHECK(computed == 3);
}

TEST_CASE("rank-r update: the Gram matrix of an ill-conditioned float R is never given up before its time")
{
    // The smallest eigenvalue of M is 1e-10 of the largest, where float's epsilon is 1e-7.
    auto step = generic<float>("", 48, 40, 10, 3);
    give_condition(step, 5.0);
    auto& memory = wasi::plain_memory();
    wasi::subspace::RightGram<float, EigenStorage> gram(memory, {});
    for (std::uint64_t n = 0; n < 60; ++n) {
        const auto p = filled<float>(48, 3, 100 + n);
        REQUIRE(wasi::subspace::rank_r_update<EigenStorage, float>(step.left.matrix(), step.right.matrix(), gram, 1e-7F,
                                                                   1e-3F, {p.matrix(), step.q.matrix(), true}, memory));
        CHECK(gram.age() == static_cast<Index>(n) + 1);
    }
    CHECK(orthonormality_defect(std::as_const(step.left).matrix()) <= tolerance<float>(48, 1.0));
}

}  // namespace
