#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/low_rank.hpp>
#include <wasi/linalg/nystrom.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::Memory;
using wasi::linalg::Energy;
using wasi::linalg::nystrom;
using wasi::linalg::NystromFactors;
using wasi::linalg::NystromOptions;
using wasi::linalg::Status;
using wasi::linalg::Tolerance;
using wasi_tests::Values;

/// V diag(values) Vᵀ, symmetric to the bit.
template <class T>
wasi_tests::Matrix<T> symmetric_with(Index size, const Values& values, std::uint64_t seed)
{
    const auto k = static_cast<Index>(values.size());
    const auto v = wasi_tests::random_orthonormal(size, k, seed);
    wasi_tests::Matrix<T> result(size, size);
    for (Index i = 0; i < size; ++i) {
        for (Index j = 0; j <= i; ++j) {
            double sum = 0.0;
            for (Index p = 0; p < k; ++p) {
                sum += v(i, p) * values[static_cast<std::size_t>(p)] * v(j, p);
            }
            result(i, j) = static_cast<T>(sum);
            result(j, i) = result(i, j);
        }
    }
    return result;
}

/// A matrix that is only known by its products; fails on demand.
template <class T>
struct Map {
    ConstMatrixView<T> a;
    int bad_call = -1;
    mutable int calls = 0;

    [[nodiscard]] Index rows() const { return a.rows; }
    [[nodiscard]] Index cols() const { return a.cols; }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        wasi::EigenStorage::multiply(y, T(1), a, x, T(0), memory);
        if (calls++ == bad_call) {
            y(y.rows - 1, y.cols - 1) = std::numeric_limits<T>::infinity();
        }
    }
};

template <class E, class T = typename E::Scalar>
NystromFactors<T> decompose(const wasi_tests::Matrix<T>& a, const NystromOptions& options, std::uint64_t seed = 1)
{
    return nystrom<typename E::Storage, T>(a.view(), options, wasi::RandomKey(seed), wasi::plain_memory());
}

/// U orthonormal, s falling and not negative. Returns the true relative error.
template <class T>
double check_factors(const wasi_tests::Matrix<T>& a, const NystromFactors<T>& f)
{
    const Index n = a.view().rows;
    REQUIRE(f.vectors.shape() == wasi::Shape{n, f.info.rank});
    REQUIRE(f.values.size() == f.info.rank);
    CHECK(wasi_tests::orthonormality_defect(f.vectors.matrix()) <= wasi_tests::tolerance<T>(n, 1.0));
    for (Index j = 0; j < f.info.rank; ++j) {
        CHECK(f.values.data()[j] >= T(0));
        CHECK((j == 0 || f.values.data()[j] <= f.values.data()[j - 1]));
    }
    const auto u = f.vectors.matrix();
    return wasi_tests::relative_error<T>(a.view(), u, u.transposed(), f.values.span());
}

TEST_CASE_TEMPLATE("nystrom: a rule is met by the true error at every size, or the status says not", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const double unit = static_cast<double>(wasi::epsilon<T>);
    std::uint64_t seed = 300;
    for (const Index size : {Index{1}, Index{2}, Index{24}, Index{60}}) {
        for (const auto& spectrum : wasi_tests::spectra_for_rules(size)) {
            const auto ordinary = symmetric_with<T>(size, spectrum.values, ++seed);
            for (const double scale : wasi_tests::extreme_sizes<T>()) {
                const auto a = wasi_tests::times(ordinary, scale);
                for (const double tolerance : {0.5, 1e-2, 1e-4, 1e-8, 1e-12, 1e-17}) {
                    INFO(spectrum.name, " (", size, ") size ", scale, " tolerance ", tolerance);
                    const auto f = decompose<E>(a, {.rank = Tolerance{tolerance}, .first_block = 8});
                    const double error = check_factors(a, f);
                    CHECK(std::abs(error - f.info.relative_error) <= 1e-3 * error + 4.0 * unit);
                    CHECK(error <= std::max(tolerance, 200.0 * unit));
                    if (tolerance > 8.0 * unit) {
                        CHECK(f.info.status == (error <= tolerance ? Status::ok : Status::rule_not_met));
                    } else {
                        CHECK((error <= tolerance || f.info.status == Status::rule_not_met));
                    }
                    CHECK(f.info.failure_probability == 0.0);
                }
                const auto f = decompose<E>(a, {.rank = Energy{0.9}});
                CHECK(std::pow(check_factors(a, f), 2) <= 0.1);
            }
        }
    }
}

