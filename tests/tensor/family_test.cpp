// Some packages of Eigen leave its folder unsupported/ out, and with it Eigen::Tensor.
#if __has_include(<unsupported/Eigen/CXX11/Tensor>)
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <type_traits>

#include <support/tensors.hpp>
#include <wasi/storage/eigen/tensor_family.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/warm_tucker.hpp>

// Tensors of users: Eigen::Tensor in both layouts, maps, expressions, views and Tensor, all with one interface.
namespace {

using wasi::ConstTensorView;
using wasi::Index;
using wasi::TensorFamily;
using wasi::TensorView;
using wasi::linalg::Energy;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <class T, int N>
using ColMajorTensor = Eigen::Tensor<T, N>;
template <class T, int N>
using RowMajorTensor = Eigen::Tensor<T, N, Eigen::RowMajor>;

/// Element x(i, j, ...) of an Eigen tensor.
template <class X, std::size_t N>
auto& element(X& x, const std::array<Index, N>& index)
{
    Eigen::array<Eigen::Index, N> at{};
    std::copy(index.begin(), index.end(), at.begin());
    return x(at);
}

template <class X, class T, std::size_t N>
X as_eigen(const PlainTensor<T, N>& from)
{
    Eigen::array<Eigen::Index, N> extents{};
    std::copy(from.shape.begin(), from.shape.end(), extents.begin());
    X x(extents);
    for (Index at = 0; at < from.view().size(); ++at) {
        element(x, wasi_tests::index_at(from.shape, at)) = from.elements[static_cast<std::size_t>(at)];
    }
    return x;
}

TEST_CASE("tensor family: what has its elements in memory is viewed in place, column-major with its modes reversed")
{
    const auto plain = wasi_tests::random_tensor<float, 3>({2, 3, 4}, 1);
    const auto rows = as_eigen<RowMajorTensor<float, 3>>(plain);
    auto columns = as_eigen<ColMajorTensor<float, 3>>(plain);
    const auto data_of = [](const auto& x) {
        return TensorFamily<std::decay_t<decltype(x)>>::with_view(x, [](auto view) { return view.data; });
    };
    const auto shape_of = [](const auto& x) {
        return TensorFamily<std::decay_t<decltype(x)>>::with_view(x, [](auto view) { return view.shape; });
    };
    using Shape = std::array<Index, 3>;
    CHECK(data_of(rows) == rows.data());
    CHECK(shape_of(rows) == Shape{2, 3, 4});
    CHECK(data_of(columns) == columns.data());
    CHECK(shape_of(columns) == Shape{4, 3, 2});
    const Eigen::TensorMap<Eigen::Tensor<float, 3>> map(columns.data(), 2, 3, 4);
    CHECK(data_of(map) == columns.data());
    CHECK(shape_of(map) == Shape{4, 3, 2});
    const Eigen::TensorMap<const Eigen::Tensor<float, 3, Eigen::RowMajor>> constant(rows.data(), 2, 3, 4);
    CHECK(data_of(constant) == rows.data());
    const Eigen::TensorFixedSize<double, Eigen::Sizes<2, 3, 4>> fixed;
    CHECK(data_of(fixed) == fixed.data());
    CHECK(shape_of(fixed) == Shape{4, 3, 2});
    const auto twice = rows + rows;
    CHECK(shape_of(twice) == Shape{2, 3, 4});
    const float sum = TensorFamily<std::decay_t<decltype(twice)>>::with_view(twice, [](auto v) { return v.data[5]; });
    CHECK(sum == 2.0F * rows.data()[5]);
    const TensorView<float, 3> view{columns.data(), {4, 3, 2}};
    CHECK(data_of(view) == columns.data());
    wasi::Tensor<float> owned(wasi::plain_memory(), {}, {2, 3, 4});
    CHECK(data_of(wasi::of_order<3>(owned)) == owned.data());
    CHECK_THROWS_AS(data_of(wasi::of_order<2>(owned)), wasi::shape_error);
    static_assert(wasi::TensorLike<RowMajorTensor<double, 4>> && wasi::TensorLike<ConstTensorView<float, 2>>);
    static_assert(!wasi::TensorLike<Eigen::MatrixXf> && !wasi::TensorLike<Eigen::Tensor<int, 3>>);
    static_assert(wasi::order_of<decltype(map)> == 3);
}

/// Everything that takes a user's tensor: names, shapes and numbers as the user counts modes, the same for all kinds.
template <class X, class T, std::size_t N>
void check_kind(const X& x, const PlainTensor<T, N>& plain)
{
    using S = wasi::EigenStorage;
    using F = TensorFamily<X>;
    auto& memory = wasi::plain_memory();
    const double norm = std::sqrt(wasi_tests::squares(plain.view()));
    const double rounding = tolerance<T>(plain.view().size(), norm);
    std::array<Index, N> ranks{};
    std::array<std::size_t, N> order{};
    for (std::size_t m = 0; m < N; ++m) {
        ranks[m] = N == 2 ? 2 : 2 + static_cast<Index>(m % 2);
        order[m] = (m + 1) % N;
    }
    const auto compare = [&](const auto& mine, const wasi::tensor::Tucker<T, N>& engine) {
        static_assert(std::is_same_v<std::decay_t<decltype(mine.core)>, typename F::Result>);
        CHECK(mine.info.ranks == engine.ranks());
        CHECK(std::abs(mine.info.captured_energy - engine.captured_energy) <= tolerance<T>(8, 1.0));
        CHECK(std::abs(mine.info.error - engine.error) <=
              tolerance<T>(8, 1.0 + 0.02 * engine.error / tolerance<T>(8, 1.0)));
        // The bases: the same subspaces, in the user's order; signs and rotations are free.
        for (std::size_t m = 0; m < N; ++m) {
            const auto basis = wasi::tensor::detail::const_view<wasi::Family<typename F::Matrix>>(mine.bases[m]);
            CHECK(basis.shape() == engine.bases[m].matrix().shape());
        }
        const auto full = wasi::tensor::reconstruct(mine);
        const auto back = wasi::tensor::reconstruct<S, T, N>(engine, memory);
        double difference = 0.0;
        auto wide = PlainTensor<T, N>(plain.shape);
        const auto& result = full;
        const auto view = wasi::tensor::detail::const_view<F>(result);
        for (Index at = 0; at < plain.view().size(); ++at) {
            auto index = wasi_tests::index_at(plain.shape, at);
            index = wasi::view_order<X>(index);
            const double here = static_cast<double>(view.data[wasi_tests::position_of(view.shape, index)]);
            difference = std::max(difference, std::abs(here - static_cast<double>(back.data()[at])));
        }
        CHECK(difference <= 20.0 * rounding);
        CHECK(std::abs(wasi::tensor::relative_error(mine, x) - mine.info.error) <=
              0.02 * mine.info.error + tolerance<T>(4, 1.0));
        CHECK(std::abs(wasi::tensor::inner_product(mine, x) - mine.info.captured_energy * norm * norm) <=
              norm * rounding);
        CHECK(std::abs(wasi::tensor::squared_norm(mine) - mine.info.captured_energy * norm * norm) <= norm * rounding);
        CHECK(std::abs(wasi::tensor::distance(mine, x) - mine.info.error * norm) <=
              0.02 * mine.info.error * norm + 4.0 * rounding);
        CHECK(wasi::tensor::distance(mine, mine) <= rounding);
        // A slice of the last mode, extent 1 there.
        const auto slice = wasi::tensor::reconstruct_slice(mine, N - 1, 1);
        auto expected = plain.shape;
        expected[N - 1] = 1;
        CHECK(wasi::tensor::detail::const_view<F>(slice).shape == wasi::view_order<X>(expected));
        CHECK_THROWS_AS(static_cast<void>(wasi::tensor::reconstruct_slice(mine, N - 1, plain.shape[N - 1])),
                        wasi::shape_error);
        std::array<Index, N> first{};
        const auto block = wasi::tensor::reconstruct_block(mine, first, expected);
        CHECK(wasi::tensor::detail::const_view<F>(block).shape == wasi::view_order<X>(expected));
    };
    compare(wasi::tensor::hosvd(x, {.ranks = ranks}), wasi::tensor::hosvd<S, T, N>(plain.view(), ranks, memory));
    compare(wasi::tensor::hosvd(x), wasi::tensor::hosvd<S, T, N>(plain.view(), Energy{1.0}, memory));
    compare(wasi::tensor::sequentially_truncated_hosvd(x, {.ranks = ranks, .order = order}),
            wasi::tensor::sequentially_truncated_hosvd<S, T, N>(plain.view(), ranks, order, memory));
    compare(wasi::tensor::sequentially_truncated_hosvd(x, {.ranks = Energy{0.9}}),
            wasi::tensor::sequentially_truncated_hosvd<S, T, N>(plain.view(), Energy{0.9}, {}, memory));
    const auto refined = wasi::tensor::hooi(x, {.ranks = ranks, .max_sweeps = 2});
    CHECK(refined.info.ranks == ranks);
    CHECK(refined.info.sweeps >= 1);
    CHECK(std::abs(wasi::tensor::relative_error(refined, x) - refined.info.error) <=
          0.02 * refined.info.error + tolerance<T>(4, 1.0));
    // The warm basis is that of the user's last mode.
    const auto start = wasi_tests::random_matrix<T>(plain.shape[N - 1], 2, 9);
    Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> basis(plain.shape[N - 1], 2);
    for (Index i = 0; i < basis.rows(); ++i) {
        basis(i, 0) = start(i, 0);
        basis(i, 1) = start(i, 1);
    }
    compare(wasi::tensor::warm_tucker_step(x, basis, {.ranks = 2}),
            wasi::tensor::warm_tucker_step<S, T, N>(plain.view(), start.view(), 2, memory));

    // Mode products and unfoldings.
    for (std::size_t m = 0; m < N; ++m) {
        const auto factor = wasi_tests::random_matrix<T>(3, plain.shape[m], 5);
        Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> matrix(3, plain.shape[m]);
        for (Index i = 0; i < 3; ++i) {
            for (Index j = 0; j < plain.shape[m]; ++j) {
                matrix(i, j) = factor(i, j);
            }
        }
        const auto y = wasi::tensor::mode_product(x, matrix, m);
        const auto expected = wasi_tests::mode_product_by_loops(plain.view(), factor.view(), m);
        const auto view = wasi::tensor::detail::const_view<F>(y);
        CHECK(view.shape == wasi::view_order<X>(expected.shape));
        for (Index at = 0; at < expected.view().size(); ++at) {
            const auto index = wasi::view_order<X>(wasi_tests::index_at(expected.shape, at));
            CHECK(std::abs(static_cast<double>(view.data[wasi_tests::position_of(view.shape, index)]) -
                           expected.elements[static_cast<std::size_t>(at)]) <= 10.0 * rounding);
        }
        const auto unfolded = wasi::tensor::unfold(x, m);
        const auto matrix_view = wasi::tensor::detail::const_view<wasi::Family<typename F::Matrix>>(unfolded);
        REQUIRE(matrix_view.rows == plain.shape[m]);
        REQUIRE(matrix_view.size() == plain.view().size());
        for (Index at = 0; at < plain.view().size(); ++at) {
            const auto index = wasi_tests::index_at(plain.shape, at);
            Index column = 0;
            for (std::size_t k = 0; k < N; ++k) {
                const std::size_t other = F::reversed ? N - 1 - k : k;
                column = other == m ? column : column * plain.shape[other] + index[other];
            }
            CHECK(matrix_view(index[m], column) == plain.elements[static_cast<std::size_t>(at)]);
        }
    }
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::mode_product(x, basis, N)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::unfold(x, N)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::sequentially_truncated_hosvd(
                        x, {.ranks = 2, .order = std::array<std::size_t, N>{}})),
                    wasi::argument_error);
}

