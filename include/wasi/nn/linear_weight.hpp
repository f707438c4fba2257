#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/weights/dense.hpp"

namespace wasi::nn {

/// The weight of a linear layer, (O,I): its name, its extents, and the form that holds it now. The choice is made at
/// run time and may differ by layer, so a model's type does not change with the method. It holds nothing at first; a
/// dense block is made, values not set, when dense() is first asked for. A change of form makes new parameters: set
/// layers up before sinks are made.
template <Scalar T, class S>
requires StorageFor<S, T>
class LinearWeight {
public:
    LinearWeight(std::string name, Memory& memory, Shape shape, std::uint16_t layer)
        : name_(std::move(name)),
          memory_(&memory),
          shape_(shape),
          tag_{Use::weight, layer},
          form_(std::make_unique<DenseWeight<T, S>>(name_, memory, shape, tag_))
    {
    }
    LinearWeight(const LinearWeight&) = delete;
    LinearWeight& operator=(const LinearWeight&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] Index outputs() const { return shape_[0]; }
    [[nodiscard]] Index inputs() const { return shape_.size() / shape_[0]; }
    [[nodiscard]] const Shape& shape() const { return shape_; }
    [[nodiscard]] Tag tag() const { return tag_; }
    [[nodiscard]] Memory& memory() const { return *memory_; }

    [[nodiscard]] WeightForm<T, S>& form() { return *form_; }
    [[nodiscard]] const WeightForm<T, S>& form() const { return *form_; }
    /// The form that these options are for, nullptr when it is another: weight.template held_as<SubspaceOptions>().
    template <class Options>
    [[nodiscard]] auto* held_as()
    {
        return dynamic_cast<typename Options::template Form<T, S>*>(form_.get());
    }
    template <class Options>
    [[nodiscard]] const auto* held_as() const
    {
        return dynamic_cast<const typename Options::template Form<T, S>*>(form_.get());
    }
    /// Held so from now on.
    void hold(std::unique_ptr<WeightForm<T, S>> form)
    {
        form->set_trainable(trainable_);
        form_ = std::move(form);
    }

    /// A frozen weight gets no gradient, and nothing is saved for it.
    [[nodiscard]] bool trainable() const { return trainable_; }
    void set_trainable(bool trainable)
    {
        trainable_ = trainable;
        form_->set_trainable(trainable);
    }

    /// Whether W is a product L R.
    [[nodiscard]] bool is_low_rank() const { return form_->factors().has_value(); }
    /// K, or 0 of a full matrix.
    [[nodiscard]] Index rank() const { return form_->rank(); }
    [[nodiscard]] std::size_t bytes() const { return form_->bytes(); }

    /// The dense values. Throws argument_error when it is held otherwise.
    [[nodiscard]] Tensor<T>& dense() { return require_dense(held_as<DenseOptions>())->values(); }
    [[nodiscard]] const Tensor<T>& dense() const { return require_dense(held_as<DenseOptions>())->parameter.values; }
    /// The dense values as (O,I). Throws argument_error when it is held otherwise or holds nothing yet.
    [[nodiscard]] MatrixView<T> matrix() { return MatrixView<T>::row_major(dense().data(), outputs(), inputs()); }
    [[nodiscard]] ConstMatrixView<T> matrix() const { return require_dense(held_as<DenseOptions>())->matrix(); }
    /// The factors. Throws argument_error when W is no product.
    [[nodiscard]] LowRankView<T> low_rank() const
    {
        const auto factors = form_->factors();
        require<argument_error>(factors.has_value(), "LinearWeight: ", name(), " is dense, it has no factors");
        return *factors;
    }

private:
    template <class Held>
    [[nodiscard]] Held* require_dense(Held* held) const
    {
        require<argument_error>(held != nullptr, "LinearWeight: ", name(), " is not dense");
        return held;
    }

    std::string name_;
    Memory* memory_;
    Shape shape_;
    Tag tag_;
    bool trainable_ = true;
    std::unique_ptr<WeightForm<T, S>> form_;
};

WASI_COMPILED(WASI_NN_LINEAR_WEIGHT)

}  // namespace wasi::nn
