// Files that are not what they say: every one ends in a typed error that names the file, the tensor and the value.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <support/files.hpp>

#include "safetensors_consistency.hpp"
#include "wasi/io/safetensors_header.hpp"

using wasi::io_error;
using wasi::io::parse_header;
using wasi_tests::has;
using wasi_tests::inconsistency;
using wasi_tests::message_of;
using wasi_tests::safetensors_bytes;

namespace {

std::string repeated(std::string_view text, int count)
{
    std::string all;
    for (int i = 0; i < count; ++i) {
        all += text;
    }
    return all;
}

/// The message of the io_error that a whole file of these bytes gives.
std::string refusal(const std::string& bytes)
{
    return message_of<io_error>([&] {
        std::istringstream in(bytes);
        static_cast<void>(parse_header(in, bytes.size(), "model.safetensors"));
    });
}

struct Lie {
    std::string what;
    std::string header;
    std::size_t data_bytes;
    std::vector<std::string> message;  // parts that it must have
};

void check_refused(const Lie& lie)
{
    CAPTURE(lie.what);
    const std::string message = refusal(safetensors_bytes(lie.header, std::string(lie.data_bytes, '\0')));
    CAPTURE(message);
    CHECK(message.starts_with("model.safetensors: "));
    CHECK(message.size() < 400);
    for (const std::string& part : lie.message) {
        CAPTURE(part);
        CHECK(has(message, part));
    }
}

/// A header with one F32 tensor 'w', one of whose three entries is replaced.
std::string with_shape(const std::string& shape, const std::string& offsets = "[0,16]")
{
    return R"({"w":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}
std::string with_offsets(const std::string& offsets)
{
    return with_shape("[2,2]", offsets);
}
std::string with_dtype(const std::string& dtype)
{
    return R"({"w":{"dtype":)" + dtype + R"(,"shape":[2,2],"data_offsets":[0,16]}})";
}
std::string with_metadata(const std::string& metadata)
{
    return R"({"__metadata__":)" + metadata + "}";
}

/// Two F32 tensors of 2 and 3 elements with the given offsets.
std::string two_tensors(const std::string& a, const std::string& b)
{
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
           R"(},"b":{"dtype":"F32","shape":[3],"data_offsets":)" + b + "}}";
}

const std::string good_header =
    R"({"__metadata__":{"heads":"2"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},)"
    R"("b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
    R"("c":{"dtype":"F16","shape":[3,1],"data_offsets":[24,30]}})";
constexpr std::size_t good_data = 30;

}  // namespace

TEST_CASE("safetensors lies: the tensors")
{
    const std::vector<Lie> lies{
        {"unknown dtype", with_dtype(R"("F33")"), 16, {"'w'", "dtype 'F33'"}},
        {"dtype in small letters", with_dtype(R"("f32")"), 16, {"'w'", "dtype 'f32'"}},
        {"dtype a number", with_dtype("32"), 16, {"'w'", "dtype must be a string, is 32"}},
        {"dtype an array", with_dtype("[]"), 16, {"'w'", "dtype must be a string, is an array"}},
        {"dtype an object", with_dtype("{}"), 16, {"'w'", "dtype must be a string, is an object"}},
        {"shape a number", with_shape("4"), 16, {"'w'", "shape must be an array, is 4"}},
        {"shape a string", with_shape(R"("4")"), 16, {"'w'", "shape must be an array, is '4'"}},
        {"negative extent", with_shape("[-2,-2]"), 16, {"'w'", "shape must hold non-negative integers, holds -2"}},
        {"fractional extent", with_shape("[2,2.5]"), 16, {"'w'", "shape must hold non-negative integers, holds 2.5"}},
        {"extent a string", with_shape(R"([2,"2"])"), 16, {"'w'", "shape must hold non-negative integers, holds '2'"}},
        {"extent null", with_shape("[2,null]"), 16, {"'w'", "shape must hold non-negative integers, holds null"}},
        {"extent true", with_shape("[4,true]"), 16, {"'w'", "shape must hold non-negative integers, holds true"}},
        {"extent an array", with_shape("[[4]]"), 16, {"'w'", "shape must hold non-negative integers, holds an array"}},
        {"extent above Index",
         with_shape("[9223372036854775808]"),
         16,
         {"'w'", "shape must hold non-negative integers, holds 9223372036854775808"}},
        {"extent above 64 bits",
         with_shape("[18446744073709551620]"),
         16,
         {"'w'", "shape must hold non-negative integers, holds 18446744073709551620"}},
        // 2^32 x 2^32 is 0 and 2^62 x 4 + ... wraps, if nobody looks.
        {"product wraps to 0",
         with_shape("[4294967296,4294967296]", "[0,0]"),
         0,
         {"'w'", "(4294967296, 4294967296)", "F32", "overflows"}},
        {"bytes wrap to 0",
         with_shape("[4611686018427387904]", "[0,0]"),
         0,
         {"'w'", "(4611686018427387904)", "overflows"}},
        {"overflow behind a zero", with_shape("[0,4294967296,4294967296]", "[0,0]"), 0, {"'w'", "overflows"}},
        {"overflow before a zero", with_shape("[4294967296,4294967296,0]", "[0,0]"), 0, {"'w'", "overflows"}},
        {"size is not end - begin", with_offsets("[0,12]"), 12, {"'w'", "(2, 2)", "F32", "16 bytes", "[0, 12]", "12"}},
        {"empty shape, one element", with_shape("[]"), 16, {"'w'", "()", "takes 4 bytes"}},
        {"begin after end", with_offsets("[16,0]"), 16, {"'w'", "begin after they end: [16, 0]"}},
        {"negative offset",
         with_offsets("[-16,0]"),
         16,
         {"'w'", "data_offsets must hold non-negative integers, holds -16"}},
        {"fractional offset",
         with_offsets("[0,16.0]"),
         16,
         {"'w'", "data_offsets must hold non-negative integers, holds 16.0"}},
        {"offset with exponent",
         with_offsets("[0,16e0]"),
         16,
         {"'w'", "data_offsets must hold non-negative integers, holds 16e0"}},
        {"offset above 64 bits",
         with_offsets("[18446744073709551616,18446744073709551632]"),
         16,
         {"'w'", "18446744073709551616"}},
        {"offset a string",
         with_offsets(R"([0,"16"])"),
         16,
         {"'w'", "data_offsets must hold non-negative integers, holds '16'"}},
        {"one offset", with_offsets("[16]"), 16, {"'w'", "data_offsets has 1 entries"}},
        {"no offsets", with_offsets("[]"), 16, {"'w'", "data_offsets has 0 entries"}},
        {"three offsets", with_offsets("[0,16,16]"), 16, {"'w'", "data_offsets has more than two"}},
        {"offsets a number", with_offsets("16"), 16, {"'w'", "data_offsets must be an array, is 16"}},
        {"end out of bounds", with_offsets("[0,16]"), 15, {"'w'", "[0, 16]", "has 15 bytes"}},
        {"both out of bounds",
         with_offsets("[18446744073709551599,18446744073709551615]"),
         16,
         {"'w'", "[18446744073709551599, "}},
        {"bytes that nobody owns", with_offsets("[0,16]"), 17, {"has 17 bytes", "end at 16"}},
        {"data without tensors", "{}", 1, {"has 1 bytes", "end at 0"}},
        {"overlap", two_tensors("[0,8]", "[4,16]"), 16, {"'b'", "byte 4", "overlaps", "ends at 8"}},
        {"the same place",
         R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})",
         8,
         {"'b'", "byte 0", "overlaps"}},
        {"hole between", two_tensors("[0,8]", "[12,24]"), 24, {"'b'", "byte 12", "hole after byte 8"}},
        {"hole at the start", two_tensors("[4,12]", "[12,24]"), 24, {"'a'", "byte 4", "hole after byte 0"}},
        {"an empty tensor inside another",
         R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
         8,
         {"'b'", "byte 4", "overlaps"}},
    };
    for (const Lie& lie : lies) {
        check_refused(lie);
    }
}

