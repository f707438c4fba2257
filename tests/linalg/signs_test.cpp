#include <doctest/doctest.h>

#include <cmath>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/linalg/signs.hpp>

/// Which of u s vᵀ and (-u) s (-v)ᵀ is returned.
namespace {

using wasi::Index;
using wasi::linalg::settle_signs;
using wasi_tests::Matrix;

TEST_CASE_TEMPLATE("signs: the first of the largest elements of each column of V becomes positive, and U follows", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble, wasi_tests::NaiveFloat)
{
    using T = typename E::Scalar;
    for (const bool by_columns : {false, true}) {
        Matrix<T> u(2, 5, {.column_major = by_columns, .padding = 1});
        Matrix<T> v(3, 5, {.column_major = by_columns, .padding = 2});
        // Columns: positive already; negative; a tie within rounding whose first is negative, the same the other way
        // round; nothing at all.
        const double wanted[3][5] = {
            {0.1, -0.2, -0.7, 0.7, 0.0}, {0.9, 0.3, 0.7002, -0.7001, 0.0}, {-0.4, -0.9, 0.1, 0.1, 0.0}};
        for (Index j = 0; j < 5; ++j) {
            for (Index i = 0; i < 3; ++i) {
                v(i, j) = static_cast<T>(wanted[i][j]);
            }
            u(0, j) = T(1);
            u(1, j) = static_cast<T>(j);
        }
        settle_signs<typename E::Storage, T>(u.view(), v.view());
        const double flips[5] = {1.0, -1.0, -1.0, 1.0, 1.0};
        for (Index j = 0; j < 5; ++j) {
            CAPTURE(j);
            for (Index i = 0; i < 3; ++i) {
                CHECK(v(i, j) == static_cast<T>(flips[j]) * static_cast<T>(wanted[i][j]));
            }
            CHECK(u(0, j) == static_cast<T>(flips[j]));
            CHECK(u(1, j) == static_cast<T>(flips[j]) * static_cast<T>(j));
        }
    }
}

TEST_CASE("signs: subnormal columns, one row, and no U at all")
{
    Matrix<float> v(1, 2);
    v(0, 0) = -1e-44F;
    v(0, 1) = -1.0F;
    Matrix<float> u(0, 2);
    settle_signs<wasi::EigenStorage, float>(u.view(), v.view());
    CHECK(v(0, 0) > 0.0F);
    CHECK(v(0, 1) == 1.0F);
}

}  // namespace
