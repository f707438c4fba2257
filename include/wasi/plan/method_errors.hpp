#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/nn/adapters.hpp"
#include "wasi/nn/dense_values.hpp"
#include "wasi/plan/held_gradient.hpp"
#include "wasi/plan/layer_outputs.hpp"
#include "wasi/plan/saved_inputs.hpp"

/// What ways to train would do to what a model knows and to its gradient, all measured on one calibration batch.
namespace wasi::plan {

/// Ranks at which one layer is looked at, 0 for a full matrix; the position in the list stands for a way to train.
using RanksOfLayer = std::vector<Index>;

/// What measure_methods is to look at.
struct MethodMeasurement {
    Index adapter_rank = 8;
    /// Of each linear layer of the blocks, ranks of its own best approximations (its SVD). Empty: none.
    std::vector<RanksOfLayer> weight_ranks = {};
    /// And ranks of the approximations of its outputs. Empty: none, or no outputs were calibrated.
    std::vector<RanksOfLayer> output_ranks = {};
    /// The formats of what is saved that are tried.
    std::vector<Precision> saves{Precision::bfloat16, Precision::int8, Precision::int4};
};

/// What was found of one linear layer y = W x + b. Errors of outputs are in the unit of LayerOutputs::error: the
/// expected square of the features' relative error, to first order.
struct LayerErrors {
    std::string layer;                 ///< the weight's name
    std::vector<double> gain_squares;  ///< g_o² (output_gains)
    double input_energy = 0.0;         ///< mean of |x|² over rows
    Index inputs = 0;
    std::vector<double> output_errors;  ///< of each of weight_ranks: E |G (W - W_K) x|²
    std::vector<double> weight_parts;   ///< of each of weight_ranks: ||P_T dW||² at W_K
    std::vector<double> output_parts;   ///< of each of output_ranks likewise
    AdapterParts adapter;

    /// E |G D x|² of a difference D to the weight whose elements are independent of one another and of x and have, in
    /// row o, the sum of squares `row_squares[o]`: of rounding (rounding_rows). Σ_o g_o² row_squares_o E|x|² / I.
    [[nodiscard]] double rounding_error(std::span<const double> row_squares) const
    {
        double sum = 0.0;
        for (std::size_t o = 0; o < gain_squares.size() && o < row_squares.size(); ++o) {
            sum += gain_squares[o] * row_squares[o];
        }
        return sum * input_energy / static_cast<double>(inputs);
    }
};

/// What was found of a model.
struct MethodErrors {
    std::vector<LayerErrors> layers;  ///< of the blocks, in the order of nn::selected_layers
    /// ||dW~ - dW|| / ||dW|| over all of them together where all that is saved is rounded to this format.
    std::array<double, 5> saves{};

    [[nodiscard]] double save_error(Precision format) const { return saves[static_cast<std::size_t>(format)]; }
};

/// For each row of W the sum of squares of what a FrozenMatrix of this format makes of it less W. O I flops, workspace
/// for 2^16 numbers or a row.
template <class S>
[[nodiscard]] std::vector<double> rounding_rows(ConstMatrixView<float> w, Precision format, Memory& memory)
{
    std::vector<double> result(static_cast<std::size_t>(w.rows));
    Tensor<float> ones = workspace<float>(memory, w.cols, 1);
    S::fill(ones.matrix(), 1.0F);
    const Index height = std::clamp<Index>((Index{1} << 16) / w.cols, 1, w.rows);
    for (Index first = 0; first < w.rows; first += height) {
        const Index count = std::min(height, w.rows - first);
        const auto part = w.row_block(first, count);
        nn::FrozenMatrix<float, S> held;
        held.values = Tensor<float>(memory, Tag{Use::workspace, 0}, Shape{count, w.cols});
        S::copy(held.values.matrix(), part);
        held.pack(format);
        Tensor<float> apart = workspace<float>(memory, count, w.cols);
        held.copy_rows(apart.matrix(), 0);
        S::add_scaled(apart.matrix(), 1.0F, -1.0F, part);
        S::multiply_elements(apart.matrix(), std::as_const(apart).matrix());
        const Tensor<float> narrow =
            detail::product<S, float>(std::as_const(apart).matrix(), std::as_const(ones).matrix(), memory);
        Tensor<double> sums = workspace<double>(memory, count, 1);
        S::convert(sums.matrix(), narrow.matrix());
        memory.read(result.data() + first, sums.data(), sums.bytes());
    }
    return result;
}

namespace detail {

/// W as numbers: for layers that calibration holds as adapters which do nothing, their base.
template <Scalar T, class S>
[[nodiscard]] Tensor<T> values_of(nn::LinearWeight<T, S>& weight)
{
    if (auto* adapter = nn::adapter_of(weight)) {
        Tensor<T> rows = workspace<T>(weight.memory(), weight.outputs(), weight.inputs());
        adapter->base.copy_rows(rows.matrix(), 0);
        return rows;
    }
    return nn::dense_rows(weight, 0, weight.outputs());
}

/// One layer's X and dY of the calibration batch, as its turn in the backward pass comes.
template <class S, Scalar T>
class MeasuredLayer {
public:
    MeasuredLayer(ConstTensorView<T, 3> x, ConstTensorView<T, 3> dy, Memory& memory)
        : x_(x.rows_by(2)), dy_(dy.rows_by(2)), half_(x.shape[0] / 2 * x.shape[1]), memory_(&memory)
    {
    }

