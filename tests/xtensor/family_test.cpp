// Matrices of xtensor at the edge: what is viewed in place, what results are, and that every kind gives the same.
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include <support/matrices.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/subspace_iteration.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/xtensor/family.hpp>

namespace {

using wasi::Family;
using wasi::Index;
using wasi::linalg::Energy;

template <class T>
using RowMajor = xt::xtensor<T, 2, xt::layout_type::row_major>;
template <class T>
using ColMajor = xt::xtensor<T, 2, xt::layout_type::column_major>;

template <class M, class T = typename M::value_type>
M random_xtensor(Index rows, Index cols, std::uint64_t seed)
{
    M result = M::from_shape({static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)});
    const auto source = wasi_tests::random_matrix<T>(rows, cols, seed);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            result(i, j) = source(i, j);
        }
    }
    return result;
}

/// True when the view given to with_view reads the memory of `owner`.
template <class X, class Owner>
bool viewed_in_place(const X& x, const Owner& owner)
{
    return Family<X>::with_view(
        x, [&](auto view) { return view.data >= owner.data() && view.data < owner.data() + owner.size(); });
}

/// True when the view shows the elements that x(i, j) shows, with one unit stride.
template <class X>
bool shows_elements(const X& x)
{
    return Family<X>::with_view(x, [&](auto view) {
        bool same = view.rows == static_cast<Index>(x.shape()[0]) && view.cols == static_cast<Index>(x.shape()[1]) &&
                    (view.row_stride == 1 || view.col_stride == 1);
        for (Index i = 0; same && i < view.rows; ++i) {
            for (Index j = 0; j < view.cols; ++j) {
                same = same && view(i, j) == x(static_cast<std::size_t>(i), static_cast<std::size_t>(j));
            }
        }
        return same;
    });
}

TEST_CASE_TEMPLATE("family: containers and views with one unit stride are viewed in place", T, float, double)
{
    const auto check = [](const auto& x, const auto& owner, bool in_place) {
        CHECK(shows_elements(x));
        CHECK(viewed_in_place(x, owner) == in_place);
    };
    const auto row = random_xtensor<RowMajor<T>>(7, 5, 1);
    const auto col = random_xtensor<ColMajor<T>>(7, 5, 1);
    const xt::xarray<T> array = row;
    const xt::xarray<T, xt::layout_type::column_major> col_array = row;
    const xt::xtensor<T, 2, xt::layout_type::dynamic> dynamic = row;
    check(row, row, true);
    check(col, col, true);
    check(array, array, true);
    check(col_array, col_array, true);
    check(dynamic, dynamic, true);
    check(xt::view(row, xt::range(1, 6), xt::range(2, 5)), row, true);
    check(xt::view(col, xt::range(1, 6), xt::range(2, 5)), col, true);
    check(xt::view(row, xt::range(0, 7, 2), xt::all()), row, true);  // every other row still has unit stride
    check(xt::view(col, xt::all(), xt::range(0, 5, 2)), col, true);
    check(xt::view(array, xt::range(1, 6), xt::range(2, 5)), array, true);
    check(xt::view(row, xt::range(3, 4), xt::all()), row, true);
    check(xt::view(row, xt::all(), xt::range(3, 4)), row, true);
    check(xt::transpose(row), row, true);
    check(xt::adapt(row.data(), row.size(), xt::no_ownership(), std::array<std::size_t, 2>{5, 7}), row, true);
    // One slice of a tensor of order 3.
    xt::xtensor<T, 3> tensor = xt::zeros<T>({3, 7, 5});
    xt::view(tensor, 1, xt::all(), xt::all()) = row;
    check(xt::view(tensor, 1, xt::all(), xt::all()), tensor, true);
}

