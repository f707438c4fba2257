// Reading and writing of good files. Bad ones: safetensors_lies_test.cpp.
#include "wasi/io/safetensors.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <support/files.hpp>

using wasi::Index;
using wasi::io::Dtype;
using wasi::io::SafetensorsFile;
using wasi::io::write_safetensors;
using wasi_tests::bytes_of_file;
using wasi_tests::safetensors_bytes;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_bytes;
using namespace std::string_literals;

namespace {

/// A header of 81 characters and 7 spaces behind its length 88 (0x58), then the floats 1 and -2.
const std::string tiny_file = std::string("\x58\0\0\0\0\0\0\0", 8) +
                              R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})" +
                              "       " + std::string("\0\0\x80\x3f\0\0\0\xc0", 8);

template <class T>
std::vector<T> read_all(const SafetensorsFile& file, const std::string& name)
{
    std::vector<T> values(static_cast<std::size_t>(file.info(name).element_count()));
    file.read(name, std::span<T>(values));
    return values;
}

template <class T>
std::string raw(const std::vector<T>& values)
{
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// Equal bits: NaN equals itself, -0 is not 0.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b)
{
    return raw(a) == raw(b);
}

}  // namespace

TEST_CASE("safetensors: a file written by hand is read")
{
    const TemporaryFolder folder;
    write_bytes(folder / "tiny.safetensors", tiny_file);
    const SafetensorsFile file(folder / "tiny.safetensors");
    CHECK(file.metadata() == std::map<std::string, std::string>{{"k", "v"}});
    CHECK(file.names() == std::vector<std::string>{"w"});
    CHECK(file.contains("w"));
    CHECK_FALSE(file.contains("v"));
    CHECK(file.info("w").dtype == Dtype::f32);
    CHECK(file.info("w").shape == std::vector<Index>{2, 1});
    CHECK(file.info("w").begin == 0);
    CHECK(file.info("w").end == 8);
    CHECK(read_all<float>(file, "w") == std::vector<float>{1, -2});
    CHECK(read_all<double>(file, "w") == std::vector<double>{1, -2});
}

TEST_CASE("safetensors: what is written are exactly those bytes")
{
    const std::vector<float> values{1, -2};
    std::ostringstream out;
    write_safetensors(out, {{"w", {2, 1}, values}}, {{"k", "v"}});
    CHECK(out.str() == tiny_file);
}

TEST_CASE("safetensors: a file written by a script in Python is read")
{
    const SafetensorsFile file(WASI_TEST_DATA "/golden/vit_cli_data.safetensors");
    CHECK(file.names() == std::vector<std::string>{"images", "labels"});
    CHECK(file.info("images").shape == std::vector<Index>{24, 3, 16, 16});
    for (const std::int64_t label : read_all<std::int64_t>(file, "labels")) {
        CHECK(label >= 0);
        CHECK(label < 5);
    }
    // Standard normal numbers: bytes read from the wrong place would not have their mean square.
    double squares = 0;
    const std::vector<double> images = read_all<double>(file, "images");
    for (const double value : images) {
        squares += value * value;
    }
    CHECK(squares / static_cast<double>(images.size()) == doctest::Approx(1).epsilon(0.05));
}

