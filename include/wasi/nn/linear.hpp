#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/recompute.hpp"
#include "wasi/nn/compiled.hpp"
#include "wasi/nn/inputs/exact.hpp"
#include "wasi/nn/linear_weight.hpp"

namespace wasi::nn {

/// Is shown what passes through a layer: for whoever measures, never for what is computed. Each may be empty.
template <Scalar T>
struct LayerObserver {
    /// In every forward pass: X (m,I) and Y (m,O), Y empty where only its gradient is wanted.
    std::function<void(ConstMatrixView<T> x, ConstMatrixView<T> y)> forward;
    /// In every backward pass that reaches the layer: dY (m,O).
    std::function<void(ConstMatrixView<T> dy)> backward;
};

/// Y = X Wᵀ + b for X (B,N,I) or (B,I), W (O,I), b (O), with two independent choices: how the weight is held (a
/// WeightForm) and how the input is saved (an InputSaver). Any form meets any saver through two cases only: the saver
/// gives X itself, or dW = P Qᵀ without it.
///
/// vanilla = dense x exact, ASI = dense x Tucker, WSI = subspace x exact, WASI = subspace x Tucker. The output and dX
/// are exact for the weight that is held; only dW feels the compression of X. Inputs are compressed only while a tape
/// records. For WASI neither W nor dW is ever formed.
template <Scalar T, class S>
requires NeuralStorageFor<S, T>
class Linear {
public:
    using Variable = autograd::Variable<T>;
    using Context = autograd::Context<T, S>;
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

    [[nodiscard]] const InputSaver<T, S>& input() const { return *saver_; }
    [[nodiscard]] InputSaver<T, S>& input() { return *saver_; }
    /// Inputs are saved so from now on. Returns how they were saved, to be put back perhaps.
    std::unique_ptr<InputSaver<T, S>> save_input_with(std::unique_ptr<InputSaver<T, S>> saver)
    {
        std::swap(saver, saver_);
        return saver;
    }
    /// Shown to this one from now on; nullptr: to nobody. A step that is forecast or resumed knows nothing of it.
    void observe(std::shared_ptr<const LayerObserver<T>> observer) { observer_ = std::move(observer); }
    /// The saver that these options are for, nullptr when it is another: layer.template saves_with<TuckerOptions>().
    template <class Options>
    [[nodiscard]] const auto* saves_with() const
    {
        return dynamic_cast<const typename Options::template Saver<T, S>*>(saver_.get());
    }

    /// Y = X Wᵀ + b. `wanted`: whether Y itself is needed. With Output::rebuild a later operation that would save Y
    /// keeps X Rᵀ (B N K numbers) instead, from which Y = (X Rᵀ) Lᵀ + b is made again; a dense weight has nothing of
    /// the kind, and Y is kept. Throws shape_error unless x is (B,N,I) or (B,I).
    [[nodiscard]] Variable forward(const Context& context, const Variable& x,
                                   autograd::Wanted wanted = autograd::Wanted::value,
                                   autograd::Output output = autograd::Output::keep)
    {
        const auto in = x.value().matrix();
        require<shape_error>(in.cols == weight.inputs() && (x.shape().order() == 2 || x.shape().order() == 3),
                             "Linear ", weight.name(), ": input ", shape_text(x.shape()), " for a weight ",
                             shape_text(weight.shape()));
        const Needs needs = weight.form().needs();
        const bool any = x.wants_gradient() || needs != Needs::nothing || bias.trainable();
        const bool record = context.tape != nullptr && any;
        autograd::SharedTensor<T> y;
        Tensor<T> inner;
        if (!record || wanted == autograd::Wanted::value || needs == Needs::inner) {
            y = std::make_shared<Tensor<T>>(context.make(x.shape().order() == 3
                                                             ? Shape{x.shape()[0], x.shape()[1], weight.outputs()}
                                                             : Shape{in.rows, weight.outputs()}));
            inner = weight.form().apply(y->matrix(), in, context.memory);
            S::add_to_rows(y->matrix(), std::as_const(bias.values).span());
        }
        if (observer_ && observer_->forward) {
            observer_->forward(in, y ? std::as_const(*y).matrix() : ConstMatrixView<T>{});
        }
        if (!record) {
            return {std::move(y), nullptr};
        }
        const Tag tag{Use::saved_input, layer_};
        const Shape shape = y ? y->shape() : Shape{0};
        Saved saved;
        if (needs == Needs::input) {
            saved.input = saver_->save(context, x, tag);
        }
        autograd::Saved<T, S> kept;
        const bool again = output == autograd::Output::rebuild && weight.form().finishes();
        if (!inner.empty() && (needs == Needs::inner || again)) {
            kept = autograd::Saved<T, S>(context, Variable(std::move(inner)),
                                         again ? Tag{Use::saved_activation, layer_} : tag);
        }
        if (needs == Needs::inner) {
            saved.inner = kept;
        }
        Variable result = context.tape->record(
            std::move(y), trained_parameters(),
            [this, saved = std::move(saved), slot = x.slot(), extents = x.shape()](
                autograd::SharedTensor<T> dy, auto& pass) { this->backward(*dy, saved, slot, extents, pass); });
        if (!again || kept.empty()) {
            return result;
        }
        return std::move(result).with_recipe([this, kept, shape](Memory& memory) {
            auto made = std::make_shared<Tensor<T>>(memory, Tag{}, shape);
            weight.form().finish(made->matrix(), std::as_const(*kept.get(memory)).matrix(), memory);
            S::add_to_rows(made->matrix(), std::as_const(bias.values).span());
            return made;
        });
    }

