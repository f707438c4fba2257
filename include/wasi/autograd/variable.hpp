#pragma once
#include <functional>
#include <memory>
#include <utility>

#include "wasi/storage/tensor.hpp"

namespace wasi::autograd {

/// A gradient on its way: shared, so that a sum can hand the same one to both of its terms without a copy.
template <Scalar T>
using SharedTensor = std::shared_ptr<Tensor<T>>;

/// Makes a value again, the same bits, from less than the value itself. Good until the parameters it reads are changed,
/// which happens only after the last node that may ask has had its turn.
template <Scalar T>
using Recipe = std::function<SharedTensor<T>(Memory&)>;

/// Where the gradient of one value gathers during the backward pass.
template <Scalar T>
struct GradientSlot {
    SharedTensor<T> gradient;
};

/// A value in the graph: the elements, the slot of its gradient if anything upstream wants one, and perhaps a recipe:
/// who would save the value then keeps the recipe instead. A cheap handle. The elements live as long as a handle or a
/// node that saved them does: drop handles early and the memory goes early.
template <Scalar T>
class Variable {
public:
    Variable() = default;
    Variable(SharedTensor<T> value, std::shared_ptr<GradientSlot<T>> slot)
        : value_(std::move(value)), slot_(std::move(slot))
    {
    }

    /// A constant: no gradient is wanted.
    explicit Variable(Tensor<T> value) : value_(std::make_shared<Tensor<T>>(std::move(value))) {}

    /// A leaf whose gradient can be read after backward().
    [[nodiscard]] static Variable leaf(Tensor<T> value)
    {
        return {std::make_shared<Tensor<T>>(std::move(value)), std::make_shared<GradientSlot<T>>()};
    }

    /// False where only the gradient matters, because nobody reads the value: see `recomputed`.
    [[nodiscard]] bool has_value() const { return value_ != nullptr; }
    [[nodiscard]] const Tensor<T>& value() const { return *value_; }
    [[nodiscard]] const Shape& shape() const { return value_->shape(); }
    [[nodiscard]] const SharedTensor<T>& shared() const { return value_; }
    [[nodiscard]] const std::shared_ptr<GradientSlot<T>>& slot() const { return slot_; }
    [[nodiscard]] bool wants_gradient() const { return slot_ != nullptr; }
    /// The gradient after backward(); nullptr when none arrived.
    [[nodiscard]] const Tensor<T>* gradient() const { return slot_ ? slot_->gradient.get() : nullptr; }

    [[nodiscard]] const std::shared_ptr<const Recipe<T>>& recipe() const { return recipe_; }
    [[nodiscard]] Variable with_recipe(Recipe<T> recipe) &&
    {
        recipe_ = std::make_shared<const Recipe<T>>(std::move(recipe));
        return std::move(*this);
    }

    /// Gives up the elements if no other handle and no node holds them, for operations that then work in place; else
    /// nullptr, and the handle is as it was.
    [[nodiscard]] SharedTensor<T> take_exclusive() { return value_.use_count() == 1 ? std::move(value_) : nullptr; }

private:
    SharedTensor<T> value_;
    std::shared_ptr<GradientSlot<T>> slot_;
    std::shared_ptr<const Recipe<T>> recipe_;
};

}  // namespace wasi::autograd
