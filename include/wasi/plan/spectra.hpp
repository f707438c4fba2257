#pragma once
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/linalg/svd.hpp"
#include "wasi/nn/model.hpp"

namespace wasi::plan {

/// What a plan knows of one linear weight: its singular values, or the rank it is held with already.
struct WeightSpectrum {
    std::string name;
    Index outputs = 0;
    Index inputs = 0;
    Index held_rank = 0;         ///< 0: dense
    std::vector<double> values;  ///< descending; empty where it is low rank
};

/// The singular values of a dense weight. O I min(O,I) flops, workspace for one Gram matrix in double.
template <class S>
[[nodiscard]] WeightSpectrum spectrum_of(const nn::LinearWeight<float, S>& weight, Memory& memory)
{
    WeightSpectrum result{weight.name(), weight.outputs(), weight.inputs(), weight.rank(), {}};
    if (!weight.is_low_rank()) {
        static_cast<void>(linalg::leading_svd<S, float>(
            weight.matrix(),
            [&](std::span<const double> values) {
                result.values.assign(values.begin(), values.end());
                return Index{0};
            },
            memory));
    }
    return result;
}

/// spectrum_of every weight of nn::selected_layers(model, Layers::all), in that order.
template <nn::Model M>
[[nodiscard]] std::vector<WeightSpectrum> weight_spectra(M& model)
{
    std::vector<WeightSpectrum> result;
    for (const auto* layer : nn::selected_layers(model, nn::Layers::all)) {
        result.push_back(spectrum_of<typename M::Storage>(layer->weight, model.memory()));
    }
    return result;
}

}  // namespace wasi::plan
