#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include <support/eigen_tensor.hpp>
#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/randomized_hosvd.hpp>
#include <wasi/tensor/round.hpp>
#include <wasi/tensor/warm_tucker.hpp>

// A vector is a tensor of order 1: X = s u, s = ||X||. And extents of 1, where a mode has one direction only.
namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::Tolerance;
using wasi::tensor::Status;
using wasi::tensor::Tucker;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <class T>
PlainTensor<T, 1> counting(Index n)
{
    PlainTensor<T, 1> x({n});
    for (Index i = 0; i < n; ++i) {
        x.elements[static_cast<std::size_t>(i)] = static_cast<T>(i % 2 == 0 ? i + 1 : -i);
    }
    return x;
}

/// Rank 1, |s| = ||X||, u = X / s, nothing lost.
template <class T>
void check_vector(const PlainTensor<T, 1>& x, const Tucker<T, 1>& form, bool measured = true)
{
    const double norm = std::sqrt(wasi_tests::squares(x.view()));
    REQUIRE(form.ranks() == std::array<Index, 1>{1});
    REQUIRE(form.shape() == x.shape);
    CHECK(form.status == Status::ok);
    const auto s = static_cast<double>(form.core.data()[0]);
    CHECK(std::abs(std::abs(s) - norm) <= tolerance<T>(x.shape[0], norm));
    CHECK(wasi_tests::basis_defect(form) <= tolerance<T>(x.shape[0], 1.0));
    CHECK(std::sqrt(wasi_tests::squared_error<T, 1>(x.view(), form)) <= tolerance<T>(x.shape[0], norm));
    // From energies alone (the engine's warm step) nothing below sqrt(epsilon) is seen.
    const double seen = std::sqrt(tolerance<T>(x.shape[0], 1.0));
    CHECK(form.error <= (measured ? tolerance<T>(x.shape[0], 1.0) : seen));
    CHECK(std::abs(form.captured_energy - 1.0) <= tolerance<T>(x.shape[0], 1.0));
}

TEST_CASE_TEMPLATE("order 1: every decomposition gives X = s u", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    for (const Index n : {1, 2, 6, 100}) {
        const auto x = counting<T>(n);
        const auto view = x.view();
        check_vector(x, wasi::tensor::hosvd<S, T, 1>(view, 1, memory));
        check_vector(x, wasi::tensor::hosvd<S, T, 1>(view, Energy{1.0}, memory));
        check_vector(x, wasi::tensor::hosvd<S, T, 1>(view, Tolerance{0.5}, memory));
        check_vector(x, wasi::tensor::sequentially_truncated_hosvd<S, T, 1>(view, 1, {}, memory));
        check_vector(x, wasi::tensor::hooi<S, T, 1>(view, {.ranks = 1}, memory));
        const auto start = wasi_tests::random_matrix<T>(n, 1, 5);
        check_vector(x,
                     wasi::tensor::warm_tucker_step<S, T, 1>(view, start.view(), wasi::tensor::ModeRules<0>(1), memory),
                     false);
        check_vector(x, wasi::tensor::randomized_hosvd<S, T, 1>(view, {.ranks = 1, .gram_limit = 0}, wasi::RandomKey(1),
                                                                memory));
        const auto form = wasi::tensor::hosvd<S, T, 1>(view, 1, memory);
        const double square = wasi_tests::squares(view);
        const auto rounding = tolerance<T>(n, std::sqrt(square));
        CHECK(wasi::tensor::distance<S, T, 1>(form.view(), view, memory) <= rounding);
        CHECK(wasi::tensor::distance<S, T, 1>(form.view(), form.view(), memory) <= rounding);
        CHECK(wasi::tensor::relative_error<S, T, 1>(form.view(), view, memory) <= tolerance<T>(n, 1.0));
        CHECK(std::abs(wasi::tensor::inner_product<S, T, 1>(form.view(), view, memory) - square) <=
              tolerance<T>(n, square));
        CHECK(std::abs(wasi::tensor::squared_norm<S, T, 1>(form.view(), memory) - square) <= tolerance<T>(n, square));
        const auto twice = wasi::tensor::add<S, T, 1>(form.view(), form.view(), {}, memory);
        const auto rounded = wasi::tensor::round<S, T, 1>(twice.view(), Energy{1.0}, memory);
        CHECK(rounded.ranks() == std::array<Index, 1>{1});
        CHECK(std::abs(std::abs(static_cast<double>(rounded.core.data()[0])) - 2.0 * std::sqrt(square)) <=
              4.0 * rounding);
    }
    const PlainTensor<T, 1> zero({4});
    const auto nothing = wasi::tensor::hosvd<S, T, 1>(zero.view(), Energy{0.9}, memory);
    CHECK(nothing.ranks() == std::array<Index, 1>{1});
    CHECK(nothing.error == 0.0);
    CHECK(wasi_tests::basis_defect(nothing) <= tolerance<T>(4, 1.0));
}

