#pragma once
#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <span>
#include <utility>

#include "wasi/core/memory.hpp"
#include "wasi/storage/view.hpp"

namespace wasi {

/// The extents of a tensor of order 0 to 6.
class Shape {
public:
    static constexpr std::size_t max_order = 6;

    Shape() = default;
    Shape(std::initializer_list<Index> extents) : Shape(std::span(extents.begin(), extents.size())) {}
    explicit Shape(std::span<const Index> extents)
    {
        require<shape_error>(extents.size() <= max_order, "Shape: order ", extents.size(), " is above ", max_order);
        for (const Index extent : extents) {
            require<shape_error>(extent >= 0, "Shape: negative extent in ", shape_text(extents));
            require<shape_error>(
                extent == 0 || size_ <= std::numeric_limits<Index>::max() / 16 / std::max<Index>(extent, 1),
                "Shape: too many elements in ", shape_text(extents));
            extents_[order_++] = extent;
            size_ *= extent;
        }
    }

    [[nodiscard]] std::size_t order() const { return order_; }
    [[nodiscard]] Index size() const { return size_; }
    [[nodiscard]] Index operator[](std::size_t mode) const { return extents_[mode]; }
    [[nodiscard]] Index back() const { return order_ == 0 ? 1 : extents_[order_ - 1]; }
    [[nodiscard]] const Index* begin() const { return extents_.data(); }
    [[nodiscard]] const Index* end() const { return extents_.data() + order_; }
    friend bool operator==(const Shape& a, const Shape& b)
    {
        return a.order_ == b.order_ && std::equal(a.begin(), a.end(), b.begin());
    }

private:
    std::array<Index, max_order> extents_{};
    std::size_t order_ = 0;
    Index size_ = 1;
};

/// A row-major tensor that owns its elements: move-only, 64-byte aligned, booked with the memory it came from.
/// A new tensor's elements are not set. Who computes on it (the storage backend) is the algorithm's choice, not the
/// tensor's. Thread safety: like std::vector.
template <Scalar T>
class Tensor {
public:
    Tensor() = default;
    Tensor(Memory& memory, Tag tag, Shape shape)
        : memory_(&memory), tag_(tag), shape_(shape), data_(static_cast<T*>(memory.allocate(byte_count(shape), tag)))
    {
    }
    Tensor(Tensor&& other) noexcept { swap(other); }
    Tensor& operator=(Tensor&& other) noexcept
    {
        Tensor taken(std::move(other));
        swap(taken);
        return *this;
    }
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    ~Tensor() { reset(); }

    void swap(Tensor& other) noexcept
    {
        std::swap(memory_, other.memory_);
        std::swap(tag_, other.tag_);
        std::swap(shape_, other.shape_);
        std::swap(data_, other.data_);
    }

    /// Frees the elements; the tensor is empty afterwards.
    void reset() noexcept
    {
        if (data_ != nullptr) {
            memory_->release(data_, bytes(), tag_);
            data_ = nullptr;
            shape_ = Shape{0};
        }
    }

    [[nodiscard]] bool empty() const { return data_ == nullptr; }
    [[nodiscard]] const Shape& shape() const { return shape_; }
    [[nodiscard]] Index size() const { return data_ == nullptr ? 0 : shape_.size(); }
    [[nodiscard]] std::size_t bytes() const { return byte_count(shape_); }
    [[nodiscard]] Tag tag() const { return tag_; }
    [[nodiscard]] Memory& memory() const { return *memory_; }

    [[nodiscard]] T* data() { return data_; }
    [[nodiscard]] const T* data() const { return data_; }
    [[nodiscard]] std::span<T> span() { return {data_, static_cast<std::size_t>(size())}; }
    [[nodiscard]] std::span<const T> span() const { return {data_, static_cast<std::size_t>(size())}; }

    /// All but the last extent as rows.
    [[nodiscard]] MatrixView<T> matrix() { return MatrixView<T>::row_major(data_, leading(), shape_.back()); }
    [[nodiscard]] ConstMatrixView<T> matrix() const
    {
        return ConstMatrixView<T>::row_major(data_, leading(), shape_.back());
    }

    /// The elements as a tensor view of order N; throws shape_error if the tensor's order is another.
    template <std::size_t N>
    [[nodiscard]] TensorView<T, N> view()
    {
        return {data_, extents<N>()};
    }
    template <std::size_t N>
    [[nodiscard]] ConstTensorView<T, N> view() const
    {
        return {data_, extents<N>()};
    }

    /// Books the same bytes under another tag, without a copy.
    void rebook(Tag tag) noexcept
    {
        if (data_ != nullptr && !(tag == tag_)) {
            memory_->rebook(bytes(), tag_, tag);
        }
        tag_ = tag;
    }

    /// Another shape of the same size; no element moves.
    void reshape(Shape shape)
    {
        require<shape_error>(shape.size() == size(), "Tensor::reshape: ", shape_text(shape_), " cannot become ",
                             shape_text(shape));
        shape_ = shape;
    }

private:
    [[nodiscard]] static std::size_t byte_count(const Shape& shape)
    {
        return static_cast<std::size_t>(shape.size()) * sizeof(T);
    }
    [[nodiscard]] Index leading() const  // also where the last extent is zero
    {
        Index rows = shape_.order() == 0 ? shape_.size() : 1;
        for (auto extent = shape_.begin(); extent + 1 < shape_.end(); ++extent) {
            rows *= *extent;
        }
        return rows;
    }

    template <std::size_t N>
    [[nodiscard]] std::array<Index, N> extents() const
    {
        require<shape_error>(shape_.order() == N, "Tensor::view: shape ", shape_text(shape_), " is not of order ", N);
        std::array<Index, N> result{};
        std::copy(shape_.begin(), shape_.end(), result.begin());
        return result;
    }

    Memory* memory_ = nullptr;
    Tag tag_{};
    Shape shape_{0};
    T* data_ = nullptr;
};

/// A row-major workspace matrix (rows, cols), freed at the end of its scope.
template <Scalar T>
[[nodiscard]] Tensor<T> workspace(Memory& memory, Index rows, Index cols)
{
    return Tensor<T>(memory, Tag{Use::workspace, 0}, Shape{rows, cols});
}

/// A row of numbers that the host reads and writes itself: singular values and eigenvalues, what follows from them.
template <Scalar T>
[[nodiscard]] Tensor<T> host_row(Memory& memory, Index count)
{
    return workspace<T>(memory.host(), 1, count);
}

/// A copy under another tag, made by the storage S in the tensor's own memory; empty of an empty one.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> clone(const Tensor<T>& tensor, Tag tag)
{
    if (tensor.empty()) {
        return {};
    }
    Tensor<T> copy(tensor.memory(), tag, tensor.shape());
    S::copy(copy.matrix(), tensor.matrix());
    return copy;
}

}  // namespace wasi
