// MoFaSGD on single parameters: factored gradients against the same multiplied out, the momentum where rank is no
// limit, shapes at the edges.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <Eigen/Dense>

#include <support/central_differences.hpp>
#include <support/filled.hpp>
#include <wasi/nn/layer_setup.hpp>
#include <wasi/optim/mofasgd.hpp>
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

template <class T>
using Mofasgd = optim::Mofasgd<T, EigenStorage>;
template <class T>
using Parameter = autograd::DenseParameter<T>;
template <class T>
using Ref = nn::ParameterRef<T, EigenStorage>;

struct Size {
    Index rows;
    Index cols;
};

TEST_CASE_TEMPLATE("MoFaSGD: a factored gradient does what the same multiplied out does", T, float, double)
{
    for (const Size size : {Size{30, 12}, Size{12, 30}, Size{20, 20}}) {
        for (const bool as_code : {false, true}) {
            CAPTURE(size.rows);
            CAPTURE(as_code);
            const auto run = [&](bool factored) {
                Mofasgd<T> mofasgd({.rank = 3, .beta = 0.8, .as_code = as_code, .complement_step = 0.5},
                                   wasi::plain_memory());
                Parameter<T> w("w", normal<T>(wasi::plain_memory(), {size.rows, size.cols}, 1));
                for (std::uint64_t step = 0; step < 4; ++step) {
                    const auto p = normal<T>(wasi::plain_memory(), {size.rows, 5}, 10 + 2 * step);
                    const auto q = normal<T>(wasi::plain_memory(), {size.cols, 5}, 11 + 2 * step);
                    const auto g = product(wasi::plain_memory(), p, q);
                    mofasgd.apply(Ref<T>(w),
                                  factored ? autograd::Gradient<T>(linalg::Factored<T>{p.matrix(), q.matrix()})
                                           : autograd::Gradient<T>(autograd::Dense<T>{g.matrix()}),
                                  T(0.1), T(0.5));
                }
                return numbers(w.values);
            };
            CHECK(relative_distance(run(true), run(false)) <= 100.0 * static_cast<double>(wasi::epsilon<T>));
        }
    }
}

TEST_CASE_TEMPLATE("MoFaSGD: where gradients stay in r directions it is the polar factor of the whole momentum", T,
                   float, double)
{
    using Matrix = Eigen::MatrixXd;
    for (const Size size : {Size{20, 12}, Size{12, 20}, Size{14, 14}, Size{2, 40}}) {
        CAPTURE(size.rows);
        const Index r = size.rows == 2 ? 1 : 3;
        Mofasgd<T> mofasgd({.rank = r, .beta = 0.7, .weight_decay = 0.2}, wasi::plain_memory());
        Parameter<T> w("w", normal<T>(wasi::plain_memory(), {size.rows, size.cols}, 1));
        const auto as_matrix = [](const Tensor<T>& t) {
            return Matrix(Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
                              t.data(), t.shape()[0], t.shape()[1])
                              .template cast<double>());
        };
        Matrix wanted = as_matrix(w.values);
        Matrix momentum = Matrix::Zero(size.rows, size.cols);
        const auto left = normal<T>(wasi::plain_memory(), {size.rows, r}, 2);
        const auto right = normal<T>(wasi::plain_memory(), {size.cols, r}, 3);
        for (std::uint64_t step = 0; step < 4; ++step) {
            auto core = normal<T>(wasi::plain_memory(), {r, r}, 4 + step);
            EigenStorage::add_constant(core.matrix().diagonal(), T(3));
            Tensor<T> p(wasi::plain_memory(), {}, Shape{size.rows, r});
            EigenStorage::multiply(p.matrix(), T(1), left.matrix(), std::as_const(core).matrix(), T(0),
                                   wasi::plain_memory());
            const auto g = product(wasi::plain_memory(), p, right);
            mofasgd.apply(Ref<T>(w), autograd::Dense<T>{g.matrix()}, T(0.1), T(0.5));
            momentum = 0.7 * momentum + 0.5 * as_matrix(g);
            const Eigen::JacobiSVD<Matrix> svd(momentum, Eigen::ComputeThinU | Eigen::ComputeThinV);
            wanted =
                (1.0 - 0.1 * 0.2) * wanted - 0.1 * svd.matrixU().leftCols(r) * svd.matrixV().leftCols(r).transpose();
        }
        CHECK((as_matrix(w.values) - wanted).norm() <= 200.0 * static_cast<double>(wasi::epsilon<T>) * wanted.norm());
    }
}

