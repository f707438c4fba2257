// Free factors: the balanced start, changes between the two forms, gradients of the factors.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>

#include <subspace/weight_problem.hpp>
#include <support/naive_storage.hpp>
#include <wasi/subspace/free_factors.hpp>

namespace {

using wasi::Index;
using namespace wasi_tests;

template <class T>
using Factors = wasi::subspace::FreeFactors<T, EigenStorage>;

/// A Aᵀ by plain loops in double.
template <class T>
[[nodiscard]] Matrix<double> outer(ConstMatrixView<T> a)
{
    Matrix<double> result(a.rows, a.rows);
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.rows; ++j) {
            double sum = 0.0;
            for (Index k = 0; k < a.cols; ++k) {
                sum += static_cast<double>(a(i, k)) * static_cast<double>(a(j, k));
            }
            result(i, j) = sum;
        }
    }
    return result;
}

template <class T>
[[nodiscard]] double imbalance(const Factors<T>& factors)
{
    const auto left = outer(factors.left().transposed());
    const auto right = outer(factors.right());
    return distance(left.view(), right.view());
}

TEST_CASE_TEMPLATE("start: the best approximation, as two factors of equal weight", T, float, double)
{
    const Problem<T> problem(30, 20, 3);
    const double scale = frobenius_norm(problem.w.matrix());
    for (const double energy : {0.5, 0.9}) {
        CAPTURE(energy);
        const auto factors = Factors<T>::start(problem.w.matrix(), linalg::Energy{energy}, wasi::plain_memory(), {});
        const auto subspace = Subspace<T>::start(problem.w.matrix(), linalg::Energy{energy}, wasi::plain_memory(), {});
        CHECK(factors.rank() == subspace.rank());
        CHECK(factors.energy_at_start() == subspace.energy_at_start());
        CHECK(factors.bytes() == sizeof(T) * static_cast<std::size_t>(factors.rank() * (30 + 20)));
        CHECK(distance(factors.dense(wasi::plain_memory(), {}).matrix(), dense(subspace).matrix()) <=
              tolerance<T>(30, scale));
        CHECK(imbalance(factors) <= tolerance<T>(30, scale));
        // LᵀL = diag(s), s_j = j^-1/2.
        const auto squares = outer(factors.left().transposed());
        for (Index j = 0; j < factors.rank(); ++j) {
            CHECK(squares(j, j) ==
                  doctest::Approx(std::pow(static_cast<double>(j + 1), -0.5)).epsilon(tolerance<T>(30, 1.0)));
        }
    }
}

TEST_CASE_TEMPLATE("from one form to the other and back: the same product", T, float, double)
{
    auto& memory = wasi::plain_memory();
    for (const bool deficient : {false, true}) {
        CAPTURE(deficient);
        auto left = Problem<T>::tensor(random_matrix<T>(18, 5, 1));
        auto right = Problem<T>::tensor(random_matrix<T>(5, 14, 2));
        if (deficient) {  // two equal columns of L, a zero row of R
            EigenStorage::copy(left.matrix().col_block(1, 1), std::as_const(left).matrix().col_block(0, 1));
            EigenStorage::add_scaled(right.matrix().row_block(4, 1), T(0), T(0),
                                     std::as_const(right).matrix().row_block(3, 1));
        }
        Tensor<T> product(memory, {}, {18, 14});
        EigenStorage::multiply(product.matrix(), T(1), left.matrix(), right.matrix(), T(0), memory);
        const double scale = frobenius_norm(product.matrix());
        const auto subspace = Subspace<T>::orthonormal(left.matrix(), right.matrix(), memory, {});
        CHECK(orthonormality_defect(subspace.left()) <= tolerance<T>(18, 1.0));
        CHECK(distance(dense(subspace).matrix(), product.matrix()) <= tolerance<T>(18 * 5, scale));
        const auto factors = Factors<T>::balanced(left.matrix(), right.matrix(), memory, {});
        CHECK(factors.rank() == 5);
        CHECK(distance(factors.dense(memory, {}).matrix(), product.matrix()) <= tolerance<T>(18 * 5, scale));
        CHECK(imbalance(factors) <= tolerance<T>(18 * 5, scale));
    }
}