TEST_CASE_TEMPLATE("family: everything else is evaluated, once", T, float, double)
{
    const auto check = [](const auto& x, const auto& owner) {
        CHECK(shows_elements(x));
        CHECK_FALSE(viewed_in_place(x, owner));
    };
    const auto row = random_xtensor<RowMajor<T>>(7, 5, 1);
    const auto col = random_xtensor<ColMajor<T>>(7, 5, 1);
    check(xt::view(row, xt::all(), xt::range(0, 5, 2)), row);
    check(xt::view(col, xt::range(0, 7, 2), xt::all()), col);
    check(xt::view(row, xt::range(6, xt::placeholders::_, -1), xt::all()), row);
    check(xt::view(row, xt::keep(0, 3, 1), xt::all()), row);
    check(row + row, row);
    check(T(2) * col, col);
    check(xt::broadcast(xt::view(row, 2, xt::all()), {4, 5}), row);
    // Rows that overlap (a Hankel matrix of a signal) are not what the views of the library are made for.
    const xt::xtensor<T, 1> signal = xt::arange<T>(0, 9);
    check(xt::adapt(signal.data(), 20, xt::no_ownership(), std::array<std::size_t, 2>{5, 4},
                    std::array<std::ptrdiff_t, 2>{1, 1}),
          signal);
}

TEST_CASE("family: results are of the same kind and layout, and other orders have none")
{
    static_assert(std::is_same_v<Family<RowMajor<float>>::Matrix, RowMajor<float>>);
    static_assert(std::is_same_v<Family<ColMajor<float>>::Matrix, ColMajor<float>>);
    static_assert(std::is_same_v<Family<xt::xarray<double>>::Matrix, RowMajor<double>>);
    static_assert(std::is_same_v<Family<xt::xarray<double, xt::layout_type::column_major>>::Matrix, ColMajor<double>>);
    static_assert(std::is_same_v<Family<decltype(ColMajor<float>() + ColMajor<float>())>::Matrix, ColMajor<float>>);
    static_assert(std::is_same_v<Family<RowMajor<float>>::Vector, xt::xtensor<float, 1>>);
    static_assert(std::is_same_v<Family<RowMajor<float>>::Storage, wasi::XtensorStorage>);
    static_assert(!wasi::MatrixLike<xt::xtensor<float, 3>> && !wasi::MatrixLike<xt::xtensor<float, 1>>);
    static_assert(!wasi::MatrixLike<xt::xtensor<int, 2>>);
    CHECK_THROWS_WITH_AS((void)wasi::linalg::truncated_svd(xt::xarray<float>(xt::zeros<float>({2, 3, 4}))),
                         "a matrix is wanted, not an array of shape (2, 3, 4)", wasi::shape_error);
    CHECK_THROWS_AS((void)wasi::linalg::truncated_svd(xt::xarray<float>(xt::zeros<float>({4}))), wasi::shape_error);
    CHECK_THROWS_AS((void)wasi::linalg::truncated_svd(RowMajor<float>(xt::zeros<float>({0, 4}))), wasi::shape_error);
    RowMajor<float> bad = xt::ones<float>({3, 4});
    bad(1, 2) = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS((void)wasi::linalg::truncated_svd(bad), wasi::argument_error);
}

/// U diag(s) Vᵀ of what the library gave, by loops: xtensor 0.24 multiplies views of column-major matrices that have a
/// new axis wrongly.
template <class Svd>
auto product(const Svd& svd)
{
    using T = typename std::remove_cvref_t<decltype(svd.s)>::value_type;
    RowMajor<T> result = xt::zeros<T>({svd.u.shape()[0], svd.v.shape()[0]});
    for (std::size_t i = 0; i < svd.u.shape()[0]; ++i) {
        for (std::size_t j = 0; j < svd.v.shape()[0]; ++j) {
            for (std::size_t k = 0; k < svd.s.size(); ++k) {
                result(i, j) += svd.u(i, k) * svd.s(k) * svd.v(j, k);
            }
        }
    }
    return result;
}

template <class T, class M>
double distance(const RowMajor<T>& a, const M& b)
{
    return static_cast<double>(xt::amax(xt::abs(a - b))());
}

