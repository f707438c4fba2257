#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "wasi/autograd/gradient.hpp"
#include "wasi/nn/linear_weight.hpp"

namespace wasi::optim {

/// A parameter together with how it is held: what an optimiser needs to change it.
template <Scalar T, class S>
class ParameterRef {
public:
    explicit ParameterRef(autograd::DenseParameter<T>& parameter) : held_(&parameter) {}
    explicit ParameterRef(nn::LinearWeight<T, S>& weight) : held_(&weight) {}

    [[nodiscard]] autograd::Parameter& identity() const
    {
        return std::visit([](auto* held) -> autograd::Parameter& { return *held; }, held_);
    }

    /// The factors with orthonormal L that the method trains; nullptr when the parameter is held otherwise.
    [[nodiscard]] subspace::WeightSubspace<T, S>* weight_subspace() const
    {
        auto* const* weight = std::get_if<nn::LinearWeight<T, S>*>(&held_);
        return weight != nullptr ? (*weight)->weight_subspace() : nullptr;
    }

    /// The free factors, two ordinary parameters; nullptr when the parameter is held otherwise.
    [[nodiscard]] subspace::FreeFactors<T, S>* free_factors() const
    {
        auto* const* weight = std::get_if<nn::LinearWeight<T, S>*>(&held_);
        return weight != nullptr ? (*weight)->free_factors() : nullptr;
    }

    /// The dense values, as (O,I) for a weight and one row for anything else. Throws argument_error when held low rank.
    [[nodiscard]] MatrixView<T> dense() const
    {
        if (auto* const* weight = std::get_if<nn::LinearWeight<T, S>*>(&held_)) {
            require<argument_error>(!(*weight)->is_low_rank(), "ParameterRef: ", (*weight)->name(),
                                    " is held low rank");
            return (*weight)->matrix();
        }
        auto& values = std::get<autograd::DenseParameter<T>*>(held_)->values;
        return MatrixView<T>::row_major(values.data(), 1, values.size());
    }

    [[nodiscard]] Tag state_tag() const
    {
        auto* const* weight = std::get_if<nn::LinearWeight<T, S>*>(&held_);
        return {Use::optimiser_state, weight != nullptr ? (*weight)->tag().layer : std::uint16_t{0}};
    }

private:
    std::variant<autograd::DenseParameter<T>*, nn::LinearWeight<T, S>*> held_;
};

/// The trainable parameters of a model, in its order. Anything with for_each_parameter will do.
template <Scalar T, class S, class Model>
[[nodiscard]] std::vector<ParameterRef<T, S>> trainable_parameters(Model& model)
{
    std::vector<ParameterRef<T, S>> result;
    model.for_each_parameter([&](auto& parameter) {
        if (parameter.trainable()) {
            result.emplace_back(parameter);
        }
    });
    return result;
}

/// A dense gradient in the shape of the values: a bias's or a token's gradient may come as rows.
template <Scalar T>
[[nodiscard]] ConstMatrixView<T> shaped_like(ConstMatrixView<T> gradient,
                                             const std::type_identity_t<ConstMatrixView<T>>& values)
{
    require<shape_error>(gradient.size() == values.size() && gradient.is_contiguous(), "optimiser: a gradient ",
                         shape_text(gradient.shape()), " for values ", shape_text(values.shape()));
    return gradient.shape() == values.shape() ? gradient
                                              : ConstMatrixView<T>::row_major(gradient.data, values.rows, values.cols);
}

/// The gradients dL (O,K) and dR (K,I) of free factors, each that of an ordinary parameter, from a gradient in either
/// form that a low-rank weight gets. Lives no longer than the gradient. From P Qᵀ they are made, 4 (O + I) K r flops.
template <Scalar T, class S>
class FreeGradients {
public:
    /// Throws argument_error for a dense gradient, shape_error for one that does not fit the factors.
    FreeGradients(const ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient, Memory& memory)
    {
        const subspace::FreeFactors<T, S>& factors = *parameter.free_factors();
        if (const auto* partial = std::get_if<linalg::FactorGradients<T>>(&gradient)) {
            require<shape_error>(partial->d_left.shape() == factors.left().shape() &&
                                     partial->d_right.shape() == factors.right().shape(),
                                 "optimiser: gradients ", shape_text(partial->d_left.shape()), " and ",
                                 shape_text(partial->d_right.shape()), " for the free factors ",
                                 shape_text(factors.left().shape()), " and ", shape_text(factors.right().shape()),
                                 " of ", parameter.identity().name());
            view_ = *partial;
            return;
        }
        const auto* factored = std::get_if<linalg::Factored<T>>(&gradient);
        require<argument_error>(factored != nullptr, "optimiser: a dense gradient for the low-rank weight ",
                                parameter.identity().name());
        const Tag tag{Use::gradient, parameter.state_tag().layer};
        left_ = Tensor<T>(memory, tag, Shape{factors.outputs(), factors.rank()});
        right_ = Tensor<T>(memory, tag, Shape{factors.rank(), factors.inputs()});
        factors.partial_gradients(left_.matrix(), right_.matrix(), *factored);
        view_ = {std::as_const(left_).matrix(), std::as_const(right_).matrix()};
    }

    [[nodiscard]] ConstMatrixView<T> d_left() const { return view_.d_left; }
    [[nodiscard]] ConstMatrixView<T> d_right() const { return view_.d_right; }

private:
    Tensor<T> left_;
    Tensor<T> right_;
    linalg::FactorGradients<T> view_{};
};

/// ||g||² of a gradient in its form, for clipping. Dense and factored: ||dW||_F² (for a compressed input, of the
/// approximate dW). Factor gradients: ||P_T(dW)||_F², the part along the manifold of rank-K matrices, which is all that
/// a step uses. Free factors, in every form: ||dL||_F² + ||dR||_F², they are ordinary parameters.
template <Scalar T, class S>
[[nodiscard]] double squared_norm(const ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient,
                                  Memory& memory)
{
    if (parameter.free_factors() != nullptr) {
        const FreeGradients<T, S> gradients(parameter, gradient, memory);
        return S::dot(gradients.d_left(), gradients.d_left()) + S::dot(gradients.d_right(), gradients.d_right());
    }
    return std::visit(
        [&](const auto& form) {
            using Form = std::remove_cvref_t<decltype(form)>;
            if constexpr (std::same_as<Form, autograd::Dense<T>>) {
                return S::dot(form.values, form.values);
            } else if constexpr (std::same_as<Form, linalg::Factored<T>>) {
                return linalg::squared_norm<S, T>(form, memory);
            } else {
                const auto* factors = parameter.weight_subspace();
                require<argument_error>(factors != nullptr, "squared_norm: factor gradients for the dense parameter ",
                                        parameter.identity().name());
                return factors->squared_norm(form);
            }
        },
        gradient);
}

/// Whether every number of a gradient, in its form, is finite.
template <Scalar T, class S>
[[nodiscard]] bool all_finite(const autograd::Gradient<T>& gradient)
{
    return std::visit(
        [](const auto& form) {
            using Form = std::remove_cvref_t<decltype(form)>;
            if constexpr (std::same_as<Form, autograd::Dense<T>>) {
                return S::all_finite(form.values);
            } else if constexpr (std::same_as<Form, linalg::Factored<T>>) {
                return S::all_finite(form.p) && S::all_finite(form.q);
            } else {
                return S::all_finite(form.d_left) && S::all_finite(form.d_right);
            }
        },
        gradient);
}

}  // namespace wasi::optim
