#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wasi/plan/output_gains.hpp"
#include "wasi/subspace/output_basis.hpp"

namespace wasi::plan {

/// What calibration has found of one linear layer y = W x + b.
template <Scalar T>
struct LayerOutputs {
    std::string layer;  ///< the weight's name
    Index outputs = 0;
    Index inputs = 0;
    Index held_rank = 0;  ///< of a weight that is low rank already: it stays as it is, and the rest is empty
    OutputGains<T> gains;
    subspace::OutputBasis<T> basis;  ///< of G y, as many directions as a rank may have that pays
    Tensor<T> mean;                  ///< (1,I) of x
    /// Mean square of G (y - mean) along each direction of the basis and of all of it, on the examples held out (on
    /// those of the basis where there are none).
    std::vector<double> energies;
    double total = 0.0;

    /// E |G (W - W~)(x - m)|² of the best W~ of this rank; rank 0 stands for W itself. With gradients it is the
    /// expected square of the features' relative error, to first order; without, that of the layer's output.
    [[nodiscard]] double error(Index rank) const
    {
        double left = rank == 0 ? 0.0 : total;
        for (Index j = 0; j < std::min(rank, std::ssize(energies)); ++j) {
            left -= energies[static_cast<std::size_t>(j)];
        }
        return std::max(left, 0.0);
    }
};

namespace detail {

/// What passes through one layer: y where it has fewer numbers than x, else x.
template <class S, Scalar T>
class SeenLayer {
public:
    SeenLayer(const nn::Linear<T, S>& layer, Memory& memory)
        : of_outputs_(layer.weight.outputs() <= layer.weight.inputs()),
          smaller_(std::min(layer.weight.outputs(), layer.weight.inputs()), memory)
    {
        if (of_outputs_) {
            inputs_.emplace(layer.weight.inputs(), memory);
        }
    }
    void add(ConstMatrixView<T> x, ConstMatrixView<T> y)
    {
        smaller_.add(of_outputs_ ? y : x);  // b in y moves its mean, not its scatter
        if (inputs_) {
            inputs_->add(x);
        }
    }
    [[nodiscard]] ConstMatrixView<double> scatter() const { return smaller_.scatter(); }
    [[nodiscard]] double count() const { return static_cast<double>(std::max<Index>(smaller_.count(), 1)); }
    [[nodiscard]] ConstMatrixView<double> mean() const { return inputs_ ? inputs_->value() : smaller_.mean(); }

private:
    bool of_outputs_;
    linalg::RunningCovariance<S, T> smaller_;
    std::optional<linalg::RunningMean<S, T>> inputs_;
};

/// The energies of G (y - mean) along the directions of a basis, on other examples.
template <class S, Scalar T>
class CheckedLayer {
public:
    CheckedLayer(const nn::Linear<T, S>& layer, const LayerOutputs<T>& found, Memory& memory)
        : found_(&found),
          memory_(&memory),
          directions_(subspace::output_directions<S, T>(std::as_const(layer.weight).matrix(), found.basis,
                                                        found.gains.gain.span(), found.basis.count(), memory)),
          mean_(workspace<T>(memory, 1, layer.weight.outputs())),
          sums_(workspace<double>(memory, 1, found.basis.count()))
    {
        S::multiply(mean_.matrix(), T(1), found.mean.matrix(), std::as_const(layer.weight).matrix().transposed(), T(0),
                    memory);
        S::add_scaled(mean_.matrix(), T(1), T(1), std::as_const(layer.bias.values).matrix());
        S::fill(sums_.matrix(), 0.0);
    }
    void add(ConstMatrixView<T> y)
    {
        Tensor<T> centred = workspace<T>(*memory_, y.rows, y.cols);
        Tensor<T> ones = workspace<T>(*memory_, y.rows, 1);
        S::fill(ones.matrix(), T(1));
        S::copy(centred.matrix(), y);
        S::multiply(centred.matrix(), T(-1), std::as_const(ones).matrix(), std::as_const(mean_).matrix(), T(1),
                    *memory_);
        S::scale_columns(centred.matrix(), found_->gains.gain.span());
        total_ += S::dot(std::as_const(centred).matrix(), std::as_const(centred).matrix());
        Tensor<T> along = workspace<T>(*memory_, y.rows, directions_.shape()[0]);
        S::multiply(along.matrix(), T(1), std::as_const(centred).matrix(),
                    std::as_const(directions_).matrix().transposed(), T(0), *memory_);
        add_squares<S>(sums_, std::as_const(along).matrix(), *memory_);
        count_ += y.rows;
    }
    void put_into(LayerOutputs<T>& found) const
    {
        const double share = 1.0 / static_cast<double>(std::max<Index>(count_, 1));
        found.energies.resize(static_cast<std::size_t>(found.basis.count()));
        memory_->read(found.energies.data(), sums_.data(), sums_.bytes());
        for (double& energy : found.energies) {
            energy *= share;
        }
        found.total = total_ * share;
    }

private:
    const LayerOutputs<T>* found_;
    Memory* memory_;
    Tensor<T> directions_;  // (k,O)
    Tensor<T> mean_;        // (1,O)
    Tensor<double> sums_;   // (1,k)
    double total_ = 0.0;
    Index count_ = 0;
};

}  // namespace detail

}  // namespace wasi::plan
