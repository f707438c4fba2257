// Tensors of xtensor at the edge: views without a copy, column-major ones too, and Tucker forms in xtensor's types.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <string>
#include <type_traits>

#include <support/matrices.hpp>
#include <wasi/tensor/hosvd.hpp>
#include <wasi/tensor/round.hpp>
#include <wasi/xtensor/tensor_family.hpp>

namespace {

using wasi::Index;
using wasi::of_order;
using wasi::TensorFamily;
using wasi::linalg::Energy;

template <class T, std::size_t N>
using RowMajor = xt::xtensor<T, N, xt::layout_type::row_major>;
template <class T, std::size_t N>
using ColMajor = xt::xtensor<T, N, xt::layout_type::column_major>;

/// Random numbers plus a part of rank one that dominates every mode; the same for every layout.
template <class X>
X random_tensor(std::uint64_t seed)
{
    using T = typename X::value_type;
    const wasi::RandomKey key(seed);
    X result = X::from_shape({4, 5, 6});
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        for (std::size_t j = 0; j < 5; ++j) {
            for (std::size_t k = 0; k < 6; ++k) {
                result(i, j, k) = static_cast<T>(0.1 * key.normal(at++) + static_cast<double>((1 + i) * (2 + j) * k));
            }
        }
    }
    return result;
}

/// True when the view that X's family gives shows the elements of `wanted`; sets whether it read the memory of `owner`.
template <class X, class Wanted, class Owner>
bool shows_elements(const X& x, const Wanted& wanted, const Owner& owner, bool& in_place)
{
    using F = TensorFamily<X>;
    return F::with_view(x, [&](auto view) {
        in_place = view.data >= owner.data() && view.data < owner.data() + owner.size();
        for (std::size_t i = 0; i < wanted.shape()[0]; ++i) {
            for (std::size_t j = 0; j < wanted.shape()[1]; ++j) {
                for (std::size_t k = 0; k < wanted.shape()[2]; ++k) {
                    const std::array<Index, 3> at = wasi::view_order<X>(
                        std::array<Index, 3>{static_cast<Index>(i), static_cast<Index>(j), static_cast<Index>(k)});
                    if (view.data[(at[0] * view.shape[1] + at[1]) * view.shape[2] + at[2]] != wanted(i, j, k)) {
                        return false;
                    }
                }
            }
        }
        return true;
    });
}

TEST_CASE_TEMPLATE("tensor family: contiguous tensors of both layouts are viewed in place", T, float, double)
{
    const auto row = random_tensor<RowMajor<T, 3>>(1);
    const ColMajor<T, 3> col = row;
    const xt::xarray<T> array = row;
    const RowMajor<T, 4> four = xt::ones<T>({2, 4, 5, 6}) * xt::view(row, xt::newaxis(), xt::all(), xt::all());
    const auto check = [](const auto& x, const auto& wanted, const auto& owner, bool expected) {
        bool in_place = !expected;
        CHECK(shows_elements(x, wanted, owner, in_place));
        CHECK(in_place == expected);
    };
    check(row, row, row, true);
    check(col, row, col, true);
    check(of_order<3>(array), row, array, true);
    check(of_order<3>(row), row, row, true);
    check(xt::adapt(row.data(), row.size(), xt::no_ownership(), row.shape()), row, row, true);
    const auto slice = xt::view(four, 1, xt::all(), xt::all(), xt::all());
    check(slice, row, four, true);
    check(of_order<3>(slice), row, four, true);
    const auto rows = xt::view(row, xt::range(1, 3), xt::all(), xt::all());
    check(rows, rows, row, true);
    // Not in one piece, or not in memory at all: evaluated.
    const auto inner = xt::view(row, xt::all(), xt::range(1, 4), xt::all());
    check(inner, inner, row, false);
    const auto turned = xt::transpose(row);
    check(turned, turned, row, false);
    check(row + row, RowMajor<T, 3>(row + row), row, false);
    check(col * T(3), RowMajor<T, 3>(row * T(3)), col, false);
}

