#include <doctest/doctest.h>

#include <array>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/tensor/mode_product.hpp>

namespace {

using wasi::Index;
using wasi_tests::Matrix;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <class E, std::size_t N>
void check_shape(const std::array<Index, N>& shape)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto x = wasi_tests::random_tensor<T, N>(shape, 1);
    const auto view = x.view();
    const double norm = std::sqrt(wasi_tests::squares(view));
    for (std::size_t mode = 0; mode < N; ++mode) {
        INFO("shape ", wasi::shape_text(shape), ", mode ", mode);
        for (const Index rows : {Index{1}, Index{3}, shape[mode] + 2}) {
            for (const auto& layout : {wasi_tests::row_major, wasi_tests::col_major}) {
                const auto m = wasi_tests::random_matrix<T>(rows, shape[mode], 2, layout);
                const auto expected = wasi_tests::mode_product_by_loops(view, m.view(), mode);
                const auto y = wasi::tensor::mode_product<S, T, N>(view, m.view(), mode, wasi::plain_memory());
                REQUIRE(y.template view<N>().shape == expected.shape);
                CHECK(wasi_tests::max_difference(y.matrix(), expected.view().rows_by(N - 1)) <=
                      tolerance<T>(shape[mode], 3.0 * norm));
            }
        }
        const auto unfolded = wasi_tests::unfold_by_loops(view, mode);
        CHECK(wasi_tests::max_difference(wasi::tensor::unfold<S, T, N>(view, mode, wasi::plain_memory()).matrix(),
                                         unfolded.view()) == 0.0);
        Matrix<double> gram(shape[mode], shape[mode]);
        wasi_tests::NaiveStorage::multiply(gram.view(), 1.0, unfolded.view(), unfolded.view().transposed(), 0.0,
                                           wasi::plain_memory());
        CHECK(wasi_tests::max_difference(wasi::tensor::mode_gram<S, T, N>(view, mode, wasi::plain_memory()).matrix(),
                                         gram.view()) <= tolerance<T>(view.size() / shape[mode], norm * norm));
    }
}

TEST_CASE_TEMPLATE("mode product, unfolding and Gram matrix are what index loops say, for every order and mode", E,
                   WASI_TEST_ENGINES)
{
    check_shape<E, 2>({5, 7});
    check_shape<E, 2>({1, 4});
    check_shape<E, 2>({4, 1});
    check_shape<E, 3>({4, 5, 6});
    check_shape<E, 3>({17, 3, 5});  // more slices than partial sums
    check_shape<E, 3>({1, 5, 6});
    check_shape<E, 3>({4, 1, 6});
    check_shape<E, 3>({4, 5, 1});
    check_shape<E, 3>({1, 1, 1});
    check_shape<E, 4>({3, 4, 2, 5});
    check_shape<E, 4>({3, 1, 1, 5});
    check_shape<E, 4>({1, 3, 4, 1});
}

TEST_CASE_TEMPLATE("mode product: products in different modes commute, in one mode they compose", E,
                   WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto product = [](const auto& x, const auto& m, std::size_t mode) {
        return wasi::tensor::mode_product<S, T, 3>(x.template view<3>(), m, mode, wasi::plain_memory());
    };
    const auto plain = wasi_tests::random_tensor<T, 3>({4, 5, 6}, 3);
    wasi::Tensor<T> x = wasi::tensor::make_tensor<T>(wasi::plain_memory(), plain.shape);
    std::copy(plain.elements.begin(), plain.elements.end(), x.data());
    const auto a = wasi_tests::random_matrix<T>(3, 4, 4);
    const auto b = wasi_tests::random_matrix<T>(2, 6, 5);
    const auto c = wasi_tests::random_matrix<T>(7, 3, 6);
    Matrix<T> ca(7, 4);
    S::multiply(ca.view(), T(1), c.view(), a.view(), T(0), wasi::plain_memory());
    const wasi::Tensor<T>& cx = x;
    const double scale = std::sqrt(wasi_tests::squares(plain.view()));
    const wasi::Tensor<T> xa = product(cx, a.view(), 0);
    const wasi::Tensor<T> xb = product(cx, b.view(), 2);
    CHECK(wasi_tests::max_difference(product(xa, b.view(), 2).matrix(), product(xb, a.view(), 0).matrix()) <=
          tolerance<T>(24, 9.0 * scale));
    CHECK(wasi_tests::max_difference(product(xa, c.view(), 0).matrix(), product(cx, ca.view(), 0).matrix()) <=
          tolerance<T>(12, 9.0 * scale));
}

TEST_CASE_TEMPLATE("mode product: same bits for one and two threads", T, float, double)
{
    const int before = wasi::thread_count();
    const auto x = wasi_tests::random_matrix<T>(24 * 20, 96, 7);
    const wasi::ConstTensorView<T, 3> view{x.view().data, {24, 20, 96}};
    for (std::size_t mode = 0; mode < 3; ++mode) {
        const auto m = wasi_tests::random_matrix<T>(16, view.shape[mode], 8);
        const auto run = [&](int threads) {
            wasi::set_thread_count(threads);
            return std::pair(
                wasi::tensor::mode_product<wasi::EigenStorage, T, 3>(view, m.view(), mode, wasi::plain_memory()),
                wasi::tensor::mode_gram<wasi::EigenStorage, T, 3>(view, mode, wasi::plain_memory()));
        };
        const auto one = run(1);
        const auto two = run(2);
        wasi::set_thread_count(before);
        CHECK(wasi_tests::same_bits(one.first.matrix(), two.first.matrix()));
        CHECK(wasi_tests::same_bits(one.second.matrix(), two.second.matrix()));
    }
}

TEST_CASE("mode product: what does not fit throws and is named")
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const PlainTensor<double, 3> x({2, 3, 4});
    const auto m = wasi_tests::random_matrix<double>(5, 3, 1);
    const auto view = x.view();
    const auto product = [&](std::size_t mode) {
        return wasi::tensor::mode_product<S, double, 3>(view, m.view(), mode, memory);
    };
    CHECK_NOTHROW(static_cast<void>(product(1)));
    CHECK_THROWS_WITH_AS(static_cast<void>(product(0)),
                         "mode_product: X (2, 3, 4), M (5, 3) and Y (5, 3, 4) do not fit in mode 0", wasi::shape_error);
    CHECK_THROWS_WITH_AS(static_cast<void>(product(3)), "mode_product: mode 3 of a tensor of order 3",
                         wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::unfold<S, double, 3>(view, 3, memory)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::tensor::mode_gram<S, double, 3>(view, 3, memory)), wasi::shape_error);
    PlainTensor<double, 3> y({2, 4, 4});
    CHECK_THROWS_AS((wasi::tensor::mode_product<S, double, 3>(y.view(), view, m.view(), 1, memory)), wasi::shape_error);
}

}  // namespace
