#include <doctest/doctest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/linalg/principal_angles.hpp>

namespace {

using wasi::Index;
using wasi::linalg::principal_angles;
using wasi::linalg::sine_of_largest_angle;
using wasi_tests::EigenDouble;
using wasi_tests::EigenFloat;
using wasi_tests::Matrix;
using wasi_tests::NaiveDouble;
using wasi_tests::NaiveFloat;

/// U (n,p) and V (n,q) whose principal angles are `angles` (ascending, as many as min(p,q)), each turned inside its
/// span.
template <class T>
struct Pair {
    Matrix<T> u, v;

    Pair(Index n, Index p, Index q, const std::vector<double>& angles, std::uint64_t seed) : u(n, p), v(n, q)
    {
        const auto frame = wasi_tests::random_orthonormal(n, p + q, seed);
        const auto turn_u = wasi_tests::random_orthonormal(p, p, seed + 1);
        const auto turn_v = wasi_tests::random_orthonormal(q, q, seed + 2);
        const auto shared = static_cast<Index>(angles.size());
        for (Index i = 0; i < n; ++i) {
            for (Index j = 0; j < p; ++j) {
                double sum = 0.0;
                for (Index k = 0; k < p; ++k) {
                    sum += frame(i, k) * turn_u(k, j);
                }
                u(i, j) = static_cast<T>(sum);
            }
            for (Index j = 0; j < q; ++j) {
                double sum = 0.0;
                for (Index k = 0; k < q; ++k) {
                    const double angle = k < shared ? angles[static_cast<std::size_t>(k)] : 0.0;
                    const double along = k < shared ? std::cos(angle) * frame(i, k) + std::sin(angle) * frame(i, p + k)
                                                    : frame(i, p + k);
                    sum += along * turn_v(k, j);
                }
                v(i, j) = static_cast<T>(sum);
            }
        }
    }
};

TEST_CASE_TEMPLATE("principal angles: small, middle and large ones are found to a few epsilon", E, EigenFloat,
                   EigenDouble, NaiveFloat, NaiveDouble)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    const double right_angle = std::numbers::pi / 2.0;
    const double tiny = std::sqrt(static_cast<double>(wasi::epsilon<T>)) / 30.0;  // its cosine is 1 in T
    for (const auto& angles :
         {std::vector<double>{tiny, 10.0 * tiny, 0.3, 0.7853981, 0.7853982, 1.2, right_angle - tiny},
          std::vector<double>{0.0, 0.0, 0.0}, std::vector<double>{right_angle, right_angle},
          std::vector<double>{0.5}}) {
        const auto q = static_cast<Index>(angles.size());
        for (const Index p : {q, q + 3}) {
            const Pair<T> pair(40, p, q, angles, 3);
            for (const bool exchanged : {false, true}) {
                const auto found =
                    exchanged
                        ? principal_angles<S, T>(std::as_const(pair.v).view(), pair.u.view(), wasi::plain_memory())
                        : principal_angles<S, T>(std::as_const(pair.u).view(), pair.v.view(), wasi::plain_memory());
                REQUIRE(found.size() == angles.size());
                CHECK(std::is_sorted(found.begin(), found.end()));
                for (std::size_t j = 0; j < angles.size(); ++j) {
                    CAPTURE(angles[j]);
                    CHECK(std::abs(found[j] - angles[j]) <= wasi_tests::tolerance<T>(40, 1.0, 4.0));
                }
                const double sine = exchanged ? sine_of_largest_angle<S, T>(std::as_const(pair.v).view(), pair.u.view(),
                                                                            wasi::plain_memory())
                                              : sine_of_largest_angle<S, T>(std::as_const(pair.u).view(), pair.v.view(),
                                                                            wasi::plain_memory());
                CHECK(std::abs(sine - std::sin(angles.back())) <= wasi_tests::tolerance<T>(40, 1.0, 4.0));
            }
        }
    }
}

TEST_CASE("the sine of the largest angle sees angles whose cosine is 1")
{
    for (const double angle : {1e-14, 1e-11, 1e-9, 1e-5}) {
        const Pair<double> pair(30, 4, 4, {0.0, 0.0, 0.0, angle}, 7);
        const double sine = sine_of_largest_angle<wasi::EigenStorage, double>(
            std::as_const(pair.u).view(), std::as_const(pair.v).view(), wasi::plain_memory());
        CHECK(std::abs(sine - angle) <= 1e-15 + 1e-10 * angle);
    }
}

TEST_CASE("principal angles of Eigen matrices: columns need not be orthonormal, only independent")
{
    const Pair<double> pair(12, 3, 2, {0.2, 1.1}, 5);
    Eigen::MatrixXd u(12, 3);
    Eigen::MatrixXd v(12, 2);
    for (Index i = 0; i < 12; ++i) {
        for (Index j = 0; j < 3; ++j) {
            u(i, j) = pair.u(i, j);
        }
        v(i, 0) = pair.v(i, 0);
        v(i, 1) = pair.v(i, 1);
    }
    Eigen::Matrix3d mix;
    mix << 2.0, -1.0, 0.5, 0.0, 3.0, 1.0, 0.1, 0.2, 0.7;
    const Eigen::VectorXd angles = principal_angles(u * mix, v.rowwise().reverse());
    REQUIRE(angles.size() == 2);
    CHECK(angles(0) == doctest::Approx(0.2).epsilon(1e-12));
    CHECK(angles(1) == doctest::Approx(1.1).epsilon(1e-12));

    CHECK_THROWS_WITH_AS((void)principal_angles(u, Eigen::MatrixXd::Zero(11, 2)),
                         "principal_angles: u (12, 3) and v (11, 2) differ in rows", wasi::shape_error);
    CHECK_THROWS_AS((void)principal_angles(Eigen::MatrixXd::Ones(2, 3), Eigen::MatrixXd::Ones(2, 1)),
                    wasi::shape_error);
    CHECK_THROWS_WITH_AS((void)principal_angles(u, Eigen::MatrixXd::Ones(12, 2)),
                         "principal_angles: the 2 columns of v have rank 1", wasi::argument_error);
    v(3, 1) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS((void)principal_angles(u, v), wasi::argument_error);
}

}  // namespace
