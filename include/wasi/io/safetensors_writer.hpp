#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/io/atomic_file.hpp"
#include "wasi/io/half_precision.hpp"
#include "wasi/io/safetensors_types.hpp"

namespace wasi::io {

/// Elements that are made when it is their turn to be written and gone afterwards, so that no two tensors of a kind
/// need be there at once.
struct MadeLate {
    std::function<std::vector<float>()> make;
};

/// Elements as the file has them, of any type: their bytes are written as they are.
struct StoredElements {
    Dtype dtype;
    std::span<const std::byte> bytes;
};

/// One tensor to write: its elements in row-major order, which are viewed, not copied, and must live until the file is
/// written. Floats may be stored in another floating-point type, rounded to nearest even.
struct TensorToWrite {
    std::string name;
    std::vector<Index> shape;
    std::variant<std::span<const float>, std::span<const double>, std::span<const std::int64_t>, MadeLate,
                 StoredElements>
        values;
    std::optional<Dtype> stored_as = std::nullopt;  ///< F32, F16 or BF16 of floats and doubles; else as they are
};

namespace detail {

[[nodiscard]] inline Dtype dtype_of(const TensorToWrite& tensor)
{
    constexpr std::array<Dtype, 4> dtypes{Dtype::f32, Dtype::f64, Dtype::i64, Dtype::f32};  // as in the variant
    if (const auto* stored = std::get_if<StoredElements>(&tensor.values)) {
        return stored->dtype;
    }
    return tensor.stored_as.value_or(dtypes[tensor.values.index()]);
}

/// Elements that are given, or that the shape tells where they are made late.
[[nodiscard]] inline std::uint64_t count_of(const TensorToWrite& tensor)
{
    if (std::holds_alternative<MadeLate>(tensor.values)) {
        std::uint64_t count = 0;
        return tensor_bytes(tensor.shape, 1, count) ? count : 0;
    }
    return std::visit(
        [](const auto& values) -> std::uint64_t {
            if constexpr (requires { values.size(); }) {
                return values.size();
            } else if constexpr (requires { values.bytes; }) {
                return values.bytes.size() / size_of(values.dtype);
            } else {
                return 0;
            }
        },
        tensor.values);
}

[[nodiscard]] inline std::uint64_t bytes_of(const TensorToWrite& tensor)
{
    return count_of(tensor) * size_of(dtype_of(tensor));
}

/// Writes elements as `Stored`, 64 KiB at a time. Throws argument_error where a finite one becomes infinite.
template <class Stored, class T, class Convert>
void write_converted(std::ostream& out, const std::string& name, std::span<const T> values, const Convert& convert)
{
    std::vector<Stored> chunk(std::min<std::size_t>(values.size(), (std::size_t{1} << 16) / sizeof(Stored)));
    for (std::size_t begin = 0; begin < values.size(); begin += chunk.size()) {
        const std::size_t count = std::min(chunk.size(), values.size() - begin);
        for (std::size_t i = 0; i < count; ++i) {
            const T value = values[begin + i];
            chunk[i] = convert(static_cast<float>(value));
            const auto again = converted<float>(chunk[i]);
            require<argument_error>(std::isfinite(again) || !std::isfinite(value), "safetensors: tensor ", quote(name),
                                    ": element ", begin + i, " is ", value, ", too large for the type it is stored as");
        }
        out.write(reinterpret_cast<const char*>(chunk.data()), static_cast<std::streamsize>(count * sizeof(Stored)));
    }
}

template <class T>
void write_elements(std::ostream& out, const TensorToWrite& tensor, std::span<const T> values)
{
    if constexpr (!std::is_integral_v<T>) {
        switch (dtype_of(tensor)) {
            case Dtype::f16:
                return write_converted<HalfBits>(out, tensor.name, values, to_half);
            case Dtype::bf16:
                return write_converted<BrainBits>(out, tensor.name, values, to_brain);
            case Dtype::f32:
                if constexpr (!std::is_same_v<T, float>) {
                    return write_converted<float>(out, tensor.name, values, [](float value) { return value; });
                }
                break;
            default:
                break;
        }
    }
    const auto bytes = std::as_bytes(values);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// The data of one tensor.
inline void write_data(std::ostream& out, const TensorToWrite& tensor)
{
    if (const auto* late = std::get_if<MadeLate>(&tensor.values)) {
        const std::vector<float> made = late->make();
        require<shape_error>(made.size() == count_of(tensor), "safetensors: tensor ", quote(tensor.name), " of shape ",
                             shape_text(tensor.shape), " was made with ", made.size(), " elements");
        return write_elements(out, tensor, std::span<const float>(made));
    }
    if (const auto* stored = std::get_if<StoredElements>(&tensor.values)) {
        out.write(reinterpret_cast<const char*>(stored->bytes.data()),
                  static_cast<std::streamsize>(stored->bytes.size()));
        return;
    }
    std::visit(
        [&](const auto& values) {
            if constexpr (requires { values.size(); }) {
                write_elements(out, tensor, values);
            }
        },
        tensor.values);
}

/// A string as JSON, in quotes. Throws argument_error if it is not valid UTF-8.
[[nodiscard]] inline std::string json_text(std::string_view text)
{
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
        throw argument_error(message("safetensors: ", quote(text), " is not valid UTF-8"));
    }
}

inline void check_tensor(const TensorToWrite& tensor)
{
    require<argument_error>(tensor.name != metadata_key, "safetensors: a tensor must not be called ",
                            quote(tensor.name));
    const bool negative =
        std::any_of(tensor.shape.begin(), tensor.shape.end(), [](Index extent) { return extent < 0; });
    require<shape_error>(!negative, "safetensors: tensor ", quote(tensor.name),
                         " has a negative extent: ", shape_text(tensor.shape));
    const bool floats = !std::holds_alternative<std::span<const std::int64_t>>(tensor.values) &&
                        !std::holds_alternative<StoredElements>(tensor.values);
    const Dtype dtype = dtype_of(tensor);
    require<argument_error>(
        !tensor.stored_as || (floats && (dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16)),
        "safetensors: tensor ", quote(tensor.name), " cannot be stored as ", to_string(dtype));
    std::uint64_t bytes = 0;
    const bool fits = tensor_bytes(tensor.shape, size_of(dtype), bytes);
    require<shape_error>(fits && bytes == bytes_of(tensor), "safetensors: tensor ", quote(tensor.name), " of shape ",
                         shape_text(tensor.shape), " is given ", count_of(tensor), " elements");
}

/// The tensors in the order their data is written: by falling element size, otherwise as given. After a header of a
/// multiple of 8 bytes every tensor is then aligned for its type, which readers that map the file into memory profit
/// from.
[[nodiscard]] inline std::vector<const TensorToWrite*> data_order(const std::vector<TensorToWrite>& tensors)
{
    std::vector<const TensorToWrite*> ordered;
    ordered.reserve(tensors.size());
    for (const TensorToWrite& tensor : tensors) {
        ordered.push_back(&tensor);
    }
    std::stable_sort(ordered.begin(), ordered.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
        return size_of(dtype_of(*a)) > size_of(dtype_of(*b));
    });
    return ordered;
}

/// The JSON header, padded with spaces to a multiple of 8.
[[nodiscard]] inline std::string header_text(const std::vector<const TensorToWrite*>& tensors,
                                             const std::map<std::string, std::string>& metadata)
{
    std::string text = "{";
    const auto separate = [&text] { text += text.back() == '{' ? "" : ","; };
    if (!metadata.empty()) {
        text += json_text(metadata_key) + ":{";
        for (const auto& [key, value] : metadata) {
            separate();
            text += json_text(key) + ':' + json_text(value);
        }
        text += '}';
    }
    std::uint64_t begin = 0;
    for (const TensorToWrite* const tensor : tensors) {
        const std::uint64_t end = begin + bytes_of(*tensor);
        separate();
        text += json_text(tensor->name) + message(":{\"dtype\":\"", to_string(dtype_of(*tensor)), "\",\"shape\":[");
        const char* separator = "";
        for (const Index extent : tensor->shape) {
            text += separator + std::to_string(extent);
            separator = ",";
        }
        text += message("],\"data_offsets\":[", begin, ',', end, "]}");
        begin = end;
    }
    text += '}';
    text.resize((text.size() + 7) / 8 * 8, ' ');
    require<argument_error>(text.size() <= longest_header, "safetensors: the header would take ", text.size(),
                            " bytes, more than ", longest_header);
    return text;
}

}  // namespace detail

