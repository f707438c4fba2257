#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wasi/core/scalar.hpp"

namespace wasi::io {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are little-endian and are read without swapping bytes");

/// The element types of the format. Every one can be in a file that is opened; SafetensorsFile::read says which can be
/// read.
enum class Dtype : std::uint8_t {
    boolean,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    i64,
    u64,
    f64
};

/// A type's name in the file and its size in bytes.
struct DtypeTraits {
    std::string_view name;
    std::uint64_t size;
};

inline constexpr std::array<DtypeTraits, 15> dtype_traits{{{"BOOL", 1},
                                                           {"U8", 1},
                                                           {"I8", 1},
                                                           {"F8_E5M2", 1},
                                                           {"F8_E4M3", 1},
                                                           {"I16", 2},
                                                           {"U16", 2},
                                                           {"F16", 2},
                                                           {"BF16", 2},
                                                           {"I32", 4},
                                                           {"U32", 4},
                                                           {"F32", 4},
                                                           {"I64", 8},
                                                           {"U64", 8},
                                                           {"F64", 8}}};

/// The name of a type as the file spells it: "F32".
[[nodiscard]] constexpr std::string_view to_string(Dtype dtype) noexcept
{
    return dtype_traits[static_cast<std::size_t>(dtype)].name;
}

/// Bytes of one element.
[[nodiscard]] constexpr std::uint64_t size_of(Dtype dtype) noexcept
{
    return dtype_traits[static_cast<std::size_t>(dtype)].size;
}

/// What the header says about one tensor; `begin` and `end` count bytes from the start of the data, not of the file.
struct TensorInfo {
    Dtype dtype = Dtype::f32;
    std::vector<Index> shape;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    /// The product of the extents; 1 for a scalar, whose shape is empty.
    [[nodiscard]] Index element_count() const noexcept { return static_cast<Index>((end - begin) / size_of(dtype)); }
};

/// A header that was found consistent: every tensor's bytes match its shape, and the tensors fill the data without gap
/// or overlap.
struct SafetensorsHeader {
    std::map<std::string, TensorInfo, std::less<>> tensors;
    std::map<std::string, std::string> metadata;
    std::uint64_t data_begin = 0;  ///< where the data starts in the file
};

/// Longest header that is read or written, in bytes: the limit of the reference implementation.
inline constexpr std::uint64_t longest_header = 100'000'000;

namespace detail {

inline constexpr std::string_view metadata_key = "__metadata__";

/// A string from a file, fit for a one-line message: in quotes, control and non-ASCII bytes as \xNN, cut at 80
/// characters.
[[nodiscard]] inline std::string quote(std::string_view text)
{
    constexpr std::size_t longest = 80;
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out = "'";
    for (const char character : text.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte >= 0x20 && byte < 0x7f) {
            out += character;
        } else {
            out += "\\x";
            out += digits[byte >> 4U];
            out += digits[byte & 15U];
        }
    }
    return out + (text.size() > longest ? "...'" : "'");
}

/// a * b, or false where the product does not fit into an Index.
[[nodiscard]] inline bool multiply_checked(std::uint64_t a, std::uint64_t b, std::uint64_t& product) noexcept
{
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
    if (a != 0 && b > largest / a) {
        return false;
    }
    product = a * b;
    return true;
}

/// Size in bytes of a tensor, or false where it overflows. Extents of zero do not hide the overflow of the others, so
/// that the answer does not depend on their order.
[[nodiscard]] inline bool tensor_bytes(const std::vector<Index>& shape, std::uint64_t element_size,
                                       std::uint64_t& bytes) noexcept
{
    std::uint64_t product = element_size;
    bool empty = false;
    for (const Index extent : shape) {
        empty = empty || extent == 0;
        if (extent != 0 && !multiply_checked(product, static_cast<std::uint64_t>(extent), product)) {
            return false;
        }
    }
    bytes = empty ? 0 : product;
    return true;
}

}  // namespace detail

}  // namespace wasi::io
