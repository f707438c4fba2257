#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/recompute.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/nn/linear_weight.hpp"
#include "wasi/subspace/activation_subspace.hpp"
#include "wasi/subspace/low_rank_gradient.hpp"

namespace wasi::nn {

/// Y = X Wᵀ + b for X (B,N,I) or (B,I), W (O,I), b (O), with two independent choices:
///
///     weight held       dense, or low rank  W = L R:  Y = (X Rᵀ) Lᵀ + b,  dX = (dY L) R
///     input saved       exact X, or its Tucker factors, from which dW = P U_3ᵀ follows without X
///
/// vanilla = dense x exact, ASI = dense x Tucker, WSI = low rank x exact, WASI = low rank x Tucker, with a low-rank
/// weight in either of its forms (LowRankForm). The output and dX
/// are exact for the weight that is held; only dW feels the compression of X. Inputs are compressed only while a tape
/// records. The form of the weight gradient handed to the sink: Dense, Factored, FactorGradients, Factored in that
/// order. For WASI neither W nor dW is ever formed.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class Linear {
public:
    using Variable = autograd::Variable<T>;
    using Context = autograd::Context<T, S>;
    using Compressor = subspace::ActivationSubspace<T, S>;

    /// Parameters are named weight_name and bias_name; `layer` is the number under which the ledger books this layer.
    Linear(std::string weight_name, std::string bias_name, Memory& memory, Shape weight_shape, std::uint16_t layer)
        : weight(std::move(weight_name), memory, weight_shape, layer),
          bias(std::move(bias_name), memory, Shape{weight_shape[0]}),
          layer_(layer)
    {
    }

    LinearWeight<T, S> weight;
    autograd::DenseParameter<T> bias;

    [[nodiscard]] std::uint16_t layer() const { return layer_; }

    /// From now on the saved input is kept in a warm-started activation subspace.
    void compress_input(const subspace::ActivationSubspaceOptions& options, RandomKey key)
    {
        compressor_.emplace(options, key, bias.values.memory(), Tag{Use::optimiser_state, layer_});
    }
    /// From now on the input is saved exactly.
    void save_input_exactly() { compressor_.reset(); }
    /// The subspace of the saved input; nullptr when it is saved exactly.
    [[nodiscard]] const Compressor* compressor() const { return compressor_ ? &*compressor_ : nullptr; }

    /// Is shown the exact input X (B,N,I) and the gradient dY (B,N,O) of the output in every backward pass.
    using Observer = std::function<void(ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy)>;
    /// While there is an observer inputs are saved exactly, so no basis moves: for calibration. An empty one ends it.
    void observe(Observer observer) { observer_ = std::move(observer); }

    /// Y = X Wᵀ + b. `wanted`: whether Y itself is needed. With Output::rebuild a later operation that would save Y
    /// keeps X Rᵀ (B N K numbers) instead, from which Y = (X Rᵀ) Lᵀ + b is made again; a dense weight has nothing of
    /// the kind, and Y is kept. Throws shape_error unless the last extent of x is I.
    [[nodiscard]] Variable forward(const Context& context, const Variable& x,
                                   autograd::Wanted wanted = autograd::Wanted::value,
                                   autograd::Output output = autograd::Output::keep)
    {
        const auto in = x.value().matrix();
        require<shape_error>(in.cols == weight.inputs(), "Linear ", weight.name(), ": input ", shape_text(x.shape()),
                             " for a weight ", shape_text(weight.shape()));
        const bool any = x.wants_gradient() || weight.trainable() || bias.trainable();
        const bool record = context.tape != nullptr && any;
        autograd::SharedTensor<T> y;
        Tensor<T> inner;
        if (!record || wanted == autograd::Wanted::value) {
            y = std::make_shared<Tensor<T>>(context.make(x.shape().order() == 3
                                                             ? Shape{x.shape()[0], x.shape()[1], weight.outputs()}
                                                             : Shape{in.rows, weight.outputs()}));
            inner = apply(y->matrix(), in, context.memory);
        }
        if (!record) {
            return {std::move(y), nullptr};
        }
        std::vector<autograd::Parameter*> parameters;
        if (weight.trainable()) {
            parameters.push_back(&weight);
        }
        if (bias.trainable()) {
            parameters.push_back(&bias);
        }
        const Shape shape = y ? y->shape() : Shape{0};
        Variable result = context.tape->record(
            std::move(y), std::move(parameters),
            [this, saved = save(context, x), slot = x.slot(), extents = x.shape()](
                autograd::SharedTensor<T> dy, auto& pass) { this->backward(*dy, saved, slot, extents, pass); });
        if (output == autograd::Output::keep || inner.empty()) {
            return result;
        }
        const autograd::Saved<T, S> kept(context, Variable(std::move(inner)), Tag{Use::saved_activation, layer_});
        return std::move(result).with_recipe([this, kept, shape](Memory& memory) {
            auto again = std::make_shared<Tensor<T>>(memory, Tag{}, shape);
            finish(again->matrix(), std::as_const(*kept.get(memory)).matrix(), memory);
            return again;
        });
    }

private:
    /// What is kept of an input: nothing (the weight is frozen), itself, or its factors.
    struct Saved {
        autograd::Saved<T, S> exact;
        std::shared_ptr<tensor::Tucker<T, 3>> factors;
    };

    [[nodiscard]] static ConstTensorView<T, 3> as_three(const T* data, const Shape& shape)
    {
        return shape.order() == 3 ? ConstTensorView<T, 3>{data, {shape[0], shape[1], shape[2]}}
                                  : ConstTensorView<T, 3>{data, {shape[0], 1, shape[1]}};
    }