TEST_CASE("safetensors lies: the header as JSON")
{
    const std::string w = R"("w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";
    const std::vector<Lie> lies{
        {"empty", "", 0, {"does not begin with '{'"}},
        {"not JSON", "hello", 0, {"does not begin with '{'"}},
        {"an array", "[]", 0, {"does not begin with '{'"}},
        {"a space first", " {}", 0, {"does not begin with '{'"}},
        {"not closed", "{" + w, 16, {"not valid JSON", "byte 57"}},
        {"a comma too many", "{" + w + ",}", 16, {"not valid JSON", "byte 58", "}"}},
        {"two documents", "{" + w + "}{}", 16, {"not valid JSON", "byte 58"}},
        {"a zero byte and more", "{" + w + "}" + std::string("\0garbage", 8), 16, {"zero byte"}},
        {"not UTF-8", "{\"\xff\":{}}", 0, {"not valid JSON", "\\xff"}},
        {"a name twice", "{" + w + "," + w + "}", 16, {"'w'", "twice"}},
        {"a name twice by escape", "{" + w + R"(,"\u0077":{}})", 16, {"'w'", "twice"}},
        {"an entry twice",
         R"({"w":{"shape":[4],"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})",
         16,
         {"'w'", "'shape'", "twice"}},
        {"an unknown entry",
         R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"strides":[1]}})",
         16,
         {"'w'", "unknown key 'strides'"}},
        {"no dtype", R"({"w":{"shape":[4],"data_offsets":[0,16]}})", 16, {"'w'", "no dtype"}},
        {"no shape", R"({"w":{"dtype":"F32","data_offsets":[0,16]}})", 16, {"'w'", "no shape"}},
        {"no offsets", R"({"w":{"dtype":"F32","shape":[4]}})", 16, {"'w'", "no data_offsets"}},
        {"entries of an earlier tensor do not count", "{" + w + R"(,"v":{}})", 16, {"'v'", "no dtype"}},
        {"a tensor that is a number", R"({"w":4})", 0, {"'w'", "must be an object, is 4"}},
        {"a tensor that is null", R"({"w":null})", 0, {"'w'", "must be an object, is null"}},
        {"a tensor that is an array", R"({"w":[]})", 0, {"'w'", "must be an object, is an array"}},
        {"metadata an array", with_metadata("[]"), 0, {"'__metadata__'", "must be an object, is an array"}},
        {"metadata with a number", with_metadata(R"({"heads":2})"), 0, {"'__metadata__'", "'heads'", "is 2"}},
        {"metadata with null", with_metadata(R"({"heads":null})"), 0, {"'__metadata__'", "'heads'", "is null"}},
        {"metadata with an object", with_metadata(R"({"heads":{}})"), 0, {"'__metadata__'", "'heads'", "is an object"}},
        {"metadata with an array",
         with_metadata(R"({"heads":["2"]})"),
         0,
         {"'__metadata__'", "'heads'", "is an array"}},
        {"a metadata key twice", with_metadata(R"({"k":"1","k":"2"})"), 0, {"'__metadata__'", "'k'", "twice"}},
        {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, {"'__metadata__'", "twice"}},
        {"nested objects", repeated(R"({"a":)", 1'000'000), 0, {"'a'", "unknown key 'a'"}},
        {"nested arrays", R"({"w":{"shape":)" + repeated("[", 1'000'000), 0, {"'w'", "an array"}},
        {"a long name with control characters", "{\"" + repeated("\\n", 100'000) + "\":1}", 0, {"'\\x0a\\x0a", "...'"}},
        {"a long value", with_dtype('"' + repeated("F", 100'000) + '"'), 16, {"'FFF", "...'"}},
        {"a long number", with_offsets("[0," + repeated("9", 100'000) + "]"), 16, {"not valid JSON", "'999", "...'"}},
    };
    for (const Lie& lie : lies) {
        check_refused(lie);
    }
}

TEST_CASE("safetensors lies: the length of the header")
{
    CHECK(has(refusal(""), "model.safetensors: has 0 bytes"));
    CHECK(has(refusal("1234567"), "model.safetensors: has 7 bytes"));
    CHECK(has(refusal(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "claims 3 bytes, but the file has 10"));
    CHECK(has(refusal(std::string(8, '\xff') + "{}"), "claims 18446744073709551615 bytes, but the file has 10"));

    // A header above the limit is refused before anything is allocated; the file need not be there to say so.
    const std::uint64_t length = wasi::io::longest_header + 1;
    std::string prefix(8, '\0');
    std::memcpy(prefix.data(), &length, 8);
    std::istringstream in(prefix);
    CHECK(
        has(message_of<io_error>([&] { static_cast<void>(parse_header(in, 200'000'000)); }), "claims 100000001 bytes"));

    // The stream ends before the size it was said to have.
    const std::string bytes = safetensors_bytes(good_header, "");
    const auto cut_at = [&](std::size_t there) {
        std::istringstream cut(bytes.substr(0, there));
        return message_of<io_error>([&] { static_cast<void>(parse_header(cut, bytes.size() + good_data)); });
    };
    CHECK(has(cut_at(4), "cannot read the header's length"));
    CHECK(has(cut_at(20), wasi::message("cannot read the ", good_header.size(), " bytes of the header")));
}

TEST_CASE("safetensors lies: a file cut anywhere is refused")
{
    const std::string bytes = safetensors_bytes(good_header, std::string(good_data, '\0'));
    CHECK(refusal(bytes) == "(nothing was thrown)");
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CAPTURE(size);
        CHECK(refusal(bytes.substr(0, size)).starts_with("model.safetensors: "));
    }
}

TEST_CASE("safetensors lies: one wrong byte gives io_error or a consistent header")
{
    const std::string good = safetensors_bytes(good_header, std::string(good_data, '\0'));
    std::mt19937_64 random(20240607);
    int accepted = 0;
    constexpr int trials = 5000;
    for (int trial = 0; trial < trials; ++trial) {
        std::string bytes = good;
        const std::size_t place = random() % (bytes.size() - good_data);
        const auto value = static_cast<int>(random() % 256);
        bytes[place] = static_cast<char>(value);
        CAPTURE(place);
        CAPTURE(value);
        std::istringstream in(bytes);
        try {
            const wasi::io::SafetensorsHeader header = parse_header(in, bytes.size());
            CHECK(inconsistency(header, bytes.size()) == "");
            ++accepted;
        } catch (const io_error&) {  // anything else fails the test
        }
    }
    // Letters of names may change, most other bytes may not: both ways were taken.
    CHECK(accepted > trials / 100);
    CHECK(accepted < trials / 4);
}
