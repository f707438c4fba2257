#include <doctest/doctest.h>

#include <Eigen/SparseCore>
#include <cmath>
#include <limits>
#include <string>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/qb.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/sparse_operator.hpp>
#include <wasi/linalg/spectral_norm.hpp>

// Operators are known by their products alone, and products can lie.
namespace {

using wasi::ConstMatrixView;
using wasi::EigenStorage;
using wasi::Index;
using wasi::MatrixView;
using wasi::Memory;
using wasi::RandomKey;
using wasi::linalg::Energy;
using wasi::linalg::randomized_svd;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;
using wasi_tests::Matrix;
using wasi_tests::matrix_with_spectrum;

/// A matrix behind its products. `spoil` is the number of the call whose result gets a bad element.
template <class T>
struct Lying {
    const Matrix<T>* forward;
    const Matrix<T>* backward;
    T adjoint_factor = T(1);
    int spoil = -1;
    T bad = std::numeric_limits<T>::quiet_NaN();
    mutable int calls = 0;

    [[nodiscard]] Index rows() const { return forward->view().rows; }
    [[nodiscard]] Index cols() const { return forward->view().cols; }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        EigenStorage::multiply(y, T(1), forward->view(), x, T(0), memory);
        count(y);
    }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        EigenStorage::multiply(y, adjoint_factor, backward->view().transposed(), x, T(0), memory);
        count(y);
    }
    void count(MatrixView<T> y) const
    {
        if (calls++ == spoil) {
            y(y.rows / 2, 0) = bad;
        }
    }
};

template <class T>
struct Boastful : Lying<T> {
    double said = 0.0;
    [[nodiscard]] double squared_norm() const { return said; }
};

template <class T, class Operator>
auto decompose(const Operator& a, const wasi::linalg::RandomizedSvdOptions& options)
{
    return randomized_svd<EigenStorage, T>(a, options, RandomKey(3), wasi::plain_memory());
}

TEST_CASE_TEMPLATE("operators: NaN and infinity are refused at whichever call returns them", T, float, double)
{
    const auto a = matrix_with_spectrum<T>(120, 100, wasi_tests::polynomial(100, 0.5), 1);
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
        for (const auto& options :
             {wasi::linalg::RandomizedSvdOptions{.rank = 5}, wasi::linalg::RandomizedSvdOptions{.rank = Energy{0.6}}}) {
            const Lying<T> honest{&a, &a};
            static_cast<void>(decompose<T>(honest, options));
            const int calls = honest.calls;
            REQUIRE(calls >= 5);
            for (int call = 0; call < calls; ++call) {
                const Lying<T> spoilt{&a, &a, T(1), call, bad};
                CHECK_THROWS_AS(static_cast<void>(decompose<T>(spoilt, options)), wasi::argument_error);
            }
        }
    }
}

TEST_CASE_TEMPLATE("operators: an adjoint that is none is refused, and both numbers are named", T, float, double)
{
    const auto a = matrix_with_spectrum<T>(120, 100, wasi_tests::polynomial(100, 0.5), 1);
    const auto other = matrix_with_spectrum<T>(120, 100, wasi_tests::polynomial(100, 0.5), 2);
    const auto message = [](const auto& map) {
        try {
            static_cast<void>(decompose<T>(map, {.rank = 5}));
        } catch (const wasi::argument_error& refusal) {
            return std::string(refusal.what());
        }
        return std::string();
    };
    for (const auto& map :
         {Lying<T>{&a, &other}, Lying<T>{&a, &a, T(-1)}, Lying<T>{&a, &a, T(2)}, Lying<T>{&a, &a, T(1.1)}}) {
        CHECK(message(map).find("apply_adjoint is not the transpose of apply: <A x, y> is ") != std::string::npos);
        Memory& memory = wasi::plain_memory();
        CHECK_THROWS_AS(
            static_cast<void>(wasi::linalg::qb<EigenStorage, T>(map, {.tolerance = 0.5}, RandomKey(1), memory)),
            wasi::argument_error);
        CHECK_THROWS_AS(static_cast<void>(wasi::linalg::spectral_norm<EigenStorage, T>(map, {}, RandomKey(1), memory)),
                        wasi::argument_error);
    }
    CHECK(message(Lying<T>{&a, &a}).empty());
}

