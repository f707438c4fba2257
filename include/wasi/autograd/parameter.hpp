#pragma once
#include <string>
#include <utility>

#include "wasi/storage/tensor.hpp"

namespace wasi::autograd {

/// The identity of something that is trained: what a sink is told together with a gradient. Its address is its
/// identity within a run, its name from one run to another; it neither moves nor copies. How the values are held is the
/// business of who derives from it.
class Parameter {
public:
    explicit Parameter(std::string name) : name_(std::move(name)) {}
    Parameter(const Parameter&) = delete;
    Parameter& operator=(const Parameter&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    /// A frozen parameter gets no gradient, and nothing is saved for it.
    [[nodiscard]] bool trainable() const { return trainable_; }
    void set_trainable(bool trainable) { trainable_ = trainable; }

protected:
    ~Parameter() = default;

private:
    std::string name_;
    bool trainable_ = true;
};

/// A parameter held as a plain tensor.
template <Scalar T>
class DenseParameter final : public Parameter {
public:
    /// Values not set.
    DenseParameter(std::string name, Memory& memory, Shape shape)
        : Parameter(std::move(name)), values(memory, Tag{Use::weight, 0}, shape)
    {
    }
    /// Takes values as they are, perhaps none yet. `share`: see decay_share.
    DenseParameter(std::string name, Tensor<T> taken, double share = 1.0)
        : Parameter(std::move(name)), values(std::move(taken)), decay_share(share)
    {
    }

    /// As optimisers see it: the first extent by all the others, one row where there is only one extent.
    [[nodiscard]] MatrixView<T> matrix()
    {
        const Index rows = values.shape().order() > 1 ? values.shape()[0] : 1;
        return MatrixView<T>::row_major(values.data(), rows, values.size() / rows);
    }

    Tensor<T> values;
    /// The share of an optimiser's weight decay that is this parameter's: 1/2 for each factor of a product, so that the
    /// product decays as a dense weight would.
    double decay_share = 1.0;
};

}  // namespace wasi::autograd
