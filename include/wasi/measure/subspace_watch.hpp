#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/autograd/ops/cross_entropy.hpp"
#include "wasi/measure/subspace_drift.hpp"
#include "wasi/measure/subspace_record.hpp"
#include "wasi/nn/model_scopes.hpp"
#include "wasi/subspace/tangent_parts.hpp"

namespace wasi::measure {

/// What is watched.
struct SubspaceWatchOptions {
    nn::Layers layers = nn::Layers::all;
    /// The rank of a weight that is held in full, and of inputs: what keeps this share of the energy at the start.
    double energy = 0.9;

    /// Throws argument_error unless 0 < energy <= 1.
    void check() const
    {
        require<argument_error>(energy > 0.0 && energy <= 1.0, "SubspaceWatchOptions: energy is ", energy);
    }
};

/// Measures, on any model and method, how stable the subspaces are that low-rank training relies on: those of weights,
/// of saved inputs, and where gradients point. Always on the same examples, by exact gradients and exact inputs of the
/// weights as they are held, whatever a method does with either; nothing of the run changes, a random number least of
/// all. The first measurement is the start.
///
/// Kept for each layer: 2 K (O + I) + 2 K_x I numbers, the bases of the start and the last ones. Cost of a
/// measurement: a step of these examples with every block recomputed, tangent_parts of each, an SVD of each weight (of
/// its factors where it has them) and of its inputs.
template <nn::Model M>
class SubspaceWatch {
public:
    using T = typename M::Value;
    using S = typename M::Storage;

    /// Watches the chosen layers. Throws what options.check does.
    explicit SubspaceWatch(M& model, const SubspaceWatchOptions& options = {}) : model_(&model), options_(options)
    {
        options.check();
        nn::visit_layers(model, [&](nn::Place place, nn::LayerOf<M>& layer) {
            if (nn::is_selected(place.role, options.layers)) {
                layers_.push_back({&layer, place.block, {}, {}, {}, {}, Tensor<double>()});
            }
        });
    }

    /// One measurement. `source` and `labels` have to be of the same examples every time. Throws divergence_error where
    /// a weight or an input is not finite.
    [[nodiscard]] std::vector<LayerSubspaces> measure(const nn::Source<T>& source, std::span<const std::int64_t> labels)
    {
        std::vector<LayerSubspaces> result;
        for (Watched& watched : layers_) {
            result.push_back(look_at_weight(watched));
        }
        look_at_gradients(source, labels, result);
        return result;
    }

    /// The bases of the start and of the last measurement.
    void state(State& state)
    {
        Memory& memory = model_->memory();
        for (Watched& watched : layers_) {
            const State::Scope scope(state, "watch." + watched.layer->weight.name() + ".");
            watched.left.state(state, "left", memory);
            watched.right.state(state, "right", memory);
            watched.input.state(state, "input", memory);
            state.tensor("spectrum", watched.spectrum, memory.host(), Tag{});
        }
    }

private:
    struct Watched {
        nn::LayerOf<M>* layer;
        Index block;
        WatchedBasis<T, S> left;
        WatchedBasis<T, S> right;
        WatchedBasis<T, S> input;
        Tensor<T> x;              // while a backward pass goes through the layer
        Tensor<double> spectrum;  // of the start; the host's
    };

    /// The leading triplets of the weight as it is held.
    [[nodiscard]] linalg::SvdFactors<T> factors_of(nn::LayerOf<M>& layer, Index rank)
    {
        Memory& memory = model_->memory();
        const linalg::RankRule rule =
            rank > 0 ? linalg::RankRule(linalg::FixedRank{rank}) : linalg::RankRule(linalg::Energy{options_.energy});
        if (const auto factors = layer.weight.form().factors()) {
            return linalg::product_svd<S, T>(linalg::Factored<T>{factors->left(), factors->right().transposed()},
                                             {.rank = linalg::FixedRank{factors->rank()}}, memory);
        }
        if (layer.weight.template held_as<nn::DenseOptions>() != nullptr) {
            return linalg::truncated_svd<S, T>(std::as_const(layer.weight).matrix(), {.rank = rule}, memory);
        }
        // Whatever the form: W = 1 W.
        Tensor<T> ones = workspace<T>(memory, layer.weight.outputs(), layer.weight.outputs());
        S::fill(ones.matrix(), T(0));
        S::fill(ones.matrix().diagonal(), T(1));
        Tensor<T> w = workspace<T>(memory, layer.weight.outputs(), layer.weight.inputs());
        static_cast<void>(layer.weight.form().adjoint(w.matrix(), std::as_const(ones).matrix(), memory));
        ones.reset();
        return linalg::truncated_svd<S, T>(std::as_const(w).matrix(), {.rank = rule}, memory);
    }