TEST_CASE_TEMPLATE("operators: a norm that is not theirs is refused", T, float, double)
{
    const auto a = matrix_with_spectrum<T>(120, 100, wasi_tests::polynomial(100, 0.5), 1);
    const double truth = wasi_tests::energy(wasi_tests::polynomial(100, 0.5));
    for (const double factor : {0.1, 0.5, 100.0, 1e6}) {
        Boastful<T> map;
        map.forward = map.backward = &a;
        map.said = factor * truth;
        CHECK_THROWS_AS(static_cast<void>(decompose<T>(map, {.rank = Energy{0.6}})), wasi::argument_error);
    }
    Boastful<T> honest;
    honest.forward = honest.backward = &a;
    honest.said = truth;
    CHECK(decompose<T>(honest, {.rank = Energy{0.6}}).info.status == Status::ok);
}

TEST_CASE("operators: none is made dense above the limit, in matrix or in sketch")
{
    // 200,000 x 50,000 with 3 elements in a row: 80 GB as a matrix.
    using Sparse = Eigen::SparseMatrix<double, Eigen::RowMajor>;
    Sparse a(200000, 50000);
    a.reserve(Eigen::VectorXi::Constant(200000, 3));
    const RandomKey key(8);
    for (int i = 0; i < 200000; ++i) {
        for (int j = 0; j < 3; ++j) {
            const auto at = static_cast<std::uint64_t>(3 * i + j);
            a.coeffRef(i, static_cast<int>(key.below(at, 50000))) += 1.0 + key.uniform(at);
        }
    }
    wasi::Ledger memory;
    constexpr std::size_t limit = std::size_t{64} << 20;
    const auto f =
        randomized_svd(a, {.rank = Energy{0.5}, .power_iterations = 0, .memory_limit = limit}, RandomKey(1), memory);
    CHECK(f.info.status == Status::rank_limit);
    CHECK(f.info.rank >= 16);
    CHECK(memory.total().peak < 8 * limit);
    CHECK_THROWS_AS(static_cast<void>(randomized_svd(a, {.rank = wasi::linalg::GavishDonoho{}}, RandomKey(1))),
                    wasi::budget_error);
}

TEST_CASE("sparse matrices: the same answer at every scale")
{
    using Sparse = Eigen::SparseMatrix<double>;
    const auto dense = matrix_with_spectrum<double>(90, 70, wasi_tests::exponential(70, 0.7), 4);
    for (const int exponent : {-900, 0, 900}) {
        Sparse a(90, 70);
        for (Index i = 0; i < 90; ++i) {
            for (Index j = 0; j < 70; ++j) {
                a.insert(i, j) = std::ldexp(dense(i, j), exponent);
            }
        }
        const auto f = randomized_svd(a, {.rank = Tolerance{1e-3}}, RandomKey(1));
        CHECK(f.info.status == Status::ok);
        CHECK(f.info.captured_energy >= 1.0 - 1e-6);
        CHECK(std::ldexp(f.s(0), -exponent) == doctest::Approx(1.0).epsilon(1e-9));
        const auto basis = wasi::linalg::qb(a, {.tolerance = 1e-3, .block = 4}, RandomKey(1));
        CHECK(basis.info.status == Status::ok);
        CHECK((std::ldexp(1.0, -exponent / 2) * (a - basis.q * basis.b) * std::ldexp(1.0, exponent / 2 - exponent))
                  .norm() <= 1e-3 * wasi_tests::frobenius_norm(dense.view()));
        const auto norm = wasi::linalg::spectral_norm(a, RandomKey(1));
        CHECK(std::ldexp(norm.lower, -exponent) <= 1.0 + 1e-12);
        CHECK(std::ldexp(norm.upper, -exponent) >= 1.0);
        const auto zero = randomized_svd(Sparse(30, 20), {.rank = 2}, RandomKey(1));
        CHECK(zero.s(0) == 0.0);
    }
}