TEST_CASE_TEMPLATE("nystrom: the error of a fixed rank is within its bound", E, wasi_tests::EigenFloat,
                   wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const auto& spectrum : wasi_tests::spectra_for_rules(60)) {
        const auto a = symmetric_with<T>(60, spectrum.values, 17);
        for (const Index rank : {Index{1}, Index{5}, Index{20}}) {
            double mean = 0.0;
            constexpr int keys = 4;
            for (int key = 0; key < keys; ++key) {
                const auto f = decompose<E>(a, {.rank = rank}, static_cast<std::uint64_t>(key));
                CHECK(f.info.status == Status::ok);
                CHECK(f.info.rank == rank);
                CHECK(f.info.columns == rank + 10);
                CHECK(std::abs(check_factors(a, f) - f.info.relative_error) <=
                      1e-3 * f.info.relative_error + 4.0 * static_cast<double>(wasi::epsilon<T>));
                const auto u = f.vectors.matrix();
                mean += wasi_tests::spectral_norm(wasi_tests::residual(a.view(), u, f.values.span(), u)) / keys;
            }
            // Of k + 10 columns, and cutting back to k adds at most sigma_{k+1} (Tropp et al. 2017, theorem 4.1 for p =
            // 10).
            double tail = 0.0;
            for (Index j = rank; j < 60; ++j) {
                tail += wasi_tests::value_at(spectrum.values, j);
            }
            const double p = 10.0;
            const auto k = static_cast<double>(rank);
            const double next = wasi_tests::value_at(spectrum.values, rank);
            const double bound = (2.0 + k / (p - 1.0)) * next + std::exp(2.0) * (k + p) / (p * p - 1.0) * tail;
            CHECK(mean <= bound + wasi_tests::tolerance<T>(60, wasi_tests::value_at(spectrum.values, 0), 16.0));
        }
    }
}

