// Numbers in other types than they are computed with: 16-bit floats out and in, integers of every type in.
#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>
#include <wasi/io/safetensors.hpp>

namespace {

using namespace wasi_tests;
using wasi::io::Dtype;
using wasi::io::SafetensorsFile;
namespace detail = wasi::io::detail;

TEST_CASE("every 16-bit number goes to float and back, and what lies between two goes to the nearer, halves to even")
{
    for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
        const auto half = static_cast<detail::HalfBits>(bits);
        const auto brain = static_cast<detail::BrainBits>(bits);
        const bool good = (std::isnan(detail::to_float(half)) || detail::to_half(detail::to_float(half)) == half) &&
                          (std::isnan(detail::to_float(brain)) || detail::to_brain(detail::to_float(brain)) == brain);
        if (!good) {
            CHECK(bits == 0xffffffffU);
        }
    }
    const auto check_between = [](auto round, auto low_bits, std::uint32_t last) {
        using Bits = decltype(low_bits);
        bool good = true;
        for (std::uint32_t bits = 0; bits < last; ++bits) {
            const double low = detail::to_float(static_cast<Bits>(bits));
            const double high = detail::to_float(static_cast<Bits>(bits + 1));
            const auto middle = static_cast<float>(0.5 * (low + high));  // exact: one bit more
            const auto even = static_cast<Bits>(bits % 2 == 0 ? bits : bits + 1);
            good = good && round(middle) == even && round(std::nextafter(middle, 0.0F)) == static_cast<Bits>(bits) &&
                   round(-std::nextafter(middle, std::numeric_limits<float>::infinity())) ==
                       static_cast<Bits>((bits + 1) | 0x8000U);
        }
        return good;
    };
    CHECK(check_between(detail::to_half, detail::HalfBits{}, 0x7bffU));
    CHECK(check_between(detail::to_brain, detail::BrainBits{}, 0x7f00U));
    CHECK(std::isinf(detail::to_float(detail::to_half(65520.0F))));
    CHECK(detail::to_float(detail::to_half(65519.0F)) == 65504.0F);
    CHECK(std::isnan(detail::to_float(detail::to_half(std::nanf("")))));
    CHECK(std::isnan(detail::to_float(detail::to_brain(std::nanf("")))));
}

TEST_CASE("floats and doubles are stored as F32, F16 and BF16, those made late too")
{
    const TemporaryFolder folder;
    const std::vector<double> doubles{1.0, -2.5, 0.1, 3e4};
    const std::vector<float> floats(40000, 0.1F);  // more than a chunk
    wasi::io::write_safetensors(folder / "a", {{"d", {4}, std::span<const double>(doubles), Dtype::f32},
                                               {"h", {4}, std::span<const double>(doubles), Dtype::f16},
                                               {"b", {200, 200}, std::span<const float>(floats), Dtype::bf16},
                                               {"late",
                                                {2, 2},
                                                wasi::io::MadeLate{[] {
                                                    return std::vector<float>{1, 2, 3, 4};
                                                }},
                                                Dtype::f16},
                                               {"late32", {2}, wasi::io::MadeLate{[] {
                                                    return std::vector<float>{5, 6};
                                                }}}});
    const SafetensorsFile file(folder / "a");
    CHECK(file.info("d").dtype == Dtype::f32);
    CHECK(file.info("h").dtype == Dtype::f16);
    CHECK(file.info("b").dtype == Dtype::bf16);
    CHECK(file.info("late").dtype == Dtype::f16);
    const auto read = [&](const char* name, std::size_t count) {
        std::vector<double> values(count);
        file.read(name, std::span<double>(values));
        return values;
    };
    CHECK(read("d", 4) == std::vector<double>{1.0, -2.5, static_cast<double>(0.1F), 3e4});
    CHECK(read("h", 4) == std::vector<double>{1.0, -2.5, 0.0999755859375, 3e4});
    CHECK(read("b", 40000) == std::vector<double>(40000, 0.10009765625));
    CHECK(read("late", 4) == std::vector<double>{1, 2, 3, 4});
    CHECK(read("late32", 2) == std::vector<double>{5, 6});
}

TEST_CASE("what cannot be stored so is refused, and no file is left")
{
    const TemporaryFolder folder;
    const std::vector<float> large{1.0F, 7e4F};
    const std::vector<std::int64_t> integers{1};
    const auto write = [&](wasi::io::TensorToWrite tensor) {
        wasi::io::write_safetensors(folder / "a", {std::move(tensor)});
    };
    CHECK(has(message_of<wasi::argument_error>([&] {
                  write({"w", {2}, std::span<const float>(large), Dtype::f16});
              }),
              "tensor 'w': element 1 is 70000, too large for the type it is stored as"));
    CHECK_THROWS_AS(write({"w", {1}, std::span<const std::int64_t>(integers), Dtype::f16}), wasi::argument_error);
    CHECK_THROWS_AS(write({"w", {2}, std::span<const float>(large), Dtype::i32}), wasi::argument_error);
    CHECK_THROWS_AS(write({"w", {3}, wasi::io::MadeLate{[] { return std::vector<float>(2); }}}), wasi::shape_error);
    CHECK(folder.entries() == 0);
}

/// A file with one tensor "n" of this type.
template <class Number>
void write_numbers(const std::filesystem::path& path, const std::string& dtype, const std::vector<Number>& numbers)
{
    std::string data(numbers.size() * sizeof(Number), '\0');
    std::memcpy(data.data(), numbers.data(), data.size());
    write_bytes(path,
                safetensors_bytes("{\"n\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + std::to_string(numbers.size()) +
                                      "],\"data_offsets\":[0," + std::to_string(data.size()) + "]}}",
                                  data));
}

TEST_CASE("integers of every type are read, and one above 2^63 - 1 is named")
{
    const TemporaryFolder folder;
    const auto check = [&]<class Number>(const std::string& dtype, Number) {
        CAPTURE(dtype);
        const auto least = std::numeric_limits<Number>::min();
        const auto most = static_cast<Number>(std::numeric_limits<Number>::max() / 2);
        write_numbers<Number>(folder / "n", dtype, {least, 0, most});
        std::vector<std::int64_t> values(3);
        SafetensorsFile(folder / "n").read("n", std::span<std::int64_t>(values));
        CHECK(values ==
              std::vector<std::int64_t>{static_cast<std::int64_t>(least), 0, static_cast<std::int64_t>(most)});
    };
    check("I8", std::int8_t{});
    check("I16", std::int16_t{});
    check("I32", std::int32_t{});
    check("I64", std::int64_t{});
    check("U8", std::uint8_t{});
    check("U16", std::uint16_t{});
    check("U32", std::uint32_t{});
    check("U64", std::uint64_t{});
    std::vector<std::uint64_t> numbers(20000, 5);
    numbers[17000] = std::uint64_t{1} << 63U;
    write_numbers(folder / "n", "U64", numbers);
    std::vector<std::int64_t> values(numbers.size());
    CHECK(has(
        message_of<wasi::io_error>([&] { SafetensorsFile(folder / "n").read("n", std::span<std::int64_t>(values)); }),
        "tensor 'n': element 17000 is 9223372036854775808, above 2^63 - 1"));
}

}  // namespace