TEST_CASE("MoFaSGD: nothing of W's size is formed from a factored gradient, and the state is r (m + n + 1)")
{
    for (const Size size : {Size{384, 256}, Size{256, 384}}) {
        wasi::Ledger memory;
        Mofasgd<float> mofasgd({.rank = 4}, memory);
        Parameter<float> w("w", normal<float>(wasi::plain_memory(), {size.rows, size.cols}, 1));
        const auto p = normal<float>(wasi::plain_memory(), {size.rows, 6}, 2);
        const auto q = normal<float>(wasi::plain_memory(), {size.cols, 6}, 3);
        for (int step = 0; step < 3; ++step) {
            mofasgd.apply(Ref<float>(w), linalg::Factored<float>{p.matrix(), q.matrix()}, 0.01F, 1.0F);
        }
        CHECK(memory.of(Use::optimiser_state).current == 4 * 4 * (256 + 384 + 1));
        CHECK(memory.of(Use::gradient).peak == 0);
        CHECK(memory.of(Use::workspace).peak < 4 * 256 * 384 / 2);
    }
}

TEST_CASE_TEMPLATE("MoFaSGD: a zero gradient and one of fewer directions move W along nothing but what is there", T,
                   float, double)
{
    Mofasgd<T> mofasgd({.rank = 3, .beta = 0.5}, wasi::plain_memory());
    Parameter<T> w("w", normal<T>(wasi::plain_memory(), {12, 9}, 1));
    const auto before = numbers(w.values);
    Tensor<T> zero(wasi::plain_memory(), {}, Shape{12, 9});
    EigenStorage::fill(zero.matrix(), T(0));
    for (int step = 0; step < 2; ++step) {
        mofasgd.apply(Ref<T>(w), autograd::Dense<T>{std::as_const(zero).matrix()}, T(0.1), T(1));
        CHECK(numbers(w.values) == before);
    }
    const auto p = normal<T>(wasi::plain_memory(), {12, 1}, 2);
    const auto q = normal<T>(wasi::plain_memory(), {9, 1}, 3);
    Mofasgd<T> other({.rank = 3}, wasi::plain_memory());
    for (int step = 0; step < 3; ++step) {
        other.apply(Ref<T>(w), linalg::Factored<T>{p.matrix(), q.matrix()}, T(0.1), T(1));
    }
    // Three steps of 0.1 along one direction of length 1.
    auto moved = numbers(w.values);
    for (std::size_t i = 0; i < moved.size(); ++i) {
        moved[i] -= before[i];
    }
    double length = 0.0;
    for (const double x : moved) {
        length += x * x;
    }
    CHECK(std::sqrt(length) == doctest::Approx(0.3).epsilon(1e3 * static_cast<double>(wasi::epsilon<T>)));
}

TEST_CASE("MoFaSGD: as the authors' code it starts at W, and divides by no small value")
{
    for (const double size : {10.0, 0.1}) {
        Mofasgd<double> mofasgd({.rank = 1, .beta = 0.5, .as_code = true, .momentum_step = 2.0}, wasi::plain_memory());
        Tensor<double> start(wasi::plain_memory(), {}, Shape{3, 4});
        EigenStorage::fill(start.matrix(), 0.0);
        const Tensor<double> zero = wasi::clone<EigenStorage>(start, wasi::Tag{});
        start.matrix()(1, 2) = size;
        Parameter<double> w("w", std::move(start));
        mofasgd.apply(Ref<double>(w), autograd::Dense<double>{zero.matrix()}, 0.01, 1.0);
        // The momentum is half of W: 1/5, or 1/0.05 which is held at 5.
        CHECK(w.matrix()(1, 2) == doctest::Approx(size - 0.01 * 2.0 * (size > 1.0 ? 0.2 : 5.0)).epsilon(1e-13));
    }
}

