#pragma once
#include <algorithm>
#include <memory>
#include <utility>

#include "wasi/nn/linear_weight.hpp"

/// What the forms that hold W = L R as a product share.
namespace wasi::nn {

/// The wish for a product of two factors: its rank by a rule, asked of the dense weight. A weight that is a product
/// already keeps its rank and its product.
struct ProductOptions {
    /// 0.8 of the energy: in the paper's middle range.
    linalg::RankRule rank = linalg::Energy{0.8};
    /// A weight whose rank would not make it smaller stays dense. Off only to study the limit of full rank.
    bool keep_dense_above_break_even = true;
};

/// Whether factors of this rank take less than the dense weight: K (O + I) < O I.
[[nodiscard]] constexpr bool pays(Index outputs, Index inputs, Index rank)
{
    return rank * (outputs + inputs) < outputs * inputs;
}

/// Y = (X Rᵀ) Lᵀ and dX = (dY L) R.
template <Scalar T, class S>
class ProductWeight : public WeightForm<T, S> {
public:
    using typename WeightForm<T, S>::Pass;

    [[nodiscard]] Index rank() const override { return left().cols; }
    [[nodiscard]] std::size_t bytes() const override
    {
        return static_cast<std::size_t>(left().size() + right().size()) * sizeof(T);
    }
    [[nodiscard]] std::optional<LowRankView<T>> factors() const override
    {
        return LowRankView<T>(left(), right(), energy_at_start());
    }

    [[nodiscard]] Tensor<T> apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const override
    {
        Tensor<T> inner = workspace<T>(memory, x.rows, rank());
        S::multiply(inner.matrix(), T(1), x, right().transposed(), T(0), memory);
        finish(y, std::as_const(inner).matrix(), memory);
        return inner;
    }
    [[nodiscard]] bool finishes() const override { return true; }
    void finish(MatrixView<T> y, ConstMatrixView<T> inner, Memory& memory) const override
    {
        S::multiply(y, T(1), inner, left().transposed(), T(0), memory);
    }
    [[nodiscard]] Tensor<T> adjoint(MatrixView<T> dx, ConstMatrixView<T> dy, Memory& memory) const override
    {
        Tensor<T> inner = adjoint_inner(dy, memory);
        S::multiply(dx, T(1), std::as_const(inner).matrix(), right(), T(0), memory);
        return inner;
    }

    void deliver(ConstMatrixView<T> dy, ConstMatrixView<T> x, Tensor<T> adjoint, Pass& pass) override
    {
        // dR = (dY L)ᵀ X and dL = dYᵀ (X Rᵀ). X Rᵀ is made again: keeping it from the forward pass would cost B N K
        // more.
        Memory& memory = pass.memory();
        const Tag tag{Use::gradient, layer_};
        Tensor<T> inner = adjoint.empty() ? adjoint_inner(dy, memory) : std::move(adjoint);
        Tensor<T> d_right(memory, tag, Shape{rank(), x.cols});
        S::multiply(d_right.matrix(), T(1), std::as_const(inner).matrix().transposed(), x, T(0), memory);
        S::multiply(inner.matrix(), T(1), x, right().transposed(), T(0), memory);
        Tensor<T> d_left(memory, tag, Shape{dy.cols, rank()});
        S::multiply(d_left.matrix(), T(1), dy.transposed(), std::as_const(inner).matrix(), T(0), memory);
        inner.reset();
        hand_on(d_left, d_right, pass);
    }
    using WeightForm<T, S>::deliver;

protected:
    explicit ProductWeight(std::uint16_t layer) : layer_(layer) {}

    [[nodiscard]] virtual ConstMatrixView<T> left() const = 0;   // (O,K)
    [[nodiscard]] virtual ConstMatrixView<T> right() const = 0;  // (K,I)
    [[nodiscard]] virtual double energy_at_start() const = 0;
    /// dL and dR, which are its own to change.
    virtual void hand_on(Tensor<T>& d_left, Tensor<T>& d_right, Pass& pass) = 0;
    [[nodiscard]] std::uint16_t layer() const { return layer_; }

private:
    /// dY L
    [[nodiscard]] Tensor<T> adjoint_inner(ConstMatrixView<T> dy, Memory& memory) const
    {
        Tensor<T> inner = workspace<T>(memory, dy.rows, rank());
        S::multiply(inner.matrix(), T(1), dy, left(), T(0), memory);
        return inner;
    }

    std::uint16_t layer_;
};

/// The form that a wish makes of a weight: of a dense one by `from_dense(values, rank rule)`, of another product by
/// `from_product(its factors)`; nullptr to leave it as it is.
template <class Form, Scalar T, class S, class FromDense, class FromProduct>
[[nodiscard]] std::unique_ptr<Form> start_product(LinearWeight<T, S>& weight, const ProductOptions& options,
                                                  const FromDense& from_dense, const FromProduct& from_product)
{
    if (weight.is_low_rank()) {
        if (dynamic_cast<const Form*>(&weight.form()) != nullptr) {
            return nullptr;
        }
        return std::make_unique<Form>(weight, from_product(weight.low_rank()));
    }
    auto factors = from_dense(std::as_const(weight).matrix(), options.rank);
    if (options.keep_dense_above_break_even && !pays(weight.outputs(), weight.inputs(), factors.rank())) {
        return nullptr;
    }
    return std::make_unique<Form>(weight, std::move(factors));
}

/// Throws shape_error unless L of extents `l` times R of extents `r` is a matrix like the weight.
template <Scalar T, class S>
void check_factors(const LinearWeight<T, S>& weight, const Shape& l, const Shape& r)
{
    require<shape_error>(l.order() == 2 && r.order() == 2 && l[0] == weight.outputs() && r[1] == weight.inputs() &&
                             l[1] == r[0] && l[1] >= 1 && l[1] <= std::min(l[0], r[1]),
                         "LinearWeight: factors L ", shape_text(l), " and R ", shape_text(r), " for ", weight.name(),
                         " ", shape_text(weight.shape()));
}

/// Reads or writes two factors; those that were read must make an (O,I) matrix.
template <Scalar T, class S>
void state_of_factors(State& state, LinearWeight<T, S>& weight, Tensor<T>& left, Tensor<T>& right)
{
    state.tensor(left_suffix, left, weight.memory(), weight.tag());
    state.tensor(right_suffix, right, weight.memory(), weight.tag());
    check_factors(weight, left.shape(), right.shape());
}

}  // namespace wasi::nn
