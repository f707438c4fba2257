#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/linear_weight.hpp"
#include "wasi/nn/weights/adapter_start.hpp"
#include "wasi/nn/weights/frozen_matrix.hpp"
#include "wasi/nn/weights/gram_division.hpp"

namespace wasi::nn {

/// W = W0 + s B A with a frozen W0 (O,I) and two ordinary parameters, NAME.lora_A (r,I) and NAME.lora_B (O,r): LoRA
/// (Hu et al. 2021, arXiv 2106.09685). AdapterStart says what they are at first; the model starts as it was.
///
///     Y = X W0ᵀ + s (X Aᵀ) Bᵀ,   dX = dY W0 + s (dY B) A,   dB = s dYᵀ(X Aᵀ),   dA = s (dY B)ᵀ X
///
/// W0 is held in full or in fewer bits (FrozenMatrix); it has to be dense at the start. A and B decay as ordinary
/// parameters do. Memory: r (O + I) numbers beside W0, and no
/// gradient or optimiser state of W0. Preconditioner and correction are applied before a gradient is handed on, so that
/// optimisers need not know the partner of a factor; a clip norm is that of the gradients handed on.
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
        set_trainable(true);
    }

    /// Of a dense weight; an adapter already keeps its factors and scale and is trained as wished. Throws
    /// argument_error for a weight that is low rank, for a rank below 1, for numbers that make no sense together (see
    /// the options), and what start_adapter does.
    [[nodiscard]] static std::unique_ptr<AdapterWeight> start(LinearWeight<T, S>& weight, const AdapterOptions& options,
                                                              const LayerStatistics* statistics)
    {
        if (auto* held = weight.template held_as<AdapterOptions>()) {
            held->train_as(options);
            return nullptr;
        }
        auto* dense = weight.template held_as<DenseOptions>();
        require<argument_error>(dense != nullptr, "AdapterWeight: ", weight.name(),
                                " is low rank, an adapter needs a dense weight");
        check(options);
        auto form = std::make_unique<AdapterWeight>(weight, options);
        form->base.values = std::move(dense->values());
        form->a.values = Tensor<T>(weight.memory(), weight.tag(), Shape{options.rank, weight.inputs()});
        form->b.values = Tensor<T>(weight.memory(), weight.tag(), Shape{weight.outputs(), options.rank});
        start_adapter<T, S>(form->a.values, form->b.values,
                            MatrixView<T>::row_major(form->base.values.data(), weight.outputs(), weight.inputs()),
                            options, statistics, RandomKey(options.seed).derive(weight.tag().layer), weight.memory());
        if (options.start == AdapterStart::eva) {
            form->options_.start = AdapterStart::kaiming;  // all that the data gave is in A
        }
        form->base.pack(options.base);
        return form;
    }
    [[nodiscard]] static std::unique_ptr<AdapterWeight> empty(LinearWeight<T, S>& weight)
    {
        return std::make_unique<AdapterWeight>(weight, AdapterOptions{});
    }
    [[nodiscard]] AdapterOptions options() const { return options_; }
    /// Trained as these options say from now on: which factors, by which gradient. Throws argument_error as start does.
    void train_as(const AdapterOptions& options)
    {
        AdapterOptions next = options_;
        next.train_a = options.train_a;
        next.correct_b = options.correct_b;
        next.precondition = options.precondition;
        check(next);
        options_ = next;
        set_trainable(weight_->trainable());
    }

    /// W0, which is W0 + s B A, a weight that the adapter was merged into, becomes W0 <- W0 - s B A: what it was
    /// before, to rounding. Throws argument_error where W0 is held in fewer bits.
    void unmerge()
    {
        require<argument_error>(!base.packed(), "AdapterWeight: the base of ", weight_->name(),
                                " is held in fewer bits, nothing can be taken out of it");
        const auto w = MatrixView<T>::row_major(base.values.data(), weight_->outputs(), weight_->inputs());
        S::multiply(w, -scale(), b_matrix(), a_matrix(), T(1), weight_->memory());
    }

    /// s, A (r,I), B (O,r) and W0 (O,I), the last where it is held in full.
    [[nodiscard]] T scale() const { return static_cast<T>(options_.scale()); }
    [[nodiscard]] ConstMatrixView<T> a_matrix() const { return a.values.matrix(); }
    [[nodiscard]] ConstMatrixView<T> b_matrix() const { return b.values.matrix(); }
    [[nodiscard]] ConstMatrixView<T> base_matrix() const
    {
        return ConstMatrixView<T>::row_major(base.values.data(), weight_->outputs(), weight_->inputs());
    }

    [[nodiscard]] Index rank() const override { return a.values.shape()[0]; }
    [[nodiscard]] std::size_t bytes() const override { return base.bytes() + a.values.bytes() + b.values.bytes(); }
    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override
    {
        return {ParameterRef<T, S>(a), ParameterRef<T, S>(b)};
    }
    void set_trainable(bool trainable) override
    {
        a.set_trainable(trainable && options_.train_a);
        b.set_trainable(trainable && options_.train_b());
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
        Tensor<T> d_a;
        if (a.trainable()) {
            const Tensor<T> outer = adjoint.empty() ? adjoint_inner(dy, memory) : std::move(adjoint);  // s dY B (m,r)
            d_a = gradient_of(a, memory);
            S::multiply(d_a.matrix(), T(1), outer.matrix().transposed(), x, T(0), memory);
        }
        Tensor<T> d_b;
        if (b.trainable()) {
            const Tensor<T> inner = inner_of(x, memory);
            d_b = gradient_of(b, memory);
            S::multiply(d_b.matrix(), scale(), dy.transposed(), inner.matrix(), T(0), memory);
        }
        hand_on(d_a, d_b, pass);
    }
    /// dA = s Bᵀ dW and dB = s dW Aᵀ of dW = P Qᵀ.
    void deliver(const linalg::Factored<T>& gradient, Pass& pass) override
    {
        Memory& memory = pass.memory();
        Tensor<T> small = workspace<T>(memory, rank(), gradient.rank());
        Tensor<T> d_a;
        if (a.trainable()) {
            d_a = gradient_of(a, memory);
            S::multiply(small.matrix(), scale(), b_matrix().transposed(), gradient.p, T(0), memory);
            S::multiply(d_a.matrix(), T(1), std::as_const(small).matrix(), gradient.q.transposed(), T(0), memory);
        }
        Tensor<T> d_b;
        if (b.trainable()) {
            d_b = gradient_of(b, memory);
            S::multiply(small.matrix(), scale(), a_matrix(), gradient.q, T(0), memory);
            S::multiply(d_b.matrix(), T(1), gradient.p, std::as_const(small).matrix().transposed(), T(0), memory);
        }
        hand_on(d_a, d_b, pass);
    }
    /// dB from X Aᵀ alone.
    void deliver_from_inner(ConstMatrixView<T> dy, ConstMatrixView<T> inner, Pass& pass) override
    {
        Tensor<T> d_a;
        Tensor<T> d_b = gradient_of(b, pass.memory());
        S::multiply(d_b.matrix(), scale(), dy.transposed(), inner, T(0), pass.memory());
        hand_on(d_a, d_b, pass);
    }

    void state(State& state) override
    {
        base.state(state, "", weight_->memory(), weight_->tag());
        state.tensor(a_suffix, a.values, weight_->memory(), weight_->tag());
        state.tensor(b_suffix, b.values, weight_->memory(), weight_->tag());
        state_of_options(state);
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
    /// What is empty is not trained.
    void hand_on(Tensor<T>& d_a, Tensor<T>& d_b, Pass& pass)
    {
        Memory& memory = pass.memory();
        if (options_.precondition > 0.0 && !d_a.empty() && !d_b.empty()) {
            divide_by_gram<S, T>(d_a.matrix().transposed(), b_matrix().transposed(), options_.precondition, 1.0,
                                 memory);
            divide_by_gram<S, T>(d_b.matrix(), a_matrix(), options_.precondition, 1.0, memory);
        } else if (options_.correct_b) {
            divide_by_gram<S, T>(d_b.matrix(), a_matrix(), 1e-8, 1.0 / (options_.scale() * options_.scale()), memory);
        }
        if (!d_a.empty()) {
            pass.deliver(a, autograd::Dense<T>{std::as_const(d_a).matrix()});
        }
        if (!d_b.empty()) {
            pass.deliver(b, autograd::Dense<T>{std::as_const(d_b).matrix()});
        }
    }

    static void check(const AdapterOptions& options)
    {
        require<argument_error>(options.rank >= 1 && std::isfinite(options.alpha), "AdapterWeight: rank ", options.rank,
                                " and alpha ", options.alpha);
        const bool divides = moves_weight(options.start) || options.correct_b;
        require<argument_error>(!divides || options.alpha > 0.0, "AdapterWeight: alpha ", options.alpha,
                                ", by which a start from W and a corrected gradient divide");
        require<argument_error>(options.train_a || options.train_b(),
                                "AdapterWeight: neither A nor B would be trained: a start by mica freezes B");
        require<argument_error>(!options.correct_b || !options.train_a,
                                "AdapterWeight: the corrected gradient of B is for a frozen A");
        require<argument_error>(std::isfinite(options.precondition) && options.precondition >= 0.0,
                                "AdapterWeight: a preconditioner with delta ", options.precondition);
        require<argument_error>(options.precondition == 0.0 || (options.train_a && options.train_b()),
                                "AdapterWeight: the preconditioner is for two trained factors");
    }

    void state_of_options(State& state)
    {
        const auto visit_flag = [&](std::string_view name, bool& flag) {
            Index number = flag ? 1 : 0;
            state.number(name, number);
            flag = number != 0;
        };
        state.number(".alpha", options_.alpha);
        visit_flag(".rank_stabilized", options_.rank_stabilized);
        std::string start(to_string(options_.start));
        state.text(".start", start);
        const auto* const found = std::find_if(adapter_starts.begin(), adapter_starts.end(),
                                               [&](const auto& one) { return one.first == start; });
        require<argument_error>(found != adapter_starts.end(), "AdapterWeight: the start of ", weight_->name(), " is '",
                                start, "', which is not known");
        options_.start = found->second;
        state.number(".power_iterations", options_.power_iterations);
        visit_flag(".train_a", options_.train_a);
        visit_flag(".correct_b", options_.correct_b);
        state.number(".precondition", options_.precondition);
        auto seed = static_cast<Index>(options_.seed);
        state.number(".seed", seed);
        options_.seed = static_cast<std::uint64_t>(seed);
        set_trainable(weight_->trainable());
    }

    LinearWeight<T, S>* weight_;
    AdapterOptions options_;
};

WASI_COMPILED(WASI_NN_WEIGHTS_ADAPTER)

}  // namespace wasi::nn
