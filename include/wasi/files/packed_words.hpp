#pragma once
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "wasi/io/safetensors_types.hpp"
#include "wasi/storage/packed_tensor.hpp"

/// What files call a matrix in fewer bits: see files/file_state.hpp.
namespace wasi::files::detail {

inline constexpr std::string_view packed_suffix = ".packed";
inline constexpr std::string_view scale_suffix = ".scale";

[[nodiscard]] inline io::Dtype dtype_of(Precision precision)
{
    return precision == Precision::bfloat16 ? io::Dtype::bf16
           : precision == Precision::half   ? io::Dtype::f16
                                            : io::Dtype::i8;
}
[[nodiscard]] inline io::Dtype dtype_of(const Packing& packing)
{
    return packing.grouped() && packing.codes != Codes::symmetric ? io::Dtype::u8 : dtype_of(packing.precision);
}
/// Precision::full of a word that is none of those that a file may have.
[[nodiscard]] inline Precision packed_precision(std::string_view word)
{
    for (const Precision precision : {Precision::bfloat16, Precision::half, Precision::int8}) {
        if (word == to_string(precision)) {
            return precision;
        }
    }
    return Precision::full;
}

/// "int8" where it is packed by row, else with codes and group: "int8 dynamic 256".
[[nodiscard]] inline std::string packing_words(const PackedTensor& values)
{
    const Packing& packing = values.packing();
    if (packing == packing_by_row(packing.precision, values.shape())) {
        return std::string(to_string(packing.precision));
    }
    require<argument_error>(packing.dynamic(), "files: numbers packed as ", to_string(packing.precision), ", codes ",
                            to_string(packing.codes), " in groups of ", packing.group,
                            ", and neither by row nor with dynamic codes");
    return message(to_string(packing.precision), ' ', to_string(packing.codes), ' ', packing.group);
}
/// What packing_words() makes; nothing of other words.
[[nodiscard]] inline std::optional<Packing> read_packing(const std::string& words, const Shape& shape)
{
    if (const Precision precision = packed_precision(words); precision != Precision::full) {
        return packing_by_row(precision, shape);
    }
    for (const Codes codes : {Codes::dynamic, Codes::dynamic_positive}) {
        const std::string before = message(to_string(Precision::int8), ' ', to_string(codes), ' ');
        Index group = 0;
        const char* const end = words.data() + words.size();
        if (words.starts_with(before)) {
            const auto [stop, failure] = std::from_chars(words.data() + before.size(), end, group);
            if (failure == std::errc() && stop == end && group >= 1) {
                return Packing{Precision::int8, group, codes};
            }
        }
    }
    return std::nullopt;
}

}  // namespace wasi::files::detail
