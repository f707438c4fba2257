#pragma once
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/initialize.hpp"
#include "wasi/nn/linear_weight.hpp"
#include "wasi/nn/weights/frozen_matrix.hpp"

namespace wasi::nn {

template <Scalar T, class S>
class AdapterWeight;

/// The wish for a low-rank adapter.
struct AdapterOptions {
    static constexpr std::string_view kind = "adapter";
    template <Scalar T, class S>
    using Form = AdapterWeight<T, S>;

    Index rank = 8;
    double alpha = 8.0;                ///< s = alpha / rank
    bool train_a = true;               ///< false: LoRA-FA (arXiv 2308.03303), which saves X Aᵀ instead of X
    std::uint64_t seed = 0;            ///< of A
    Precision base = Precision::full;  ///< of W0: full, or bfloat16, half or int8 (FrozenMatrix)
};

/// W = W0 + s B A with a frozen W0 (O,I) and two ordinary parameters, NAME.lora_A (r,I) and NAME.lora_B (O,r): LoRA
/// (Hu et al. 2021, arXiv 2106.09685). A starts uniform in ±1/sqrt(I) (Kaiming with a = sqrt(5)), B at zero, so the
/// model starts as it was.
///
///     Y = X W0ᵀ + s (X Aᵀ) Bᵀ,   dX = dY W0 + s (dY B) A,   dB = s dYᵀ(X Aᵀ),   dA = s (dY B)ᵀ X
///
/// W0 is held in full or in fewer bits (FrozenMatrix); it has to be dense at the start. A and B decay as ordinary
/// parameters do. Memory: r (O + I) numbers beside W0, and no gradient or optimiser state of W0.
template <Scalar T, class S>
class AdapterWeight final : public WeightForm<T, S> {
public:
    using typename WeightForm<T, S>::Pass;

    AdapterWeight(LinearWeight<T, S>& weight, const AdapterOptions& options)
        : a(weight.name() + std::string(a_suffix), Tensor<T>()),
          b(weight.name() + std::string(b_suffix), Tensor<T>()),
          weight_(&weight),
          options_(options)
    {
        a.set_trainable(options.train_a);
    }

    /// Of a dense weight; of an adapter already, with its A and B as they are. Throws argument_error for a weight that
    /// is low rank and for a rank below 1.
    [[nodiscard]] static std::unique_ptr<AdapterWeight> start(LinearWeight<T, S>& weight, const AdapterOptions& options,
                                                              const LayerStatistics*)
    {
        if (weight.template held_as<AdapterOptions>() != nullptr) {
            return nullptr;
        }
        auto* dense = weight.template held_as<DenseOptions>();
        require<argument_error>(dense != nullptr, "AdapterWeight: ", weight.name(),
                                " is low rank, an adapter needs a dense weight");
        require<argument_error>(options.rank >= 1 && std::isfinite(options.alpha), "AdapterWeight: rank ", options.rank,
                                " and alpha ", options.alpha);
        auto form = std::make_unique<AdapterWeight>(weight, options);
        form->base.values = std::move(dense->values());
        form->a.values = Tensor<T>(weight.memory(), weight.tag(), Shape{options.rank, weight.inputs()});
        form->b.values = Tensor<T>(weight.memory(), weight.tag(), Shape{weight.outputs(), options.rank});
        fill_uniform(form->a.values, 1.0 / std::sqrt(static_cast<double>(weight.inputs())),
                     RandomKey(options.seed).derive(weight.tag().layer));
        S::fill(form->b.values.matrix(), T(0));
        form->base.pack(options.base);
        return form;
    }
    [[nodiscard]] static std::unique_ptr<AdapterWeight> empty(LinearWeight<T, S>& weight)
    {
        return std::make_unique<AdapterWeight>(weight, AdapterOptions{});
    }
    [[nodiscard]] AdapterOptions options() const { return options_; }

    [[nodiscard]] Index rank() const override { return a.values.shape()[0]; }
    [[nodiscard]] std::size_t bytes() const override { return base.bytes() + a.values.bytes() + b.values.bytes(); }
    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override
    {
        return {ParameterRef<T, S>(a), ParameterRef<T, S>(b)};
    }
    void set_trainable(bool trainable) override
    {
        a.set_trainable(trainable && options_.train_a);
        b.set_trainable(trainable);
    }
    [[nodiscard]] Needs needs() const override
    {
        return a.trainable() ? Needs::input : b.trainable() ? Needs::inner : Needs::nothing;
    }

    [[nodiscard]] Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const override
    {
        Tensor<T> inner = inner_of(x, memory);
        base.apply(y, x, memory);
        S::multiply(y, scale(), std::as_const(inner).matrix(), b_matrix().transposed(), T(1), memory);
        return inner;
    }
    [[nodiscard]] Tensor<T> adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const override
    {
        Tensor<T> outer = adjoint_inner(dy, memory);
        base.adjoint(dx, dy, memory);
        S::multiply(dx, T(1), std::as_const(outer).matrix(), a_matrix(), T(1), memory);
        return outer;
    }

