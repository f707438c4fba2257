#pragma once
#include <string>
#include <utility>
#include <variant>

#include "wasi/linalg/factored.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::autograd {

/// A gradient as a plain matrix.
template <Scalar T>
struct Dense {
    ConstMatrixView<T> values;
};

/// A parameter's gradient in the form in which it is cheapest to make. A view, valid only while it is handed over.
template <Scalar T>
using Gradient = std::variant<Dense<T>, linalg::Factored<T>, linalg::FactorGradients<T>>;

/// The identity of something that is trained: what a sink is told together with a gradient. Its address is its
/// identity, so it neither moves nor copies. How the values are held is the business of who derives from it.
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
    DenseParameter(std::string name, Memory& memory, Shape shape)
        : Parameter(std::move(name)), values(memory, Tag{Use::weight, 0}, shape)
    {
    }
    Tensor<T> values;
};

/// Where finished gradients go, once a parameter and backward pass, after its last use and after the input gradients
/// that need the parameter's old value. A sink may change the parameter on the spot.
template <Scalar T>
class Sink {
public:
    Sink() = default;
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    virtual ~Sink() = default;
    virtual void take(Parameter& parameter, const Gradient<T>& gradient) = 0;
};

}  // namespace wasi::autograd
