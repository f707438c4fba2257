#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/storage/eigen.hpp>

/// Every primitive gives the same bits on 1, 2 and 3 threads.
namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi::Shape;
using wasi::Tensor;

/// A matrix of standard normal numbers, aligned as the library's own are.
template <class T>
[[nodiscard]] Tensor<T> normal(Index rows, Index cols, std::uint64_t seed)
{
    Tensor<T> result = wasi::workspace<T>(wasi::plain_memory(), rows, cols);
    EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
    return result;
}

/// Runs `make` on 1, 2 and 3 threads; it returns all that a primitive wrote.
template <class T>
void check_same_bits(const std::function<std::vector<Tensor<T>>()>& make)
{
    const int before = wasi::thread_count();
    wasi::set_thread_count(1);
    const auto expected = make();
    double size = 0.0;
    for (const int threads : {2, 3}) {
        wasi::set_thread_count(threads);
        const auto results = make();
        REQUIRE(results.size() == expected.size());
        for (std::size_t i = 0; i < results.size(); ++i) {
            CAPTURE(threads);
            CAPTURE(i);
            CHECK(EigenStorage::all_finite(results[i].matrix()));
            CHECK(wasi_tests::same_bits(results[i].matrix(), expected[i].matrix()));
            size = std::max(size, wasi_tests::max_abs(results[i].matrix()));
        }
    }
    CHECK(size > 0.0);  // something was computed
    wasi::set_thread_count(before);
}

template <class T, class... Tensors>
[[nodiscard]] std::vector<Tensor<T>> list(Tensors&&... tensors)
{
    std::vector<Tensor<T>> result;
    (result.push_back(std::forward<Tensors>(tensors)), ...);
    return result;
}

TEST_CASE_TEMPLATE("threads: multiply on every path", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    struct Sizes {
        Index m, n, k;
    };
    // Eigen, left to itself, would cut the depth of the second one by the number of threads it finds.
    for (const Sizes size : {Sizes{64, 64, 64}, Sizes{8, 16, 2000}, Sizes{401, 133, 130}, Sizes{129, 500, 97},
                             Sizes{20, 31, 2051}, Sizes{128, 128, 2100}, Sizes{300, 300, 300}}) {
        const Index m = size.m;
        const Index n = size.n;
        const Index k = size.k;
        INFO(wasi::shape_text({m, n, k}));
        const auto a = normal<T>(m, k, 1);
        const auto b = normal<T>(k, n, 2);
        const auto bt = normal<T>(n, k, 3);
        check_same_bits<T>([&] {
            auto c = normal<T>(m, n, 4);
            S::multiply(c.matrix(), T(0.5), a.matrix(), b.matrix(), T(0.25), wasi::plain_memory());
            auto d = normal<T>(n, m, 5);
            S::multiply(d.matrix().transposed(), T(1), a.matrix(), bt.matrix().transposed(), T(0),
                        wasi::plain_memory());
            return list<T>(std::move(c), std::move(d));
        });
    }
}

TEST_CASE_TEMPLATE("threads: factorizations", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto tall = normal<T>(400, 90, 6);
    const auto wide = normal<T>(70, 260, 7);
    check_same_bits<T>([&] {
        auto q = wasi::clone<wasi::EigenStorage>(tall, wasi::Tag{});
        static_cast<void>(S::orthonormalize(q.matrix(), wasi::plain_memory()));
        return list<T>(std::move(q));
    });
    check_same_bits<T>([&] {
        auto u = normal<T>(70, 70, 0);
        auto s = normal<T>(1, 70, 0);
        auto v = normal<T>(260, 70, 0);
        CHECK(S::svd(wide.matrix(), u.matrix(), s.span(), v.matrix(), wasi::plain_memory()));
        return list<T>(std::move(u), std::move(s), std::move(v));
    });
    Tensor<T> gram = wasi::workspace<T>(wasi::plain_memory(), 90, 90);
    S::multiply(gram.matrix(), T(1), tall.matrix().transposed(), tall.matrix(), T(0), wasi::plain_memory());
    check_same_bits<T>([&] {
        auto v = wasi::clone<wasi::EigenStorage>(gram, wasi::Tag{});
        auto w = normal<T>(1, 90, 0);
        CHECK(S::eigh(v.matrix(), w.span(), wasi::plain_memory()));
        return list<T>(std::move(v), std::move(w));
    });
    check_same_bits<T>([&] {
        auto a = wasi::clone<wasi::EigenStorage>(gram, wasi::Tag{});
        auto b = normal<T>(90, 130, 8);
        CHECK(S::solve_spd(a.matrix(), b.matrix(), wasi::plain_memory()));
        return list<T>(std::move(b));
    });
}

