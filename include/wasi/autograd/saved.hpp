#pragma once
#include <memory>
#include <utility>

#include "wasi/autograd/tape.hpp"
#include "wasi/storage/packed_tensor.hpp"

namespace wasi::autograd {

/// Books a value that a node keeps as saved, unless another node has booked it already.
template <Scalar T>
void book_saved(Tensor<T>& value, Tag tag = {Use::saved_activation, 0})
{
    if (value.tag().use == Use::workspace) {
        value.rebook(tag);
    }
}

/// What becomes of an operation's output that a later operation wants to save: it is kept, or it is made again, the
/// same bits, from what this operation has saved anyway (costs the operation once more in the backward pass).
enum class Output { keep, rebuild };

/// What a node keeps of a value between the forward and the backward pass: the value itself (shared, not copied), its
/// numbers in fewer bits where the context says so, or the recipe that makes it again where the value has one.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class Saved {
public:
    /// Keeps nothing.
    Saved() = default;
    /// `tag`: how the ledger books what is kept here; a recipe has booked what it keeps itself.
    Saved(const Context<T, S>& context, const Variable<T>& x, Tag tag = {Use::saved_activation, 0}) : shape_(x.shape())
    {
        if (x.recipe()) {
            recipe_ = x.recipe();
        } else if (context.saved_as == Precision::full) {
            book_saved(*x.shared(), tag);
            exact_ = x.shared();
        } else {
            packed_ = std::make_shared<PackedTensor>(context.memory, tag, x.shape(), Packing{context.saved_as});
            S::pack(packed_->view(), x.value().matrix(), context.rounding_key());
        }
    }

    [[nodiscard]] bool empty() const { return !exact_ && !packed_ && !recipe_; }
    [[nodiscard]] const Shape& shape() const { return shape_; }

    /// The value: the kept one, not to be changed, or one made now as workspace.
    [[nodiscard]] SharedTensor<T> get(Memory& memory) const
    {
        if (exact_) {
            return exact_;
        }
        if (recipe_) {
            return (*recipe_)(memory);
        }
        auto value = std::make_shared<Tensor<T>>(memory, Tag{}, shape_);
        S::unpack(value->matrix(), std::as_const(*packed_).view());
        return value;
    }

private:
    Shape shape_;
    SharedTensor<T> exact_;
    std::shared_ptr<PackedTensor> packed_;
    std::shared_ptr<const Recipe<T>> recipe_;
};

}  // namespace wasi::autograd
