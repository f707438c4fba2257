#include <doctest/doctest.h>

#include <array>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

#include <support/matrices.hpp>
#include <wasi/storage/view.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::TensorView;
using wasi_tests::Matrix;

/// 0, 1, 2, ... of the given count.
std::vector<double> counting(Index count)
{
    std::vector<double> values(static_cast<std::size_t>(count));
    std::iota(values.begin(), values.end(), 0.0);
    return values;
}

TEST_CASE("row-major and column-major views index the same buffer differently")
{
    auto values = counting(6);
    const auto rows = MatrixView<double>::row_major(values.data(), 2, 3);
    const auto cols = MatrixView<double>::col_major(values.data(), 2, 3);
    for (Index i = 0; i < 2; ++i) {
        for (Index j = 0; j < 3; ++j) {
            CHECK(rows(i, j) == static_cast<double>(3 * i + j));
            CHECK(cols(i, j) == static_cast<double>(i + 2 * j));
        }
    }
    CHECK(rows.is_row_major());
    CHECK_FALSE(cols.is_row_major());
    CHECK(rows.is_contiguous());
    CHECK(cols.is_contiguous());
    CHECK(rows.size() == 6);
    CHECK(rows.shape() == std::array<Index, 2>{2, 3});
    rows(1, 2) = -1.0;
    CHECK(values[5] == -1.0);
}

TEST_CASE("a transpose swaps indices and is its own inverse, in every layout")
{
    for (const auto layout : wasi_tests::layouts) {
        CAPTURE(layout.text());
        Matrix<float> a = wasi_tests::random_matrix<float>(4, 7, 1, layout);
        const auto t = a.view().transposed();
        CHECK(t.rows == 7);
        CHECK(t.cols == 4);
        CHECK(t.is_row_major() != a.view().is_row_major());
        bool equal = true;
        for (Index i = 0; i < 4; ++i) {
            for (Index j = 0; j < 7; ++j) {
                equal = equal && &t(j, i) == &a(i, j) && &t.transposed()(i, j) == &a(i, j);
            }
        }
        CHECK(equal);
    }
}

TEST_CASE("blocks point into their matrix, in every layout")
{
    for (const auto layout : wasi_tests::layouts) {
        CAPTURE(layout.text());
        Matrix<float> a(6, 8, layout);
        const auto whole = a.view();
        const auto block = whole.block(1, 2, 4, 5);
        CHECK(block.shape() == std::array<Index, 2>{4, 5});
        CHECK(&block(0, 0) == &whole(1, 2));
        CHECK(&block(3, 4) == &whole(4, 6));
        CHECK(&whole.row_block(2, 3)(1, 7) == &whole(3, 7));
        CHECK(whole.row_block(2, 3).shape() == std::array<Index, 2>{3, 8});
        CHECK(&whole.col_block(2, 3)(5, 1) == &whole(5, 3));
        CHECK(whole.col_block(2, 3).shape() == std::array<Index, 2>{6, 3});
        CHECK(block.is_row_major() == whole.is_row_major());
        CHECK_FALSE(block.is_contiguous());
        CHECK(whole.row_block(3, 0).size() == 0);
        CHECK(whole.col_block(8, 0).size() == 0);
    }
}

TEST_CASE("is_contiguous looks at the stride of the layout, and not at it where there is one line")
{
    auto values = counting(40);
    const auto all = MatrixView<double>::row_major(values.data(), 5, 8);
    CHECK(all.row_block(1, 3).is_contiguous());
    CHECK_FALSE(all.col_block(0, 7).is_contiguous());
    CHECK(all.block(2, 1, 1, 4).is_contiguous());
    CHECK_FALSE(all.transposed().row_block(0, 3).is_contiguous());
    CHECK(all.transposed().col_block(1, 3).is_contiguous());
    CHECK(all.transposed().block(1, 2, 4, 1).is_contiguous());
}

TEST_CASE("a view of elements becomes a view of const elements, never the other way")
{
    auto values = counting(4);
    const ConstMatrixView<double> seen = MatrixView<double>::col_major(values.data(), 2, 2);
    CHECK(seen(1, 0) == 1.0);
    CHECK_FALSE(seen.is_row_major());
    CHECK(std::is_convertible_v<MatrixView<float>, ConstMatrixView<float>>);
    CHECK_FALSE(std::is_convertible_v<ConstMatrixView<float>, MatrixView<float>>);
    CHECK_FALSE(std::is_convertible_v<MatrixView<float>, MatrixView<double>>);
    CHECK(std::is_convertible_v<TensorView<float, 3>, TensorView<const float, 3>>);
    CHECK_FALSE(std::is_convertible_v<TensorView<const float, 3>, TensorView<float, 3>>);
}

TEST_CASE("a tensor view splits into rows and columns anywhere")
{
    auto values = counting(2 * 3 * 4);
    const TensorView<double, 3> t{values.data(), {2, 3, 4}};
    CHECK(t.size() == 24);
    const std::array<std::array<Index, 2>, 4> shapes{{{1, 24}, {2, 12}, {6, 4}, {24, 1}}};
    for (std::size_t split = 0; split <= 3; ++split) {
        const auto m = t.rows_by(split);
        CHECK(m.shape() == shapes[split]);
        CHECK(m.is_row_major());
        CHECK(m(m.rows - 1, m.cols - 1) == 23.0);
        CHECK(m.is_contiguous());
    }
    CHECK(t.rows_by(2)(1 * 3 + 2, 1) == 1 * 12 + 2 * 4 + 1.0);
}

TEST_CASE("around a mode, every tensor is (left, mode, right)")
{
    auto values = counting(2 * 3 * 4 * 5);
    const TensorView<double, 4> t{values.data(), {2, 3, 4, 5}};
    CHECK(t.around(0).shape == std::array<Index, 3>{1, 2, 60});
    CHECK(t.around(1).shape == std::array<Index, 3>{2, 3, 20});
    CHECK(t.around(2).shape == std::array<Index, 3>{6, 4, 5});
    CHECK(t.around(3).shape == std::array<Index, 3>{24, 5, 1});
    CHECK(t.around(2).data == values.data());
}

TEST_CASE("a slice is the matrix behind one first index")
{
    auto values = counting(2 * 3 * 4);
    const TensorView<double, 3> t{values.data(), {2, 3, 4}};
    const auto second = t.slice(1);
    CHECK(second.shape() == std::array<Index, 2>{3, 4});
    CHECK(second(0, 0) == 12.0);
    CHECK(second(2, 3) == 23.0);
    const TensorView<double, 4> four{values.data(), {2, 3, 2, 2}};
    CHECK(four.slice(1).shape() == std::array<Index, 2>{3, 4});
    const TensorView<double, 2> two{values.data(), {6, 4}};
    CHECK(two.slice(5).shape() == std::array<Index, 2>{4, 1});
    CHECK(two.slice(5)(3, 0) == 23.0);
}

TEST_CASE("as_row is one row of the vector's elements")
{
    auto values = counting(3);
    const auto row = wasi::as_row(std::span<double>(values));
    CHECK(row.shape() == std::array<Index, 2>{1, 3});
    CHECK(&row(0, 2) == &values[2]);
    CHECK(wasi::as_row(std::span<double>{}).size() == 0);
}

}  // namespace