    [[nodiscard]] Saved save(const Context& context, const Variable& x)
    {
        const Tag tag{Use::saved_input, layer_};
        if (!weight.trainable()) {
            return {};
        }
        if (compressor_ && !observer_) {
            auto factors =
                std::make_shared<tensor::Tucker<T, 3>>(compressor_->compress(as_three(x.value().data(), x.shape())));
            factors->rebook(tag);
            return {{}, std::move(factors)};
        }
        return {autograd::Saved<T, S>(context, x, tag), nullptr};
    }

    /// Y = X Wᵀ + b. Returns X Rᵀ, empty for a dense weight.
    [[nodiscard]] Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        if (!weight.is_low_rank()) {
            S::multiply(y, T(1), x, weight.matrix().transposed(), T(0), memory);
            S::add_to_rows(y, std::as_const(bias.values).span());
            return {};
        }
        const auto factors = weight.low_rank();
        Tensor<T> inner = workspace<T>(memory, x.rows, factors.rank());
        S::multiply(inner.matrix(), T(1), x, factors.right().transposed(), T(0), memory);
        finish(y, std::as_const(inner).matrix(), memory);
        return inner;
    }

    /// Y = (X Rᵀ) Lᵀ + b from X Rᵀ.
    void finish(MatrixView<T> y, ConstMatrixView<T> inner, Memory& memory) const
    {
        S::multiply(y, T(1), inner, weight.low_rank().left().transposed(), T(0), memory);
        S::add_to_rows(y, std::as_const(bias.values).span());
    }

    template <class Pass>
    void backward(const Tensor<T>& dy, const Saved& saved, const std::shared_ptr<autograd::GradientSlot<T>>& slot,
                  const Shape& shape, Pass& pass)
    {
        Memory& memory = pass.memory();
        const auto upstream = dy.matrix();
        Tensor<T> inner;  // dY L
        if (weight.is_low_rank() && (slot || (weight.trainable() && !saved.exact.empty()))) {
            inner = workspace<T>(memory, upstream.rows, weight.rank());
            S::multiply(inner.matrix(), T(1), upstream, weight.low_rank().left(), T(0), memory);
        }
        if (slot) {
            Tensor<T> dx(memory, Tag{Use::gradient, 0}, shape);
            if (weight.is_low_rank()) {
                S::multiply(dx.matrix(), T(1), std::as_const(inner).matrix(), weight.low_rank().right(), T(0), memory);
            } else {
                S::multiply(dx.matrix(), T(1), upstream, std::as_const(weight).matrix(), T(0), memory);
            }
            pass.add(slot, std::move(dx));
        }
        if (bias.trainable()) {
            Tensor<T> sum(memory, Tag{Use::gradient, 0}, Shape{1, weight.outputs()});
            S::column_sums(sum.span(), upstream, memory);
            pass.deliver(bias, autograd::Dense<T>{std::as_const(sum).matrix()});
        }
        if (weight.trainable()) {
            const auto exact = saved.exact.empty() ? nullptr : saved.exact.get(memory);
            if (observer_ && exact) {
                observer_(as_three(exact->data(), shape), as_three(dy.data(), dy.shape()));
            }
            deliver_weight_gradient(dy, exact.get(), saved.factors.get(), std::move(inner), pass);
        }
    }

    template <class Pass>
    void deliver_weight_gradient(const Tensor<T>& dy, const Tensor<T>* exact, const tensor::Tucker<T, 3>* factors,
                                 Tensor<T> inner, Pass& pass)
    {
        Memory& memory = pass.memory();
        if (factors != nullptr) {
            Tensor<T> p = subspace::low_rank_gradient<S, T>(as_three(dy.data(), dy.shape()), *factors, memory);
            p.rebook(Tag{Use::gradient, layer_});
            pass.deliver(weight, linalg::Factored<T>{std::as_const(p).matrix(), factors->bases[2].matrix(), true});
            return;
        }
        const auto x = exact->matrix();
        if (weight.is_low_rank()) {
            // dR = (dY L)ᵀ X and dL = dYᵀ (X Rᵀ). X Rᵀ is made again: keeping it from the forward pass would cost B N K
            // more.
            Tensor<T> d_right(memory, Tag{Use::gradient, layer_}, Shape{weight.rank(), weight.inputs()});
            S::multiply(d_right.matrix(), T(1), std::as_const(inner).matrix().transposed(), x, T(0), memory);
            S::multiply(inner.matrix(), T(1), x, weight.low_rank().right().transposed(), T(0), memory);
            Tensor<T> d_left(memory, Tag{Use::gradient, layer_}, Shape{weight.outputs(), weight.rank()});
            S::multiply(d_left.matrix(), T(1), dy.matrix().transposed(), std::as_const(inner).matrix(), T(0), memory);
            inner.reset();
            pass.deliver(weight,
                         linalg::FactorGradients<T>{std::as_const(d_left).matrix(), std::as_const(d_right).matrix()});
            return;
        }
        Tensor<T> dw(memory, Tag{Use::gradient, layer_}, Shape{weight.outputs(), weight.inputs()});
        S::multiply(dw.matrix(), T(1), dy.matrix().transposed(), x, T(0), memory);
        pass.deliver(weight, autograd::Dense<T>{std::as_const(dw).matrix()});
    }

    std::uint16_t layer_;
    std::optional<Compressor> compressor_;
    Observer observer_;
};

WASI_COMPILED(WASI_NN_LINEAR)

}  // namespace wasi::nn