    void deliver(ConstMatrixView<T> dy, ConstMatrixView<T> x, Tensor<T> adjoint, Pass& pass) override
    {
        Memory& memory = pass.memory();
        const Tensor<T> outer = adjoint.empty() ? adjoint_inner(dy, memory) : std::move(adjoint);  // s dY B (m,r)
        Tensor<T> d_a = gradient_of(a, memory);
        S::multiply(d_a.matrix(), T(1), outer.matrix().transposed(), x, T(0), memory);
        const Tensor<T> inner = inner_of(x, memory);
        Tensor<T> d_b = gradient_of(b, memory);
        S::multiply(d_b.matrix(), scale(), dy.transposed(), inner.matrix(), T(0), memory);
        hand_on(d_a, d_b, pass);
    }
    /// dA = s Bᵀ dW and dB = s dW Aᵀ of dW = P Qᵀ.
    void deliver(const linalg::Factored<T>& gradient, Pass& pass) override
    {
        Memory& memory = pass.memory();
        Tensor<T> small = workspace<T>(memory, rank(), gradient.rank());
        Tensor<T> d_a = gradient_of(a, memory);
        S::multiply(small.matrix(), scale(), b_matrix().transposed(), gradient.p, T(0), memory);
        S::multiply(d_a.matrix(), T(1), std::as_const(small).matrix(), gradient.q.transposed(), T(0), memory);
        Tensor<T> d_b = gradient_of(b, memory);
        S::multiply(small.matrix(), scale(), a_matrix(), gradient.q, T(0), memory);
        S::multiply(d_b.matrix(), T(1), gradient.p, std::as_const(small).matrix().transposed(), T(0), memory);
        hand_on(d_a, d_b, pass);
    }
    /// dB from X Aᵀ alone.
    void deliver_from_inner(ConstMatrixView<T> dy, ConstMatrixView<T> inner, Pass& pass) override
    {
        Tensor<T> d_b = gradient_of(b, pass.memory());
        S::multiply(d_b.matrix(), scale(), dy.transposed(), inner, T(0), pass.memory());
        pass.deliver(b, autograd::Dense<T>{std::as_const(d_b).matrix()});
    }

    void state(State& state) override
    {
        base.state(state, "", weight_->memory(), weight_->tag());
        state.tensor(a_suffix, a.values, weight_->memory(), weight_->tag());
        state.tensor(b_suffix, b.values, weight_->memory(), weight_->tag());
        state.number(".alpha", options_.alpha);
        Index trains_a = options_.train_a ? 1 : 0;
        state.number(".train_a", trains_a);
        options_.train_a = trains_a != 0;
        const Shape sa = a.values.shape();
        const Shape sb = b.values.shape();
        require<shape_error>(base.shape() == weight_->shape() && sa.order() == 2 && sb.order() == 2 && sa[0] == sb[1] &&
                                 sa[1] == weight_->inputs() && sb[0] == weight_->outputs(),
                             "AdapterWeight: A ", shape_text(sa), " and B ", shape_text(sb), " for ", weight_->name(),
                             ' ', shape_text(weight_->shape()));
        options_.rank = rank();
        options_.base = base.precision();
    }

    FrozenMatrix<T, S> base;        ///< W0
    autograd::DenseParameter<T> a;  ///< A (r,I)
    autograd::DenseParameter<T> b;  ///< B (O,r)

private:
    static constexpr std::string_view a_suffix = ".lora_A";
    static constexpr std::string_view b_suffix = ".lora_B";

    [[nodiscard]] T scale() const { return static_cast<T>(options_.alpha / static_cast<double>(rank())); }
    [[nodiscard]] ConstMatrixView<T> a_matrix() const { return a.values.matrix(); }
    [[nodiscard]] ConstMatrixView<T> b_matrix() const { return b.values.matrix(); }
    [[nodiscard]] Tensor<T> gradient_of(const autograd::DenseParameter<T>& parameter, Memory& memory) const
    {
        return Tensor<T>(memory, Tag{Use::gradient, weight_->tag().layer}, parameter.values.shape());
    }
    /// X Aᵀ
    [[nodiscard]] Tensor<T> inner_of(ConstMatrixView<T> x, Memory& memory) const
    {
        Tensor<T> inner = workspace<T>(memory, x.rows, rank());
        S::multiply(inner.matrix(), T(1), x, a_matrix().transposed(), T(0), memory);
        return inner;
    }
    /// s dY B
    [[nodiscard]] Tensor<T> adjoint_inner(ConstMatrixView<T> dy, Memory& memory) const
    {
        Tensor<T> outer = workspace<T>(memory, dy.rows, rank());
        S::multiply(outer.matrix(), scale(), dy, b_matrix(), T(0), memory);
        return outer;
    }
    void hand_on(const Tensor<T>& d_a, const Tensor<T>& d_b, Pass& pass)
    {
        if (a.trainable()) {
            pass.deliver(a, autograd::Dense<T>{d_a.matrix()});
        }
        if (b.trainable()) {
            pass.deliver(b, autograd::Dense<T>{d_b.matrix()});
        }
    }

    LinearWeight<T, S>* weight_;
    AdapterOptions options_;
};

}  // namespace wasi::nn