TEST_CASE_TEMPLATE("tensors of users: every kind and layout gives what the engine gives", T, float, double)
{
    const auto three = wasi_tests::random_tensor<T, 3>({5, 6, 7}, 2);
    check_kind(as_eigen<RowMajorTensor<T, 3>>(three), three);
    check_kind(as_eigen<ColMajorTensor<T, 3>>(three), three);
    check_kind(three.view(), three);
    const auto four = wasi_tests::random_tensor<T, 4>({4, 3, 5, 6}, 3);
    check_kind(as_eigen<ColMajorTensor<T, 4>>(four), four);
    const auto two = wasi_tests::random_tensor<T, 2>({8, 5}, 4);
    check_kind(as_eigen<ColMajorTensor<T, 2>>(two), two);
}

TEST_CASE("tensors of users: a Tensor of order 3, a sum of Eigen tensors")
{
    const auto plain = wasi_tests::random_tensor<float, 3>({5, 6, 7}, 2);
    wasi::Tensor<float> owned(wasi::plain_memory(), {}, {5, 6, 7});
    std::copy(plain.elements.begin(), plain.elements.end(), owned.data());
    const auto a = wasi::tensor::hosvd(wasi::of_order<3>(owned), {.ranks = {2, 3, Energy{0.99}}});
    const auto x = as_eigen<ColMajorTensor<float, 3>>(plain);
    const auto b = wasi::tensor::hosvd(x * 0.5F + x * 0.5F, {.ranks = {2, 3, Energy{0.99}}});
    CHECK(a.info.ranks == b.info.ranks);
    CHECK(std::abs(a.info.captured_energy - b.info.captured_energy) <= tolerance<float>(210, 1.0));
}

}  // namespace

#endif
