// Numbers in 16 bits: against the definition of the formats.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <support/engines.hpp>
#include <support/naive_packing.hpp>
#include <wasi/storage/packed_tensor.hpp>

namespace {

using wasi::Index;
using wasi::Precision;
using wasi_tests::naive::from_16_bits;
using wasi_tests::naive::to_16_bits;

/// Random numbers of every magnitude, halves of units (ties), the ends of the ranges, zeros, infinity and NaN.
[[nodiscard]] std::vector<float> numbers()
{
    std::vector<float> result;
    const wasi::RandomKey key(3);
    for (std::uint64_t i = 0; i < 20000; ++i) {
        const double magnitude = std::ldexp(1.0 + key.uniform(2 * i), static_cast<int>(i % 276) - 149);
        result.push_back(static_cast<float>(key.uniform(2 * i + 1) < 0.5 ? -magnitude : magnitude));
    }
    for (std::uint32_t bits = 0; bits < 0x10000; bits += 7) {  // exact ties of bfloat16, and their neighbours
        for (const std::uint32_t low : {0x7fffU, 0x8000U, 0x8001U}) {
            result.push_back(std::bit_cast<float>((bits << 16U) | low));
        }
    }
    for (int i = 0; i < 4096; ++i) {  // ties of half
        result.push_back(1.0F + static_cast<float>(2 * i + 1) * 0x1p-11F);
        result.push_back(static_cast<float>(2 * i + 1) * 0x1p-25F);
    }
    for (const float value : {0.0F, -0.0F, 65504.0F, 65519.99F, 65520.0F, 65536.0F, 1e38F, 3.4e38F, 0x1p-24F, 0x1p-25F,
                              std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        result.push_back(value);
    }
    return result;
}

TEST_CASE_TEMPLATE("pack and unpack: the formats as defined, number by number", E, WASI_TEST_ENGINES)
{
    using S = typename E::Storage;
    using T = typename E::Scalar;
    std::vector<T> values;
    for (const float value : numbers()) {
        values.push_back(static_cast<T>(value));
    }
    const auto count = static_cast<Index>(values.size());
    for (const Precision precision : {Precision::bfloat16, Precision::half}) {
        CAPTURE(to_string(precision));
        for (const Index rows : {Index{1}, count}) {
            const auto view = wasi::MatrixView<T>::row_major(values.data(), rows, count / rows);
            std::vector<std::uint16_t> bits(values.size(), 0xdead);
            S::pack(std::span(bits), wasi::ConstMatrixView<T>(view), precision);
            std::vector<T> back(values.size(), T(-77));
            S::unpack(wasi::MatrixView<T>::row_major(back.data(), rows, count / rows),
                      std::span<const std::uint16_t>(bits), precision);
            int wrong = 0;
            for (std::size_t i = 0; i < values.size(); ++i) {
                const auto wanted = from_16_bits(to_16_bits(static_cast<double>(values[i]), precision), precision);
                const auto got = static_cast<double>(back[i]);
                wrong += std::isnan(wanted) ? !std::isnan(got)
                                            : got != wanted || std::signbit(got) != std::signbit(wanted) ||
                                                  bits[i] != to_16_bits(static_cast<double>(values[i]), precision);
            }
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE("every 16-bit number survives the way out and back in")
{
    for (const Precision precision : {Precision::bfloat16, Precision::half}) {
        std::vector<std::uint16_t> all(0x10000);
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] = static_cast<std::uint16_t>(i);
        }
        std::vector<float> values(all.size());
        const auto view = wasi::MatrixView<float>::row_major(values.data(), 256, 256);
        wasi::EigenStorage::unpack(view, std::span<const std::uint16_t>(all), precision);
        std::vector<std::uint16_t> again(all.size());
        wasi::EigenStorage::pack(std::span(again), wasi::ConstMatrixView<float>(view), precision);
        int changed = 0;
        for (std::size_t i = 0; i < all.size(); ++i) {
            changed += !std::isnan(values[i]) && again[i] != all[i];
        }
        CHECK(changed == 0);
    }
}

TEST_CASE("a packed tensor takes half the bytes of floats, books them and gives them back")
{
    wasi::Ledger ledger;
    const wasi::Tag tag{wasi::Use::saved_activation, 3};
    {
        wasi::PackedTensor packed(ledger, tag, {5, 7}, Precision::half);
        CHECK(ledger.of(tag).current == 5 * 7 * 2);
        const wasi::PackedTensor moved(std::move(packed));
        CHECK(ledger.of(tag).current == 5 * 7 * 2);
        CHECK(moved.shape() == wasi::Shape{5, 7});
        CHECK(moved.precision() == Precision::half);
    }
    CHECK(ledger.of(tag).current == 0);
    CHECK_THROWS_AS(wasi::PackedTensor(ledger, tag, {2}, Precision::full), wasi::argument_error);
}

}  // namespace