TEST_CASE("MoFaSGD: the scale is the gradient's")
{
    for (const bool as_code : {false, true}) {
        const auto run = [&](double size, double scale) {
            Mofasgd<double> mofasgd({.rank = 2, .as_code = as_code, .complement_step = 0.5}, wasi::plain_memory());
            Parameter<double> w("w", normal<double>(wasi::plain_memory(), {12, 8}, 1));
            for (std::uint64_t step = 0; step < 3; ++step) {
                auto g = normal<double>(wasi::plain_memory(), {12, 8}, 2 + step);
                EigenStorage::add_scaled(g.matrix(), 0.0, size, std::as_const(g).matrix());
                mofasgd.apply(Ref<double>(w), autograd::Dense<double>{std::as_const(g).matrix()}, 0.1, scale);
            }
            return numbers(w.values);
        };
        CHECK(relative_distance(run(0.5, 1.0), run(1.0, 0.5)) <= 1e-14);
    }
}

TEST_CASE("MoFaSGD: what a rank does not make smaller is AdamW's, at its share of the rate")
{
    CHECK_FALSE(Mofasgd<float>::factorizes(1, 50, 1));
    CHECK_FALSE(Mofasgd<float>::factorizes(8, 5, 6));
    CHECK_FALSE(Mofasgd<float>::factorizes(10, 10, 5));  // 5 * 20 = 100
    CHECK(Mofasgd<float>::factorizes(10, 10, 4));
    CHECK(Mofasgd<float>::factorizes(2, 50, 1));
    for (const Shape& shape : {Shape{1, 50}, Shape{6}, Shape{10, 10}}) {
        auto& memory = wasi::plain_memory();
        Mofasgd<double> mofasgd({.rank = 5, .weight_decay = 0.3, .other_rate = 0.5}, memory);
        optim::AdamW<double, EigenStorage> adamw({.weight_decay = 0.3}, memory);
        Parameter<double> mine("w", normal<double>(wasi::plain_memory(), shape, 1));
        Parameter<double> other("w", normal<double>(wasi::plain_memory(), shape, 1));
        for (std::uint64_t step = 0; step < 3; ++step) {
            const auto g = normal<double>(wasi::plain_memory(), shape, 2 + step);
            mofasgd.apply(Ref<double>(mine), autograd::Dense<double>{g.matrix()}, 0.1, 0.5);
            adamw.apply(Ref<double>(other), autograd::Dense<double>{g.matrix()}, 0.05, 0.5);
        }
        CHECK(numbers(mine.values) == numbers(other.values));
    }
}

TEST_CASE("MoFaSGD: what cannot be is refused by name")
{
    auto& memory = wasi::plain_memory();
    const auto make = [&](optim::MofasgdOptions options) { Mofasgd<double>(options, memory); };
    CHECK_THROWS_AS(make({.rank = 0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.beta = 1.0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.complement_step = -1.0}), wasi::argument_error);
    CHECK_THROWS_AS(make({.other_rate = -1.0}), wasi::argument_error);
    Mofasgd<double> mofasgd({.rank = 2, .weight_decay = 0.5}, memory);
    nn::LinearWeight<double, EigenStorage> weight("low", memory, {9, 6}, 1);
    EigenStorage::fill_normal(weight.matrix(), wasi::RandomKey(1));
    nn::set_up(weight, nn::WeightSetup(nn::SubspaceOptions{{linalg::FixedRank{2}, false}}));
    const auto g = normal<double>(wasi::plain_memory(), {9, 6}, 3);
    CHECK_THROWS_WITH_AS(mofasgd.apply(weight.form().parameters().at(0), autograd::Dense<double>{g.matrix()}, 0.1, 1.0),
                         doctest::Contains("low"), wasi::argument_error);
    Parameter<double> w("dense", normal<double>(wasi::plain_memory(), {9, 6}, 1));
    CHECK_THROWS_WITH_AS(
        mofasgd.apply(Ref<double>(w), linalg::FactorGradients<double>{g.matrix(), g.matrix()}, 0.1, 1.0),
        doctest::Contains("dense"), wasi::argument_error);
    CHECK_THROWS_WITH_AS(mofasgd.apply(Ref<double>(w), autograd::Dense<double>{g.matrix()}, 3.0, 1.0),
                         doctest::Contains("above 1"), wasi::argument_error);
}

}  // namespace
