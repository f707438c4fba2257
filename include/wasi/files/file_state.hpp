#pragma once
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "wasi/files/packed_words.hpp"
#include "wasi/io/safetensors.hpp"
#include "wasi/storage/state.hpp"

/// State in a safetensors file: tensors under their names, numbers and words in the metadata, a tensor that is empty as
/// the word "empty". A matrix in fewer bits is a tensor of BF16, F16 or I8, of 8 bits with one float a row in
/// NAME.scale (W = NAME * NAME.scale), and NAME.packed in the metadata says in which format. Dynamic codes are a tensor
/// of U8, with one float a group in NAME.scale and "int8 dynamic 256" as format. Needs the target wasi::io.
namespace wasi::files {

namespace detail {

inline constexpr std::string_view empty_word = "empty";

/// The shortest digits that are read back as the same bits, whatever the locale.
template <class Number>
[[nodiscard]] std::string number_text(Number value)
{
    char text[64];
    const auto [end, failure] = std::to_chars(text, text + sizeof text, value);
    return failure == std::errc() ? std::string(text, end) : std::string();
}

/// Whether the host may read and write the tensor's elements itself.
template <Scalar T>
[[nodiscard]] bool of_host(const Tensor<T>& values)
{
    return &values.memory().host() == &values.memory();
}

/// What `fill` gives that puts numbers into the tensor: into its own elements, or by way of a copy on the host.
template <Scalar T, class F>
auto fill_on_host(Tensor<T>& values, const F& fill)
{
    if (of_host(values)) {
        return fill(values.span());
    }
    Tensor<T> copy(values.memory().host(), Tag{}, values.shape());
    const auto result = fill(copy.span());
    values.memory().write(values.data(), copy.data(), copy.bytes());
    return result;
}

/// The same for a part of a block.
template <class Number, class F>
void fill_on_host(Memory& memory, std::span<Number> values, const F& fill)
{
    if (&memory.host() == &memory) {
        return fill(values);
    }
    std::vector<Number> copy(values.size());
    fill(std::span<Number>(copy));
    memory.write(values.data(), copy.data(), values.size_bytes());
}

/// The elements of tensors for the host to read: as they are, or a copy that lives as long as this object.
class HostCopies {
public:
    /// Of a part of a block.
    template <class Number>
    [[nodiscard]] std::span<const Number> of(Memory& memory, std::span<const Number> values)
    {
        if (&memory.host() == &memory) {
            return values;
        }
        auto& copy = blocks_.emplace_back(values.size_bytes());
        memory.read(copy.data(), values.data(), values.size_bytes());
        return {reinterpret_cast<const Number*>(copy.data()), values.size()};
    }
    template <Scalar T>
    [[nodiscard]] std::span<const T> of(const Tensor<T>& values)
    {
        if (of_host(values)) {
            return values.span();
        }
        auto& copy =
            std::get<std::vector<Tensor<T>>>(copies_).emplace_back(values.memory().host(), Tag{}, values.shape());
        values.memory().read(copy.data(), values.data(), values.bytes());
        return std::as_const(copy).span();
    }

private:
    std::tuple<std::vector<Tensor<float>>, std::vector<Tensor<double>>> copies_;
    std::vector<std::vector<std::byte>> blocks_;
};

}  // namespace detail

/// Gathers what it visits, without copies of tensors that the host can read; write() while they still stand. `metadata`
/// may be added to before.
class StateWriter final : public State {
public:
    explicit StateWriter(bool values_only) : values_only_(values_only) {}

    [[nodiscard]] bool reading() const noexcept override { return false; }
    [[nodiscard]] bool values_only() const noexcept override { return values_only_; }
    void tensor(std::string_view name, Tensor<float>& values, Memory&, Tag) override { add(full(name), values); }
    void tensor(std::string_view name, Tensor<double>& values, Memory&, Tag) override { add(full(name), values); }
    void packed(std::string_view name, PackedTensor& values, Memory&, Tag) override
    {
        if (values.empty()) {
            return;
        }
        const std::string own = full(name);
        const auto view = std::as_const(values).view();
        bytes_ += values.bytes();
        as_held_.insert({own, own + std::string(detail::scale_suffix)});
        metadata[own + std::string(detail::packed_suffix)] = detail::packing_words(values);
        const auto shape = std::vector<Index>(values.shape().begin(), values.shape().end());
        tensors_.push_back(
            {own, shape,
             io::StoredElements{detail::dtype_of(values.packing()), copies_.of(values.memory(), view.codes)}});
        if (!view.scales.empty()) {
            tensors_.push_back({own + std::string(detail::scale_suffix),
                                {static_cast<Index>(view.scales.size())},
                                copies_.of(values.memory(), view.scales)});
        }
    }
    void number(std::string_view name, Index& value) override { metadata[full(name)] = detail::number_text(value); }
    void number(std::string_view name, double& value) override { metadata[full(name)] = detail::number_text(value); }
    void text(std::string_view name, std::string& value) override { metadata[full(name)] = value; }

    /// The file, whole or not at all. Throws io_error when it cannot be written.
    /// `stored_as`: the type of floats in the file, F32, F16 or BF16; else as they are. Packed ones stay as they are.
    void write(const std::filesystem::path& path, std::optional<io::Dtype> stored_as = std::nullopt) const
    {
        auto tensors = tensors_;
        for (io::TensorToWrite& tensor : tensors) {
            tensor.stored_as = as_held_.contains(tensor.name) ? std::nullopt : stored_as;
        }
        io::write_safetensors(path, tensors, metadata);
    }
    /// Bytes of all tensors.
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

