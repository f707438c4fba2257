// The table of a calibration batch against gradients by plain loops.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/tensors.hpp>
#include <wasi/rank/perplexity.hpp>

namespace {

using wasi::Index;
using wasi::rank::perplexity_table;
using wasi::rank::PerplexityEntry;
using wasi::rank::SavedForm;
using namespace wasi_tests;  // NOLINT(google-build-using-namespace)

/// ||dYᵀ (X~ - X)|| in double, X~ by projecting X on leading singular vectors found by the dense reference.
template <class T>
[[nodiscard]] double perplexity_by_loops(const PlainTensor<T, 3>& x, const PlainTensor<T, 3>& dy,
                                         const PlainTensor<double, 3>& restored)
{
    double sum = 0.0;
    const Index rows = x.shape[0] * x.shape[1];
    for (Index o = 0; o < dy.shape[2]; ++o) {
        for (Index i = 0; i < x.shape[2]; ++i) {
            double element = 0.0;
            for (Index r = 0; r < rows; ++r) {
                const auto at = static_cast<std::size_t>(r * x.shape[2] + i);
                element += static_cast<double>(dy.elements[static_cast<std::size_t>(r * dy.shape[2] + o)]) *
                           (restored.elements[at] - static_cast<double>(x.elements[at]));
            }
            sum += element * element;
        }
    }
    return std::sqrt(sum);
}

/// X projected on the leading `ranks` of each mode's singular vectors, with HOSVD in double as the reference.
template <class T>
[[nodiscard]] PlainTensor<double, 3> restored(const PlainTensor<T, 3>& x, const PerplexityEntry& entry)
{
    PlainTensor<double, 3> in_double(x.shape);
    std::copy(x.elements.begin(), x.elements.end(), in_double.elements.begin());
    auto result = in_double;
    for (std::size_t m = 0; m < 3; ++m) {
        if (entry.form == SavedForm::batch_uncompressed && m == 0) {
            continue;
        }
        const auto unfolded = unfold_by_loops(std::as_const(in_double).view(), m);
        const auto svd = wasi::linalg::thin_svd<wasi::EigenStorage, double>(unfolded.view(), wasi::plain_memory());
        Matrix<double> projector(x.shape[m], x.shape[m]);
        for (Index i = 0; i < x.shape[m]; ++i) {
            for (Index j = 0; j < x.shape[m]; ++j) {
                projector(i, j) = 0.0;
                for (Index k = 0; k < entry.ranks[m]; ++k) {
                    projector(i, j) += svd.u.matrix()(i, k) * svd.u.matrix()(j, k);
                }
            }
        }
        result = mode_product_by_loops(std::as_const(result).view(), projector.view(), m);
    }
    return result;
}

TEST_CASE_TEMPLATE("perplexity: ranks, bytes and gradient errors are those of the definition", E, EigenFloat,
                   EigenDouble, NaiveFloat, NaiveDouble)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    // The second has a tall feature mode.
    for (const auto& shape : {std::array<Index, 3>{5, 6, 9}, std::array<Index, 3>{2, 3, 14}}) {
        const auto x = random_tensor<T>(shape, 31, 0.35);
        const auto dy = random_tensor<T, 3>({shape[0], shape[1], 4}, 32, 0.1);
        const wasi::rank::PerplexityOptions options{.energies = {0.5, 0.8, 0.95}};
        const auto table =
            perplexity_table<S, T>(std::as_const(x).view(), std::as_const(dy).view(), options, wasi::plain_memory());
        REQUIRE(table.size() == 7);
        const double scale = frobenius_norm(x.view().rows_by(2)) * frobenius_norm(dy.view().rows_by(2));
        for (const PerplexityEntry& entry : table) {
            CAPTURE(entry.energy);
            CAPTURE(wasi::rank::to_string(entry.form));
            const auto [b, n, i] = shape;
            const auto [r1, r2, r3] = entry.ranks;
            const Index elements = entry.form == SavedForm::exact    ? b * n * i
                                   : entry.form == SavedForm::tucker ? r1 * r2 * r3 + b * r1 + n * r2 + i * r3
                                                                     : b * r2 * r3 + n * r2 + i * r3;
            CHECK(entry.bytes == static_cast<std::int64_t>(sizeof(T)) * elements);
            if (entry.form == SavedForm::exact) {
                CHECK(entry.perplexity == 0.0);
                continue;
            }
            const double expected = perplexity_by_loops(x, dy, restored(x, entry));
            CHECK(std::abs(entry.perplexity - expected) <= 40.0 * static_cast<double>(wasi::epsilon<T>) * scale);
            CHECK(entry.perplexity > 1e-3 * scale * (1.0 - entry.energy));
            if (entry.form == SavedForm::tucker) {
                const auto tucker = wasi::tensor::hosvd<S, T, 3>(
                    std::as_const(x).view(), wasi::tensor::ModeRules<3>(wasi::linalg::Energy{entry.energy}),
                    wasi::plain_memory());
                CHECK(tucker.ranks() == entry.ranks);
            }
        }
        CHECK(table[4].perplexity < table[0].perplexity);
    }
}

TEST_CASE("perplexity: forms can be left out, and a zero input costs nothing")
{
    using S = wasi::EigenStorage;
    const auto x = random_tensor<double, 3>({3, 4, 5}, 41);
    const auto dy = random_tensor<double, 3>({3, 4, 2}, 42);
    const auto sizes = [&](wasi::rank::PerplexityOptions options) {
        return perplexity_table<S, double>(x.view(), dy.view(), options, wasi::plain_memory()).size();
    };
    CHECK(sizes({.energies = {0.5}, .exact = false, .batch_uncompressed = false}) == 1);
    CHECK(sizes({.energies = {0.5}, .exact = false}) == 2);
    CHECK(sizes({.energies = {}}) == 1);
    const PlainTensor<double, 3> zero({3, 4, 5});
    const auto table = perplexity_table<S, double>(zero.view(), dy.view(), {}, wasi::plain_memory());
    for (const PerplexityEntry& entry : table) {
        CHECK(entry.perplexity == 0.0);
    }
    const auto options = wasi::rank::as_options(table);
    REQUIRE(options.size() == table.size());
    CHECK(options.back().bytes == 3 * 4 * 5 * 8);
}

TEST_CASE("perplexity: bad input")
{
    using S = wasi::EigenStorage;
    auto x = random_tensor<float, 3>({3, 4, 5}, 51);
    auto dy = random_tensor<float, 3>({3, 4, 2}, 52);
    const auto table = [&](const PlainTensor<float, 3>& left, const PlainTensor<float, 3>& right,
                           wasi::rank::PerplexityOptions options = {}) {
        static_cast<void>(perplexity_table<S, float>(left.view(), right.view(), options, wasi::plain_memory()));
    };
    CHECK_THROWS_AS(table(x, random_tensor<float, 3>({3, 5, 2}, 1)), wasi::shape_error);
    CHECK_THROWS_AS(table(x, dy, {.energies = {0.5, 1.5}}), wasi::argument_error);
    CHECK_THROWS_AS(table(x, dy, {.energies = {0.0}}), wasi::argument_error);
    dy.elements[3] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS(table(x, dy), wasi::argument_error);
    dy.elements[3] = 0.0F;
    x.elements[7] = std::numeric_limits<float>::infinity();
    CHECK_THROWS_AS(table(x, dy), wasi::argument_error);
}

}  // namespace
