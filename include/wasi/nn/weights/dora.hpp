#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/weights/adapter.hpp"

namespace wasi::nn {

template <Scalar T, class S>
class DoraWeight;

/// The wish for an adapter with trained row norms: the options of its adapter.
struct DoraOptions : AdapterOptions {
    static constexpr std::string_view kind = "dora";
    template <Scalar T, class S>
    using Form = DoraWeight<T, S>;
};

/// W = diag(m / nu) V with V = W0 + s B A, an adapter (AdapterWeight), and its row norms nu_o = ||V_o||: the rows keep
/// their directions from the adapter, their lengths are the parameter NAME.lora_magnitude_vector, m (O), which starts
/// as nu. DoRA (Liu et al. 2024, arXiv 2402.09353), with nu a constant in the gradient, as there in 4.3:
///
///     Z = X Vᵀ,   Y = Z diag(m / nu),   dm = diag(1 / nu) sum_n dY_n Z_n,   dZ = dY diag(m / nu),
///
/// then the adapter's formulas with dZ. B A is never formed: nu_o² = ||w_o||² + b_oᵀ(2 s A w_o + s² A Aᵀ b_o), for one
/// product W0 Aᵀ (O,r) a pass; ||w_o||² is kept. Z is not kept but made again in the backward pass, 2 n O I flops more
/// than an adapter takes. Next to an adapter's: 2 O numbers held, workspaces of n O and of O r numbers. With inputs in
/// another form, dW = P Qᵀ, dm = diag(1 / nu) rowsums(P ∘ V Q), and Z is not needed.
template <Scalar T, class S>
class DoraWeight final : public WeightForm<T, S> {
public:
    using typename WeightForm<T, S>::Pass;

    explicit DoraWeight(std::unique_ptr<AdapterWeight<T, S>> adapter, LinearWeight<T, S>& weight)
        : magnitude(weight.name() + std::string(suffix), Tensor<T>()), adapter_(std::move(adapter)), weight_(&weight)
    {
    }

    /// Of a dense weight, an adapter with these options; one that is held so already is trained as wished. Throws what
    /// AdapterWeight::start does, argument_error for an adapter without magnitudes, or whose A is to stay frozen.
    [[nodiscard]] static std::unique_ptr<DoraWeight> start(LinearWeight<T, S>& weight, const DoraOptions& options,
                                                           const LayerStatistics* statistics)
    {
        require<argument_error>(options.train_a, "DoraWeight: A is trained");
        if (auto* held = weight.template held_as<DoraOptions>()) {
            held->adapter_->train_as(options);
            return nullptr;
        }
        require<argument_error>(weight.template held_as<AdapterOptions>() == nullptr, "DoraWeight: ", weight.name(),
                                " has an adapter without magnitudes");
        auto form = std::make_unique<DoraWeight>(AdapterWeight<T, S>::start(weight, options, statistics), weight);
        form->magnitude.values = Tensor<T>(weight.memory(), weight.tag(), Shape{weight.outputs()});
        form->set_row_squares();
        form->reset_magnitude();
        require<argument_error>(S::all_finite(std::as_const(form->magnitude.values).matrix()),
                                "DoraWeight: ", weight.name(), " has a row of zeros, which has no direction");
        return form;
    }
    [[nodiscard]] static std::unique_ptr<DoraWeight> empty(LinearWeight<T, S>& weight)
    {
        return std::make_unique<DoraWeight>(AdapterWeight<T, S>::empty(weight), weight);
    }
    [[nodiscard]] DoraOptions options() const { return {adapter_->options()}; }

    /// W0, A and B.
    [[nodiscard]] AdapterWeight<T, S>& adapter() { return *adapter_; }
    [[nodiscard]] const AdapterWeight<T, S>& adapter() const { return *adapter_; }
    /// m becomes the row norms of W0 + s B A as they are now: so W is W0 + s B A.
    void reset_magnitude()
    {
        Memory& memory = weight_->memory();
        const Tensor<T> squares = norm_squares(memory);
        S::copy(row(magnitude.values), squares.matrix());
        S::divide_by_root(row(magnitude.values), squares.matrix());
    }

