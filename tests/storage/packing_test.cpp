// Numbers in 16, 8 and 4 bits: against the definition of the formats.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <support/engines.hpp>
#include <support/naive_packing.hpp>
#include <wasi/storage/packed_tensor.hpp>

namespace {

using wasi::Codes;
using wasi::Index;
using wasi::Packing;
using wasi::Precision;
using wasi::RandomKey;
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

/// What becomes of numbers that are packed and unpacked, and the packed ones.
template <class E>
struct There {
    using T = typename E::Scalar;

    wasi::PackedTensor packed;
    std::vector<T> back;

    There(const std::vector<T>& values, Index rows, Packing packing, std::optional<RandomKey> key = std::nullopt)
        : packed(wasi::plain_memory(), {}, {static_cast<Index>(values.size())}, packing), back(values.size(), T(-77))
    {
        const Index cols = static_cast<Index>(values.size()) / rows;
        auto view = packed.view();
        std::fill(view.codes.begin(), view.codes.end(), std::byte{0xde});
        E::Storage::pack(view, wasi::ConstMatrixView<T>::row_major(values.data(), rows, cols), key);
        E::Storage::unpack(wasi::MatrixView<T>::row_major(back.data(), rows, cols), std::as_const(packed).view());
    }
    [[nodiscard]] int code(std::size_t at) const { return std::to_integer<int>(packed.view().codes[at]); }
    [[nodiscard]] float scale(std::size_t at) const { return packed.view().scales[at]; }
};

TEST_CASE_TEMPLATE("pack and unpack: the 16-bit formats as defined, number by number", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    std::vector<T> values;
    for (const float value : numbers()) {
        values.push_back(static_cast<T>(value));
    }
    for (const Precision precision : {Precision::bfloat16, Precision::half}) {
        CAPTURE(to_string(precision));
        for (const Index rows : {Index{1}, static_cast<Index>(values.size())}) {
            const There<E> there(values, rows, {precision});
            int wrong = 0;
            for (std::size_t i = 0; i < values.size(); ++i) {
                const auto bits = to_16_bits(static_cast<double>(values[i]), precision);
                const auto wanted = from_16_bits(bits, precision);
                const auto got = static_cast<double>(there.back[i]);
                wrong += std::isnan(wanted) ? !std::isnan(got)
                                            : got != wanted || std::signbit(got) != std::signbit(wanted) ||
                                                  there.code(2 * i) + 256 * there.code(2 * i + 1) != bits;
            }
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE("every 16-bit number survives the way out and back in")
{
    for (const Precision precision : {Precision::bfloat16, Precision::half}) {
        wasi::PackedTensor all(wasi::plain_memory(), {}, {0x10000}, {precision});
        for (std::size_t i = 0; i < 0x10000; ++i) {
            all.view().codes[2 * i] = static_cast<std::byte>(i % 256);
            all.view().codes[2 * i + 1] = static_cast<std::byte>(i / 256);
        }
        std::vector<float> values(0x10000);
        const auto view = wasi::MatrixView<float>::row_major(values.data(), 256, 256);
        wasi::EigenStorage::unpack(view, std::as_const(all).view());
        wasi::PackedTensor again(wasi::plain_memory(), {}, {0x10000}, {precision});
        wasi::EigenStorage::pack(again.view(), wasi::ConstMatrixView<float>(view));
        int changed = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            changed += !std::isnan(values[i]) && (again.view().codes[2 * i] != all.view().codes[2 * i] ||
                                                  again.view().codes[2 * i + 1] != all.view().codes[2 * i + 1]);
        }
        CHECK(changed == 0);
    }
}

/// Whether a group has one float, its step or its largest number, rather than its least number and its step.
[[nodiscard]] bool one_scale(const Packing& packing) { return packing.codes != Codes::steps; }

/// Numbers of many magnitudes, with their groups' ends at either side of zero, and groups of equal numbers.
template <class T>
[[nodiscard]] std::vector<T> group_numbers(std::size_t count)
{
    std::vector<T> values;
    const RandomKey key(11);
    for (std::uint64_t i = 0; i < count; ++i) {
        const double scale = std::ldexp(1.0, static_cast<int>(i / 97 % 60) - 30);
        const double offset = static_cast<double>(i / 97 % 7) - 3.0;
        values.push_back(static_cast<T>(i / 97 % 11 == 10 ? offset : scale * (offset + key.normal(i))));
    }
    return values;
}

const std::vector<Packing> grouped{{Precision::int8},          {Precision::int4},    {Precision::int8, 97},
                                   {Precision::int4, 97},      {Precision::int8, 1}, {Precision::int4, 3},
                                   {Precision::int8, 97, Codes::symmetric}};
const std::vector<Packing> dynamic{{Precision::int8, 256, Codes::dynamic},
                                   {Precision::int8, 256, Codes::dynamic_positive},
                                   {Precision::int8, 97, Codes::dynamic},
                                   {Precision::int8, 1, Codes::dynamic_positive}};

TEST_CASE_TEMPLATE("dynamic codes: the nearest of the numbers as defined, of every magnitude", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using Naive = wasi_tests::Engine<wasi_tests::NaiveStorage, T>;
    std::vector<T> values;
    const RandomKey key(12);
    for (std::uint64_t i = 0; i < 30001; ++i) {  // eight decades, in groups of any scale
        const double size = std::pow(10.0, -8.0 * key.uniform(2 * i) + static_cast<double>(i / 97 % 50) - 25.0);
        values.push_back(static_cast<T>(key.uniform(2 * i + 1) < 0.5 ? -size : size));
    }
    for (const Packing& packing : dynamic) {
        CAPTURE(packing.group);
        CAPTURE(to_string(packing.codes));
        const There<E> there(values, 1, packing);
        const There<Naive> naive(values, 1, packing);
        const bool positive = packing.codes == Codes::dynamic_positive;
        int other = 0;
        int outside = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const auto most = static_cast<double>(there.scale(i / static_cast<std::size_t>(packing.group)));
            const double wanted = positive ? std::max(static_cast<double>(values[i]), 0.0)
                                           : static_cast<double>(values[i]);
            const double error = std::abs(static_cast<double>(there.back[i]) - wanted);
            const double share = std::abs(wanted) / most;
            const double bound = share >= 0.1 ? 0.00704 : share >= 0.01 ? 0.00141 : 0.000282;
            outside += wanted != 0.0 && error > bound * most * (1.0 + 1e-5);
            outside += positive && (wanted == 0.0) != (there.back[i] == T(0));
            // But for numbers halfway between two codes.
            other += there.code(i) != naive.code(i);
        }
        CHECK(outside == 0);
        CHECK(other <= 10);
    }
}

TEST_CASE_TEMPLATE("dynamic codes: each comes back as it went, and zeros, denormals and -a are what they can be", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    for (const Codes codes : {Codes::dynamic, Codes::dynamic_positive}) {
        CAPTURE(to_string(codes));
        std::vector<T> values;
        for (const double number : wasi_tests::naive::dynamic_numbers(codes == Codes::dynamic_positive)) {
            values.push_back(static_cast<T>(number * 0x1p-40));
        }
        REQUIRE(values.size() == 256);
        const There<E> there(values, 1, {Precision::int8, 256, codes});
        int changed = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            changed += there.code(i) != static_cast<int>(i) || std::abs(there.back[i] - values[i]) >
                                                                   T(1e-6) * std::abs(values[i]);
        }
        CHECK(changed == 0);
    }
    const std::vector<T> odd{T(0), T(0), T(0), T(-2), T(1), T(0), T(1e-40), T(1e-42), T(0), T(-1), T(-1), T(-1)};
    const There<E> there(odd, 1, {Precision::int8, 3, Codes::dynamic});
    CHECK(there.back[0] == T(0));
    CHECK(there.back[3] == doctest::Approx(-2.0 * (1.0 - 0.45 / 64)));  // 1 is a code and -1 is not
    CHECK(there.back[4] == doctest::Approx(1.0).epsilon(0.0071));
    CHECK(there.back[5] == T(0));
    CHECK(static_cast<double>(there.back[6]) == doctest::Approx(1e-40).epsilon(1e-3).scale(0.0));
    const There<E> positive(odd, 1, {Precision::int8, 3, Codes::dynamic_positive});
    CHECK(positive.back[3] == T(0));
    CHECK(positive.back[4] == T(1));
    CHECK(positive.back[9] == T(0));
    CHECK(static_cast<double>(positive.back[7]) == doctest::Approx(0.01 * 1e-40).epsilon(0.02).scale(0.0));
    const There<E> tiny({T(1), T(1e-30), T(0)}, 1, {Precision::int8, 3, Codes::dynamic_positive});
    CHECK(static_cast<double>(tiny.back[1]) == doctest::Approx(3.25e-7));
    CHECK(tiny.back[2] == T(0));
}

TEST_CASE_TEMPLATE("numbers in 8 and 4 bits: within half a step, codes as defined", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using Naive = wasi_tests::Engine<wasi_tests::NaiveStorage, T>;
    for (const std::size_t count : {std::size_t{1}, std::size_t{255}, std::size_t{30000}}) {
        const auto values = group_numbers<T>(count);
        for (const Packing& packing : grouped) {
            CAPTURE(count);
            CAPTURE(to_string(packing.precision));
            CAPTURE(packing.group);
            const There<E> there(values, 1, packing);
            const There<Naive> naive(values, 1, packing);
            int outside = 0;
            int other_scales = 0;
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t group = i / static_cast<std::size_t>(packing.group);
                const auto at = group * static_cast<std::size_t>(packing.scales_per_group());
                const auto step = static_cast<double>(there.scale(one_scale(packing) ? at : at + 1));
                const double size = std::abs(static_cast<double>(values[i]));
                const double error = std::abs(static_cast<double>(there.back[i]) - static_cast<double>(values[i]));
                outside += error > step * (0.5 + 1e-4) + size * 0x1p-22;
                other_scales += std::abs(static_cast<double>(there.scale(at)) - static_cast<double>(naive.scale(at))) >
                                1e-6 * std::abs(static_cast<double>(naive.scale(at)));
            }
            CHECK(outside == 0);
            CHECK(other_scales == 0);
            // But for numbers halfway between two codes, and the last bits of least + code * step, which is a product
            // and a sum in float, or one operation where the processor has it.
            const double codes = packing.precision == Precision::int8 ? 255.0 : 15.0;
            int far = 0;
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t at =
                    i / static_cast<std::size_t>(packing.group) * static_cast<std::size_t>(packing.scales_per_group());
                const double least = one_scale(packing) ? 0.0 : std::abs(static_cast<double>(there.scale(at)));
                const auto step = static_cast<double>(there.scale(one_scale(packing) ? at : at + 1));
                far += std::abs(static_cast<double>(there.back[i]) - static_cast<double>(naive.back[i])) >
                       (least + codes * step) * 0x1p-22;
            }
            CHECK(far <= static_cast<int>(count / 1000));
        }
    }
}