/// Writes tensors and metadata as a safetensors file to a binary stream, after checking everything that can be checked.
/// The same input gives the same bytes. Throws shape_error if a shape does not fit its elements; argument_error for a
/// name that appears twice, is reserved or is not UTF-8, and for a number that is too large for the type it is stored
/// as. Failures of the stream are left in its state.
inline void write_safetensors(std::ostream& out, const std::vector<TensorToWrite>& tensors,
                              const std::map<std::string, std::string>& metadata = {})
{
    std::set<std::string_view> names;
    for (const TensorToWrite& tensor : tensors) {
        detail::check_tensor(tensor);
        require<argument_error>(names.insert(tensor.name).second, "safetensors: two tensors are called ",
                                detail::quote(tensor.name));
    }
    const std::vector<const TensorToWrite*> ordered = detail::data_order(tensors);
    const std::string text = detail::header_text(ordered, metadata);
    const std::uint64_t length = text.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof(length));
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const TensorToWrite* const tensor : ordered) {
        detail::write_data(out, *tensor);
    }
}

/// The same to a file, which appears whole or not at all (write_file_atomically). Also throws io_error naming the path
/// and the system's reason if it cannot be written.
inline void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                              const std::map<std::string, std::string>& metadata = {})
{
    write_file_atomically(path, [&](std::ostream& out) { write_safetensors(out, tensors, metadata); });
}

}  // namespace wasi::io
