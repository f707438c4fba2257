#pragma once
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "wasi/nn/weights/gram_division.hpp"
#include "wasi/nn/weights/product.hpp"
#include "wasi/subspace/free_factors.hpp"

namespace wasi::nn {

template <Scalar T, class S>
class FactorsWeight;

/// The wish for two free factors.
struct FactorsOptions : ProductOptions {
    static constexpr std::string_view kind = "factors";
    template <Scalar T, class S>
    using Form = FactorsWeight<T, S>;

    /// delta of the preconditioner dR <- (LᵀL + delta)⁻¹ dR, dL <- dL (R Rᵀ + delta)⁻¹ (Zhang, Pilanci 2024, arXiv
    /// 2402.02347); 0: none. To first order a step then moves W by -rate (P_L dW + dW P_R), whatever the scales of L
    /// and R, with the projectors on their spans; that is not the step along the manifold, which counts P_L dW P_R
    /// once.
    double precondition = 0.0;
};

/// W = L R as two ordinary parameters, NAME.left and NAME.right, each with half of the weight decay, for any optimiser
/// (subspace::FreeFactors has the start).
template <Scalar T, class S>
class FactorsWeight final : public ProductWeight<T, S> {
public:
    using Factors = subspace::FreeFactors<T, S>;
    using typename WeightForm<T, S>::Pass;
    using ProductWeight<T, S>::deliver;

    /// Throws shape_error for factors of another matrix.
    FactorsWeight(LinearWeight<T, S>& weight, Factors factors)
        : FactorsWeight(weight, factors.energy_at_start(), std::move(factors).release())
    {
        check_factors(weight, left_parameter.values.shape(), right_parameter.values.shape());
    }

    /// Throws what subspace::FreeFactors::start does, argument_error for a delta below 0.
    [[nodiscard]] static std::unique_ptr<FactorsWeight> start(LinearWeight<T, S>& weight, const FactorsOptions& options,
                                                              const LayerStatistics*)
    {
        require<argument_error>(std::isfinite(options.precondition) && options.precondition >= 0.0,
                                "FactorsWeight: a preconditioner with delta ", options.precondition);
        auto form = start_product<FactorsWeight>(
            weight, options,
            [&](auto values, const auto& rank) { return Factors::start(values, rank, weight.memory(), weight.tag()); },
            [&](auto product) {
                return Factors::balanced(product.left(), product.right(), weight.memory(), weight.tag());
            });
        if (form) {
            form->precondition_ = options.precondition;
        } else if (auto* held = weight.template held_as<FactorsOptions>()) {
            held->precondition_ = options.precondition;
        }
        return form;
    }
    [[nodiscard]] static std::unique_ptr<FactorsWeight> empty(LinearWeight<T, S>& weight)
    {
        return std::unique_ptr<FactorsWeight>(new FactorsWeight(weight, 1.0, {}));
    }
    [[nodiscard]] FactorsOptions options() const { return {{linalg::FixedRank{this->rank()}, false}, precondition_}; }

    [[nodiscard]] std::vector<ParameterRef<T, S>> parameters() override
    {
        return {ParameterRef<T, S>(left_parameter), ParameterRef<T, S>(right_parameter)};
    }
    void set_trainable(bool trainable) override
    {
        left_parameter.set_trainable(trainable);
        right_parameter.set_trainable(trainable);
    }
    [[nodiscard]] Needs needs() const override { return left_parameter.trainable() ? Needs::input : Needs::nothing; }

    /// dL = P (QᵀRᵀ) and dR = (LᵀP) Qᵀ of dW = P Qᵀ; 4 (O + I) K r flops.
    void deliver(const linalg::Factored<T>& gradient, Pass& pass) override
    {
        Memory& memory = pass.memory();
        const Tag tag{Use::gradient, this->layer()};
        Tensor<T> d_left(memory, tag, Shape{gradient.rows(), this->rank()});
        Tensor<T> d_right(memory, tag, Shape{this->rank(), gradient.cols()});
        subspace::add_partial_gradients<S, T>(d_left.matrix(), d_right.matrix(), T(0), T(1), left(), right(), gradient,
                                              memory);
        hand_on(d_left, d_right, pass);
    }

    void state(State& state) override
    {
        state_of_factors(state, *weight_, left_parameter.values, right_parameter.values);
        if (!state.values_only()) {
            state.number(".energy_at_start", energy_at_start_);
            state.number(".precondition", precondition_);
        }
    }

    autograd::DenseParameter<T> left_parameter;   ///< L (O,K)
    autograd::DenseParameter<T> right_parameter;  ///< R (K,I)

private:
    FactorsWeight(LinearWeight<T, S>& weight, double energy_at_start, std::pair<Tensor<T>, Tensor<T>> factors)
        : ProductWeight<T, S>(weight.tag().layer),
          left_parameter(weight.name() + std::string(left_suffix), std::move(factors.first), 0.5),
          right_parameter(weight.name() + std::string(right_suffix), std::move(factors.second), 0.5),
          weight_(&weight),
          energy_at_start_(energy_at_start)
    {
    }

    [[nodiscard]] ConstMatrixView<T> left() const override { return left_parameter.values.matrix(); }
    [[nodiscard]] ConstMatrixView<T> right() const override { return right_parameter.values.matrix(); }
    [[nodiscard]] double energy_at_start() const override { return energy_at_start_; }
    void hand_on(Tensor<T>& d_left, Tensor<T>& d_right, Pass& pass) override
    {
        if (precondition_ > 0.0) {
            divide_by_gram<S, T>(d_right.matrix().transposed(), left().transposed(), precondition_, 1.0, pass.memory());
            divide_by_gram<S, T>(d_left.matrix(), right(), precondition_, 1.0, pass.memory());
        }
        pass.deliver(left_parameter, autograd::Dense<T>{std::as_const(d_left).matrix()});
        pass.deliver(right_parameter, autograd::Dense<T>{std::as_const(d_right).matrix()});
    }

    LinearWeight<T, S>* weight_;
    double energy_at_start_;
    double precondition_ = 0.0;
};

WASI_COMPILED(WASI_NN_WEIGHTS_FACTORS)

}  // namespace wasi::nn
