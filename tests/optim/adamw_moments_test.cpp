// Moments of AdamW in 8 bits: a step is that of the moments as decoded, piece by piece; what is booked; what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/optim/any_optimizer.hpp>

namespace {

using namespace wasi_tests;
namespace optim = wasi::optim;
using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;

constexpr optim::MomentOptions eight_bits{optim::MomentFormat::int8, 100};

template <class T, class S>
[[nodiscard]] Tensor<T> normal(wasi::Memory& memory, Index rows, Index cols, std::uint64_t seed)
{
    Tensor<T> result(memory, {}, Shape{rows, cols});
    S::fill_normal(result.matrix(), wasi::RandomKey(seed));
    return result;
}

TEST_CASE_TEMPLATE("moments in 8 bits: a step is AdamW's on the moments as decoded, over pieces", E,
                   EigenFloat, EigenDouble)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    wasi::Ledger memory;
    const wasi::AdamWStep<T> step{0.9, 0.99, T(1e-8), T(0.01), T(0.1), T(1), T(0.5)};
    for (const auto& shape : std::vector<std::pair<Index, Index>>{{300, 301}, {1, 65537}, {5, 25}, {70000, 1}}) {
        const Index rows = shape.first;
        const Index cols = shape.second;
        CAPTURE(rows);
        CAPTURE(cols);
        optim::AdamWMoments<T, S> pieces;
        optim::AdamWMoments<T, S> whole;
        pieces.make(memory, {}, rows, cols, eight_bits);
        whole.make(memory, {}, rows, cols, eight_bits);
        REQUIRE(pieces.packed());
        auto w = normal<T, S>(memory, rows, cols, 1);
        auto wanted = normal<T, S>(memory, rows, cols, 1);
        for (std::uint64_t t = 0; t < 3; ++t) {
            const auto g = normal<T, S>(memory, rows, cols, 2 + t);
            pieces.step(w.matrix(), g.matrix(), step, memory);
            whole.in_full(memory, [&](MatrixView<T> m, MatrixView<T> v) {
                S::adamw_step(wanted.matrix(), m, v, g.matrix(), step);
            });
        }
        const auto got = std::as_const(w).span();
        const auto want = std::as_const(wanted).span();
        // But for moments halfway between two codes, which the last bit decides.
        int far = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
            far += std::abs(got[i] - want[i]) > T(1e-6) * (T(1) + std::abs(want[i]));
        }
        CHECK(far <= 5);
    }
}

TEST_CASE("moments in 8 bits: 2 bytes a number and 8 a group, booked as the optimiser's state; small ones in full")
{
    using S = wasi::EigenStorage;
    wasi::Ledger memory;
    const Tag tag{Use::optimiser_state, 4};
    optim::AdamWMoments<float, S> moments;
    CHECK(moments.empty());
    moments.make(memory, tag, 10, 26, eight_bits);
    CHECK_FALSE(moments.empty());
    CHECK(moments.bytes() == 2 * 260 + 2 * 2 * 4);
    CHECK(memory.of(tag).current == moments.bytes());
    moments.in_full(memory, [](MatrixView<float> m, MatrixView<float> v) {
        CHECK(m(9, 25) == 0.0F);
        CHECK(v(0, 0) == 0.0F);
    });
    optim::AdamWMoments<float, S> few;
    few.make(memory, tag, 9, 11, eight_bits);
    CHECK_FALSE(few.packed());
    CHECK(few.bytes() == 2 * 99 * 4);
    optim::AdamWMoments<float, S> full;
    full.make(memory, tag, 10, 26, {});
    CHECK(full.bytes() == 2 * 260 * 4);
    CHECK(optim::AdamWOptions{}.state.format == optim::MomentFormat::full);
    CHECK(optim::MomentOptions{}.least == 4096);
}

TEST_CASE("moments in 8 bits: other shapes, and weights that do not lie row by row, are refused")
{
    using S = wasi::EigenStorage;
    wasi::Ledger memory;
    optim::AdamWMoments<float, S> moments;
    moments.make(memory, {}, 20, 30, eight_bits);
    const wasi::AdamWStep<float> step{0.9, 0.99, 1e-8F, 0.0F, 0.1F, 1.0F, 1.0F};
    auto w = normal<float, S>(memory, 20, 30, 1);
    auto other = normal<float, S>(memory, 20, 31, 1);
    CHECK_THROWS_AS(moments.step(other.matrix(), other.matrix(), step, memory), wasi::shape_error);
    CHECK_THROWS_AS(moments.step(w.matrix(), ConstMatrixView<float>::col_major(w.data(), 20, 30), step, memory),
                    wasi::shape_error);
    CHECK_THROWS_AS(moments.step(other.matrix().col_block(0, 30), w.matrix(), step, memory), wasi::shape_error);
}

TEST_CASE("AdamW with moments in 8 bits comes to the minimum that AdamW comes to")
{
    wasi::Ledger memory;
    const auto goal = normal<float, wasi::EigenStorage>(memory, 32, 48, 3);
    const auto distance = [&](const optim::MomentOptions& state) {
        const auto optimizer = optim::make_optimizer<float, wasi::EigenStorage>(
            optim::AdamWOptions{.weight_decay = 0.0, .state = state}, memory);
        wasi::autograd::DenseParameter<float> w("w", normal<float, wasi::EigenStorage>(memory, 32, 48, 4));
        Tensor<float> g(memory, {}, {32, 48});
        double rest = 0.0;
        for (int t = 0; t < 400; ++t) {
            rest = 0.0;
            for (std::size_t i = 0; i < g.span().size(); ++i) {  // curvatures over three decades
                g.span()[i] = (w.values.span()[i] - goal.span()[i]) * static_cast<float>(i % 4 == 0 ? 1e-3 : 1.0);
                rest += std::pow(static_cast<double>(w.values.span()[i] - goal.span()[i]), 2);
            }
            optimizer->apply(wasi::nn::ParameterRef<float, wasi::EigenStorage>(w),
                             wasi::autograd::Dense<float>{std::as_const(g).matrix()}, t < 300 ? 0.03F : 0.003F, 1.0F);
        }
        return rest / 1536.0;
    };
    const double full = distance({});
    const double packed = distance(eight_bits);
    CAPTURE(full);
    CAPTURE(packed);
    CHECK(full <= 1e-3);
    CHECK(packed <= 5e-3);  // 6885 where second moments next to larger ones become zero, as in published codes
}

}  // namespace