    [[nodiscard]] Index rank() const override { return adapter_->rank(); }
    [[nodiscard]] std::size_t bytes() const override
    {
        return adapter_->bytes() + magnitude.values.bytes() + row_squares_.bytes();
    }
    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override
    {
        auto result = adapter_->parameters();
        result.emplace_back(magnitude);
        return result;
    }
    void set_trainable(bool trainable) override
    {
        adapter_->set_trainable(trainable);
        magnitude.set_trainable(trainable);
    }
    [[nodiscard]] Needs needs() const override
    {
        return magnitude.trainable() || adapter_->needs() != Needs::nothing ? Needs::input : Needs::nothing;
    }

    [[nodiscard]] Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const override
    {
        const Tensor<T> stretch = this->stretch(memory);
        static_cast<void>(adapter_->apply(y, x, memory));
        S::scale_columns(y, stretch.span());
        return {};
    }
    [[nodiscard]] Tensor<T> adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const override
    {
        const Tensor<T> dz = stretched(dy, memory);
        return adapter_->adjoint(dx, dz.matrix(), memory);  // s dZ B
    }

    void deliver(ConstMatrixView<T> dy, ConstMatrixView<T> x, Tensor<T> adjoint, Pass& pass) override
    {
        Memory& memory = pass.memory();
        Tensor<T> d_magnitude = magnitude_gradient(memory);
        Tensor<T> dz = workspace<T>(memory, dy.rows, dy.cols);
        static_cast<void>(adapter_->apply(dz.matrix(), x, memory));  // dz holds Z first
        S::multiply_elements(dz.matrix(), dy);
        S::column_sums(d_magnitude.span(), std::as_const(dz).matrix(), memory);
        const Tensor<T> squares = norm_squares(memory);
        S::divide_by_root(row(d_magnitude), squares.matrix());
        S::copy(dz.matrix(), dy);
        scale_by_stretch(dz.matrix(), squares, memory);
        adapter_->deliver(std::as_const(dz).matrix(), x, std::move(adjoint), pass);
        dz.reset();
        pass.deliver(magnitude, autograd::Dense<T>{std::as_const(d_magnitude).matrix()});
    }
    void deliver(const linalg::Factored<T>& gradient, Pass& pass) override
    {
        Memory& memory = pass.memory();
        const Index outputs = weight_->outputs();
        Tensor<T> d_magnitude = magnitude_gradient(memory);
        const Tensor<T> squares = norm_squares(memory);
        {
            Tensor<T> image = workspace<T>(memory, gradient.rank(), outputs);  // (V Q)ᵀ, then its product with Pᵀ
            Tensor<T> right = workspace<T>(memory, gradient.rank(), weight_->inputs());
            S::copy(right.matrix(), gradient.q.transposed());
            static_cast<void>(adapter_->apply(image.matrix(), std::as_const(right).matrix(), memory));
            Tensor<T> left = workspace<T>(memory, gradient.rank(), outputs);
            S::copy(left.matrix(), gradient.p.transposed());
            S::multiply_elements(image.matrix(), std::as_const(left).matrix());
            S::column_sums(d_magnitude.span(), std::as_const(image).matrix(), memory);
        }
        S::divide_by_root(row(d_magnitude), squares.matrix());
        Tensor<T> left = workspace<T>(memory, gradient.rank(), outputs);
        S::copy(left.matrix(), gradient.p.transposed());
        scale_by_stretch(left.matrix(), squares, memory);
        adapter_->deliver(linalg::Factored<T>{std::as_const(left).matrix().transposed(), gradient.q, false}, pass);
        left.reset();
        pass.deliver(magnitude, autograd::Dense<T>{std::as_const(d_magnitude).matrix()});
    }

    void state(State& state) override
    {
        adapter_->state(state);
        state.tensor(suffix, magnitude.values, weight_->memory(), weight_->tag());
        require<shape_error>(magnitude.values.size() == weight_->outputs(), "DoraWeight: ", magnitude.values.size(),
                             " magnitudes for ", weight_->name(), ' ', shape_text(weight_->shape()));
        if (state.reading()) {
            set_row_squares();
        }
        set_trainable(weight_->trainable());
    }

    autograd::DenseParameter<T> magnitude;  ///< m (O)

private:
    static constexpr std::string_view suffix = ".lora_magnitude_vector";

