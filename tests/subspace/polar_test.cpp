// The orthogonal polar factor: nearest orthonormal columns, without flips.
#include <doctest/doctest.h>

#include <cmath>
#include <utility>

#include <support/matrices.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/polar.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using namespace wasi_tests;

/// U Vᵀ from the SVD, the definition.
template <class T>
[[nodiscard]] Matrix<double> reference(const Matrix<T>& a)
{
    auto& memory = wasi::plain_memory();
    Matrix<double> wide(a.view().rows, a.view().cols);
    for (Index i = 0; i < a.view().rows; ++i) {
        for (Index j = 0; j < a.view().cols; ++j) {
            wide(i, j) = static_cast<double>(a(i, j));
        }
    }
    const auto svd = wasi::linalg::thin_svd<EigenStorage, double>(std::as_const(wide).view(), memory);
    Matrix<double> result(a.view().rows, a.view().cols);
    EigenStorage::multiply(result.view(), 1.0, svd.u.matrix(), svd.v.matrix().transposed(), 0.0, memory);
    return result;
}

template <class T>
[[nodiscard]] Matrix<T> orthonormal(Index rows, Index cols, std::uint64_t seed)
{
    auto q = random_matrix<T>(rows, cols, seed);
    (void)EigenStorage::orthonormalize(q.view(), wasi::plain_memory());
    return q;
}

TEST_CASE_TEMPLATE("near and far: U Vᵀ of the SVD", T, float, double)
{
    for (const double distance : {0.0, 1e-3, 0.02, 0.3, 3.0}) {
        for (const Index n : {1, 5, 12}) {
            CAPTURE(distance);
            CAPTURE(n);
            auto a = orthonormal<T>(12, n, 1);
            const auto noise = random_matrix<T>(12, n, 2);
            EigenStorage::add_scaled(a.view(), T(1), static_cast<T>(distance / 12.0), noise.view());
            const auto wanted = reference(a);
            wasi::subspace::polar_factor<EigenStorage, T>(a.view(), wasi::plain_memory());
            CHECK(orthonormality_defect(a.view()) <= tolerance<T>(12, 1.0));
            CHECK(max_difference(a.view(), wanted.view()) <= tolerance<T>(12, 8.0));
            CHECK(a.guard_intact());
        }
    }
}

TEST_CASE_TEMPLATE("what is orthonormal already stays, negative columns too", T, float, double)
{
    auto q = orthonormal<T>(20, 6, 1);
    EigenStorage::add_scaled(q.view().col_block(2, 1), T(-1), T(0), std::as_const(q).view().col_block(2, 1));
    const Matrix<T> before = q;
    wasi::subspace::polar_factor<EigenStorage, T>(q.view(), wasi::plain_memory());
    CHECK(max_difference(q.view(), before.view()) <= tolerance<T>(20, 1.0));
}

TEST_CASE("the scale of a matrix does not matter")
{
    const auto q = orthonormal<double>(20, 6, 1);
    for (const double scale : {1e-3, 0.9, 1.1, 1e3}) {
        Matrix<double> a(20, 6);
        EigenStorage::add_scaled(a.view(), 0.0, scale, q.view());
        wasi::subspace::polar_factor<EigenStorage, double>(a.view(), wasi::plain_memory());
        CHECK(max_difference(a.view(), q.view()) <= 1e-12);
    }
}

TEST_CASE_TEMPLATE("a scale of a few: no sign is lost where Newton-Schulz steps would overshoot", T, float, double)
{
    // From 2 on, 3 - AᵀA is negative and one step would turn a column round; from sqrt(5) on the steps diverge.
    for (const Index n : {1, 2, 6}) {
        const auto q = orthonormal<T>(20, n, 1);
        for (const double scale : {0.2, 0.5, 0.7, 1.22, 1.3, 1.5, 1.7, 1.8, 2.0, 2.2, 2.5}) {
            CAPTURE(n);
            CAPTURE(scale);
            Matrix<T> a(20, n);
            EigenStorage::add_scaled(a.view(), T(0), static_cast<T>(scale), q.view());
            wasi::subspace::polar_factor<EigenStorage, T>(a.view(), wasi::plain_memory());
            CHECK(max_difference(a.view(), q.view()) <= tolerance<T>(20, 1.0));
        }
        if (n == 2) {  // columns of their own scales
            Matrix<T> a = q;
            EigenStorage::add_scaled(a.view().col_block(0, 1), T(0), T(2), q.view().col_block(0, 1));
            wasi::subspace::polar_factor<EigenStorage, T>(a.view(), wasi::plain_memory());
            CHECK(max_difference(a.view(), q.view()) <= tolerance<T>(20, 1.0));
        }
    }
}

}  // namespace