TEST_CASE_TEMPLATE("family: the SVD functions give the matrix back, and the same for every kind of it", T, float,
                   double)
{
    const auto row = random_xtensor<RowMajor<T>>(40, 12, 4);
    const ColMajor<T> col = row;
    const xt::xarray<T> array = row;
    xt::xtensor<T, 2> twice = xt::zeros<T>({40, 24});
    xt::view(twice, xt::all(), xt::range(0, 24, 2)) = row;
    const auto strided = xt::view(twice, xt::all(), xt::range(0, 24, 2));
    const double allowed = wasi_tests::tolerance<T>(40 * 12, 4.0);
    const auto expected = wasi::linalg::truncated_svd(row);
    CHECK(distance(row, product(expected)) <= allowed);
    const auto sketched = wasi::linalg::randomized_svd(row, {.rank = 5}, wasi::RandomKey(7));
    const auto same_svd = [](const auto& one, const auto& other) {
        return xt::allclose(one.u, other.u, 0, 0) && xt::allclose(one.s, other.s, 0, 0) &&
               xt::allclose(one.v, other.v, 0, 0) && one.info.rank == other.info.rank;
    };
    const auto compare = [&](const auto& x) {
        CHECK(same_svd(wasi::linalg::truncated_svd(x), expected));
        CHECK(same_svd(wasi::linalg::randomized_svd(x, {.rank = 5}, wasi::RandomKey(7)), sketched));
    };
    compare(array);
    compare(strided);
    compare(row + xt::zeros_like(row));
    compare(xt::transpose(RowMajor<T>(xt::transpose(row))));
    // Another layout may round differently, and an energy asks for a rank that both must find.
    const auto by_columns = wasi::linalg::truncated_svd(col, {.rank = Energy{0.9}});
    const auto by_rows = wasi::linalg::truncated_svd(row, {.rank = Energy{0.9}});
    CHECK(by_columns.info.rank == by_rows.info.rank);
    CHECK(distance<T>(product(by_rows), product(by_columns)) <= allowed);
}

TEST_CASE_TEMPLATE("family: what xtensor gives is what Eigen gives", T, float, double)
{
    using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const auto a = random_xtensor<RowMajor<T>>(50, 20, 6);
    const EigenMatrix same = Eigen::Map<const EigenMatrix>(a.data(), 50, 20);
    const auto one = wasi::linalg::randomized_svd(a, {.rank = 6}, wasi::RandomKey(3));
    const auto other = wasi::linalg::randomized_svd(same, {.rank = 6}, wasi::RandomKey(3));
    REQUIRE(one.info.rank == other.info.rank);
    for (Index k = 0; k < 6; ++k) {
        CHECK(std::abs(static_cast<double>(one.s(static_cast<std::size_t>(k)) - other.s(k))) <=
              wasi_tests::tolerance<T>(50, static_cast<double>(other.s(0))));
    }
    CHECK(one.info.captured_energy == doctest::Approx(other.info.captured_energy).epsilon(1e-5));
}

TEST_CASE_TEMPLATE("family: orthonormal bases and warm steps", M, RowMajor<float>, ColMajor<float>, RowMajor<double>,
                   ColMajor<double>)
{
    using T = typename M::value_type;
    auto a = random_xtensor<M>(30, 6, 3);
    xt::view(a, xt::all(), 4) = xt::view(a, xt::all(), 1);
    const auto basis = wasi::linalg::orthonormalize(a);
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(basis.q)>, M>);
    CHECK(basis.info.rank == 5);
    CHECK(wasi_tests::orthonormality_defect(Family<M>::view(basis.q)) <= wasi_tests::tolerance<T>(30, 1.0));
    CHECK(wasi_tests::distance_from_span(Family<M>::view(basis.q), Family<M>::view(std::as_const(a))) <=
          wasi_tests::tolerance<T>(30, 6.0));

    // A gap of 100 between the second and the third value: a few steps find the leading subspace.
    const auto source = wasi_tests::matrix_with_spectrum<T>(25, 8, {10.0, 5.0, 0.05, 0.02}, 9);
    M low = M::from_shape({25, 8});
    for (Index i = 0; i < 25; ++i) {
        for (Index j = 0; j < 8; ++j) {
            low(i, j) = source(i, j);
        }
    }
    const M right = wasi::linalg::truncated_svd(low, {.rank = 2}).v;
    M v = wasi::linalg::orthonormalize(random_xtensor<M>(8, 2, 10)).q;
    for (int step = 0; step < 4; ++step) {
        wasi::linalg::subspace_step(low, v);
    }
    CHECK(wasi_tests::projector_distance(Family<M>::view(std::as_const(v)), Family<M>::view(right)) <=
          wasi_tests::tolerance<T>(25, 4.0));
    M wrong = M::from_shape({7, 2});
    wrong.fill(T(1));
    CHECK_THROWS_AS(wasi::linalg::subspace_step(low, wrong), wasi::shape_error);
}

}  // namespace
