#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <istream>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"
#include "wasi/io/safetensors_types.hpp"

namespace wasi::io {

namespace detail {

/// Takes the events of the JSON parser and builds the header, refusing the first thing that has no place in one. Events
/// instead of a document: nothing is stored that is not wanted, a second key of the same name is seen, and deep nesting
/// ends at once.
class HeaderBuilder : public nlohmann::json::json_sax_t {
public:
    explicit HeaderBuilder(std::string_view source) : source_(source) {}

    [[nodiscard]] SafetensorsHeader take() { return std::move(header_); }

    bool null() override { return refuse("null"); }
    bool boolean(bool value) override { return refuse(value ? "true" : "false"); }
    bool number_integer(number_integer_t value) override { return refuse(std::to_string(value)); }
    bool number_float(number_float_t, const string_t& digits) override { return refuse(digits); }
    bool binary(binary_t&) override { return refuse("binary data"); }

    bool number_unsigned(number_unsigned_t value) override
    {
        if (place_ == Place::offsets) {
            if (offset_count_ == offsets_.size()) {
                fail("data_offsets has more than two entries");
            }
            offsets_[offset_count_++] = value;
        } else if (place_ == Place::shape && value <= static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
            tensor_.shape.push_back(static_cast<Index>(value));
        } else {
            return refuse(std::to_string(value));
        }
        return true;
    }

    bool string(string_t& value) override
    {
        if (place_ == Place::metadata) {
            header_.metadata.at(field_) = std::move(value);
        } else if (place_ == Place::tensor && field_ == "dtype") {
            const auto* const found = std::find_if(dtype_traits.begin(), dtype_traits.end(),
                                                   [&](const DtypeTraits& traits) { return traits.name == value; });
            if (found == dtype_traits.end()) {
                fail("unknown dtype ", quote(value));
            }
            tensor_.dtype = static_cast<Dtype>(found - dtype_traits.begin());
        } else {
            return refuse(quote(value));
        }
        return true;
    }

    bool key(string_t& name) override
    {
        if (place_ == Place::top) {
            name_ = std::move(name);
            if (name_ == metadata_key ? seen_metadata_ : header_.tensors.contains(name_)) {
                fail("the name appears twice");
            }
            return true;
        }
        field_ = std::move(name);
        if (place_ == Place::metadata) {
            if (!header_.metadata.try_emplace(field_).second) {
                fail("the key ", quote(field_), " appears twice");
            }
            return true;
        }
        const auto* const known = std::find(fields.begin(), fields.end(), field_);
        if (known == fields.end()) {
            fail("unknown key ", quote(field_));
        }
        bool& seen = seen_[static_cast<std::size_t>(known - fields.begin())];
        if (seen) {
            fail("the key ", quote(field_), " appears twice");
        }
        seen = true;
        return true;
    }

    bool start_object(std::size_t) override
    {
        if (place_ == Place::start) {
            place_ = Place::top;
        } else if (place_ == Place::top && name_ == metadata_key) {
            place_ = Place::metadata;
            seen_metadata_ = true;
        } else if (place_ == Place::top) {
            place_ = Place::tensor;
            tensor_ = {};
            seen_ = {};
            offset_count_ = 0;
        } else {
            return refuse("an object");
        }
        return true;
    }

    bool end_object() override
    {
        if (place_ == Place::tensor) {
            finish_tensor();
        }
        place_ = place_ == Place::top ? Place::end : Place::top;
        return true;
    }

    bool start_array(std::size_t) override
    {
        if (place_ != Place::tensor || field_ == "dtype") {
            return refuse("an array");
        }
        place_ = field_ == "shape" ? Place::shape : Place::offsets;
        return true;
    }

    bool end_array() override
    {
        if (place_ == Place::offsets && offset_count_ != offsets_.size()) {
            fail("data_offsets has ", offset_count_, " entries instead of two");
        }
        place_ = Place::tensor;
        return true;
    }

    bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception&) override
    {
        throw io_error(
            message(source_, ": the header is not valid JSON at its byte ", position, ", near ", quote(token)));
    }

private:
    enum class Place : std::uint8_t { start, top, metadata, tensor, shape, offsets, end };
    static constexpr std::array<std::string_view, 3> fields{"dtype", "shape", "data_offsets"};

    template <class... Parts>
    [[noreturn]] void fail(const Parts&... parts) const
    {
        if (place_ == Place::start || place_ == Place::end) {
            throw io_error(message(source_, ": ", parts...));
        }
        throw io_error(message(source_, name_ == metadata_key ? ": " : ": tensor ", quote(name_), ": ", parts...));
    }

    // A value of the wrong kind for its place.
    [[noreturn]] bool refuse(std::string_view value) const
    {
        switch (place_) {
            case Place::top:
                fail("must be an object, is ", value);
            case Place::metadata:
                fail("the value of ", quote(field_), " must be a string, is ", value);
            case Place::shape:
                fail("shape must hold non-negative integers, holds ", value);
            case Place::offsets:
                fail("data_offsets must hold non-negative integers, holds ", value);
            case Place::tensor:
                fail(field_, field_ == "dtype" ? " must be a string, is " : " must be an array, is ", value);
            default:
                fail("the header must be a JSON object, is ", value);
        }
    }

