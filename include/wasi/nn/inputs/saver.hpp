#pragma once
#include <functional>
#include <memory>
#include <utility>

#include "wasi/autograd/saved.hpp"
#include "wasi/linalg/factored.hpp"
#include "wasi/storage/state.hpp"

namespace wasi::nn {

/// An input X kept in another form than its numbers, from which dW = dYᵀ X = P Qᵀ follows.
template <Scalar T, class S>
class FactoredInput {
public:
    FactoredInput() = default;
    FactoredInput(const FactoredInput&) = delete;
    FactoredInput& operator=(const FactoredInput&) = delete;
    virtual ~FactoredInput() = default;

    /// P (O,r) from dY (B,N,O).
    [[nodiscard]] virtual Tensor<T> left(ConstTensorView<T, 3> dy, Memory& memory) const = 0;
    /// Q (I,r), which need not be orthonormal.
    [[nodiscard]] virtual ConstMatrixView<T> right() const = 0;
    [[nodiscard]] virtual bool right_is_orthonormal() const = 0;
};

/// Is shown the exact input X (B,N,I) of a layer and the gradient dY (B,N,O) of its output in every backward pass.
template <Scalar T>
using InputObserver = std::function<void(ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy)>;

/// What is kept of an input: nothing, its numbers, or a form of it. One of the first two is empty.
template <Scalar T, class S>
struct SavedInput {
    autograd::Saved<T, S> exact;
    std::shared_ptr<const FactoredInput<T, S>> factored;
    std::shared_ptr<const InputObserver<T>> observer;  ///< of exact inputs; mostly null
};

/// Extents (B,N,I) as three; a matrix (B,I) is (B,1,I).
template <Scalar T>
[[nodiscard]] ConstTensorView<T, 3> as_three(const T* data, const Shape& shape)
{
    return shape.order() == 3 ? ConstTensorView<T, 3>{data, {shape[0], shape[1], shape[2]}}
                              : ConstTensorView<T, 3>{data, {shape[0], 1, shape[1]}};
}

/// A way to keep the input of a linear layer until the backward pass. One file each in this folder, listed in
/// inputs.hpp; a saver is a class
///
///     template <Scalar T, class S> class Saver final : public InputSaver<T, S>
///         static std::unique_ptr<InputSaver<T, S>> start(const Options&, RandomKey, Memory&, std::uint16_t layer)
///         Options options() const             which start() would make this from; where Options says anything
///
/// with `struct Options { static constexpr std::string_view kind; template <..> using Saver = ...; ... }`.
template <Scalar T, class S>
class InputSaver {
public:
    InputSaver() = default;
    InputSaver(const InputSaver&) = delete;
    InputSaver& operator=(const InputSaver&) = delete;
    virtual ~InputSaver() = default;

    /// Only called while a tape records.
    [[nodiscard]] virtual SavedInput<T, S> save(const autograd::Context<T, S>& context, const autograd::Variable<T>& x,
                                                Tag tag) = 0;
    virtual void state(State&) {}
};

}  // namespace wasi::nn