TEST_CASE_TEMPLATE("nystrom of an operator: the bound holds and is not far, a tolerance is met", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const auto& values : {wasi_tests::exponential(120, 0.8), wasi_tests::polynomial(120, 2.0),
                               wasi_tests::step(120, 9, 1e-5), wasi_tests::polynomial(120, 0.5)}) {
        const auto ordinary = symmetric_with<T>(120, values, 23);
        for (const double scale : wasi_tests::extreme_sizes<T>()) {
            const auto a = wasi_tests::times(ordinary, scale);
            const Map<T> map{a.view()};
            for (std::uint64_t key = 0; key < 3; ++key) {
                for (const double tolerance : {1e-1, 1e-3}) {
                    const auto f =
                        nystrom<typename E::Storage, T>(map, {.rank = Tolerance{tolerance}, .first_block = 4},
                                                        wasi::RandomKey(key), wasi::plain_memory());
                    const double error = check_factors(a, f);
                    CHECK(f.info.status == Status::ok);
                    CHECK(error <= tolerance);
                    CHECK(error <= f.info.relative_error);
                    CHECK(f.info.relative_error <= std::max(8.0 * error, 1e4 * static_cast<double>(wasi::epsilon<T>)));
                    CHECK(f.info.failure_probability == 1e-6);
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("nystrom: what is not symmetric or not positive is refused with both numbers", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const auto good = symmetric_with<T>(40, wasi_tests::polynomial(40, 1.0), 29);
    const auto text = [&](const auto& input, std::string_view part) {
        try {
            static_cast<void>(nystrom<typename E::Storage, T>(input, NystromOptions{.rank = 12}, wasi::RandomKey(1),
                                                              wasi::plain_memory()));
        } catch (const wasi::argument_error& problem) {
            return std::string(problem.what()).find(part) != std::string::npos;
        }
        return false;
    };
    for (const double scale : wasi_tests::extreme_sizes<T>()) {
        auto a = wasi_tests::times(good, scale);
        for (Index i = 0; i < 40; ++i) {
            for (Index j = 0; j < i; ++j) {
                a(i, j) = T(0);  // the upper triangle alone
            }
        }
        CHECK(text(ConstMatrixView<T>(a.view()), "not symmetric: <Ax,y> = "));
        CHECK(text(Map<T>{a.view()}, "and <x,Ay> = "));
        const auto negative = wasi_tests::times(good, -scale);
        CHECK(text(ConstMatrixView<T>(negative.view()), "not positive semidefinite: <Ax,x> = -"));
        CHECK(text(Map<T>{negative.view()}, "not positive semidefinite"));
    }
    // Of both signs.
    auto mixed = wasi_tests::times(good, 1.0);
    for (Index i = 0; i < 40; ++i) {
        mixed(i, i) -= T(0.2);
    }
    CHECK(text(ConstMatrixView<T>(mixed.view()), "not positive semidefinite"));
    // Rounding is neither: a Gram matrix with its own rounding, of deficient rank.
    const auto factor = wasi_tests::random_matrix<T>(40, 6, 3);
    wasi_tests::Matrix<T> gram(40, 40);
    wasi::EigenStorage::multiply(gram.view(), T(1), factor.view(), factor.view().transposed(), T(0),
                                 wasi::plain_memory());
    CHECK(decompose<E>(gram, {.rank = Tolerance{1e-4}}).info.rank == 6);
    for (int call = 0; call < 3; ++call) {
        const Map<T> infinite{good.view(), call};
        CHECK_THROWS_WITH_AS(static_cast<void>(nystrom<typename E::Storage, T>(
                                 infinite, NystromOptions{.rank = Tolerance{1e-3}, .first_block = 4},
                                 wasi::RandomKey(1), wasi::plain_memory())),
                             "nystrom: A applied to finite vectors gave NaN or infinity", wasi::argument_error);
    }
}

TEST_CASE_TEMPLATE("nystrom: the same on every storage, all above rounding, limits", E, WASI_TEST_DOUBLE_ENGINES)
{
    const auto a = symmetric_with<double>(50, wasi_tests::exponential(8, 0.5), 37);
    const auto f = decompose<E>(a, {.rank = Tolerance{0.0}});
    CHECK(f.info.rank == 8);
    CHECK(f.info.status == Status::ok);
    CHECK(check_factors(a, f) <= 1e-13);
    const auto limited = decompose<E>(a, {.rank = Tolerance{1e-6}, .max_rank = 3});
    CHECK(limited.info.rank == 3);
    CHECK(limited.info.status == Status::rank_limit);
    CHECK(decompose<E>(a, {.rank = 5, .max_rank = 3}).info.status == Status::rank_limit);
    CHECK(decompose<E>(a, {.rank = 70}).info.rank == 50);
    const auto again = decompose<E>(a, {.rank = Tolerance{0.0}});
    CHECK(wasi_tests::same_bits(f.vectors.matrix(), again.vectors.matrix()));
}

TEST_CASE("nystrom: users' types and options that cannot be")
{
    const Eigen::MatrixXd factor = Eigen::MatrixXd::Random(30, 4);
    const Eigen::MatrixXd a = factor * factor.transpose();
    const wasi::RandomKey key(1);
    const auto f = nystrom(a, {}, key);
    CHECK(f.values.size() == 4);
    CHECK((f.vectors * f.values.asDiagonal() * f.vectors.transpose() - a).norm() <= 1e-12 * a.norm());
    CHECK_THROWS_WITH_AS(static_cast<void>(nystrom(factor, {}, key)),
                         "nystrom: a symmetric matrix is square, got (30, 4)", wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(nystrom(Eigen::MatrixXd(0, 0), {}, key)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(nystrom(a, {.probes = 0}, key)), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(nystrom(a, {.failure_probability = 0.0}, key)), wasi::argument_error);
    Eigen::MatrixXd bad = a;
    bad(1, 1) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(static_cast<void>(nystrom(bad, {}, key)), "nystrom: a (30, 30) holds NaN or infinity",
                         wasi::argument_error);
}

}  // namespace
