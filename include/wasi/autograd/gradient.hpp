#pragma once
#include <variant>

#include "wasi/autograd/parameter.hpp"
#include "wasi/linalg/factored.hpp"

namespace wasi::autograd {

/// A gradient as a plain matrix.
template <Scalar T>
struct Dense {
    ConstMatrixView<T> values;
};

/// A parameter's gradient in the form in which it is cheapest to make: dW as it is; dW = P Qᵀ; or dL = dW Rᵀ and
/// dR = Lᵀ dW of a parameter W = L R. A view, valid only while it is handed over.
template <Scalar T>
using Gradient = std::variant<Dense<T>, linalg::Factored<T>, linalg::FactorGradients<T>>;

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