TEST_CASE_TEMPLATE("numbers in 8 and 4 bits: what is not finite comes back as NaN, and no other group with it", E,
                   WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    constexpr auto infinity = std::numeric_limits<float>::infinity();
    const std::vector<std::vector<float>> bad{
        {std::numeric_limits<float>::quiet_NaN()}, {infinity}, {-infinity}, {3e38F, -3e38F}};
    std::vector<Packing> all = grouped;
    all.insert(all.end(), dynamic.begin(), dynamic.end());
    for (const Packing& packing : all) {
        if (packing.group < 3) {
            continue;
        }
        for (const auto& numbers : bad) {
            auto values = group_numbers<T>(3 * static_cast<std::size_t>(packing.group));
            const auto middle = static_cast<std::size_t>(packing.group) + 1;
            for (std::size_t i = 0; i < numbers.size(); ++i) {
                values[middle + i] = static_cast<T>(numbers[i]);
            }
            const There<E> there(values, 1, packing);
            int wrong = 0;
            for (std::size_t i = 0; i < values.size(); ++i) {
                wrong += std::isnan(there.back[i]) != (i / static_cast<std::size_t>(packing.group) == 1);
            }
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE_TEMPLATE("numbers in 8 and 4 bits: ends, zero and equal numbers come back as they were", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    const std::vector<T> values{T(0),     T(-254), T(1), T(127),   T(127),   T(127),
                                T(1e-40), T(0),    T(0), T(-3e38), T(-3e38), T(-3e38)};
    const There<E> there(values, 1, {Precision::int8, 3});
    CHECK(there.back[1] == T(-254));
    CHECK(there.back[2] == T(1));
    CHECK(there.back[0] == T(0));
    CHECK(there.back[3] == T(127));
    CHECK(there.back[4] == T(127));
    CHECK(std::abs(static_cast<double>(there.back[6])) <= 3e-38);
    CHECK(there.back[9] == static_cast<T>(-3e38F));
    const There<E> even(values, 1, {Precision::int8, 3, Codes::symmetric});
    CHECK(even.back[0] == T(0));
    CHECK(even.back[1] == T(-254));
    CHECK(even.back[2] == T(2));  // a step is 2, and ties go up
    CHECK(even.back[7] == T(0));
}

TEST_CASE_TEMPLATE("rounding at random: one of the two neighbours, the number itself in the mean", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    std::vector<T> values;
    for (int i = 0; i < 301; ++i) {
        values.push_back(static_cast<T>(std::sin(i) * (1.0 + i % 13)));
    }
    for (const Packing& packing : {Packing{Precision::int8}, Packing{Precision::int4}, Packing{Precision::int4, 5}}) {
        CAPTURE(to_string(packing.precision));
        constexpr int draws = 400;
        std::vector<double> sum(values.size(), 0.0);
        std::vector<double> steps(values.size(), 0.0);
        int outside = 0;
        for (int draw = 0; draw < draws; ++draw) {
            const There<E> there(values, 1, packing, RandomKey(7).derive(draw));
            for (std::size_t i = 0; i < values.size(); ++i) {
                steps[i] = static_cast<double>(there.scale(2 * (i / static_cast<std::size_t>(packing.group)) + 1));
                const double error = static_cast<double>(there.back[i]) - static_cast<double>(values[i]);
                outside += std::abs(error) > steps[i] * (1.0 + 1e-4) + 1e-6;
                sum[i] += error;
            }
        }
        CHECK(outside == 0);
        // A number at a share p of the way to the next one: variance p (1 - p) s² <= s²/4 a draw.
        int biased = 0;
        double all = 0.0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            biased += std::abs(sum[i] / draws) > 5.0 * steps[i] / 2.0 / std::sqrt(static_cast<double>(draws)) + 1e-6;
            all += steps[i] > 0.0 ? sum[i] / (draws * steps[i]) : 0.0;  // alone in its group
        }
        CHECK(biased == 0);
        CHECK(std::abs(all / static_cast<double>(values.size())) <= 4.0 * 0.5 / std::sqrt(draws * 301.0));
        // The same key, the same bits; another, others.
        const There<E> first(values, 1, packing, RandomKey(1));
        CHECK(first.back == There<E>(values, 1, packing, RandomKey(1)).back);
        CHECK(first.back != There<E>(values, 1, packing, RandomKey(2)).back);
    }
}

TEST_CASE("rounding at random: the largest number of a group stays what it is, however often it is there")
{
    std::vector<float> values(std::size_t{1} << 19);  // one draw in 2^16 would round it up
    for (std::size_t i = 0; i < values.size(); i += 256) {
        std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(i), 255, 51.0F);
    }
    CHECK(There<wasi_tests::EigenFloat>(values, 1, {Precision::int8}, RandomKey(1)).back == values);
}

TEST_CASE("a packed tensor takes half the bytes of floats or less, books them and gives them back")
{
    wasi::Ledger ledger;
    const wasi::Tag tag{wasi::Use::saved_activation, 3};
    const auto bytes = [&](Packing packing) {
        wasi::PackedTensor packed(ledger, tag, {5, 7}, packing);
        const std::size_t booked = ledger.of(tag).current;
        wasi::PackedTensor moved(std::move(packed));
        CHECK(ledger.of(tag).current == booked);
        CHECK(moved.shape() == wasi::Shape{5, 7});
        CHECK(moved.packing() == packing);
        CHECK(moved.bytes() == booked);
        moved = {};
        CHECK(ledger.of(tag).current == 0);
        return booked;
    };
    CHECK(bytes({Precision::half}) == 5 * 7 * 2);
    CHECK(bytes({Precision::int8}) == 5 * 7 + 8);
    CHECK(bytes({Precision::int8, 16}) == 5 * 7 + 3 * 8);
    CHECK(bytes({Precision::int8, 7, Codes::symmetric}) == 5 * 7 + 5 * 4);
    CHECK(bytes({Precision::int4}) == 18 + 8);
    CHECK(bytes({Precision::int4, 7}) == 5 * 4 + 5 * 8);
    CHECK(ledger.of(tag).current == 0);
    CHECK_THROWS_AS(wasi::PackedTensor(ledger, tag, {2}, {Precision::full}), wasi::argument_error);
    CHECK_THROWS_AS(wasi::PackedTensor(ledger, tag, {2}, {Precision::int8, 0}), wasi::argument_error);
    CHECK_THROWS_AS(wasi::PackedTensor(ledger, tag, {2}, {Precision::int4, 2, Codes::symmetric}), wasi::argument_error);
    CHECK_THROWS_AS(wasi::PackedTensor(ledger, tag, {2}, {Precision::half, 2, Codes::dynamic}), wasi::argument_error);
    CHECK(bytes({Precision::int8, 16, Codes::dynamic}) == 5 * 7 + 3 * 4);
    const wasi::PackedTensor rows(ledger, tag, {5, 7}, {Precision::int8, 7, Codes::symmetric});
    CHECK(rows.part(14, 21).codes.data() == rows.view().codes.data() + 14);
    CHECK(rows.part(14, 21).scales.data() == rows.view().scales.data() + 2);
    CHECK_THROWS_AS(static_cast<void>(rows.part(3, 7)), wasi::argument_error);
}

}  // namespace
