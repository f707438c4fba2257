#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <support/engines.hpp>
#include <support/low_rank.hpp>
#include <wasi/linalg/product_svd.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::product_svd;
using wasi::linalg::ProductSvdOptions;
using wasi::linalg::Status;
using wasi::linalg::SvdFactors;
using wasi::linalg::Tolerance;

template <class E, class T = typename E::Scalar>
SvdFactors<T> decompose(const wasi_tests::Matrix<T>& p, const wasi_tests::Matrix<T>& q,
                        const ProductSvdOptions& options = {})
{
    return product_svd<typename E::Storage, T>({p.view(), q.view()}, options, wasi::plain_memory());
}

/// P Qᵀ of the elements as they are, the larger factor of `size` out: summed in long double, then double.
template <class T>
wasi_tests::Matrix<double> product(const wasi_tests::Matrix<T>& p, const wasi_tests::Matrix<T>& q, long double size)
{
    wasi_tests::Matrix<double> result(p.view().rows, q.view().rows);
    for (Index i = 0; i < p.view().rows; ++i) {
        for (Index j = 0; j < q.view().rows; ++j) {
            long double sum = 0;
            for (Index l = 0; l < p.view().cols; ++l) {
                sum += static_cast<long double>(p(i, l)) * static_cast<long double>(q(j, l)) / size;
            }
            result(i, j) = static_cast<double>(sum);
        }
    }
    return result;
}

struct Case {
    Index m, n, r;
};

TEST_CASE_TEMPLATE("product svd: that of the product, for factors of any condition and any size", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    const bool wide = sizeof(T) == sizeof(double);
    const double large = wide ? 1e150 : 1e25;
    std::uint64_t seed = 0;
    for (const Case& shape : {Case{60, 45, 12}, Case{45, 60, 12}, Case{9, 40, 12}, Case{40, 9, 12}, Case{8, 7, 20},
                              Case{1, 20, 3}, Case{20, 1, 3}, Case{30, 30, 1}}) {
        for (const double grading : {1.0, wide ? 1e10 : 1e4}) {
            auto p = wasi_tests::random_matrix<T>(shape.m, shape.r, ++seed);
            auto q = wasi_tests::random_matrix<T>(shape.n, shape.r, ++seed);
            for (Index l = 0; l < shape.r; ++l) {  // columns from 1 to `grading`, and what undoes it
                const double factor = std::pow(grading, static_cast<double>(l) / static_cast<double>(shape.r));
                for (Index i = 0; i < shape.m; ++i) {
                    p(i, l) = static_cast<T>(static_cast<double>(p(i, l)) * factor);
                }
                for (Index i = 0; i < shape.n; ++i) {
                    q(i, l) = static_cast<T>(static_cast<double>(q(i, l)) / factor);
                }
            }
            for (const std::pair<double, double>& sizes :
                 {std::pair{1.0, 1.0}, std::pair{large, 1.0 / large}, std::pair{1.0 / large, large},
                  std::pair{large, 1.0}, std::pair{1.0, 1.0 / large}}) {
                const double of_p = sizes.first;
                const double of_q = sizes.second;
                INFO("(", shape.m, ", ", shape.n, ") of rank ", shape.r, ", grading ", grading, ", sizes ", of_p, ", ",
                     of_q);
                const auto left = wasi_tests::times(p, of_p);
                const auto right = wasi_tests::times(q, of_q);
                const long double size = static_cast<long double>(of_p) * static_cast<long double>(of_q);
                const auto whole = product(left, right, size);
                const auto f = decompose<E>(left, right);
                const Index k = std::min({shape.m, shape.n, shape.r});
                REQUIRE(f.info.rank == k);
                CHECK(f.info.status == Status::ok);
                CHECK(wasi_tests::orthonormality_defect(f.u.matrix()) <= wasi_tests::tolerance<T>(shape.m, 1.0));
                CHECK(wasi_tests::orthonormality_defect(f.v.matrix()) <= wasi_tests::tolerance<T>(shape.n, 1.0));
                std::vector<T> values(f.s.span().begin(), f.s.span().end());
                for (T& value : values) {
                    value = static_cast<T>(static_cast<long double>(value) / size);
                }
                const auto known = wasi_tests::singular_values(std::as_const(whole).view());
                for (Index j = 0; j < k; ++j) {
                    CHECK(std::abs(static_cast<double>(values[static_cast<std::size_t>(j)]) -
                                   wasi_tests::value_at(known, j)) <= wasi_tests::tolerance<T>(shape.r, known[0]));
                }
                const auto rest = wasi_tests::residual(std::as_const(whole).view(), f.u.matrix(),
                                                       std::span<const T>(values), f.v.matrix());
                const double error = wasi_tests::frobenius_norm(rest.view());
                CHECK(error <= wasi_tests::tolerance<T>(shape.r, known[0]));
                CHECK(error <= f.info.residual_bound / static_cast<double>(size));
                CHECK(f.info.captured_energy >= 1.0 - 1e-6);
            }
        }
    }
}

