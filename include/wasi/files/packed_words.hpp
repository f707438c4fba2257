#pragma once
#include <string_view>

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
[[nodiscard]] inline bool has_scale_by_row(const PackedTensor& values)
{
    return values.packing() == packing_by_row(values.precision(), values.shape());
}

}  // namespace wasi::files::detail
