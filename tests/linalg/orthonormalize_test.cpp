#include <doctest/doctest.h>

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include <support/matrices.hpp>
#include <wasi/linalg/orthonormalize.hpp>

namespace {

using wasi::Family;
using wasi::Index;
using wasi::linalg::orthonormalize;

template <class T>
using ColMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
ColMajor<T> random_eigen(Index rows, Index cols, std::uint64_t seed)
{
    ColMajor<T> result(rows, cols);
    const auto source = wasi_tests::random_matrix<T>(rows, cols, seed);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            result(i, j) = source(i, j);
        }
    }
    return result;
}

template <class M>
auto view_of(const M& m)
{
    return Family<M>::view(m);
}

/// What every basis obeys: orthonormal columns whose span contains those of A.
template <class M, class A>
void check_basis(const wasi::linalg::Basis<M>& basis, const A& a, Index rank)
{
    using T = typename M::Scalar;
    const M plain = a;
    REQUIRE(basis.q.rows() == plain.rows());
    REQUIRE(basis.q.cols() == plain.cols());
    CHECK(wasi_tests::orthonormality_defect(view_of(basis.q)) <= wasi_tests::tolerance<T>(plain.rows(), 1.0));
    CHECK(wasi_tests::distance_from_span(view_of(basis.q), view_of(plain)) <=
          wasi_tests::tolerance<T>(plain.rows(), wasi_tests::frobenius_norm(view_of(plain))));
    CHECK(basis.info.rank == rank);
}

TEST_CASE_TEMPLATE("orthonormalize: dependent, repeated and zero columns are ordinary input", T, float, double)
{
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        INFO("seed ", seed);
        ColMajor<T> a = random_eigen<T>(30, 6, seed);
        check_basis(orthonormalize(a), a, 6);
        a.col(2).setZero();
        check_basis(orthonormalize(a), a, 5);
        a.col(4) = a.col(1);
        check_basis(orthonormalize(a), a, 4);
        a.col(5) = a.col(0) - T(2) * a.col(1);
        check_basis(orthonormalize(a), a, 3);
        a.setZero();
        check_basis(orthonormalize(a), a, 0);
        const auto source = wasi_tests::matrix_with_spectrum<T>(40, 12, {3.0, 1.0}, seed, wasi_tests::col_major);
        const ColMajor<T> low = Eigen::Map<const ColMajor<T>>(source.view().data, 40, 12);
        check_basis(orthonormalize(low), low, 2);
    }
}

TEST_CASE_TEMPLATE("orthonormalize: extreme shapes and scales", T, float, double)
{
    const ColMajor<T> square = random_eigen<T>(9, 9, 1);
    check_basis(orthonormalize(square), square, 9);
    const ColMajor<T> column = random_eigen<T>(50, 1, 2);
    check_basis(orthonormalize(column), column, 1);
    const ColMajor<T> one = ColMajor<T>::Constant(1, 1, T(-3));
    check_basis(orthonormalize(one), one, 1);
    const ColMajor<T> none(5, 0);
    CHECK(orthonormalize(none).q.cols() == 0);
    CHECK(orthonormalize(none).info.rank == 0);
    for (const T scale : {std::numeric_limits<T>::min(), T(1e-25), T(1e25), std::numeric_limits<T>::max() / T(64)}) {
        INFO("scale ", scale);
        const ColMajor<T> scaled = scale * random_eigen<T>(20, 4, 3);
        const auto basis = orthonormalize(scaled);
        CHECK(basis.info.rank == 4);
        CHECK(wasi_tests::orthonormality_defect(view_of(basis.q)) <= wasi_tests::tolerance<T>(20, 1.0));
        const ColMajor<T> back = scaled / scale;
        CHECK(wasi_tests::distance_from_span(view_of(basis.q), view_of(back)) <=
              wasi_tests::tolerance<T>(20, wasi_tests::frobenius_norm(view_of(back))));
    }
}

TEST_CASE_TEMPLATE("orthonormalize: every kind of matrix gives what a plain copy of it gives", T, float, double)
{
    const ColMajor<T> whole = random_eigen<T>(40, 12, 4);
    const auto compare = [](const auto& matrix) {
        const ColMajor<T> plain = matrix;
        const auto expected = orthonormalize(plain);
        const auto basis = orthonormalize(matrix);
        if constexpr (std::is_same_v<decltype(basis.q), decltype(expected.q)>) {
            CHECK(wasi_tests::same_bits(view_of(basis.q), view_of(expected.q)));
        } else {  // another layout, another order of summation
            CHECK(wasi_tests::max_difference(view_of(basis.q), view_of(expected.q)) <=
                  wasi_tests::tolerance<T>(40, 1.0));
        }
        CHECK(basis.info.rank == expected.info.rank);
    };
    compare(whole);
    compare(RowMajor<T>(whole));
    compare(whole.block(3, 2, 20, 5));
    compare(RowMajor<T>(whole).block(3, 2, 20, 5));
    compare(whole.topRows(12).transpose());
    compare(Eigen::Ref<const ColMajor<T>>(whole.middleCols(1, 4)));
    compare(Eigen::Map<const RowMajor<T>>(whole.data(), 40, 12));
    compare(Eigen::Map<const ColMajor<T>, 0, Eigen::Stride<Eigen::Dynamic, 2>>(
        whole.data(), 20, 6, Eigen::Stride<Eigen::Dynamic, 2>(40, 2)));
    compare(whole.leftCols(3) + T(2) * whole.rightCols(3));
    compare(whole.col(5));
    static_assert(std::is_same_v<decltype(orthonormalize(RowMajor<T>()).q), RowMajor<T>>);
    static_assert(std::is_same_v<decltype(orthonormalize(whole.block(0, 0, 2, 2)).q), ColMajor<T>>);
}

TEST_CASE_TEMPLATE("orthonormalize: the argument stays as it was and the memory comes back", T, float, double)
{
    const ColMajor<T> a = random_eigen<T>(25, 7, 5);
    const ColMajor<T> before = a;
    wasi::Ledger ledger;
    static_cast<void>(orthonormalize(a, {}, ledger));
    CHECK(wasi_tests::same_bits(view_of(a), view_of(before)));
    CHECK(ledger.total().current == 0);
    CHECK(ledger.total().peak > 0);
    CHECK(ledger.flops() > 0.0);
}

TEST_CASE_TEMPLATE("orthonormalize: what cannot be throws and names shape or argument", T, float, double)
{
    const ColMajor<T> wide = random_eigen<T>(3, 5, 6);
    CHECK_THROWS_AS(static_cast<void>(orthonormalize(wide)), wasi::shape_error);
    try {
        static_cast<void>(orthonormalize(wide));
    } catch (const wasi::shape_error& error) {
        CHECK(std::string(error.what()).find("(3, 5)") != std::string::npos);
    }
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                        -std::numeric_limits<T>::infinity()}) {
        ColMajor<T> a = random_eigen<T>(8, 3, 7);
        a(7, 2) = bad;
        CHECK_THROWS_AS(static_cast<void>(orthonormalize(a)), wasi::argument_error);
        CHECK_THROWS_WITH(static_cast<void>(orthonormalize(a)), "orthonormalize: a (8, 3) holds NaN or infinity");
    }
}

}  // namespace
