// What users hand over: every kind of Eigen expression, the library's own views and tensors, spans with a shape.
#include <doctest/doctest.h>

#include <Eigen/Dense>
#include <Eigen/SparseCore>
#include <array>
#include <complex>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include <support/matrices.hpp>
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/principal_angles.hpp>
#include <wasi/linalg/subspace_iteration.hpp>
#include <wasi/linalg/subspace_tracker.hpp>

namespace {

using Eigen::MatrixXd;
using Eigen::MatrixXf;
using wasi::Family;
using wasi::Index;
using wasi::RandomKey;
using RowMajorXd = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using AnyStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
const auto all = Eigen::indexing::all;  // so called in Eigen 3.4 and 5

template <class T>
Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> random_eigen(Index rows, Index cols, std::uint64_t seed)
{
    Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> result(rows, cols);
    wasi::EigenStorage::fill_normal<T>(Family<decltype(result)>::view(result), RandomKey(seed));
    return result;
}

/// True when the library sees in x the elements of `expected`, at strides that it can compute with.
template <class X>
bool shows(const X& x, const MatrixXd& expected)
{
    static_assert(wasi::MatrixLike<X> && wasi::MatrixLike<X&> && wasi::MatrixLike<const X&>);
    return Family<X>::with_view(x, [&](auto view) {
        bool same = view.rows == expected.rows() && view.cols == expected.cols() &&
                    (view.row_stride == 1 || view.col_stride == 1);
        for (Index i = 0; same && i < view.rows; ++i) {
            for (Index j = 0; j < view.cols; ++j) {
                same = same && view(i, j) == static_cast<decltype(view(i, j) + 0)>(expected(i, j));
            }
        }
        return same;
    });
}

template <class X>
bool in_place(const X& x, const MatrixXd& owner)
{
    return Family<X>::with_view(
        x, [&](auto view) { return view.data >= owner.data() && view.data < owner.data() + owner.size(); });
}

class OwnMatrix : public MatrixXd {
public:
    explicit OwnMatrix(const MatrixXd& from) : MatrixXd(from) {}
};

TEST_CASE("edge: what has no elements to point at is evaluated first")
{
    MatrixXd a = random_eigen<double>(20, 20, 1);
    const MatrixXd& fixed = a;
    const std::vector<int> rows{3, 1, 7};
    const std::array<Index, 2> cols{0, 0};
    using Eigen::seq;
    CHECK(shows(a(seq(0, 18, 2), all), a(seq(0, 18, 2), all)));  // DirectAccessBit without data() in Eigen 3.4
    CHECK(shows(fixed(seq(0, 18, 2), all), a(seq(0, 18, 2), all)));
    CHECK(shows(a(seq(0, 18, 2), all).transpose(), MatrixXd(a(seq(0, 18, 2), all)).transpose()));
    CHECK(shows(fixed(seq(0, 18, 2), all).array(), a(seq(0, 18, 2), all)));
    CHECK(shows(a(all, seq(3, 9)), a.middleCols(3, 7)));
    CHECK(shows(a(rows, cols), a(rows, cols)));
    CHECK(shows(fixed(rows, 4), a(rows, 4)));
    CHECK(shows(a(Eigen::indexing::lastN(2), Eigen::seqN(0, 4)), a.bottomLeftCorner(2, 4)));
    CHECK(shows(a.reshaped(10, 40), a.reshaped(10, 40)));
    CHECK(shows(a.reshaped<Eigen::RowMajor>(10, 40), a.reshaped<Eigen::RowMajor>(10, 40)));
    CHECK(shows(a.diagonal(), a.diagonal()));
    CHECK(shows(a.diagonal(-2).asDiagonal(), MatrixXd(a.diagonal(-2).asDiagonal())));
    CHECK(shows(Eigen::DiagonalMatrix<double, 3>(1, 2, 3), MatrixXd(Eigen::Vector3d(1, 2, 3).asDiagonal())));
    CHECK(shows(a.selfadjointView<Eigen::Upper>(), MatrixXd(a.selfadjointView<Eigen::Upper>())));
    CHECK(shows(fixed.triangularView<Eigen::UnitLower>(), MatrixXd(a.triangularView<Eigen::UnitLower>())));
    CHECK(shows(a.householderQr().householderQ(), MatrixXd(a.householderQr().householderQ())));
    CHECK(shows(a.replicate(2, 3), a.replicate(2, 3)));
    CHECK(shows(a.rowwise().reverse(), a.rowwise().reverse()));
    CHECK(shows(a.array() + 1.0, (a.array() + 1.0).matrix()));
    CHECK(shows(2.0 * a - a.transpose() * a, 2.0 * a - a.transpose() * a));
    CHECK(shows(a.colwise().sum(), a.colwise().sum()));
    CHECK(shows(MatrixXd::Identity(4, 5), MatrixXd::Identity(4, 5)));
    CHECK(shows(a.lu().solve(fixed), a.lu().solve(a)));
    CHECK(shows(a.cast<float>(), a));
    CHECK(shows(a.cast<std::complex<double>>().real(), a));
}

TEST_CASE("edge: what has its elements in memory at one unit stride is viewed in place, other strides are evaluated")
{
    MatrixXd a = random_eigen<double>(20, 20, 2);
    const auto check = [&](const auto& x, const MatrixXd& expected, bool viewed) {
        CHECK(shows(x, expected));
        CHECK(in_place(x, a) == viewed);
    };
    const MatrixXd& fixed = a;
    check(a, a, true);
    check(fixed, a, true);
    check(a.transpose(), a.transpose(), true);
    check(fixed.adjoint(), a.transpose(), true);
    check(a.block(1, 2, 5, 4), a.block(1, 2, 5, 4), true);
    check(a.leftCols<3>(), a.leftCols(3), true);
    check(a.col(3), a.col(3), true);
    check(a.row(3), a.row(3), false);
    check(a.topRows(1), a.topRows(1), true);
    check(a.array(), a, true);
    check(Eigen::Ref<MatrixXd>(a), a, true);
    check(Eigen::Ref<const MatrixXd>(a.topRows(4)), a.topRows(4), true);
    check(Eigen::Ref<const MatrixXd>(a.transpose()), a.transpose(), false);  // Eigen has copied it
    CHECK(shows(a.middleRows(2, 0), MatrixXd(0, 20)));  // it points nowhere in Eigen 5
    const Eigen::Map<const RowMajorXd, 0, Eigen::OuterStride<>> row_major(a.data(), 5, 6, Eigen::OuterStride<>(9));
    check(row_major, row_major, true);
    const Eigen::Map<MatrixXd, 0, AnyStride> strided(a.data(), 5, 6, AnyStride(20, 2));
    check(strided, strided, false);
    check(strided.block(1, 1, 2, 2), strided.block(1, 1, 2, 2), false);
    check(Eigen::Ref<MatrixXd, 0, AnyStride>(a), a, true);
    // The Hankel matrix of a signal: columns overlap.
    const Eigen::Map<const MatrixXd, 0, Eigen::OuterStride<>> hankel(a.data(), 5, 6, Eigen::OuterStride<>(1));
    check(hankel, hankel, false);
    const OwnMatrix own(a);
    CHECK(shows(own, a));
    CHECK(in_place(own, own));
    CHECK(shows(Eigen::Matrix3d(a.topLeftCorner<3, 3>()), a.topLeftCorner(3, 3)));
    CHECK(shows(Eigen::RowVectorXd(a.row(1)), a.row(1)));
    CHECK(shows(Eigen::Matrix<float, 2, 3>(a.topLeftCorner<2, 3>().cast<float>()), a.topLeftCorner(2, 3)));
    static_assert(std::is_same_v<Family<decltype(a.transpose() * a)>::Matrix, MatrixXd>);
    static_assert(std::is_same_v<Family<Eigen::ArrayXXf>::Matrix, MatrixXf>);
    static_assert(std::is_same_v<Family<decltype(a.transpose())>::Matrix, RowMajorXd>);
    static_assert(!wasi::MatrixLike<Eigen::SparseMatrix<double>> && !wasi::MatrixLike<Eigen::MatrixXcd>);
    static_assert(!wasi::MatrixLike<Eigen::PermutationMatrix<3>> && !wasi::MatrixLike<std::vector<double>>);
}

template <class Left, class Right>
void check_same_svd(const Left& left, const Right& right)
{
    using L = typename Family<std::decay_t<decltype(left.u)>>::Scalar;
    const auto same = [](const auto& x, const auto& y) {
        return Family<std::decay_t<decltype(x)>>::with_view(x, [&](auto a) {
            return Family<std::decay_t<decltype(y)>>::with_view(y, [&](auto b) {
                bool equal = a.shape() == b.shape() && a.size() > 0;
                for (Index i = 0; equal && i < a.rows; ++i) {
                    for (Index j = 0; j < a.cols; ++j) {
                        equal = equal && a(i, j) == b(i, j);
                    }
                }
                return equal;
            });
        });
    };
    CHECK(same(left.u, right.u));
    CHECK(same(left.v, right.v));
    static_assert(wasi::Scalar<L>);
}

TEST_CASE("edge: functions take indexed blocks, arrays, views, tensors and spans with the same bits")
{
    using T = float;
    using namespace wasi::linalg;
    using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
    using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Matrix big = random_eigen<T>(120, 40, 3);
    const auto half = big(Eigen::seq(0, 118, 2), all);
    const RowMajor a = half;
    std::vector<T> numbers(a.data(), a.data() + a.size());
    const wasi::ConstMatrixView<T> view = wasi::matrix_view(std::span<const T>(numbers), a.rows(), a.cols());
    const wasi::MatrixView<T> writable = wasi::matrix_view(numbers, a.rows(), a.cols());
    wasi::Tensor<T> tensor = wasi::workspace<T>(wasi::plain_memory(), a.rows(), a.cols());
    std::copy(numbers.begin(), numbers.end(), tensor.data());
    const RandomKey key(5);

    const auto expected = randomized_svd(a, {.rank = 4}, key);
    check_same_svd(randomized_svd(half.array(), {.rank = 4}, key), expected);
    const auto of_view = randomized_svd(view, {.rank = 4}, key);
    static_assert(std::is_same_v<std::decay_t<decltype(of_view.u)>, wasi::Tensor<T>>);
    CHECK(of_view.u.shape() == wasi::Shape{60, 4});
    CHECK(of_view.s.shape() == wasi::Shape{4});
    CHECK(of_view.v.shape() == wasi::Shape{40, 4});
    check_same_svd(of_view, expected);
    check_same_svd(randomized_svd(writable, {.rank = 4}, key), expected);
    check_same_svd(randomized_svd(tensor, {.rank = 4}, key), expected);
    for (Index j = 0; j < 4; ++j) {
        CHECK(of_view.s.data()[j] == expected.s(j));
    }

    check_same_svd(truncated_svd(half), truncated_svd(Matrix(a)));
    check_same_svd(truncated_svd(view), truncated_svd(a));
    check_same_svd(truncated_svd(tensor), truncated_svd(a));
    const auto components = pca(a, {.rank = 3}, key);
    CHECK(shows(pca(half, {.rank = 3}, key).components, pca(Matrix(a), {.rank = 3}, key).components.cast<double>()));
    CHECK(shows(pca(view, {.rank = 3}, key).components, components.components.cast<double>()));
    CHECK(shows(pca(tensor, {.rank = 3}, key).scores, components.scores.cast<double>()));
    const auto basis = orthonormalize(a);
    CHECK(shows(orthonormalize(view).q, basis.q.cast<double>()));
    CHECK(shows(orthonormalize(tensor).q, basis.q.cast<double>()));
    CHECK(principal_angles(view, Matrix(half)).size() == 40);
    CHECK(principal_angles(Matrix(half).leftCols(3), tensor)(2) <= wasi_tests::tolerance<T>(60, 1.0));

    SubspaceTracker<T> by_view({.rank = 3}, key);
    SubspaceTracker<T> by_block({.rank = 3}, key);
    by_block.follow(a);
    by_view.follow(view);
    CHECK(shows(by_view.basis(), by_block.basis_as<Matrix>().cast<double>()));
    by_view.follow(writable);
    by_block.follow(half);
    by_view.follow(tensor);
    CHECK(shows(by_view.basis_as<wasi::Tensor<T>>(), by_view.basis_as<Matrix>().cast<double>()));
}

TEST_CASE("edge: a warm basis may lie in either order and in the caller's own memory")
{
    const MatrixXd a = random_eigen<double>(30, 12, 4);
    const MatrixXd start = wasi::linalg::orthonormalize(random_eigen<double>(12, 3, 5)).q;
    MatrixXd expected = start;
    wasi::linalg::subspace_step(a, expected);
    RowMajorXd row_major = start;
    wasi::linalg::subspace_step(a, row_major);
    CHECK((row_major - expected).norm() <= wasi_tests::tolerance<double>(12, 1.0));
    MatrixXd by_transpose = start;
    wasi::linalg::subspace_step(RowMajorXd(a), by_transpose);
    CHECK((by_transpose - expected).norm() <= wasi_tests::tolerance<double>(12, 1.0));
    std::vector<double> buffer(start.data(), start.data() + start.size());
    const wasi::MatrixView<double> columns = wasi::matrix_view(buffer, 3, 12).transposed();
    wasi::linalg::subspace_step(a, columns);
    CHECK((Eigen::Map<const MatrixXd>(buffer.data(), 12, 3) - expected).norm() <=
          wasi_tests::tolerance<double>(12, 1.0));
}

TEST_CASE("edge: a span and its shape must agree, also where a product of extents would overflow")
{
    std::vector<float> numbers(6, 1.0F);
    const std::array<double, 6> fixed{1, 2, 3, 4, 5, 6};
    CHECK(wasi::matrix_view(numbers, 2, 3).is_row_major());
    CHECK(wasi::matrix_view(fixed, 2, 3)(1, 0) == 4.0);
    CHECK(wasi::matrix_view(fixed, 3, 2).transposed()(1, 0) == 2.0);
    CHECK(wasi::matrix_view(std::span(fixed).subspan(2), 1, 4)(0, 0) == 3.0);
    CHECK(wasi::matrix_view(std::span<float>(), 0, 7).size() == 0);
    CHECK(wasi::tensor_view(numbers, 1, 2, 3).shape == std::array<Index, 3>{1, 2, 3});
    CHECK(wasi::tensor_view(std::span<const float>(numbers), Index{6}).data == numbers.data());
    static_assert(std::is_same_v<decltype(wasi::matrix_view(fixed, 2, 3)), wasi::ConstMatrixView<double>>);
    CHECK_THROWS_WITH_AS((void)wasi::matrix_view(numbers, 2, 2), "matrix_view: 6 numbers are not a matrix (2, 2)",
                         wasi::shape_error);
    CHECK_THROWS_AS((void)wasi::matrix_view(numbers, -2, -3), wasi::shape_error);
    CHECK_THROWS_AS((void)wasi::matrix_view(numbers, 0, 3), wasi::shape_error);
    const Index large = Index{1} << 62;  // times 4 is 2^64, nothing
    CHECK_THROWS_AS((void)wasi::matrix_view(std::span<float>(), large, 4), wasi::shape_error);
    CHECK_THROWS_AS((void)wasi::tensor_view(numbers, large, 4, 1), wasi::shape_error);
    CHECK_THROWS_WITH_AS((void)wasi::tensor_view(numbers, 2, 2, 2), "tensor_view: 6 numbers are not a tensor (2, 2, 2)",
                         wasi::shape_error);
}

TEST_CASE("edge: views and tensors that are no matrices are refused")
{
    std::vector<double> numbers(12, 1.0);
    const auto refused = [](Index rows, Index cols, Index row_stride, Index col_stride, double* data) {
        CHECK_THROWS_AS(
            (void)wasi::linalg::truncated_svd(wasi::ConstMatrixView<double>{data, rows, cols, row_stride, col_stride}),
            wasi::shape_error);
    };
    refused(2, 2, 4, 2, numbers.data());  // no unit stride
    refused(3, 2, 1, 1, numbers.data());  // lines overlap
    refused(3, 2, -2, 1, numbers.data());
    refused(1, 3, 7, 2, numbers.data());
    CHECK(wasi::linalg::truncated_svd(wasi::ConstMatrixView<double>{numbers.data(), 1, 3, 1, 2}).info.rank == 1);
    const wasi::Tensor<double> cube(wasi::plain_memory(), wasi::Tag{}, wasi::Shape{2, 2, 3});
    CHECK_THROWS_WITH_AS((void)wasi::linalg::truncated_svd(cube), "a matrix is wanted, not a tensor of shape (2, 2, 3)",
                         wasi::shape_error);
    CHECK_THROWS_AS((void)wasi::linalg::truncated_svd(wasi::Tensor<float>()), wasi::shape_error);
    numbers[3] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS((void)wasi::linalg::truncated_svd(wasi::matrix_view(numbers, 3, 4)), wasi::argument_error);
}

}  // namespace
