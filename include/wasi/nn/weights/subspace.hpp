#pragma once
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "wasi/nn/weights/product.hpp"
#include "wasi/subspace/weight_subspace.hpp"

namespace wasi::nn {

/// W = L R as the method of WASI trains it: L orthonormal, one parameter that is moved as one matrix
/// (subspace::WeightSubspace).
template <Scalar T, class S>
class SubspaceWeight final : public ProductWeight<T, S> {
public:
    using Factors = subspace::WeightSubspace<T, S>;
    using typename WeightForm<T, S>::Pass;
    using ProductWeight<T, S>::deliver;

    /// Throws shape_error for factors of another matrix.
    SubspaceWeight(LinearWeight<T, S>& weight, Factors factors) : SubspaceWeight(weight)
    {
        check_factors(weight, Shape{factors.outputs(), factors.rank()}, Shape{factors.rank(), factors.inputs()});
        parameter_.emplace(weight.name(), std::move(factors));
    }

    /// Throws what subspace::WeightSubspace::start does.
    template <class Options>
    [[nodiscard]] static std::unique_ptr<SubspaceWeight> start(LinearWeight<T, S>& weight, const Options& options,
                                                               const LayerStatistics*)
    {
        return start_product<SubspaceWeight>(
            weight, options,
            [&](auto values, const auto& rank) { return Factors::start(values, rank, weight.memory(), weight.tag()); },
            [&](auto product) {
                return Factors::orthonormal(product.left(), product.right(), weight.memory(), weight.tag());
            });
    }
    [[nodiscard]] static std::unique_ptr<SubspaceWeight> empty(LinearWeight<T, S>& weight)
    {
        return std::unique_ptr<SubspaceWeight>(new SubspaceWeight(weight));
    }
    [[nodiscard]] ProductOptions options() const { return {linalg::FixedRank{this->rank()}, false}; }

    [[nodiscard]] Factors& subspace() { return parameter_->factors; }
    [[nodiscard]] const Factors& subspace() const { return parameter_->factors; }

    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override { return {ParameterRef<T, S>(*parameter_)}; }
    void set_trainable(bool trainable) override
    {
        trainable_ = trainable;
        if (parameter_) {
            parameter_->set_trainable(trainable);
        }
    }
    [[nodiscard]] Needs needs() const override { return trainable_ ? Needs::input : Needs::nothing; }
    void deliver(const linalg::Factored<T>& gradient, Pass& pass) override { pass.deliver(*parameter_, gradient); }

    /// Throws argument_error when the L that was read is not orthonormal.
    void state(State& state) override
    {
        if (!parameter_) {
            Tensor<T> left;
            Tensor<T> right;
            state_of_factors(state, *weight_, left, right);
            parameter_.emplace(weight_->name(), Factors::from_factors(std::move(left), std::move(right)));
            parameter_->set_trainable(trainable_);
            if (state.values_only()) {
                return;
            }
        }
        parameter_->factors.state(state);
    }

private:
    explicit SubspaceWeight(LinearWeight<T, S>& weight) : ProductWeight<T, S>(weight.tag().layer), weight_(&weight) {}

    [[nodiscard]] ConstMatrixView<T> left() const override { return subspace().left(); }
    [[nodiscard]] ConstMatrixView<T> right() const override { return subspace().right(); }
    [[nodiscard]] double energy_at_start() const override { return subspace().energy_at_start(); }
    void hand_on(Tensor<T>& d_left, Tensor<T>& d_right, Pass& pass) override
    {
        pass.deliver(*parameter_,
                     linalg::FactorGradients<T>{std::as_const(d_left).matrix(), std::as_const(d_right).matrix()});
    }

    LinearWeight<T, S>* weight_;
    bool trainable_ = true;
    std::optional<SubspaceParameter<T, S>> parameter_;  // from the start, or from state()
};

/// The wish for a weight subspace, the method's.
struct SubspaceOptions : ProductOptions {
    static constexpr std::string_view kind = "subspace";
    template <Scalar T, class S>
    using Form = SubspaceWeight<T, S>;
};

WASI_COMPILED(WASI_NN_WEIGHTS_SUBSPACE)

}  // namespace wasi::nn