#if WASI_TESTS_WITH_EIGEN_TENSOR
TEST_CASE_TEMPLATE("order 1: users' vectors, mode products and unfoldings", T, float, double)
{
    Eigen::Tensor<T, 1> x(5);
    x.setValues({T(1), T(-2), T(3), T(-4), T(5)});
    const auto norm = std::sqrt(55.0);
    const auto check = [&](const auto& form) {
        CHECK(form.info.ranks == std::array<Index, 1>{1});
        CHECK(std::abs(std::abs(static_cast<double>(form.core(0))) - norm) <= tolerance<T>(5, norm));
        CHECK(wasi::tensor::distance(form, x) <= tolerance<T>(5, norm));
        const auto back = wasi::tensor::reconstruct(form);
        CHECK(std::abs(static_cast<double>(back(3) + T(4))) <= tolerance<T>(5, norm));
        const auto slice = wasi::tensor::reconstruct_slice(form, 0, 2);
        CHECK(std::abs(static_cast<double>(slice(0) - T(3))) <= tolerance<T>(5, norm));
    };
    check(wasi::tensor::hosvd(x));
    check(wasi::tensor::sequentially_truncated_hosvd(x, {.ranks = 1}));
    check(wasi::tensor::hooi(x, {.ranks = 1}));
    const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> basis =
        Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>::Constant(5, 1, T(1));
    check(wasi::tensor::warm_tucker_step(x, basis));
    const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> sum = basis.transpose();
    CHECK(wasi::tensor::mode_product(x, sum, 0)(0) == T(3));
    const auto unfolded = wasi::tensor::unfold(x, 0);
    CHECK((unfolded.rows() == 5 && unfolded.cols() == 1 && unfolded(4, 0) == T(5)));
}
#endif

TEST_CASE_TEMPLATE("extents of 1 and 0: one direction, or an error that names the shape", T, float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto one = wasi_tests::random_tensor<T, 3>({1, 1, 1}, 3);
    const auto row = wasi_tests::random_tensor<T, 3>({1, 9, 1}, 3);
    for (const auto& x : {one, row}) {
        const double norm = std::sqrt(wasi_tests::squares(x.view()));
        const auto check = [&](const Tucker<T, 3>& form) {
            CHECK(form.ranks() == std::array<Index, 3>{1, 1, 1});
            CHECK(form.status == Status::ok);
            CHECK(std::sqrt(wasi_tests::squared_error<T, 3>(x.view(), form)) <= tolerance<T>(9, norm));
        };
        check(wasi::tensor::hosvd<S, T, 3>(x.view(), Energy{1.0}, memory));
        check(wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(x.view(), Energy{0.5}, {}, memory));
        check(wasi::tensor::hooi<S, T, 3>(x.view(), {.ranks = Tolerance{0.1}}, memory));
    }
    const PlainTensor<T, 1> empty({0});
    CHECK_THROWS_WITH_AS(static_cast<void>(wasi::tensor::hosvd<S, T, 1>(empty.view(), 1, memory)),
                         "hosvd: empty tensor (0)", wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::hooi<S, T, 1>(empty.view(), {.ranks = 1}, memory)),
                    wasi::shape_error);
    CHECK_THROWS_AS(
        static_cast<void>(wasi::tensor::randomized_hosvd<S, T, 1>(empty.view(), {}, wasi::RandomKey(1), memory)),
        wasi::shape_error);
    const PlainTensor<T, 3> flat({2, 0, 3});
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(flat.view(), 1, {}, memory)),
                    wasi::shape_error);
    PlainTensor<T, 1> bad({3});
    bad.elements[1] = std::numeric_limits<T>::infinity();
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::hosvd<S, T, 1>(std::as_const(bad).view(), 1, memory)),
                    wasi::argument_error);
}

}  // namespace