TEST_CASE_TEMPLATE("threads: leading eigenvectors", E, WASI_SHIPPED_ENGINES)
{
    using S = typename E::Storage;
    // Two of 210, which are turned by blocks of reflections: products that ARM's kernels would cut by the number of
    // threads, were they left to themselves.
    const auto half = normal<double>(300, 210, 11);
    Tensor<double> gram = wasi::workspace<double>(wasi::plain_memory(), 210, 210);
    S::multiply(gram.matrix(), 1.0, half.matrix().transposed(), half.matrix(), 0.0, wasi::plain_memory());
    check_same_bits<double>([&] {
        auto v = wasi::clone<wasi::EigenStorage>(gram, wasi::Tag{});
        auto w = normal<double>(1, 210, 0);
        const auto two = [](std::span<const double>) { return Index{2}; };
        CHECK(S::eigh_leading(v.matrix(), w.span(), two, wasi::plain_memory()) == 2);
        auto leading = normal<double>(210, 2, 0);
        S::copy(leading.matrix(), std::as_const(v).matrix().col_block(0, 2));
        return list<double>(std::move(leading), std::move(w));
    });
}

TEST_CASE_TEMPLATE("threads: sums, copies and random numbers", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto x = normal<T>(1001, 203, 9);  // seven pieces of work
    check_same_bits<T>([&] {
        auto sum = normal<T>(1, 203, 0);
        S::column_sums(sum.span(), x.matrix(), wasi::plain_memory());
        auto copy = normal<T>(203, 1001, 0);
        S::copy(copy.matrix().transposed(), x.matrix());
        auto y = normal<T>(1001, 203, 10);
        S::add_scaled(y.matrix(), T(0.3), T(0.7), x.matrix());
        S::add_to_rows(y.matrix(), std::span<const T>(sum.span()));
        S::multiply_elements(y.matrix(), x.matrix());
        // The dot product as a number of type T would hide its last bits: half of them go into each of two elements.
        auto dots = normal<T>(1, 2, 0);
        const double dot = S::dot(x.matrix(), y.matrix());
        dots.span()[0] = static_cast<T>(dot);
        dots.span()[1] = static_cast<T>(dot - static_cast<double>(dots.span()[0]));
        return list<T>(std::move(sum), std::move(copy), std::move(y), std::move(dots));
    });
}

TEST_CASE_TEMPLATE("threads: row kernels", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const Index rows = 1001;
    const Index cols = 203;
    const auto x = normal<T>(rows, cols, 11);
    const auto dy = normal<T>(rows, cols, 12);
    const auto gain = normal<T>(1, cols, 13);
    const auto bias = normal<T>(1, cols, 14);
    std::vector<std::int64_t> labels;
    for (Index i = 0; i < rows; ++i) {
        labels.push_back(i % cols);
    }
    const auto empty = [&] { return normal<T>(rows, cols, 0); };
    check_same_bits<T>([&] {
        auto gelu = empty();
        auto gelu_backward = empty();
        auto relu = empty();
        auto relu_backward = empty();
        S::gelu(gelu.matrix(), x.matrix());
        S::gelu_backward(gelu_backward.matrix(), dy.matrix(), x.matrix());
        S::relu(relu.matrix(), x.matrix());
        S::relu_backward(relu_backward.matrix(), dy.matrix(), x.matrix());
        return list<T>(std::move(gelu), std::move(gelu_backward), std::move(relu), std::move(relu_backward));
    });
    check_same_bits<T>([&] {
        auto p = wasi::clone<wasi::EigenStorage>(x, wasi::Tag{});
        S::softmax(p.matrix(), T(0.5));
        auto backward = wasi::clone<wasi::EigenStorage>(dy, wasi::Tag{});
        S::softmax_backward(backward.matrix(), p.matrix(), T(0.5));
        auto loss_gradient = empty();
        auto loss = normal<T>(1, 1, 0);
        loss.span()[0] = static_cast<T>(S::cross_entropy(loss_gradient.matrix(), x.matrix(), labels));
        return list<T>(std::move(p), std::move(backward), std::move(loss_gradient), std::move(loss));
    });
    check_same_bits<T>([&] {
        auto y = empty();
        auto mean = normal<T>(1, rows, 0);
        auto inverse = normal<T>(1, rows, 0);
        S::layer_norm(y.matrix(), mean.span(), inverse.span(), x.matrix(), gain.span(), bias.span(), T(1e-6));
        auto dx = empty();
        auto dgain = normal<T>(1, cols, 0);
        auto dbias = normal<T>(1, cols, 0);
        S::layer_norm_backward(dx.matrix(), dgain.span(), dbias.span(), dy.matrix(), x.matrix(), mean.span(),
                               inverse.span(), gain.span(), wasi::plain_memory());
        return list<T>(std::move(y), std::move(mean), std::move(inverse), std::move(dx), std::move(dgain),
                       std::move(dbias));
    });
}

TEST_CASE_TEMPLATE("threads: a step of AdamW", E, WASI_SHIPPED_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto gradient = normal<T>(1001, 203, 15);
    check_same_bits<T>([&] {
        auto w = normal<T>(1001, 203, 16);
        auto m = normal<T>(1001, 203, 17);
        auto v = normal<T>(1001, 203, 18);
        S::multiply_elements(v.matrix(), v.matrix());
        S::adamw_step(w.matrix(), m.matrix(), v.matrix(), gradient.matrix(),
                      wasi::AdamWStep<T>{0.9, 0.999, T(1e-8), T(1e-4), T(1e-2), T(3), T(0.7)});
        return list<T>(std::move(w), std::move(m), std::move(v));
    });
}

}  // namespace
