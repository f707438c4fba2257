#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "wasi/core/precision.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi {

/// The numbers of a tensor in 16 bits each, row-major: owned, booked and aligned like a Tensor, but not computed with;
/// the storage's pack and unpack go in and out. Move-only. Thread safety: like std::vector.
class PackedTensor {
public:
    /// Numbers not set. Throws argument_error for Precision::full, which is what a Tensor is for.
    PackedTensor(Memory& memory, Tag tag, Shape shape, Precision precision)
        : memory_(&memory), tag_(tag), shape_(shape), precision_(precision)
    {
        require<argument_error>(precision != Precision::full, "PackedTensor: a precision of 16 bits is wanted, got ",
                                to_string(precision));
        data_ = static_cast<std::uint16_t*>(memory.allocate(bytes(), tag));
    }
    PackedTensor(PackedTensor&& other) noexcept
        : memory_(other.memory_),
          tag_(other.tag_),
          shape_(other.shape_),
          precision_(other.precision_),
          data_(std::exchange(other.data_, nullptr))
    {
    }
    PackedTensor(const PackedTensor&) = delete;
    PackedTensor& operator=(const PackedTensor&) = delete;
    PackedTensor& operator=(PackedTensor&&) = delete;
    ~PackedTensor()
    {
        if (data_ != nullptr) {
            memory_->release(data_, bytes(), tag_);
        }
    }

    [[nodiscard]] const Shape& shape() const { return shape_; }
    [[nodiscard]] Precision precision() const { return precision_; }
    [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(shape_.size()) * sizeof(std::uint16_t); }
    [[nodiscard]] std::span<std::uint16_t> span() { return {data_, static_cast<std::size_t>(shape_.size())}; }
    [[nodiscard]] std::span<const std::uint16_t> span() const
    {
        return {data_, static_cast<std::size_t>(shape_.size())};
    }

private:
    Memory* memory_;
    Tag tag_;
    Shape shape_;
    Precision precision_;
    std::uint16_t* data_ = nullptr;
};

}  // namespace wasi
