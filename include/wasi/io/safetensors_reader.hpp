#pragma once
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/io/half_precision.hpp"
#include "wasi/io/safetensors_header.hpp"
#include "wasi/io/safetensors_types.hpp"

namespace wasi::io {

/// A safetensors file that is open for reading. Only the header is kept in memory; a tensor's bytes are read when it is
/// asked for, so a model is loaded tensor by tensor. The file stays open: replacing it by rename does not disturb what
/// is read here. Reads move one file position: an object is for one thread at a time, several objects may share a file.
class SafetensorsFile {
public:
    /// Opens the file and checks its header. Throws io_error naming the file, the tensor and the value that does not
    /// fit.
    explicit SafetensorsFile(const std::filesystem::path& path) : path_(path.string())
    {
        std::error_code failure;
        const std::filesystem::file_status status = std::filesystem::status(path, failure);
        require<io_error>(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), path_,
                          ": is not a regular file");
        errno = 0;
        in_.open(path, std::ios::binary);
        if (!in_) {
            const int number = errno;
            throw io_error(message(path_, ": cannot be opened: ", std::generic_category().message(number)));
        }
        // The size comes from the open stream, not from the path, which may be another file by now.
        in_.seekg(0, std::ios::end);
        const std::streamoff size = in_.tellg();
        in_.seekg(0);
        require<io_error>(in_.good() && size >= 0, path_, ": the size cannot be found");
        header_ = parse_header(in_, static_cast<std::uint64_t>(size), path_);
    }

    /// The file's `__metadata__`; empty where it has none.
    [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return header_.metadata; }

    /// The names of all tensors in alphabetical order.
    [[nodiscard]] std::vector<std::string> names() const
    {
        std::vector<std::string> result;
        result.reserve(header_.tensors.size());
        for (const auto& [name, tensor] : header_.tensors) {
            result.push_back(name);
        }
        return result;
    }

    /// Whether the file has a tensor of this name.
    [[nodiscard]] bool contains(std::string_view name) const { return header_.tensors.contains(name); }

    /// Type, shape and place of one tensor. Throws io_error if there is none of that name.
    [[nodiscard]] const TensorInfo& info(std::string_view name) const
    {
        const auto found = header_.tensors.find(name);
        require<io_error>(found != header_.tensors.end(), path_, ": has no tensor ", detail::quote(name));
        return found->second;
    }

    /// Reads an F32, F64, F16 or BF16 tensor in row-major order and converts it to T; narrowing F64 to float rounds, to
    /// infinity where it overflows. NaN and infinity are passed on. Needs 64 KiB beside `out`, nothing where the types
    /// agree. Throws shape_error unless `out` has exactly the tensor's elements; io_error for another dtype or a file
    /// that shrank.
    template <Scalar T>
    void read(std::string_view name, std::span<T> out) const
    {
        const TensorInfo& tensor = sized_info(name, out.size());
        switch (tensor.dtype) {
            case Dtype::f32:
                return read_as<float>(name, tensor, out);
            case Dtype::f64:
                return read_as<double>(name, tensor, out);
            case Dtype::f16:
                return read_as<detail::HalfBits>(name, tensor, out);
            case Dtype::bf16:
                return read_as<detail::BrainBits>(name, tensor, out);
            default:
                refuse_dtype(name, tensor, "F32, F64, F16 or BF16");
        }
    }

    /// Reads a tensor of any integer type, as above. Throws io_error naming the element where a U64 is above 2^63 - 1.
    void read(std::string_view name, std::span<std::int64_t> out) const
    {
        const TensorInfo& tensor = sized_info(name, out.size());
        switch (tensor.dtype) {
            case Dtype::i64:
                return read_as<std::int64_t>(name, tensor, out);
            case Dtype::i32:
                return read_as<std::int32_t>(name, tensor, out);
            case Dtype::i16:
                return read_as<std::int16_t>(name, tensor, out);
            case Dtype::i8:
                return read_as<std::int8_t>(name, tensor, out);
            case Dtype::u64:
                return read_as<std::uint64_t>(name, tensor, out);
            case Dtype::u32:
                return read_as<std::uint32_t>(name, tensor, out);
            case Dtype::u16:
                return read_as<std::uint16_t>(name, tensor, out);
            case Dtype::u8:
                return read_as<std::uint8_t>(name, tensor, out);
            default:
                refuse_dtype(name, tensor, "an integer type");
        }
    }

    /// Reads the bytes of a tensor of this type as the file has them. Throws io_error for another dtype, shape_error
    /// unless there are as many bytes.
    void read_stored(std::string_view name, Dtype dtype, std::span<std::byte> out) const
    {
        const TensorInfo& tensor = sized_info(name, out.size() / size_of(dtype));
        if (tensor.dtype != dtype) {
            refuse_dtype(name, tensor, to_string(dtype));
        }
        read_as<std::byte>(name, tensor, out);
    }

private:
    const TensorInfo& sized_info(std::string_view name, std::size_t count) const
    {
        const TensorInfo& tensor = info(name);
        require<shape_error>(static_cast<std::size_t>(tensor.element_count()) == count, path_, ": tensor ",
                             detail::quote(name), " of shape ", shape_text(tensor.shape), " has ",
                             tensor.element_count(), " elements, but there is room for ", count);
        return tensor;
    }

    [[noreturn]] void refuse_dtype(std::string_view name, const TensorInfo& tensor, std::string_view wanted) const
    {
        throw io_error(message(path_, ": tensor ", detail::quote(name), " has dtype ", to_string(tensor.dtype),
                               ", wanted ", wanted));
    }

    template <class Stored, class T>
    void read_as(std::string_view name, const TensorInfo& tensor, std::span<T> out) const
    {
        in_.clear();
        in_.seekg(static_cast<std::streamoff>(header_.data_begin + tensor.begin));
        if constexpr (std::is_same_v<Stored, T>) {
            read_next(name, out);
        } else {
            constexpr std::size_t chunk_bytes = std::size_t{1} << 16;
            std::vector<Stored> chunk(std::min(out.size(), chunk_bytes / sizeof(Stored)));
            while (!out.empty()) {
                const std::span<Stored> stored(chunk.data(), std::min(out.size(), chunk.size()));
                read_next(name, stored);
                if constexpr (std::is_same_v<Stored, std::uint64_t>) {
                    require_signed(name, stored, static_cast<std::size_t>(tensor.element_count()) - out.size());
                }
                std::transform(stored.begin(), stored.end(), out.begin(),
                               [](Stored value) { return detail::converted<T>(value); });
                out = out.subspan(stored.size());
            }
        }
    }

    /// `first`: the number of the first of these elements in the tensor.
    void require_signed(std::string_view name, std::span<const std::uint64_t> values, std::size_t first) const
    {
        constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
        for (std::size_t i = 0; i < values.size(); ++i) {
            require<io_error>(values[i] <= largest, path_, ": tensor ", detail::quote(name), ": element ", first + i,
                              " is ", values[i], ", above 2^63 - 1");
        }
    }

    // The next elements at the file's position.
    template <class Stored>
    void read_next(std::string_view name, std::span<Stored> out) const
    {
        in_.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size_bytes()));
        require<io_error>(!in_.fail(), path_, ": tensor ", detail::quote(name), ": only ", in_.gcount(), " of ",
                          out.size_bytes(), " bytes could be read: the file was truncated after it was opened");
    }

    std::string path_;
    mutable std::ifstream in_;
    SafetensorsHeader header_;
};

}  // namespace wasi::io
