#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include <support/matrices.hpp>
#include <support/naive_storage.hpp>
#include <wasi/core/memory.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/storage/eigen/pieces.hpp>

namespace {

using wasi::EigenStorage;
using wasi::Index;
using wasi_tests::Layout;
using wasi_tests::layouts;
using wasi_tests::Matrix;
using wasi_tests::NaiveStorage;
using wasi_tests::random_matrix;

struct Sizes {
    Index m, n, k;
};

constexpr std::array<double, 3> betas{0.0, 1.0, 0.5};

/// One product by both storages; C holds NaN before where beta is 0.
template <class T>
void compare(Sizes size, Layout c_layout, Layout a_layout, Layout b_layout, double alpha, double beta)
{
    const auto a = random_matrix<T>(size.m, size.k, 1, a_layout);
    const auto b = random_matrix<T>(size.k, size.n, 2, b_layout);
    auto fast = beta == 0.0 ? Matrix<T>(size.m, size.n, c_layout) : random_matrix<T>(size.m, size.n, 3, c_layout);
    auto slow = fast.in(wasi_tests::row_major);
    wasi::Ledger ledger;
    EigenStorage::multiply(fast.view(), static_cast<T>(alpha), a.view(), b.view(), static_cast<T>(beta), ledger);
    NaiveStorage::multiply(slow.view(), static_cast<T>(alpha), a.view(), b.view(), static_cast<T>(beta),
                           wasi::plain_memory());
    const double scale = std::abs(alpha) * std::sqrt(static_cast<double>(size.k)) + 4.0;
    INFO("(m, n, k) = ", wasi::shape_text({size.m, size.n, size.k}), ", alpha ", alpha, ", beta ", beta, ", C ",
         c_layout.text(), ", A ", a_layout.text(), ", B ", b_layout.text());
    CHECK(wasi_tests::max_difference(fast.view(), slow.view()) <= wasi_tests::tolerance<T>(size.k, scale));
    CHECK(fast.guard_intact());
    CHECK(ledger.total().current == 0);
    CHECK(ledger.flops() == 2.0 * static_cast<double>(size.m * size.n * size.k));
}

TEST_CASE_TEMPLATE("multiply: every mix of layouts and every beta", T, float, double)
{
    for (const Layout c : layouts) {
        for (const Layout a : layouts) {
            for (const Layout b : layouts) {
                for (const double beta : betas) {
                    compare<T>({7, 5, 3}, c, a, b, -1.5, beta);
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("multiply: extents of 0 and 1", T, float, double)
{
    for (const Index m : {0, 1, 4}) {
        for (const Index n : {0, 1, 5}) {
            for (const Index k : {0, 1, 6}) {
                for (const double beta : betas) {
                    for (const Layout layout : layouts) {
                        compare<T>({m, n, k}, layout, layout, layouts[3], 2.0, beta);
                        compare<T>({m, n, k}, layout, layouts[1], layout, 2.0, beta);
                    }
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("multiply: sizes of every path", T, float, double)
{
    struct Path {
        Sizes size;
        Index row_tiles, col_tiles, depth_chunks;
    };
    // The last of a row of tiles is smaller than the others wherever there are several.
    const std::vector<Path> paths{{{17, 13, 31}, 1, 1, 1},    {{64, 64, 64}, 1, 1, 1},  {{401, 33, 29}, 5, 1, 1},
                                  {{29, 500, 33}, 1, 6, 1},   {{200, 200, 7}, 5, 1, 1}, {{20, 31, 2051}, 1, 1, 8},
                                  {{96, 100, 2048}, 1, 1, 8}, {{1, 300, 2048}, 1, 1, 8}};
    for (const auto& [size, row_tiles, col_tiles, depth_chunks] : paths) {
        const auto tiles = wasi::eigen::product_tiles(size.m, size.n, size.k);
        CHECK((size.m + tiles.tile_rows - 1) / tiles.tile_rows == row_tiles);
        CHECK((size.n + tiles.tile_cols - 1) / tiles.tile_cols == col_tiles);
        CHECK(tiles.depth_chunks == depth_chunks);
        // The naive product is slow: three of the layouts, with all betas, do for the larger ones.
        for (std::size_t i = 0; i < (size.m * size.n * size.k > 1'000'000 ? 3 : layouts.size()); ++i) {
            compare<T>(size, layouts[i], layouts[(3 * i + 1) % 8], layouts[(5 * i + 2) % 8], 0.75, betas[i % 3]);
        }
    }
}

TEST_CASE("multiply: tiles in both directions")
{
    const Sizes size{2100, 2060, 2};
    const auto tiles = wasi::eigen::product_tiles(size.m, size.n, size.k);
    CHECK(tiles.tile_rows < size.m);
    CHECK(tiles.tile_cols < size.n);
    compare<float>(size, layouts[2], layouts[5], layouts[0], 1.0, 0.0);
    compare<float>({2060, 2100, 2}, layouts[1], layouts[0], layouts[3], 1.0, 0.0);
}

TEST_CASE_TEMPLATE("multiply: works on blocks and leaves the rest of C alone", T, float, double)
{
    const auto a = random_matrix<T>(20, 30, 1);
    auto c = random_matrix<T>(20, 30, 2);
    const auto before = c;
    const auto left = a.view().block(2, 3, 5, 6);
    const auto right = a.view().block(7, 9, 6, 4);
    EigenStorage::multiply(c.view().block(10, 20, 5, 4), T(1), left, right, T(0), wasi::plain_memory());
    Matrix<T> expected(5, 4);
    NaiveStorage::multiply(expected.view(), T(1), left, right, T(0), wasi::plain_memory());
    CHECK(wasi_tests::max_difference(c.view().block(10, 20, 5, 4), expected.view()) <=
          wasi_tests::tolerance<T>(6, 6.0));
    for (Index i = 0; i < 20; ++i) {
        for (Index j = 0; j < 30; ++j) {
            if (i < 10 || i >= 15 || j < 20 || j >= 24) {
                REQUIRE(wasi_tests::same_bits(c(i, j), before(i, j)));
            }
        }
    }
}

TEST_CASE_TEMPLATE("multiply: the naive storage finds an input that overlaps the result", T, float, double)
{
    auto a = random_matrix<T>(6, 6, 1);
    const auto b = random_matrix<T>(6, 6, 2);
    for (const double beta : betas) {
        auto square = a;
        NaiveStorage::multiply(square.view(), T(1), square.view(), b.view(), static_cast<T>(beta),
                               wasi::plain_memory());
        CHECK_FALSE(NaiveStorage::all_finite(square.view()));
    }
    Matrix<T> narrow(6, 5);
    CHECK_THROWS_AS(NaiveStorage::multiply(narrow.view(), T(1), a.view(), b.view(), T(0), wasi::plain_memory()),
                    std::logic_error);
}

TEST_CASE("multiply: a result of exact numbers is exact")
{
    // Small integers: no rounding anywhere, so every path must agree with arithmetic to the last bit.
    for (const Sizes size : {Sizes{5, 6, 7}, Sizes{300, 40, 50}, Sizes{40, 300, 50}, Sizes{9, 8, 3000}}) {
        Matrix<float> a(size.m, size.k);
        Matrix<float> b(size.k, size.n, wasi_tests::col_major);
        Matrix<float> c(size.m, size.n);
        for (Index p = 0; p < size.k; ++p) {
            for (Index i = 0; i < size.m; ++i) {
                a(i, p) = static_cast<float>((i + 2 * p) % 5 - 2);
            }
            for (Index j = 0; j < size.n; ++j) {
                b(p, j) = static_cast<float>((3 * j + p) % 7 - 3);
            }
        }
        EigenStorage::multiply(c.view(), 1.0F, a.view(), b.view(), 0.0F, wasi::plain_memory());
        Index wrong = 0;
        for (Index i = 0; i < size.m; ++i) {
            for (Index j = 0; j < size.n; ++j) {
                Index sum = 0;
                for (Index p = 0; p < size.k; ++p) {
                    sum += ((i + 2 * p) % 5 - 2) * ((3 * j + p) % 7 - 3);
                }
                wrong += c(i, j) == static_cast<float>(sum) ? 0 : 1;
            }
        }
        CHECK(wrong == 0);
    }
}

}  // namespace