TEST_CASE("safetensors: roundtrip of every type that is written")
{
    const TemporaryFolder folder;
    std::mt19937_64 random(1);
    std::normal_distribution<double> normal;
    std::vector<double> doubles(20'000);
    std::vector<float> floats(30'001);  // odd: what follows in the file would not be aligned in the order given
    std::generate(doubles.begin(), doubles.end(), [&] { return normal(random); });
    std::generate(floats.begin(), floats.end(), [&] { return static_cast<float>(normal(random)); });
    doubles[0] = std::numeric_limits<double>::denorm_min();
    doubles[1] = -0.0;
    doubles[2] = std::numeric_limits<double>::quiet_NaN();
    floats[0] = -std::numeric_limits<float>::infinity();
    const std::vector<std::int64_t> labels{std::numeric_limits<std::int64_t>::min(), -1, 0,
                                           std::numeric_limits<std::int64_t>::max()};
    const float scalar = 7;
    const std::string difficult = "line\nbreak \"quoted\" \\ \xc3\xa9 \x01";

    write_safetensors(folder / "all.safetensors",
                      {{"floats", {30'001}, floats},
                       {difficult, {5, 4000, 1}, doubles},
                       {"empty", {3, 0, 2}, std::span<const double>()},
                       {"labels", {2, 2}, labels},
                       {"scalar", {}, std::span(&scalar, 1)}},
                      {{"method", "wasi"}, {difficult, difficult}});
    CHECK(folder.entries() == 1);

    const SafetensorsFile file(folder / "all.safetensors");
    CHECK(file.names().size() == 5);
    CHECK(file.metadata() == std::map<std::string, std::string>{{"method", "wasi"}, {difficult, difficult}});
    CHECK(same_bits(read_all<float>(file, "floats"), floats));
    CHECK(same_bits(read_all<double>(file, difficult), doubles));
    CHECK(read_all<std::int64_t>(file, "labels") == labels);
    CHECK(read_all<double>(file, "empty").empty());
    CHECK(read_all<float>(file, "scalar") == std::vector<float>{7});
    CHECK(file.info("floats").dtype == Dtype::f32);
    CHECK(file.info(difficult).dtype == Dtype::f64);
    CHECK(file.info("labels").dtype == Dtype::i64);
    CHECK(file.info(difficult).shape == std::vector<Index>{5, 4000, 1});
    CHECK(file.info("empty").shape == std::vector<Index>{3, 0, 2});
    CHECK(file.info("scalar").shape.empty());
    CHECK(read_all<float>(file, "floats")[1] == floats[1]);  // again, after others

    // A reader that maps the file can use every tensor where it lies.
    const std::string bytes = bytes_of_file(folder / "all.safetensors");
    std::istringstream in(bytes);
    const auto header = wasi::io::parse_header(in, bytes.size());
    for (const auto& [name, tensor] : header.tensors) {
        CHECK((header.data_begin + tensor.begin) % wasi::io::size_of(tensor.dtype) == 0);
    }
}

TEST_CASE("safetensors: no tensors at all is a file, too")
{
    const TemporaryFolder folder;
    write_safetensors(folder / "none", {});
    CHECK(bytes_of_file(folder / "none") == safetensors_bytes("{}      ", ""));
    CHECK(SafetensorsFile(folder / "none").names().empty());
}

TEST_CASE("safetensors: float and double are converted into each other")
{
    const TemporaryFolder folder;
    std::mt19937_64 random(2);
    std::normal_distribution<double> normal;
    std::vector<double> doubles(20'000);  // more than one chunk of 64 KiB
    std::generate(doubles.begin(), doubles.end(), [&] { return normal(random); });
    doubles.back() = 1e300;
    const std::vector<float> floats{0.1F, -3};
    write_safetensors(folder / "file", {{"doubles", {20'000}, doubles}, {"floats", {2}, floats}});
    const SafetensorsFile file(folder / "file");
    std::vector<float> rounded(doubles.begin(), doubles.end());
    rounded.back() = std::numeric_limits<float>::infinity();
    CHECK(read_all<float>(file, "doubles") == rounded);
    CHECK(read_all<double>(file, "floats") == std::vector<double>{static_cast<double>(0.1F), -3});
}

// The definition, with powers of two: (-1)^s 2^(e - bias) (1 + m / 2^bits), for e = 0 without the hidden 1.
TEST_CASE_TEMPLATE("safetensors: every F16 and BF16 number has its value", T, float, double)
{
    struct Format {
        std::string dtype;
        unsigned mantissa_bits;
        int bias;
    };
    const TemporaryFolder folder;
    for (const Format& format : {Format{"F16", 10, 15}, Format{"BF16", 7, 127}}) {
        CAPTURE(format.dtype);
        std::vector<std::uint16_t> patterns(65'536);  // two chunks
        std::iota(patterns.begin(), patterns.end(), std::uint16_t{0});
        const std::string header =
            std::string(R"({"all":{"dtype":")") + format.dtype + R"(","shape":[256,256],"data_offsets":[0,131072]}})";
        write_bytes(folder / "file", safetensors_bytes(header, raw(patterns)));
        const SafetensorsFile file(folder / "file");
        const std::vector<T> values = read_all<T>(file, "all");
        int wrong = 0;
        for (const unsigned pattern : patterns) {
            const unsigned mantissa = pattern & ((1U << format.mantissa_bits) - 1U);
            const unsigned largest = (1U << (15U - format.mantissa_bits)) - 1U;
            const unsigned exponent = pattern >> format.mantissa_bits & largest;
            const double fraction = std::ldexp(mantissa, -static_cast<int>(format.mantissa_bits));
            double expected = exponent == 0 ? std::ldexp(fraction, 1 - format.bias)
                                            : std::ldexp(1 + fraction, static_cast<int>(exponent) - format.bias);
            if (exponent == largest) {
                expected = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
            }
            const double value = static_cast<double>(values[pattern]);
            const bool same =
                std::isnan(expected) ? std::isnan(value) : value == (pattern >> 15U != 0 ? -expected : expected);
            wrong += same && std::signbit(value) == (pattern >> 15U != 0) ? 0 : 1;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("safetensors: I32 and U8 are read as integers")
{
    const TemporaryFolder folder;
    write_bytes(folder / "file", safetensors_bytes(R"({"u":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                                                   R"("i":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})",
                                                   raw<std::int32_t>({-5, 2'147'483'647}) + "\x00\x7f\xff"s));
    const SafetensorsFile file(folder / "file");
    CHECK(read_all<std::int64_t>(file, "i") == std::vector<std::int64_t>{-5, 2'147'483'647});
    CHECK(read_all<std::int64_t>(file, "u") == std::vector<std::int64_t>{0, 127, 255});
}

TEST_CASE("safetensors: every type of the format may be in a file")
{
    const TemporaryFolder folder;
    for (const auto& traits : wasi::io::dtype_traits) {
        CAPTURE(std::string(traits.name));
        const std::string header = wasi::message(R"({"t":{"dtype":")", traits.name,
                                                 R"(","shape":[3],"data_offsets":[0,)", 3 * traits.size, "]}}");
        write_bytes(folder / "file", safetensors_bytes(header, std::string(3 * traits.size, '\0')));
        CHECK(wasi::io::to_string(SafetensorsFile(folder / "file").info("t").dtype) == traits.name);
    }
    CHECK(wasi::io::size_of(Dtype::boolean) == 1);
    CHECK(wasi::io::size_of(Dtype::bf16) == 2);
    CHECK(wasi::io::size_of(Dtype::u32) == 4);
    CHECK(wasi::io::size_of(Dtype::u64) == 8);
}

TEST_CASE("safetensors: a reader keeps the file that it opened")
{
    const TemporaryFolder folder;
    const std::vector<float> before{1, 2};
    const std::vector<float> after{3, 4};
    write_safetensors(folder / "file", {{"w", {2}, before}});
    const SafetensorsFile file(folder / "file");
    write_safetensors(folder / "file", {{"w", {2}, after}});
    CHECK(read_all<float>(file, "w") == before);
    CHECK(read_all<float>(SafetensorsFile(folder / "file"), "w") == after);
}

TEST_CASE("safetensors: only the bytes of one tensor are read")
{
    // 3 GiB, all but the last bytes a hole that takes no room on the disk; more than 2^31, so that short offsets would
    // show.
    const TemporaryFolder folder;
    constexpr std::uint64_t large = std::uint64_t{3} << 30;
    const std::string header =
        wasi::message(R"({"large":{"dtype":"U8","shape":[)", large, R"(],"data_offsets":[0,)", large,
                      R"(]},"small":{"dtype":"F32","shape":[1],"data_offsets":[)", large, ',', large + 4, "]}}");
    write_bytes(folder / "file", safetensors_bytes(header, ""));
    std::filesystem::resize_file(folder / "file", 8 + header.size() + large);
    std::ofstream(folder / "file", std::ios::binary | std::ios::app) << raw<float>({2.5F});
    struct ::rusage before {};
    struct ::rusage after {};
    ::getrusage(RUSAGE_SELF, &before);
    const SafetensorsFile file(folder / "file");
    CHECK(read_all<float>(file, "small") == std::vector<float>{2.5F});
    ::getrusage(RUSAGE_SELF, &after);
    CHECK(after.ru_maxrss - before.ru_maxrss < 16 * 1024);  // KiB
}
