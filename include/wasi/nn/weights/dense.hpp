#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/compiled.hpp"
#include "wasi/nn/weights/form.hpp"

namespace wasi::nn {

/// W as a full matrix. The block is made, values not set, when it is first asked for: so never for a weight that
/// becomes factors from a file.
template <Scalar T, class S>
class DenseWeight final : public WeightForm<T, S> {
public:
    using typename WeightForm<T, S>::Pass;

    /// A weight may have more than two extents (a patch convolution (D,C,p,p)); the first is O.
    DenseWeight(std::string name, Memory& memory, Shape shape, Tag tag)
        : parameter(std::move(name), Tensor<T>()), memory_(&memory), shape_(shape), tag_(tag)
    {
    }

    /// As a wish for a form it changes nothing: a weight that is low rank already stays so.
    template <class Weight, class Options>
    [[nodiscard]] static std::unique_ptr<DenseWeight> start(Weight&, const Options&, const LayerStatistics*)
    {
        return nullptr;
    }
    template <class Weight>
    [[nodiscard]] static std::unique_ptr<DenseWeight> empty(Weight& weight)
    {
        return std::make_unique<DenseWeight>(weight.name(), weight.memory(), weight.shape(), weight.tag());
    }

    [[nodiscard]] Tensor<T>& values()
    {
        if (parameter.values.empty()) {
            parameter.values = Tensor<T>(*memory_, tag_, shape_);
        }
        return parameter.values;
    }
    /// Throws argument_error while there are none.
    [[nodiscard]] ConstMatrixView<T> matrix() const
    {
        require<argument_error>(!parameter.values.empty(), "LinearWeight: ", parameter.name(), " holds no values yet");
        return ConstMatrixView<T>::row_major(parameter.values.data(), shape_[0], shape_.size() / shape_[0]);
    }

    [[nodiscard]] std::size_t bytes() const override { return parameter.values.bytes(); }
    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override { return {ParameterRef<T, S>(parameter)}; }
    void set_trainable(bool trainable) override { parameter.set_trainable(trainable); }
    [[nodiscard]] Needs needs() const override { return parameter.trainable() ? Needs::input : Needs::nothing; }

    [[nodiscard]] Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const override
    {
        S::multiply(y, T(1), x, matrix().transposed(), T(0), memory);
        return {};
    }
    [[nodiscard]] Tensor<T> adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const override
    {
        S::multiply(dx, T(1), dy, matrix(), T(0), memory);
        return {};
    }

    void deliver(ConstMatrixView<T> dy, ConstMatrixView<T> x, Tensor<T>, Pass& pass) override
    {
        Tensor<T> dw(pass.memory(), Tag{Use::gradient, tag_.layer}, Shape{dy.cols, x.cols});
        S::multiply(dw.matrix(), T(1), dy.transposed(), x, T(0), pass.memory());
        pass.deliver(parameter, autograd::Dense<T>{std::as_const(dw).matrix()});
    }
    void deliver(const linalg::Factored<T>& gradient, Pass& pass) override { pass.deliver(parameter, gradient); }

    void state(State& state) override
    {
        if (state.reading()) {
            static_cast<void>(values());
        }
        state.tensor("", parameter.values, *memory_, tag_);
    }

    autograd::DenseParameter<T> parameter;

private:
    Memory* memory_;
    Shape shape_;
    Tag tag_;
};

/// The wish for a full matrix: leaves a weight as it is, dense or not.
struct DenseOptions {
    static constexpr std::string_view kind = "dense";
    template <Scalar T, class S>
    using Form = DenseWeight<T, S>;
};

WASI_COMPILED(WASI_NN_WEIGHTS_DENSE)

}  // namespace wasi::nn
