#pragma once
#include <cmath>
#include <type_traits>
#include <variant>

#include "wasi/autograd/gradient.hpp"
#include "wasi/nn/parameters.hpp"

namespace wasi::optim {

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

/// ||g||² of a gradient in its form, for clipping. Dense and factored: ||dW||_F² (for a compressed input, of the
/// approximate dW). Factor gradients: ||P_T(dW)||_F², the part along the manifold of rank-K matrices, which is all that
/// a step uses. Throws argument_error for factor gradients of a dense parameter.
template <Scalar T, class S>
[[nodiscard]] double squared_norm(const nn::ParameterRef<T, S>& parameter, const autograd::Gradient<T>& gradient,
                                  Memory& memory)
{
    return std::visit(
        [&](const auto& form) {
            using Form = std::remove_cvref_t<decltype(form)>;
            if constexpr (std::same_as<Form, autograd::Dense<T>>) {
                return S::dot(form.values, form.values);
            } else if constexpr (std::same_as<Form, linalg::Factored<T>>) {
                return linalg::squared_norm<S, T>(form, memory);
            } else {
                const auto* subspace = parameter.subspace();
                require<argument_error>(subspace != nullptr, "squared_norm: factor gradients for the dense parameter ",
                                        parameter.name());
                return subspace->factors.squared_norm(form);
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

/// The factor by which torch.nn.utils.clip_grad_norm_ scales gradients of norm `norm`: min(1, limit / (norm + 1e-6)); 1
/// when `limit` is 0 (off).
[[nodiscard]] inline double clip_factor(double norm, double limit)
{
    return limit <= 0.0 ? 1.0 : std::min(1.0, limit / (norm + 1e-6));
}

}  // namespace wasi::optim