    /// Everything of this layer that is trained.
    [[nodiscard]] std::vector<autograd::Parameter*> trained_parameters()
    {
        std::vector<autograd::Parameter*> result;
        for (const auto& parameter : weight.form().parameters()) {
            if (parameter.identity().trainable()) {
                result.push_back(&parameter.identity());
            }
        }
        if (bias.trainable()) {
            result.push_back(&bias);
        }
        return result;
    }

private:
    /// What is kept for the weight's gradient, as its form needs it.
    struct Saved {
        SavedInput<T, S> input;
        autograd::Saved<T, S> inner;
    };

    template <class Pass>
    void backward(const Tensor<T>& dy, const Saved& saved, const std::shared_ptr<autograd::GradientSlot<T>>& slot,
                  const Shape& shape, Pass& pass)
    {
        Memory& memory = pass.memory();
        const auto upstream = dy.matrix();
        if (observer_ && observer_->backward) {
            observer_->backward(upstream);
        }
        Tensor<T> adjoint;
        if (slot) {
            Tensor<T> dx(memory, Tag{Use::gradient, 0}, shape);
            adjoint = weight.form().adjoint(dx.matrix(), upstream, memory);
            pass.add(slot, std::move(dx));
        }
        if (bias.trainable()) {
            Tensor<T> sum(memory, Tag{Use::gradient, 0}, Shape{1, weight.outputs()});
            S::column_sums(sum.span(), upstream, memory);
            pass.deliver(bias, autograd::Dense<T>{std::as_const(sum).matrix()});
        }
        if (saved.input.factored) {
            adjoint.reset();
            Tensor<T> p = saved.input.factored->left(as_three(dy.data(), dy.shape()), memory);
            p.rebook(Tag{Use::gradient, layer_});
            weight.form().deliver(linalg::Factored<T>{std::as_const(p).matrix(), saved.input.factored->right(),
                                                      saved.input.factored->right_is_orthonormal()},
                                  pass);
        } else if (!saved.input.exact.empty()) {
            const auto x = saved.input.exact.get(memory);
            if (saved.input.observer) {
                (*saved.input.observer)(as_three(std::as_const(*x).data(), shape), as_three(dy.data(), dy.shape()));
            }
            weight.form().deliver(upstream, std::as_const(*x).matrix(), std::move(adjoint), pass);
        } else if (!saved.inner.empty()) {
            const auto inner = saved.inner.get(memory);
            weight.form().deliver_from_inner(upstream, std::as_const(*inner).matrix(), pass);
        }
    }

    std::uint16_t layer_;
    std::unique_ptr<InputSaver<T, S>> saver_ = std::make_unique<ExactInput<T, S>>();
    std::shared_ptr<const LayerObserver<T>> observer_;  // mostly null
};

WASI_COMPILED(WASI_NN_LINEAR)

}  // namespace wasi::nn
