#pragma once
#include <doctest/doctest.h>

#include <functional>
#include <utility>
#include <vector>

#include <support/central_differences.hpp>
#include <support/recording_sink.hpp>
#include <wasi/autograd/ops/elementwise.hpp>
#include <wasi/core/random.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi_tests {

using Real = double;
using Variable = wasi::autograd::Variable<Real>;
using Context = wasi::autograd::Context<Real, wasi::EigenStorage>;
using Tape = wasi::autograd::Tape<Real, wasi::EigenStorage>;
using DenseParameter = wasi::autograd::DenseParameter<Real>;

/// Independent normal elements, each at least 0.05 away from zero: far enough from the kink of relu.
template <class T = Real>
[[nodiscard]] wasi::Tensor<T> random_tensor(wasi::Memory& memory, wasi::Shape shape, std::uint64_t seed)
{
    wasi::Tensor<T> result(memory, {}, shape);
    const wasi::RandomKey key(seed);
    for (Index i = 0; i < result.size(); ++i) {
        const double value = key.normal(static_cast<std::uint64_t>(i));
        result.data()[i] = static_cast<T>(value + (value < 0.0 ? -0.05 : 0.05));
    }
    return result;
}

inline void randomize(DenseParameter& parameter, std::uint64_t seed)
{
    parameter.values = random_tensor(parameter.values.memory(), parameter.values.shape(), seed);
}

/// A function of tensors and parameters, checked against central differences of sum_i c_i y_i, c random.
struct Graph {
    using Forward = std::function<Variable(const Context&, const std::vector<Variable>&)>;

    wasi::Memory& memory;
    std::vector<wasi::Tensor<Real>> inputs;
    std::vector<DenseParameter*> parameters;
    Forward forward;

    /// sum_i c_i y_i without a tape.
    [[nodiscard]] double value() const
    {
        std::vector<Variable> constants;
        for (const auto& input : inputs) {
            constants.emplace_back(wasi::clone<wasi::EigenStorage>(input, wasi::Tag{}));
        }
        const Variable y = forward({memory, nullptr}, constants);
        const auto weights = random_tensor(memory, y.shape(), 99);
        double sum = 0.0;
        for (Index i = 0; i < y.value().size(); ++i) {
            sum += weights.data()[i] * y.value().data()[i];
        }
        return sum;
    }

    /// The gradients of the inputs; those of parameters go to the sink.
    [[nodiscard]] std::vector<std::vector<double>> backward(wasi::autograd::Sink<Real>& sink) const
    {
        Tape tape(memory);
        const Context context{memory, &tape};
        std::vector<Variable> leaves;
        for (const auto& input : inputs) {
            leaves.push_back(Variable::leaf(wasi::clone<wasi::EigenStorage>(input, wasi::Tag{})));
        }
        {
            const Variable y = forward(context, leaves);
            const Variable weights(random_tensor(memory, y.shape(), 99));
            tape.backward(wasi::autograd::multiply(context, y, weights), sink);
        }
        std::vector<std::vector<double>> result;
        for (const auto& leaf : leaves) {
            REQUIRE(leaf.gradient() != nullptr);
            CHECK(leaf.gradient()->shape() == leaf.shape());
            result.push_back(elements(leaf.gradient()->matrix()));
        }
        return result;
    }

    /// Every input and every trainable parameter, each within 1e-8 of central differences (relative, by norm).
    void check()
    {
        RecordingSink<Real> sink;
        const auto gradients = backward(sink);
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            CAPTURE(i);
            const auto wanted = central_differences(inputs[i].span(), [&] { return value(); });
            CHECK(relative_distance(gradients[i], wanted) <= 1e-8);
        }
        for (DenseParameter* parameter : parameters) {
            CAPTURE(parameter->name());
            if (!parameter->trainable()) {
                CHECK_FALSE(sink.has(parameter->name()));
                continue;
            }
            REQUIRE(sink.has(parameter->name()));
            CHECK(sink.at(parameter->name()).count == 1);
            const auto wanted = central_differences(parameter->values.span(), [&] { return value(); });
            CHECK(relative_distance(sink.at(parameter->name()).dense, wanted) <= 1e-8);
        }
    }
};

}  // namespace wasi_tests