TEST_CASE_TEMPLATE("spectral norm: inside its interval, at every scale, also of a difference that is not formed", T,
                   float, double)
{
    for (const double power : {0.0, 0.5, 2.0}) {
        const auto values = wasi_tests::polynomial(150, power);
        const auto a = matrix_with_spectrum<T>(200, 150, values, 7);
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            const auto norm =
                wasi::linalg::spectral_norm<EigenStorage, T>(a.view(), {}, RandomKey(seed), wasi::plain_memory());
            CHECK(norm.status == Status::ok);
            CHECK(norm.lower <= 1.0 + wasi_tests::tolerance<T>(200, 1.0));
            CHECK(norm.upper >= 1.0 - wasi_tests::tolerance<T>(200, 1.0));
            CHECK(norm.upper <= 1.1001 * norm.lower);
        }
        const int reach = sizeof(T) < sizeof(double) ? 110 : 900;
        for (const int exponent : {-reach, reach}) {
            Matrix<T> scaled(200, 150);
            EigenStorage::add_scaled(scaled.view(), T(0), static_cast<T>(std::ldexp(1.0, exponent)), a.view());
            const auto norm =
                wasi::linalg::spectral_norm<EigenStorage, T>(scaled.view(), {}, RandomKey(1), wasi::plain_memory());
            CHECK(std::ldexp(norm.estimate(), -exponent) == doctest::Approx(1.0).epsilon(0.06));
        }
        // What a truncated SVD of rank 10 leaves is sigma_11.
        const auto f = wasi::linalg::truncated_svd<EigenStorage, T>(a.view(), {.rank = 10}, wasi::plain_memory());
        Matrix<T> left(200, 10);
        for (Index j = 0; j < 10; ++j) {
            EigenStorage::add_scaled(left.view().col_block(j, 1), T(0), f.s.data()[j], f.u.matrix().col_block(j, 1));
        }
        const wasi::linalg::MatrixOperator<EigenStorage, T> map(a.view());
        const wasi::linalg::DifferenceOperator<wasi::linalg::MatrixOperator<EigenStorage, T>, EigenStorage, T> rest(
            map, left.view(), f.v.matrix());
        const auto norm =
            wasi::linalg::spectral_norm<EigenStorage, T>(rest, {.accuracy = 0.05}, RandomKey(5), wasi::plain_memory());
        const double expected = wasi_tests::value_at(values, 10);
        CHECK(norm.lower <= expected * 1.001 + wasi_tests::tolerance<T>(200, 1.0));
        CHECK(norm.upper >= expected * 0.999);
    }
    const auto zero = matrix_with_spectrum<T>(20, 10, {}, 1);
    CHECK(wasi::linalg::spectral_norm<EigenStorage, T>(zero.view(), {}, RandomKey(1), wasi::plain_memory()).upper ==
          0.0);
}

TEST_CASE("spectral norm: the upper end fails no more often than it says")
{
    // With one vector and failure 0.2 it must fail sometimes, and at most in one draw of five.
    const auto a = matrix_with_spectrum<double>(60, 50, wasi_tests::step(50, 1, 0.05), 3);
    int failed = 0;
    constexpr int draws = 400;
    for (int seed = 0; seed < draws; ++seed) {
        const auto norm = wasi::linalg::spectral_norm<EigenStorage, double>(
            a.view(), {.vectors = 1, .accuracy = 1e-9, .failure = 0.2, .max_iterations = 1},
            RandomKey(static_cast<std::uint64_t>(seed)), wasi::plain_memory());
        failed += norm.upper < 1.0 ? 1 : 0;
    }
    CHECK(failed > 0);
    CHECK(failed < draws / 5 + 4 * 8);  // four standard deviations
}

TEST_CASE("norm_bound_factor: the quantiles of the chi-squared law")
{
    // P(chi²_2 <= x) = 1 - exp(-x / 2)
    for (const double failure : {1e-2, 1e-6, 1e-9}) {
        CHECK(wasi::linalg::norm_bound_factor(2, failure) ==
              doctest::Approx(2.0 / (-2.0 * std::log1p(-failure))).epsilon(1e-6));
    }
    CHECK(wasi::linalg::norm_bound_factor(8, 1e-6) == doctest::Approx(56.344).epsilon(1e-4));
    CHECK(wasi::linalg::norm_bound_factor(16, 1e-6) == doctest::Approx(11.029).epsilon(1e-4));
}

TEST_CASE_TEMPLATE("block Krylov: nearer than subspace iteration with the same passes, on a flat spectrum", T, float,
                   double)
{
    const auto a = wasi_tests::random_matrix<T>(400, 300, 4);
    const auto energy = [&](wasi::linalg::SketchMethod method) {
        return randomized_svd<EigenStorage, T>(a.view(), {.rank = 10, .power_iterations = 4, .method = method},
                                               RandomKey(1), wasi::plain_memory());
    };
    const auto krylov = energy(wasi::linalg::SketchMethod::block_krylov);
    const auto plain = energy(wasi::linalg::SketchMethod::subspace_iteration);
    CHECK(krylov.info.passes <= plain.info.passes);
    CHECK(krylov.info.captured_energy > plain.info.captured_energy);
    CHECK(wasi_tests::orthonormality_defect(krylov.u.matrix()) <= wasi_tests::tolerance<T>(400, 1.0));
    CHECK(wasi_tests::orthonormality_defect(krylov.v.matrix()) <= wasi_tests::tolerance<T>(400, 1.0));
}

}  // namespace