    [[nodiscard]] LayerSubspaces look_at_weight(Watched& watched)
    {
        Memory& memory = model_->memory();
        LayerSubspaces found;
        found.layer = watched.layer->weight.name();
        found.block = watched.block;
        found.outputs = watched.layer->weight.outputs();
        found.inputs = watched.layer->weight.inputs();
        auto factors = factors_of(*watched.layer, watched.left.rank());
        found.rank = factors.s.size();
        const auto s = std::as_const(factors.s).span();
        if (watched.spectrum.empty()) {
            watched.spectrum = host_row<double>(memory, found.rank);
            std::copy(s.begin(), s.end(), watched.spectrum.data());
        }
        double change = 0.0;
        double before = 0.0;
        for (Index j = 0; j < found.rank; ++j) {
            const double start = watched.spectrum.data()[j];
            const double now = static_cast<double>(s[static_cast<std::size_t>(j)]);
            change += (now - start) * (now - start);
            before += start * start;
        }
        found.spectrum = before > 0.0 ? std::sqrt(change / before) : 0.0;
        found.left = watched.left.move_to(std::move(factors.u), memory);
        found.right = watched.right.move_to(std::move(factors.v), memory);
        found.held = held_between<S, T>(watched.left, watched.right, s, memory);
        return found;
    }

    /// Exact inputs and gradients, layer by layer: blocks are recomputed one after the other, so that the inputs of one
    /// block alone are kept.
    void look_at_gradients(const nn::Source<T>& source, std::span<const std::int64_t> labels,
                           std::vector<LayerSubspaces>& result)
    {
        Memory& memory = model_->memory();
        bool recomputed = false;
        model_->visit([&](nn::Place, auto& part) {
            recomputed = recomputed || std::is_same_v<std::remove_cvref_t<decltype(part)>, nn::KeepOptions>;
        });
        bool keeping = !recomputed;
        nn::WatchScope<T, S> watch;
        const nn::RecomputeScope<M> recompute(*model_);
        const nn::FreezeScope<M> freeze(*model_);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            Watched& watched = layers_[i];
            watch.observe(*watched.layer, {[&memory, &watched, &keeping](ConstMatrixView<T> x, ConstMatrixView<T>) {
                                               if (keeping) {
                                                   watched.x = workspace<T>(memory, x.rows, x.cols);
                                                   S::copy(watched.x.matrix(), x);
                                               }
                                           },
                                           [this, &watched, &found = result[i]](ConstMatrixView<T> dy) {
                                               look_at_gradient(watched, dy, found);
                                           }});
        }
        autograd::Tape<T, S> tape(memory);
        const autograd::Context<T, S> context{memory, &tape};
        const auto loss = autograd::cross_entropy(context, model_->forward(context, source), labels);
        keeping = true;
        nn::NoSink<T> sink;
        tape.backward(loss, sink, T(1));
    }

    void look_at_gradient(Watched& watched, ConstMatrixView<T> dy, LayerSubspaces& found)
    {
        if (watched.x.empty()) {
            return;  // outside of the blocks that are recomputed
        }
        Memory& memory = model_->memory();
        const Tensor<T> x = std::move(watched.x);
        watched.x = {};
        require<divergence_error>(S::all_finite(x.matrix()) && S::all_finite(dy),
                                  "SubspaceWatch: inputs or gradients at ", found.layer, " hold NaN or infinity");
        const std::array<Index, 2> ranks{found.rank, 0};
        const auto in_tangent = [&](const auto& left, const auto& right, std::span<const Index> of) {
            return subspace::tangent_parts<S, T>(dy, x.matrix(), left, right, of, memory);
        };
        const auto now = in_tangent(watched.left.now(), watched.right.now(), ranks);
        const double all = now[1];
        found.gradient = std::sqrt(all);
        if (all > 0.0) {
            found.tangent = std::min(1.0, now[0] / all);
            const auto start = in_tangent(watched.left.start(), watched.right.start(), std::span(ranks).first(1));
            found.tangent_of_start = std::min(1.0, start[0] / all);
        }
        const double total = S::dot(x.matrix(), x.matrix());
        if (!(total > 0.0)) {
            return;
        }
        const Index rank = watched.input.rank();
        auto factors =
            linalg::truncated_svd<S, T>(x.matrix(),
                                        {.rank = rank > 0 ? linalg::RankRule(linalg::FixedRank{rank})
                                                          : linalg::RankRule(linalg::Energy{options_.energy})},
                                        memory);
        found.input_rank = factors.s.size();
        found.input = watched.input.move_to(std::move(factors.v), memory);
        found.input_energy = share_inside<S, T>(x.matrix(), watched.input.now(), total, memory);
        found.input_held = share_inside<S, T>(x.matrix(), watched.input.start(), total, memory);
    }

    M* model_;
    SubspaceWatchOptions options_;
    std::vector<Watched> layers_;
};

}  // namespace wasi::measure