    void inputs(LayerErrors& found) const
    {
        found.inputs = x_.cols;
        found.input_energy = S::dot(x_, x_) / static_cast<double>(x_.rows);
    }
    void adapter(LayerErrors& found, Index rank, RandomKey key) const
    {
        found.adapter = adapter_parts<S, T>(dy_, x_, half_, rank, key, *memory_);
    }
    /// Of the best approximations of W.
    void weight(LayerErrors& found, nn::LinearWeight<T, S>& weight, std::span<const T> gain,
                const RanksOfLayer& ranks) const
    {
        const Index most = *std::max_element(ranks.begin(), ranks.end());
        found.output_errors.assign(ranks.size(), 0.0);
        if (most == 0) {
            found.weight_parts.assign(ranks.size(), found.adapter.gradient);
            return;
        }
        Tensor<T> y;
        linalg::SvdFactors<T> svd;
        {
            const Tensor<T> w = values_of(weight);
            y = product<S, T>(x_, w.matrix().transposed(), *memory_);
            svd = linalg::leading_svd<S, T>(
                w.matrix(), [most](std::span<const double>) { return most; }, *memory_);
        }
        const auto u = std::as_const(svd.u).matrix();
        const auto v = std::as_const(svd.v).matrix();
        found.weight_parts = subspace::tangent_parts<S, T>(rest(dy_), rest(x_), u, v, ranks, *memory_);
        Tensor<T> z = product<S, T>(x_, v, *memory_);
        S::scale_columns(z.matrix(), std::as_const(svd.s).span());
        Tensor<T> apart = workspace<T>(*memory_, y.shape()[0], y.shape()[1]);
        for (std::size_t i = 0; i < ranks.size(); ++i) {
            const Index rank = std::min(ranks[i], u.cols);
            if (rank > 0) {
                S::copy(apart.matrix(), std::as_const(y).matrix());
                S::multiply(apart.matrix(), T(-1), std::as_const(z).matrix().col_block(0, rank),
                            u.col_block(0, rank).transposed(), T(1), *memory_);
                S::scale_columns(apart.matrix(), gain);
                found.output_errors[i] =
                    S::dot(std::as_const(apart).matrix(), std::as_const(apart).matrix()) / static_cast<double>(x_.rows);
            }
        }
    }
    /// Of the approximations of W's outputs; what these err is in `outputs`.
    void outputs(LayerErrors& found, nn::LinearWeight<T, S>& weight, const LayerOutputs<T>& outputs,
                 const RanksOfLayer& ranks) const
    {
        const Index most = std::min(*std::max_element(ranks.begin(), ranks.end()), outputs.basis.count());
        if (most == 0) {
            found.output_parts.assign(ranks.size(), found.adapter.gradient);
            return;
        }
        subspace::OutputFactors<T> factors;
        {
            const Tensor<T> w = values_of(weight);
            factors =
                subspace::output_factors<S, T>(w.matrix(), outputs.basis, outputs.gains.gain.span(),
                                               outputs.gains.inverse.span(), most, *memory_, Tag{Use::workspace, 0});
        }
        linalg::orthonormalize_columns<S, T>(factors.left.matrix(), *memory_);
        linalg::orthonormalize_columns<S, T>(factors.right.matrix().transposed(), *memory_);
        found.output_parts =
            subspace::tangent_parts<S, T>(rest(dy_), rest(x_), std::as_const(factors.left).matrix(),
                                          std::as_const(factors.right).matrix().transposed(), ranks, *memory_);
    }
    /// dW Ω, Ω (I,8) standard normal: for any D, E ||D Ω||² / 8 = ||D||².
    [[nodiscard]] Tensor<T> sketch(RandomKey key) const
    {
        constexpr Index columns = 8;
        Tensor<T> inner;
        {
            Tensor<T> random = workspace<T>(*memory_, x_.cols, columns);
            S::fill_normal(random.matrix(), key);
            inner = product<S, T>(x_, std::as_const(random).matrix(), *memory_);
        }
        return product<S, T>(dy_.transposed(), std::as_const(inner).matrix(), *memory_);
    }

private:
    /// The images that adapters were not fitted to.
    [[nodiscard]] ConstMatrixView<T> rest(ConstMatrixView<T> of) const { return of.row_block(half_, of.rows - half_); }

    ConstMatrixView<T> x_;
    ConstMatrixView<T> dy_;
    Index half_;
    Memory* memory_;
};

}  // namespace detail

}  // namespace wasi::plan
