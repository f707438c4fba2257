#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "wasi/storage/packing.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi {

/// How a matrix (O,I), or a tensor with O as its first extent, is packed by row: in 16 bits a number, or in 8 with one
/// scale a row, zero staying zero.
[[nodiscard]] inline Packing packing_by_row(Precision precision, const Shape& shape)
{
    if (precision == Precision::bfloat16 || precision == Precision::half) {
        return {precision};
    }
    return {precision, std::max<Index>(shape.size() / std::max<Index>(shape[0], 1), 1), Codes::symmetric};
}

/// The numbers of a tensor in 16, 8 or 4 bits each, row-major: owned, booked and aligned like a Tensor, but not
/// computed with; the storage's pack and unpack go in and out. Scales, where there are any, lie before the codes in one
/// block. Move-only. Thread safety: like std::vector.
class PackedTensor {
public:
    /// Holds nothing.
    PackedTensor() = default;
    /// Numbers not set. Throws argument_error for Precision::full, which is what a Tensor is for, and for a group below
    /// 1 or codes of other than 8 bits that are not steps.
    PackedTensor(Memory& memory, Tag tag, Shape shape, Packing packing)
        : memory_(&memory), tag_(tag), shape_(shape), packing_(packing)
    {
        require<argument_error>(packing.precision != Precision::full,
                                "PackedTensor: a precision of 16 bits or less is wanted, got ",
                                to_string(packing.precision));
        require<argument_error>(packing.group >= 1 && (packing.codes == Codes::steps || packing.precision == Precision::int8),
                                "PackedTensor: groups of ", packing.group, " numbers in ", to_string(packing.precision),
                                ", codes ", to_string(packing.codes));
        data_ = static_cast<std::byte*>(memory.allocate(bytes(), tag));
    }
    PackedTensor(PackedTensor&& other) noexcept { swap(other); }
    PackedTensor& operator=(PackedTensor&& other) noexcept
    {
        PackedTensor taken(std::move(other));
        swap(taken);
        return *this;
    }
    PackedTensor(const PackedTensor&) = delete;
    PackedTensor& operator=(const PackedTensor&) = delete;
    ~PackedTensor()
    {
        if (data_ != nullptr) {
            memory_->release(data_, bytes(), tag_);
        }
    }

    [[nodiscard]] bool empty() const { return data_ == nullptr; }
    [[nodiscard]] const Shape& shape() const { return shape_; }
    [[nodiscard]] const Packing& packing() const { return packing_; }
    [[nodiscard]] Precision precision() const { return packing_.precision; }
    [[nodiscard]] Memory& memory() const { return *memory_; }
    [[nodiscard]] std::size_t bytes() const { return scale_bytes() + packing_.code_bytes(shape_.size()); }

    [[nodiscard]] PackedView view() { return part(0, shape_.size()); }
    [[nodiscard]] ConstPackedView view() const { return part(0, shape_.size()); }
    /// `count` numbers from number `first` on. Throws argument_error unless `first` begins a group.
    [[nodiscard]] ConstPackedView part(Index first, Index count) const
    {
        const PackedView view = part_of(data_, first, count);
        return {view.codes, view.scales, packing_};
    }
    [[nodiscard]] PackedView part(Index first, Index count) { return part_of(data_, first, count); }

private:
    [[nodiscard]] PackedView part_of(std::byte* data, Index first, Index count) const
    {
        require<argument_error>(!packing_.grouped() || first % packing_.group == 0, "PackedTensor: number ", first,
                                " does not begin a group of ", packing_.group);
        return {{data + scale_bytes() + packing_.code_bytes(first), packing_.code_bytes(count)},
                {reinterpret_cast<float*>(data) + packing_.scale_count(first), packing_.scale_count(count)},
                packing_};
    }
    void swap(PackedTensor& other) noexcept
    {
        std::swap(memory_, other.memory_);
        std::swap(tag_, other.tag_);
        std::swap(shape_, other.shape_);
        std::swap(packing_, other.packing_);
        std::swap(data_, other.data_);
    }
    [[nodiscard]] std::size_t scale_bytes() const { return sizeof(float) * packing_.scale_count(shape_.size()); }

    Memory* memory_ = nullptr;
    Tag tag_{};
    Shape shape_{0};
    Packing packing_;
    std::byte* data_ = nullptr;
};

}  // namespace wasi