    std::map<std::string, std::string> metadata;

private:
    template <Scalar T>
    void add(std::string name, const Tensor<T>& values)
    {
        if (values.empty()) {
            metadata[std::move(name)] = detail::empty_word;
            return;
        }
        bytes_ += values.bytes();
        tensors_.push_back(
            {std::move(name), std::vector<Index>(values.shape().begin(), values.shape().end()), copies_.of(values)});
    }

    bool values_only_;
    std::size_t bytes_ = 0;
    std::vector<io::TensorToWrite> tensors_;
    std::set<std::string> as_held_;
    detail::HostCopies copies_;
};

/// Reads what it visits. Throws io_error for what is missing, shape_error for another shape, argument_error for NaN or
/// infinity.
class StateReader final : public State {
public:
    /// `path`: of the file, for messages. The file must live as long.
    StateReader(const io::SafetensorsFile& file, std::filesystem::path path, bool values_only)
        : file_(&file), path_(std::move(path)), values_only_(values_only)
    {
    }

    [[nodiscard]] bool reading() const noexcept override { return true; }
    [[nodiscard]] bool values_only() const noexcept override { return values_only_; }
    void tensor(std::string_view name, Tensor<float>& values, Memory& memory, Tag tag) override
    {
        read(full(name), values, memory, tag);
    }
    void tensor(std::string_view name, Tensor<double>& values, Memory& memory, Tag tag) override
    {
        read(full(name), values, memory, tag);
    }
    void packed(std::string_view name, PackedTensor& values, Memory& memory, Tag tag) override
    {
        const std::string own = full(name);
        const auto said = file_->metadata().find(own + std::string(detail::packed_suffix));
        values = {};
        if (said == file_->metadata().end()) {
            return;
        }
        const auto& shape = file_->info(own).shape;
        const Shape extents{std::span<const Index>(shape)};
        const auto packing = shape.empty() || extents.size() == 0 ? std::optional<Packing>()
                                                                  : detail::read_packing(said->second, extents);
        require<io_error>(packing.has_value(), path_.string(), ": tensor ", own, ' ', shape_text(shape),
                          " is packed as '", said->second, "', which this library does not know");
        values = PackedTensor(memory, tag, extents, *packing);
        const auto view = values.view();
        const std::string scale = own + std::string(detail::scale_suffix);
        detail::fill_on_host(memory, view.codes, [&](std::span<std::byte> bytes) {
            file_->read_stored(own, detail::dtype_of(*packing), bytes);
        });
        read_.insert(own);
        if (!view.scales.empty()) {
            detail::fill_on_host(memory, view.scales, [&](std::span<float> numbers) {
                file_->read(scale, numbers);
                require<argument_error>(
                    std::all_of(numbers.begin(), numbers.end(), [](float one) { return one - one == 0.0F; }),
                    path_.string(), ": tensor ", scale, " holds NaN or infinity");
            });
            read_.insert(scale);
        }
    }
    void number(std::string_view name, Index& value) override { read_number(full(name), value); }
    void number(std::string_view name, double& value) override { read_number(full(name), value); }
    void text(std::string_view name, std::string& value) override { value = word(full(name)); }

    /// Somebody else has read this one.
    void note_read(const std::string& name) { read_.insert(name); }
    /// Throws io_error for the first tensor that was not asked for.
    void require_all_read() const
    {
        for (const std::string& name : file_->names()) {
            require<io_error>(read_.contains(name), path_.string(), ": tensor ", name,
                              " does not belong to this model");
        }
    }

private:
    [[nodiscard]] const std::string& word(const std::string& name) const
    {
        const auto found = file_->metadata().find(name);
        require<io_error>(found != file_->metadata().end(), path_.string(), ": metadata ", name, " is missing");
        return found->second;
    }

    template <class Number>
    void read_number(const std::string& name, Number& value) const
    {
        const std::string& text = word(name);
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        require<io_error>(failure == std::errc() && end == text.data() + text.size(), path_.string(), ": metadata ",
                          name, " is '", text, "', a number is expected");
    }

    template <Scalar T>
    void read(const std::string& name, Tensor<T>& values, Memory& memory, Tag tag)
    {
        if (!file_->contains(name)) {
            const auto found = file_->metadata().find(name);
            require<io_error>(found != file_->metadata().end() && found->second == detail::empty_word, path_.string(),
                              ": tensor ", name, " is missing");
            values.reset();
            return;
        }
        const auto& shape = file_->info(name).shape;
        if (values.empty()) {
            values = Tensor<T>(memory, tag, Shape(std::span<const Index>(shape)));
        }
        require<shape_error>(std::equal(shape.begin(), shape.end(), values.shape().begin(), values.shape().end()),
                             path_.string(), ": tensor ", name, " has shape ", shape_text(shape), ", the model needs ",
                             shape_text(values.shape()));
        const bool finite = detail::fill_on_host(values, [&](std::span<T> numbers) {
            file_->read(name, numbers);
            return std::all_of(numbers.begin(), numbers.end(), [](T value) { return value - value == T(0); });
        });
        require<argument_error>(finite, path_.string(), ": tensor ", name, " ", shape_text(shape),
                                " holds NaN or infinity");
        read_.insert(name);
    }

    const io::SafetensorsFile* file_;
    std::filesystem::path path_;
    bool values_only_;
    std::set<std::string> read_;
};

}  // namespace wasi::files
