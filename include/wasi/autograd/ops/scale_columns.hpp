#pragma once
#include <utility>
#include <vector>

#include "wasi/autograd/saved.hpp"

namespace wasi::autograd {

/// y = x diag(gain), the last index by D learned factors: layer scale (Touvron et al. 2021). Saves x where the factors
/// are trained. Throws shape_error unless gain has the extent of the last index.
template <Scalar T, class S>
[[nodiscard]] Variable<T> scale_columns(const Context<T, S>& context, Variable<T> x, DenseParameter<T>& gain)
{
    require<shape_error>(gain.values.size() == x.shape().back(), "scale_columns: x ", shape_text(x.shape()),
                         " and gain ", shape_text(gain.values.shape()), " do not fit");
    const auto slot = x.slot();
    const bool record = context.tape != nullptr && (slot != nullptr || gain.trainable());
    Saved<T, S> saved;
    if (record && gain.trainable()) {
        saved = Saved<T, S>(context, x);
    }
    SharedTensor<T> y = x.take_exclusive();
    if (!y) {
        y = std::make_shared<Tensor<T>>(context.make(x.shape()));
        S::copy(y->matrix(), x.value().matrix());
    }
    S::scale_columns(y->matrix(), std::as_const(gain.values).span());
    if (!record) {
        return {std::move(y), nullptr};
    }
    std::vector<Parameter*> parameters;
    if (gain.trainable()) {
        parameters.push_back(&gain);
    }
    return context.tape->record(
        std::move(y), std::move(parameters), [saved = std::move(saved), slot, &gain](SharedTensor<T> dy, auto& pass) {
            Memory& memory = pass.memory();
            Tensor<T> dgain;
            if (!saved.empty()) {  // the column sums of dy x
                Tensor<T> product(memory, Tag{}, dy->shape());
                S::copy(product.matrix(), std::as_const(*dy).matrix());
                S::multiply_elements(product.matrix(), std::as_const(*saved.get(memory)).matrix());
                dgain = Tensor<T>(memory, Tag{Use::gradient, 0}, Shape{1, gain.values.size()});
                S::column_sums(dgain.span(), std::as_const(product).matrix(), memory);
            }
            if (slot) {
                SharedTensor<T> dx = pass.writable(std::move(dy));
                S::scale_columns(dx->matrix(), std::as_const(gain.values).span());
                pass.add(slot, std::move(dx));
            }
            if (!dgain.empty()) {
                pass.deliver(gain, Dense<T>{std::as_const(dgain).matrix()});
            }
        });
}

}  // namespace wasi::autograd
