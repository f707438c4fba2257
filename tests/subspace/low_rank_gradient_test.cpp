// The weight gradient from a compressed input: five orders, one result, and the cost that the formula says.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <support/matrices.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/low_rank_gradient.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi::Tensor;
using wasi::subspace::ContractionOrder;
using wasi::subspace::GradientExtents;
using namespace wasi_tests;

constexpr std::array orders{ContractionOrder::feature_first, ContractionOrder::batch_token_core,
                            ContractionOrder::batch_then_core, ContractionOrder::token_batch_core,
                            ContractionOrder::token_then_core};

/// Random Tucker factors of a (B,N,I) tensor and a random dY (B,N,O).
template <class T>
struct Problem {
    wasi::Ledger memory;
    wasi::tensor::Tucker<T, 3> x;
    Tensor<T> dy;

    Problem(const GradientExtents& e, Index inputs)
    {
        const auto [r1, r2, r3] = e.ranks;
        x.core = random({r1, r2, r3}, 1);
        const std::array<Index, 3> extents{e.batch, e.tokens, inputs};
        for (std::size_t m = 0; m < 3; ++m) {
            x.bases[m] = random({extents[m], e.ranks[m]}, 2 + m);
            (void)EigenStorage::orthonormalize(x.bases[m].matrix(), memory);
        }
        dy = random({e.batch, e.tokens, e.outputs}, 9);
    }

    [[nodiscard]] Tensor<T> random(wasi::Shape shape, std::uint64_t seed)
    {
        Tensor<T> result(memory, {}, shape);
        EigenStorage::fill_normal(result.matrix(), wasi::RandomKey(seed));
        return result;
    }

    /// dYᵀ X~ in double, by plain loops over the restored tensor.
    [[nodiscard]] Matrix<double> dense_gradient()
    {
        const auto restored = wasi::tensor::reconstruct<EigenStorage, T, 3>(x, memory);
        const auto rows = std::as_const(restored).matrix();
        const auto upstream = std::as_const(dy).matrix();
        Matrix<double> result(upstream.cols, rows.cols);
        for (Index o = 0; o < upstream.cols; ++o) {
            for (Index i = 0; i < rows.cols; ++i) {
                double sum = 0.0;
                for (Index row = 0; row < rows.rows; ++row) {
                    sum += static_cast<double>(upstream(row, o)) * static_cast<double>(rows(row, i));
                }
                result(o, i) = sum;
            }
        }
        return result;
    }
};

/// Each order is the cheapest for one of these; see the test that says so.
constexpr std::array<GradientExtents, 7> shapes{{{4, 5, 6, {2, 3, 4}},
                                                 {8, 9, 12, {7, 8, 2}},
                                                 {16, 9, 40, {1, 6, 30}},
                                                 {16, 20, 50, {2, 15, 3}},
                                                 {9, 16, 40, {6, 1, 30}},
                                                 {20, 16, 50, {15, 2, 3}},
                                                 {1, 7, 5, {1, 2, 2}}}};

TEST_CASE_TEMPLATE("every order gives the dense gradient of the compressed input", T, float, double)
{
    for (const GradientExtents& e : shapes) {
        const Index inputs = 31;
        Problem<T> problem(e, inputs);
        const auto wanted = problem.dense_gradient();
        const double scale = frobenius_norm(wanted.view());
        const auto check = [&](const Tensor<T>& p) {
            REQUIRE(p.shape() == wasi::Shape{e.outputs, e.ranks[2]});
            Matrix<double> product(e.outputs, inputs);
            const auto u3 = std::as_const(problem.x.bases[2]).matrix();
            for (Index o = 0; o < e.outputs; ++o) {
                for (Index i = 0; i < inputs; ++i) {
                    double sum = 0.0;
                    for (Index k = 0; k < e.ranks[2]; ++k) {
                        sum += static_cast<double>(p.matrix()(o, k)) * static_cast<double>(u3(i, k));
                    }
                    product(o, i) = sum;
                }
            }
            CHECK(max_difference(std::as_const(product).view(), wanted.view()) <=
                  tolerance<T>(e.batch * e.tokens, scale));
            // U_3 has orthonormal columns: the norm of P is that of the gradient.
            CHECK(frobenius_norm(p.matrix()) ==
                  doctest::Approx(scale).epsilon(100.0 * static_cast<double>(wasi::epsilon<T>)));
        };
        for (const ContractionOrder order : orders) {
            CAPTURE(static_cast<int>(order));
            check(wasi::subspace::low_rank_gradient<EigenStorage, T>(std::as_const(problem.dy).template view<3>(),
                                                                     problem.x, order, problem.memory));
        }
        check(wasi::subspace::low_rank_gradient<EigenStorage, T>(std::as_const(problem.dy).template view<3>(),
                                                                 problem.x, problem.memory));
    }
}

