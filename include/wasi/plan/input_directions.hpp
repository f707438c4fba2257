#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/data/in_order.hpp"
#include "wasi/linalg/incremental_pca.hpp"
#include "wasi/nn/model_scopes.hpp"

namespace wasi::plan {

/// The leading directions of what passes into one linear layer.
struct InputDirections {
    std::string layer;          ///< the weight's name
    Tensor<double> directions;  ///< (k,I), orthonormal rows, the most varied first

    /// For starts of weights that look at data (AdapterStart::eva).
    [[nodiscard]] nn::LayerStatistics statistics() const { return {std::as_const(directions).matrix()}; }
};

/// The first `count` principal components of the inputs of the chosen layers, rows of all tokens of these examples, in
/// the order of nn::selected_layers: one forward pass without a tape, in batches of `batch_size`, each layer's inputs
/// taken in by linalg::IncrementalPca as they pass; none is kept. They are those of the inputs of the model as it is,
/// exactly for one batch, else to what the PCA discards, which carries 3 count + 16 components. Memory: as many rows
/// for each layer, beside a forward pass. Throws argument_error for no examples, counts below 1, and a layer whose
/// inputs have fewer than `count` components.
template <nn::Model M, class D>
requires data::Batches<D, typename M::Value>
[[nodiscard]] std::vector<InputDirections> input_directions(M& model, const D& data, std::span<const Index> examples,
                                                            nn::Layers layers, Index count, Index batch_size)
{
    using T = typename M::Value;
    using S = typename M::Storage;
    using Pca = linalg::IncrementalPca<T, S>;
    require<argument_error>(!examples.empty() && count >= 1 && batch_size >= 1, "input_directions: ", count,
                            " directions on ", examples.size(), " examples, ", batch_size, " at a time");
    Memory& memory = model.memory();
    const auto chosen = nn::selected_layers(model, layers);
    std::vector<std::unique_ptr<Pca>> seen;
    {
        nn::WatchScope<T, S> watch;
        for (auto* layer : chosen) {
            const linalg::IncrementalPcaOptions options{.rank = linalg::FixedRank{count}, .extra = 2 * count + 16};
            seen.push_back(std::make_unique<Pca>(options, memory));
            watch.observe(*layer, {[one = seen.back().get()](auto x, auto) { one->add(x); }, {}});
        }
        const autograd::Context<T, S> context{memory, nullptr};
        data::for_each_batch(data, examples, batch_size, [&](const auto& batch) {
            static_cast<void>(model.forward(context, nn::Source<T>(batch)));
        });
    }
    std::vector<InputDirections> result;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        const auto found = seen[i]->factors();
        seen[i].reset();
        require<argument_error>(found.components.shape()[1] == count, "input_directions: the inputs of ",
                                chosen[i]->weight.name(), " have ", found.components.shape()[1], " components, not ",
                                count);
        InputDirections& one = result.emplace_back();
        one.layer = chosen[i]->weight.name();
        one.directions = Tensor<double>(memory, Tag{Use::workspace, 0}, Shape{count, chosen[i]->weight.inputs()});
        S::convert(one.directions.matrix(), found.components.matrix().transposed());
    }
    return result;
}

}  // namespace wasi::plan
