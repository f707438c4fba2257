#pragma once
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/nn/linear_weight.hpp"
#include "wasi/nn/weights/frozen_matrix.hpp"

namespace wasi::nn {

template <Scalar T, class S>
class FrozenWeight;

/// The wish for a weight that is not trained, in fewer bits.
struct FrozenOptions {
    static constexpr std::string_view kind = "frozen";
    template <Scalar T, class S>
    using Form = FrozenWeight<T, S>;

    Precision precision = Precision::int8;  ///< bfloat16, half or int8
};

/// W as a FrozenMatrix and nothing else: no parameter, no gradient, nothing saved for it. Y = X Wᵀ and dX = dY W are
/// exact for the W that is held, which differs from the one that it was made of by FrozenMatrix's error.
template <Scalar T, class S>
class FrozenWeight final : public WeightForm<T, S> {
public:
    using typename WeightForm<T, S>::Pass;

    explicit FrozenWeight(const LinearWeight<T, S>& weight) : weight_(&weight) {}

    /// Of a dense weight; one that is held otherwise stays as it is. Throws argument_error for Precision::full, which
    /// is a dense weight that is frozen, and what FrozenMatrix::pack does.
    [[nodiscard]] static std::unique_ptr<FrozenWeight> start(LinearWeight<T, S>& weight, const FrozenOptions& options,
                                                             const LayerStatistics*)
    {
        require<argument_error>(options.precision != Precision::full,
                                "FrozenWeight: a precision of 16 bits or less is wanted for ", weight.name());
        auto* dense = weight.template held_as<DenseOptions>();
        if (dense == nullptr) {
            return nullptr;
        }
        auto form = std::make_unique<FrozenWeight>(weight);
        form->matrix.values = std::move(dense->values());
        form->matrix.pack(options.precision);
        return form;
    }
    [[nodiscard]] static std::unique_ptr<FrozenWeight> empty(LinearWeight<T, S>& weight)
    {
        return std::make_unique<FrozenWeight>(weight);
    }
    [[nodiscard]] FrozenOptions options() const { return {matrix.precision()}; }

    [[nodiscard]] std::size_t bytes() const override { return matrix.bytes(); }
    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override { return {}; }
    void set_trainable(bool) override {}
    [[nodiscard]] Needs needs() const override { return Needs::nothing; }

    [[nodiscard]] Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const override
    {
        matrix.apply(y, x, memory);
        return {};
    }
    [[nodiscard]] Tensor<T> adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const override
    {
        matrix.adjoint(dx, dy, memory);
        return {};
    }
    void deliver(ConstMatrixView<T>, ConstMatrixView<T>, Tensor<T>, Pass&) override {}
    void deliver(const linalg::Factored<T>&, Pass&) override {}

    void state(State& state) override
    {
        matrix.state(state, "", weight_->memory(), weight_->tag());
        require<shape_error>(matrix.shape() == weight_->shape(), "FrozenWeight: ", weight_->name(), ' ',
                             shape_text(weight_->shape()), " in a shape ", shape_text(matrix.shape()));
        require<argument_error>(matrix.packed(), "FrozenWeight: ", weight_->name(), " is not held in fewer bits");
    }

    FrozenMatrix<T, S> matrix;

private:
    const LinearWeight<T, S>* weight_;
};

}  // namespace wasi::nn