TEST_CASE("the cost formula is what the ledger counts, and the cheapest order is the least of the five")
{
    std::array<int, orders.size()> chosen{};
    for (const GradientExtents& e : shapes) {
        CAPTURE(wasi::shape_text({e.batch, e.tokens, e.outputs, e.ranks[0], e.ranks[1], e.ranks[2]}));
        Problem<double> problem(e, 31);
        const auto counted = [](auto run) {
            wasi::Ledger own;
            (void)run(own);
            return own.flops();
        };
        const auto dy = std::as_const(problem.dy).view<3>();
        double least = std::numeric_limits<double>::infinity();
        for (const ContractionOrder order : orders) {
            CAPTURE(static_cast<int>(order));
            const double flops = counted([&](wasi::Memory& own) {
                return wasi::subspace::low_rank_gradient<EigenStorage, double>(dy, problem.x, order, own);
            });
            CHECK(flops == wasi::subspace::contraction_flops(order, e));
            least = std::min(least, flops);
        }
        CHECK(counted([&](wasi::Memory& own) {
                  return wasi::subspace::low_rank_gradient<EigenStorage, double>(dy, problem.x, own);
              }) == least);
        ++chosen[static_cast<std::size_t>(wasi::subspace::cheapest_order(e))];
    }
    // The shapes above cover all five, so each is tested where it matters.
    for (const int count : chosen) {
        CHECK(count >= 1);
    }
}

TEST_CASE("the cheapest order over a grid of extents, by brute force")
{
    int tried = 0;
    for (const Index b : {1, 8, 64}) {
        for (const Index n : {1, 16, 50}) {
            for (const Index o : {4, 96, 768}) {
                for (const Index r1 : {1, 6, 64}) {
                    for (const Index r2 : {1, 8, 50}) {
                        for (const Index r3 : {1, 16, 200}) {
                            if (r1 > b || r2 > n) {
                                continue;
                            }
                            const GradientExtents e{b, n, o, {r1, r2, r3}};
                            const double best = wasi::subspace::contraction_flops(wasi::subspace::cheapest_order(e), e);
                            for (const ContractionOrder order : orders) {
                                REQUIRE(best <= wasi::subspace::contraction_flops(order, e));
                            }
                            ++tried;
                        }
                    }
                }
            }
        }
    }
    CHECK(tried > 200);
}

TEST_CASE("nothing as large as O x I is allocated")
{
    // B N = 12 < I, and the ledger's peak above what is there already stays below one weight.
    const GradientExtents e{3, 4, 200, {2, 2, 5}};
    Problem<double> problem(e, 300);
    problem.memory.reset_peaks();
    const auto before = problem.memory.total().current;
    for (const ContractionOrder order : orders) {
        (void)wasi::subspace::low_rank_gradient<EigenStorage, double>(std::as_const(problem.dy).view<3>(), problem.x,
                                                                      order, problem.memory);
    }
    CHECK(problem.memory.total().peak - before < 200 * 300 * sizeof(double) / 4);
}

TEST_CASE("a dY of another batch or token count is refused")
{
    Problem<double> problem({4, 5, 6, {2, 3, 4}}, 7);
    for (const wasi::Shape& shape : {wasi::Shape{3, 5, 6}, wasi::Shape{4, 6, 6}}) {
        const auto dy = problem.random(shape, 3);
        CHECK_THROWS_AS(
            (void)(wasi::subspace::low_rank_gradient<EigenStorage, double>(dy.view<3>(), problem.x, problem.memory)),
            wasi::shape_error);
    }
}

}  // namespace
