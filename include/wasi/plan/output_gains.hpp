#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/data/in_order.hpp"
#include "wasi/linalg/running_covariance.hpp"
#include "wasi/nn/model_scopes.hpp"
#include "wasi/nn/staged_model.hpp"

namespace wasi::plan {

/// What an error of each output of a layer is worth: gain g_o, and 1 / g_o for dividing.
template <Scalar T>
struct OutputGains {
    Tensor<T> gain;     ///< (1,O)
    Tensor<T> inverse;  ///< (1,O)
};

namespace detail {

/// sum += column sums of dY².
template <class S, Scalar T>
void add_squares(Tensor<double>& sum, ConstMatrixView<T> dy, Memory& memory)
{
    Tensor<T> squares = workspace<T>(memory, dy.rows, dy.cols);
    S::copy(squares.matrix(), dy);
    S::multiply_elements(squares.matrix(), dy);
    Tensor<T> sums = workspace<T>(memory, 1, dy.cols);
    S::column_sums(sums.span(), std::as_const(squares).matrix(), memory);
    Tensor<double> wide = workspace<double>(memory, 1, dy.cols);
    S::convert(wide.matrix(), std::as_const(sums).matrix());
    S::add_scaled(sum.matrix(), 1.0, 1.0, std::as_const(wide).matrix());
}

template <class S, Scalar T>
[[nodiscard]] OutputGains<T> unit_gains(Index outputs, Memory& memory)
{
    OutputGains<T> result{workspace<T>(memory, 1, outputs), workspace<T>(memory, 1, outputs)};
    S::fill(result.gain.matrix(), T(1));
    S::fill(result.inverse.matrix(), T(1));
    return result;
}

/// gain_o = sqrt(squares_o / spread). An output that no feature feels counts as a millionth of the mean, so that every
/// gain has an inverse.
template <class S, Scalar T>
[[nodiscard]] OutputGains<T> gains_of(const Tensor<double>& squares, double spread, const std::string& layer,
                                      Memory& memory)
{
    require<divergence_error>(S::all_finite(squares.matrix()), "output_gains: gradients at ", layer,
                              " hold NaN or infinity");
    const Index n = squares.shape()[1];
    Tensor<double> host = host_row<double>(memory, n);
    memory.read(host.data(), squares.data(), squares.bytes());
    double mean = 0.0;
    for (double& value : host.span()) {
        // Whatever a storage that computes nothing has left there is a number now.
        value = value > 0.0 && std::isfinite(value) ? std::sqrt(value / spread) : 0.0;
        mean += value / static_cast<double>(n);
    }
    const double floor = mean > 0.0 ? 1e-6 * mean : 1.0;
    Tensor<T> there = host_row<T>(memory, n);
    const auto filled = [&](const auto& value_of) {
        for (Index o = 0; o < n; ++o) {
            there.data()[o] = static_cast<T>(value_of(host.data()[o] + floor));
        }
        Tensor<T> row = workspace<T>(memory, 1, n);
        memory.write(row.data(), there.data(), row.bytes());
        return row;
    };
    return {filled([](double gain) { return gain; }), filled([](double gain) { return 1.0 / gain; })};
}

}  // namespace detail

/// The gains of these layers for the features that the model's head reads. A small error e of one row of a layer's
/// output moves the features by J e; with v random of variance 1, E (vᵀJ)ᵀ(vᵀJ) = JᵀJ, so the mean over examples and v
/// of the squared gradient of vᵀ features is what a squared error of that output costs. With errors of different
/// outputs, rows and layers taken as independent (K-FAC's diagonal, Martens and Grosse 2015),
///
///     Σ over layers of Σ_o g_o² E e_o²  =  E |d features|² / E |features - mean|²
///
/// to first order, E e_o² the mean square over a layer's rows. No label is asked for. Cost: a step of these examples
/// with every block recomputed and no weight trained. Throws argument_error for no examples and where all have the same
/// features, divergence_error for NaN and infinity.
template <nn::Model M, class D>
requires data::Batches<D, typename M::Value>
[[nodiscard]] std::vector<OutputGains<typename M::Value>> output_gains(M& model,
                                                                       std::span<nn::LayerOf<M>* const> layers,
                                                                       const D& data, std::span<const Index> which,
                                                                       Index batch_size)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    require<argument_error>(!which.empty() && batch_size >= 1, "output_gains: ", which.size(), " examples, ",
                            batch_size, " at a time");
    Memory& memory = model.memory();
    std::vector<Tensor<double>> squares;
    for (const auto* layer : layers) {
        squares.push_back(workspace<double>(memory, 1, layer->weight.outputs()));
        S::fill(squares.back().matrix(), 0.0);
    }
    double spread = 0.0;
    {
        nn::WatchScope<T, S> watch;
        const nn::RecomputeScope<M> recompute(model);
        const nn::FreezeScope<M> freeze(model);
        for (std::size_t i = 0; i < layers.size(); ++i) {
            watch.observe(*layers[i], {{}, [&squares, &memory, i](ConstMatrixView<T> dy) {
                                           detail::add_squares<S>(squares[i], dy, memory);
                                       }});
        }
        std::unique_ptr<linalg::RunningCovariance<S, T>> features;
        data::for_each_batch(data, which, batch_size, [&](const auto& batch) {
            autograd::Tape<T, S> tape(memory);
            const autograd::Context<T, S> context{memory, &tape};
            const auto found = nn::features_of(model, context, nn::Source<T>(batch));
            const auto values = found.value().matrix();
            if (!features) {
                features = std::make_unique<linalg::RunningCovariance<S, T>>(values.cols, memory);
            }
            features->add(values);
            auto start = std::make_shared<Tensor<T>>(memory, Tag{Use::gradient, 0}, found.shape());
            S::fill_normal(start->matrix(), RandomKey(0).derive(batch.number()));
            nn::NoSink<T> sink;
            tape.backward(found, sink, std::move(start));
        });
        Tensor<double> ones = workspace<double>(memory, features->mean().cols, 1);
        S::fill(ones.matrix(), 1.0);
        spread = S::dot(features->scatter().diagonal(), std::as_const(ones).matrix());
    }
    require<argument_error>(spread > 0.0, "output_gains: all examples have the same features");
    std::vector<OutputGains<T>> result;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        result.push_back(detail::gains_of<S, T>(squares[i], spread, layers[i]->weight.name(), memory));
    }
    return result;
}

}  // namespace wasi::plan
