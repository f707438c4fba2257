#pragma once
#include <utility>

#include "wasi/nn/layer_setup.hpp"

namespace wasi::nn {

/// Rows first .. first + count of W (O,I) as numbers, whatever the form that holds it: a product is multiplied out,
/// anything else is applied to the identity. Booked as workspace. 2 count K I flops of a product. Throws shape_error
/// for rows that are not there.
template <Scalar T, class S>
[[nodiscard]] Tensor<T> dense_rows(const LinearWeight<T, S>& weight, Index first, Index count)
{
    Memory& memory = weight.memory();
    require<shape_error>(first >= 0 && count >= 0 && first + count <= weight.outputs(), "dense_rows: rows ", first,
                         " to ", first + count, " of ", weight.name(), " ", shape_text(weight.shape()));
    Tensor<T> rows = workspace<T>(memory, count, weight.inputs());
    if (weight.template held_as<DenseOptions>() != nullptr) {
        S::copy(rows.matrix(), weight.matrix().row_block(first, count));
    } else if (weight.is_low_rank()) {
        const auto product = weight.low_rank();
        S::multiply(rows.matrix(), T(1), product.left().row_block(first, count), product.right(), T(0), memory);
    } else {
        const Index width = weight.inputs();
        Tensor<T> identity = workspace<T>(memory, width, width);
        S::fill(identity.matrix(), T(0));
        S::fill(identity.matrix().diagonal(), T(1));
        Tensor<T> transposed = workspace<T>(memory, width, weight.outputs());
        static_cast<void>(weight.form().apply(transposed.matrix(), std::as_const(identity).matrix(), memory));
        S::copy(rows.matrix(), std::as_const(transposed).matrix().col_block(first, count).transposed());
    }
    return rows;
}

/// The weight held as a full matrix from now on, whatever held it before.
template <Scalar T, class S>
void make_dense(LinearWeight<T, S>& weight)
{
    if (weight.template held_as<DenseOptions>() != nullptr) {
        return;
    }
    Tensor<T> values = dense_rows(weight, 0, weight.outputs());
    values.reshape(weight.shape());
    values.rebook(weight.tag());
    weight.hold(empty_form(weight, DenseOptions::kind));
    weight.template held_as<DenseOptions>()->parameter.values = std::move(values);
}

}  // namespace wasi::nn