TEST_CASE("tensor family: results are of the same layout; another order is refused")
{
    static_assert(wasi::TensorLike<RowMajor<float, 4>> && !wasi::TensorLike<RowMajor<int, 3>>);
    static_assert(!wasi::TensorLike<xt::xarray<float>>);
    using Col = TensorFamily<ColMajor<double, 3>>;
    static_assert(std::is_same_v<Col::Result, ColMajor<double, 3>> && Col::reversed);
    static_assert(std::is_same_v<Col::Matrix, ColMajor<double, 2>>);
    static_assert(std::is_same_v<TensorFamily<RowMajor<float, 3>>::Storage, wasi::XtensorStorage>);
    const ColMajor<double, 3> made = Col::make({2, 3, 4});
    CHECK(made.shape()[0] == 2);
    CHECK(made.shape()[2] == 4);
    const xt::xarray<float> matrix = xt::zeros<float>({3, 4});
    CHECK_THROWS_WITH_AS((void)wasi::tensor::hosvd(of_order<3>(matrix)),
                         "a tensor of order 3 is wanted, not an array of shape (3, 4)", wasi::shape_error);
}

/// Core x bases, by loops: xtensor 0.24 multiplies views of column-major matrices that have a new axis wrongly.
template <class Form>
auto multiplied_out(const Form& form)
{
    using T = typename std::remove_cvref_t<decltype(form.core)>::value_type;
    const auto& [u, v, w] = form.bases;
    RowMajor<T, 3> result = xt::zeros<T>({u.shape()[0], v.shape()[0], w.shape()[0]});
    for (std::size_t i = 0; i < u.shape()[0]; ++i) {
        for (std::size_t j = 0; j < v.shape()[0]; ++j) {
            for (std::size_t k = 0; k < w.shape()[0]; ++k) {
                for (std::size_t a = 0; a < form.core.shape()[0]; ++a) {
                    for (std::size_t b = 0; b < form.core.shape()[1]; ++b) {
                        for (std::size_t c = 0; c < form.core.shape()[2]; ++c) {
                            result(i, j, k) += form.core(a, b, c) * u(i, a) * v(j, b) * w(k, c);
                        }
                    }
                }
            }
        }
    }
    return result;
}

TEST_CASE_TEMPLATE("tensor family: hosvd of every kind of tensor", T, float, double)
{
    const auto row = random_tensor<RowMajor<T, 3>>(2);
    const ColMajor<T, 3> col = row;
    const xt::xarray<T> array = row;
    const double norm = std::sqrt(static_cast<double>(xt::sum(xt::square(row))()));
    const auto error = [&](const auto& form) {
        const RowMajor<T, 3> rest = row - multiplied_out(form);
        return std::sqrt(static_cast<double>(xt::sum(xt::square(rest))())) / norm;
    };
    const double rounding = wasi_tests::tolerance<T>(120, 8.0);
    // An error this large comes from a difference of energies: its square is known to rounding, not the error itself.
    const auto square = [](double value) { return value * value; };
    const auto check = [&](const auto& x) {
        const auto whole = wasi::tensor::hosvd(x, {.ranks = {4, 5, 6}});
        CHECK(error(whole) <= rounding);
        const auto cut = wasi::tensor::hosvd(x, {.ranks = {1, 2, 3}});
        CHECK(cut.core.shape()[0] == 1);
        CHECK(cut.core.shape()[1] == 2);
        CHECK(cut.core.shape()[2] == 3);
        CHECK(cut.bases[2].shape()[0] == 6);
        CHECK(cut.bases[2].shape()[1] == 3);
        CHECK(std::abs(square(error(cut)) - square(cut.info.error)) <= rounding);
        CHECK(error(cut) > 0.0005);  // something was cut
        CHECK(error(cut) < 0.05);    // and most was kept
        const auto sequential = wasi::tensor::sequentially_truncated_hosvd(x, {.ranks = {1, 2, 3}});
        CHECK(std::abs(square(error(sequential)) - square(sequential.info.error)) <= rounding);
        const auto partial = wasi::tensor::hosvd(x, {.ranks = {wasi::tensor::uncompressed, 2, 3}});
        CHECK(partial.core.shape()[0] == 4);
        CHECK(partial.bases[0].size() == 0);
        const auto twice = wasi::tensor::add(cut, cut, {.alpha = 0.5, .beta = 0.5});
        CHECK(twice.bases[2].shape()[1] == 6);
        const auto once = wasi::tensor::round(twice);  // a core (1, 2, 3) has rank 2 in its last mode
        CHECK(once.core.shape()[2] == 2);
        CHECK(std::abs(error(once) - error(cut)) <= rounding);
        return error(cut);
    };
    const double expected = check(row);
    CHECK(std::abs(check(col) - expected) <= rounding);
    CHECK(std::abs(check(of_order<3>(array)) - expected) <= rounding);
    const auto form = wasi::tensor::hosvd(col, {.ranks = {4, 5, 6}});
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(form.core)>, ColMajor<T, 3>>);
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(form.bases[0])>, ColMajor<T, 2>>);
}

}  // namespace