TEST_CASE("the naive storage makes the same factors")
{
    auto& memory = wasi::plain_memory();
    const Problem<double> problem(14, 11, 3);
    const auto naive =
        wasi::subspace::FreeFactors<double, NaiveStorage>::start(problem.w.matrix(), linalg::FixedRank{4}, memory, {});
    const auto factors = Factors<double>::start(problem.w.matrix(), linalg::FixedRank{4}, memory, {});
    CHECK(distance(naive.dense(memory, {}).matrix(), factors.dense(memory, {}).matrix()) <=
          tolerance<double>(14 * 11, frobenius_norm(problem.w.matrix())));
    const auto balanced =
        wasi::subspace::FreeFactors<double, NaiveStorage>::balanced(naive.left(), naive.right(), memory, {});
    CHECK(distance(balanced.dense(memory, {}).matrix(), factors.dense(memory, {}).matrix()) <=
          tolerance<double>(14 * 11, frobenius_norm(problem.w.matrix())));
}

TEST_CASE("partial gradients of P Qᵀ are dW Rᵀ and LᵀdW")
{
    auto& memory = wasi::plain_memory();
    const Problem<double> problem(15, 11, 4);
    const auto factors = Factors<double>::start(problem.w.matrix(), linalg::FixedRank{3}, memory, {});
    const auto dw = dense_step(problem.start(3), -1.0, 1.0, problem.gradient());
    Matrix<double> d_left(15, 3);
    Matrix<double> d_right(3, 11);
    factors.partial_gradients(d_left.view(), d_right.view(), problem.gradient());
    Matrix<double> left(15, 3);
    Matrix<double> right(3, 11);
    EigenStorage::multiply(left.view(), 1.0, dw.matrix(), factors.right().transposed(), 0.0, memory);
    EigenStorage::multiply(right.view(), 1.0, factors.left().transposed(), dw.matrix(), 0.0, memory);
    CHECK(distance(d_left.view(), left.view()) <= tolerance<double>(15 * 11, frobenius_norm(left.view())));
    CHECK(distance(d_right.view(), right.view()) <= tolerance<double>(15 * 11, frobenius_norm(right.view())));
    Matrix<double> wrong(15, 2);
    CHECK_THROWS_AS(factors.partial_gradients(wrong.view(), d_right.view(), problem.gradient()), wasi::shape_error);
}

TEST_CASE("factors that do not fit or are not finite are refused")
{
    auto& memory = wasi::plain_memory();
    const auto make = [&](Index o, Index k, Index k2, Index i, double last) {
        Tensor<double> left(memory, {}, {o, k});
        Tensor<double> right(memory, {}, {k2, i});
        std::ranges::fill(left.span(), 2.0);  // orthonormal columns are not asked for
        std::ranges::fill(right.span(), last);
        return Factors<double>::from_factors(std::move(left), std::move(right));
    };
    CHECK(make(6, 2, 2, 5, 1.0).rank() == 2);
    CHECK_THROWS_WITH_AS(make(6, 2, 3, 5, 1.0), "FreeFactors: factors L (6, 2) and R (3, 5) do not fit",
                         wasi::shape_error);
    CHECK_THROWS_AS(make(6, 7, 7, 9, 1.0), wasi::shape_error);
    CHECK_THROWS_AS(make(6, 2, 2, 5, std::numeric_limits<double>::infinity()), wasi::argument_error);
    Tensor<double> w(memory, {}, {4, 3});
    std::ranges::fill(w.span(), std::numeric_limits<double>::quiet_NaN());
    CHECK_THROWS_AS((void)Factors<double>::start(w.matrix(), linalg::FixedRank{2}, memory, {}), wasi::argument_error);
}

}  // namespace