    [[nodiscard]] static MatrixView<T> row(Tensor<T>& values)
    {
        return MatrixView<T>::row_major(values.data(), 1, values.size());
    }

    /// ||w_o||² of every row, some rows at a time: no second W.
    void set_row_squares()
    {
        Memory& memory = weight_->memory();
        const Index inputs = weight_->inputs();
        const Index outputs = weight_->outputs();
        row_squares_ = Tensor<T>(memory, weight_->tag(), Shape{weight_->outputs()});
        Tensor<T> ones = workspace<T>(memory, 1, inputs);
        S::fill(ones.matrix(), T(1));
        for (Index first = 0; first < outputs; first += 64) {
            const Index count = std::min<Index>(64, outputs - first);
            Tensor<T> piece = workspace<T>(memory, count, inputs);
            adapter_->base.copy_rows(piece.matrix(), first);
            S::multiply_elements(piece.matrix(), std::as_const(piece).matrix());
            S::multiply(row(row_squares_).col_block(first, count), T(1), std::as_const(ones).matrix(),
                        std::as_const(piece).matrix().transposed(), T(0), memory);
        }
    }

    /// nu² (1,O).
    [[nodiscard]] Tensor<T> norm_squares(Memory& memory) const
    {
        const Index outputs = weight_->outputs();
        const Index r = rank();
        const T s = adapter_->scale();
        const auto a = adapter_->a_matrix();
        const auto b = adapter_->b_matrix();
        Tensor<T> gram = workspace<T>(memory, r, r);
        S::multiply(gram.matrix(), s * s, a, a.transposed(), T(0), memory);
        Tensor<T> terms = workspace<T>(memory, outputs, r);  // 2 s W0 Aᵀ + s² B A Aᵀ
        adapter_->base.apply(terms.matrix().transposed(), a, memory, s + s);
        S::multiply(terms.matrix(), T(1), b, std::as_const(gram).matrix(), T(1), memory);
        S::multiply_elements(terms.matrix(), b);
        Tensor<T> ones = workspace<T>(memory, 1, r);
        S::fill(ones.matrix(), T(1));
        Tensor<T> squares = workspace<T>(memory, 1, outputs);
        S::copy(squares.matrix(), ConstMatrixView<T>::row_major(row_squares_.data(), 1, outputs));
        S::multiply(squares.matrix(), T(1), std::as_const(ones).matrix(), std::as_const(terms).matrix().transposed(),
                    T(1), memory);
        return squares;
    }

    /// m / nu (1,O).
    [[nodiscard]] Tensor<T> stretch(const Tensor<T>& squares, Memory& memory) const
    {
        Tensor<T> result = workspace<T>(memory, 1, weight_->outputs());
        S::copy(result.matrix(), ConstMatrixView<T>::row_major(magnitude.values.data(), 1, weight_->outputs()));
        S::divide_by_root(result.matrix(), squares.matrix());
        return result;
    }
    [[nodiscard]] Tensor<T> stretch(Memory& memory) const { return stretch(norm_squares(memory), memory); }
    void scale_by_stretch(MatrixView<T> y, const Tensor<T>& squares, Memory& memory) const
    {
        const Tensor<T> factors = stretch(squares, memory);
        S::scale_columns(y, factors.span());
    }
    /// dZ = dY diag(m / nu)
    [[nodiscard]] Tensor<T> stretched(ConstMatrixView<T> dy, Memory& memory) const
    {
        Tensor<T> dz = workspace<T>(memory, dy.rows, dy.cols);
        S::copy(dz.matrix(), dy);
        scale_by_stretch(dz.matrix(), norm_squares(memory), memory);
        return dz;
    }
    [[nodiscard]] Tensor<T> magnitude_gradient(Memory& memory) const
    {
        return Tensor<T>(memory, Tag{Use::gradient, weight_->tag().layer}, Shape{1, weight_->outputs()});
    }

    std::unique_ptr<AdapterWeight<T, S>> adapter_;
    LinearWeight<T, S>* weight_;
    Tensor<T> row_squares_;  // ||w_o||² (O)
};

WASI_COMPILED(WASI_NN_WEIGHTS_DORA)

}  // namespace wasi::nn
