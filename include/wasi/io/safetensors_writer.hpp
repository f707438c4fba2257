#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <ostream>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/io/atomic_file.hpp"
#include "wasi/io/safetensors_types.hpp"

namespace wasi::io {

/// One tensor to write: its elements in row-major order, which are viewed, not copied, and must live until the file is
/// written.
struct TensorToWrite {
    std::string name;
    std::vector<Index> shape;
    std::variant<std::span<const float>, std::span<const double>, std::span<const std::int64_t>> values;
};

namespace detail {

[[nodiscard]] inline Dtype dtype_of(const TensorToWrite& tensor)
{
    constexpr std::array<Dtype, 3> dtypes{Dtype::f32, Dtype::f64, Dtype::i64};  // in the order of the variant
    return dtypes[tensor.values.index()];
}

[[nodiscard]] inline std::span<const std::byte> bytes_of(const TensorToWrite& tensor)
{
    return std::visit([](auto values) { return std::as_bytes(values); }, tensor.values);
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
    std::uint64_t bytes = 0;
    const bool fits = tensor_bytes(tensor.shape, size_of(dtype_of(tensor)), bytes);
    require<shape_error>(fits && bytes == bytes_of(tensor).size(), "safetensors: tensor ", quote(tensor.name),
                         " of shape ", shape_text(tensor.shape), " is given ",
                         bytes_of(tensor).size() / size_of(dtype_of(tensor)), " elements");
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
        const std::uint64_t end = begin + bytes_of(*tensor).size();
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
/// name that appears twice, is reserved or is not UTF-8. Failures of the stream are left in its state.
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
        const std::span<const std::byte> bytes = detail::bytes_of(*tensor);
        out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
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