TEST_CASE_TEMPLATE("product svd: rules are met by the true error, or the status says not", E, wasi_tests::EigenFloat,
                   wasi_tests::EigenDouble)
{
    using T = typename E::Scalar;
    for (const auto& spectrum : wasi_tests::spectra_for_rules(24)) {
        auto p = wasi_tests::random_matrix<T>(70, 24, 91);
        static_cast<void>(wasi::EigenStorage::orthonormalize(p.view(), wasi::plain_memory()));
        const auto q = wasi_tests::matrix_with_spectrum<T>(50, 24, spectrum.values, 92);
        const auto whole = product(p, q, 1.0L);
        const double norm = wasi_tests::frobenius_norm(whole.view());
        for (const double tolerance : {0.5, 1e-2, 1e-6, 1e-10, 1e-13, 1e-17}) {
            INFO(spectrum.name, " tolerance ", tolerance);
            const auto f = decompose<E>(p, q, {.rank = Tolerance{tolerance}});
            const auto rest = wasi_tests::residual(std::as_const(whole).view(), f.u.matrix(), f.s.span(), f.v.matrix());
            const double error = wasi_tests::frobenius_norm(rest.view());
            CHECK((error <= tolerance * norm || f.info.status == Status::rule_not_met));
            if (f.info.status == Status::rule_not_met) {
                CHECK(tolerance < 100.0 * static_cast<double>(wasi::epsilon<T>));
            }
            CHECK(error <= f.info.residual_bound * (1.0 + 1e-9));
        }
        const auto most = decompose<E>(p, q, {.rank = Energy{0.9}});
        CHECK(most.info.captured_energy >= 0.9);
    }
    const auto p = wasi_tests::random_matrix<T>(20, 6, 93);
    const auto q = wasi_tests::random_matrix<T>(15, 6, 94);
    CHECK(decompose<E>(p, q, {.rank = 4}).info.rank == 4);
    CHECK(decompose<E>(p, q, {.rank = 4, .max_rank = 2}).info.status == Status::rank_limit);
    CHECK(decompose<E>(p, q, {.rank = 40}).info.rank == 6);
}

TEST_CASE_TEMPLATE("product svd: the same on every storage, a product of zero, users' types", E,
                   WASI_TEST_DOUBLE_ENGINES)
{
    const auto p = wasi_tests::random_matrix<double>(20, 6, 95);
    const auto q = wasi_tests::random_matrix<double>(15, 6, 96);
    const auto f = decompose<E>(p, q);
    const auto reference = decompose<wasi_tests::EigenDouble>(p, q);
    CHECK(wasi_tests::max_difference(f.s.matrix(), reference.s.matrix()) <= 1e-13);
    CHECK(wasi_tests::max_difference(f.v.matrix(), reference.v.matrix()) <= 1e-12);
    const auto zero = wasi_tests::matrix_with_spectrum<double>(20, 6, {}, 1);
    const auto none = decompose<E>(zero, q);
    CHECK(none.info.rank == 1);
    CHECK(none.s.data()[0] == 0.0);
    CHECK(none.info.captured_energy == 1.0);
    CHECK(wasi_tests::orthonormality_defect(none.u.matrix()) <= 1e-14);

    const Eigen::MatrixXf left = Eigen::MatrixXf::Random(30, 5);
    const Eigen::MatrixXf right = Eigen::MatrixXf::Random(5, 20);
    const auto svd = product_svd(left, right.transpose(), {.rank = 3});
    CHECK(svd.u.cols() == 3);
    CHECK(svd.v.rows() == 20);
}

TEST_CASE("product svd: what is refused")
{
    Eigen::MatrixXd p = Eigen::MatrixXd::Random(6, 3);
    const Eigen::MatrixXd q = Eigen::MatrixXd::Random(5, 3);
    CHECK_THROWS_WITH_AS(static_cast<void>(product_svd(p, Eigen::MatrixXd(5, 2))),
                         "product_svd: P (6, 3) and Q (5, 2) do not fit", wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(product_svd(p, q, {.max_rank = 0})), wasi::argument_error);
    CHECK_THROWS_AS(static_cast<void>(product_svd(1e200 * p, 1e200 * q)), wasi::argument_error);
    p(2, 2) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(static_cast<void>(product_svd(p, q)), "product_svd: p (6, 3) holds NaN or infinity",
                         wasi::argument_error);
    CHECK_THROWS_WITH_AS(static_cast<void>(product_svd(q, p)), "product_svd: q (6, 3) holds NaN or infinity",
                         wasi::argument_error);
}

}  // namespace