    void finish_tensor()
    {
        for (std::size_t i = 0; i < fields.size(); ++i) {
            if (!seen_[i]) {
                fail("has no ", fields[i]);
            }
        }
        tensor_.begin = offsets_[0];
        tensor_.end = offsets_[1];
        if (tensor_.begin > tensor_.end) {
            fail("data_offsets begin after they end: [", tensor_.begin, ", ", tensor_.end, ']');
        }
        std::uint64_t bytes = 0;
        if (!tensor_bytes(tensor_.shape, size_of(tensor_.dtype), bytes)) {
            fail("the size of shape ", shape_text(tensor_.shape), " in ", to_string(tensor_.dtype), " overflows");
        }
        if (bytes != tensor_.end - tensor_.begin) {
            fail("shape ", shape_text(tensor_.shape), " in ", to_string(tensor_.dtype), " takes ", bytes,
                 " bytes, but data_offsets [", tensor_.begin, ", ", tensor_.end, "] span ",
                 tensor_.end - tensor_.begin);
        }
        header_.tensors.emplace(std::move(name_), std::move(tensor_));
    }

    std::string_view source_;
    SafetensorsHeader header_;
    Place place_ = Place::start;
    std::string name_;   // of the tensor, or __metadata__
    std::string field_;  // the key inside it
    TensorInfo tensor_;
    std::array<bool, 3> seen_{};
    std::array<std::uint64_t, 2> offsets_{};
    std::size_t offset_count_ = 0;
    bool seen_metadata_ = false;
};

/// Throws io_error unless the tensors fill `data_bytes` bytes exactly: no overlap, no hole, nothing out of bounds. O(n
/// log n).
inline void check_layout(const SafetensorsHeader& header, std::uint64_t data_bytes, std::string_view source)
{
    using Entry = std::pair<const std::string, TensorInfo>;
    std::vector<const Entry*> ordered;
    ordered.reserve(header.tensors.size());
    for (const Entry& entry : header.tensors) {
        ordered.push_back(&entry);
        require<io_error>(entry.second.end <= data_bytes, source, ": tensor ", quote(entry.first), ": data_offsets [",
                          entry.second.begin, ", ", entry.second.end, "] run past the end of the data, which has ",
                          data_bytes, " bytes: the file is truncated or lies");
    }
    std::sort(ordered.begin(), ordered.end(), [](const Entry* a, const Entry* b) {
        return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
    });
    std::uint64_t filled = 0;
    for (const Entry* const entry : ordered) {
        const auto& [name, tensor] = *entry;
        require<io_error>(tensor.begin >= filled, source, ": tensor ", quote(name), ": begins at byte ", tensor.begin,
                          " of the data and overlaps another tensor that ends at ", filled);
        require<io_error>(tensor.begin == filled, source, ": tensor ", quote(name), ": begins at byte ", tensor.begin,
                          " of the data, which leaves a hole after byte ", filled);
        filled = tensor.end;
    }
    require<io_error>(filled == data_bytes, source, ": the data has ", data_bytes, " bytes, but the tensors end at ",
                      filled);
}

}  // namespace detail

/// Reads and checks the header of a safetensors file of `file_size` bytes from a stream that stands at its first byte;
/// no tensor is read. `source` is how messages call the file. Stricter than the reference where that is silent: unknown
/// keys and names that appear twice are refused. Cost: header bytes, O(n log n) in the number of tensors. Throws
/// io_error naming the file, tensor and value.
[[nodiscard]] inline SafetensorsHeader parse_header(std::istream& in, std::uint64_t file_size,
                                                    std::string_view source = "safetensors")
{
    std::uint64_t length = 0;
    std::array<char, sizeof(length)> prefix{};
    require<io_error>(file_size >= prefix.size(), source, ": has ", file_size,
                      " bytes, too few for a safetensors file");
    require<io_error>(!in.read(prefix.data(), prefix.size()).fail(), source, ": cannot read the header's length");
    std::memcpy(&length, prefix.data(), prefix.size());
    require<io_error>(length <= file_size - prefix.size(), source, ": the header claims ", length,
                      " bytes, but the file has ", file_size, ": truncated, or not a safetensors file");
    require<io_error>(length <= longest_header, source, ": the header claims ", length,
                      " bytes, more than the limit of ", longest_header);
    std::string text(static_cast<std::size_t>(length), '\0');
    require<io_error>(!in.read(text.data(), static_cast<std::streamsize>(length)).fail(), source, ": cannot read the ",
                      length, " bytes of the header");
    require<io_error>(text.starts_with('{'), source, ": the header does not begin with '{'");
    // The JSON parser takes a zero byte for the end of its input and would not look at what follows.
    require<io_error>(text.find('\0') == std::string::npos, source, ": the header holds a zero byte");

    detail::HeaderBuilder builder(source);
    nlohmann::json::sax_parse(text, &builder);
    SafetensorsHeader header = builder.take();
    header.data_begin = prefix.size() + length;
    detail::check_layout(header, file_size - header.data_begin, source);
    return header;
}

}  // namespace wasi::io
