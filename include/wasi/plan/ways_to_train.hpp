#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wasi/plan/forecast.hpp"
#include "wasi/plan/method_errors.hpp"
#include "wasi/train/method.hpp"

namespace wasi::plan {

/// One method with its numbers, and what it would do to the model, by measure_methods.
template <nn::Model M>
struct WayToTrain {
    train::MethodOptions method;
    std::optional<double> energy = {};  ///< of ranks by the weight's own energy
    std::optional<double> size = {};    ///< of ranks by output: share of the dense bytes
    std::string name;                   ///< of its kind: "lora", "wsi, ranks by output"
    std::string setting;                ///< what tells it from others of its kind
    RunDescription<M> run;              ///< layers and what else is trained; what blocks keep is open
    double output_error = 0.0;          ///< relative error of the features
    double gradient_error = 0.0;        ///< share of the gradient's norm that it cannot follow
    std::size_t before = 0;  ///< bytes of the process before training, where its start takes more than a conversion
};

/// What ways to train are made from.
struct WaysGiven {
    nn::Layers layers = nn::Layers::all;
    nn::AdapterOptions adapter = {};  ///< rank and scale of adapters
    bool elementwise = false;         ///< the optimiser keeps moments by element: low rank is `factors`, else `wsi`
    bool frozen = true;               ///< whether methods that freeze what the model knows make sense
    std::vector<double> energies = {};
    /// Of each layer of the blocks and each of these energies: MethodMeasurement::weight_ranks.
    std::vector<RanksOfLayer> weight_ranks = {};
    std::vector<double> sizes = {};
    std::vector<RanksOfLayer> output_ranks = {};
    std::vector<double> size_errors = {};  ///< OutputRanks::error of each size
    std::size_t before_sizes = 0;          ///< WayToTrain::before of ranks by output
    /// Of each layer of the blocks the rounding_rows of its weight in these formats.
    std::vector<Precision> formats{Precision::bfloat16, Precision::int8};
    std::vector<std::vector<std::vector<double>>> rounding = {};
};

namespace detail {

template <nn::Model M>
class WayMaker {
public:
    WayMaker(const RunDescription<M>& run, const MethodErrors& errors, const WaysGiven& given)
        : run_(run),
          errors_(errors),
          given_(given),
          others_(count_parts<autograd::DenseParameter<typename M::Value>, M>(run.model)),
          open_(open_layers<M>(run.model, given.layers))
    {
        for (const LayerErrors& layer : errors.layers) {
            gradient_ += layer.adapter.gradient;
        }
        require<argument_error>(std::isfinite(gradient_) && gradient_ > 0.0,
                                "ways_to_train: no gradient reaches the weights of the blocks");
    }

    [[nodiscard]] std::vector<WayToTrain<M>> all() const
    {
        std::vector<WayToTrain<M>> ways{vanilla()};
        low_rank(ways);
        if (given_.frozen) {
            for (const char* name : {"lora", "lora-fa", "head"}) {
                frozen(ways, name);
            }
        }
        return ways;
    }

private:
    [[nodiscard]] WayToTrain<M> way(const train::Method& method, std::string name) const
    {
        WayToTrain<M> way;
        way.method.method = method;
        way.method.layers = given_.layers;
        way.method.adapter = given_.adapter;
        way.name = std::move(name);
        way.run = run_;
        return way;
    }
    /// `ranks`: of each layer of the blocks; none: as the method says.
    void set_layers(WayToTrain<M>& way, const std::vector<Index>& ranks) const
    {
        way.run.layers = setups_of<M>(run_.model, [&](nn::Place place, Index number) {
            nn::LayerSetup setup = train::layer_setup(way.method, place.role);
            if (number >= 0 && !ranks.empty() && nn::kind_of(setup.weight) != nn::DenseOptions::kind) {
                const Index rank = ranks[static_cast<std::size_t>(number)];
                if (rank > 0) {
                    nn::set_rank(setup.weight, rank);
                } else {
                    setup.weight = nn::DenseOptions{};
                }
            }
            return setup;
        });
        way.run.trainable.assign(others_, way.method.method.trains_rest);
    }
    /// The share of the gradient's norm that is left where `followed` of its square is not.
    [[nodiscard]] double left(double followed) const
    {
        return std::sqrt(std::clamp(1.0 - followed / gradient_, 0.0, 1.0));
    }
    /// What layers that the method is not for can follow: all.
    template <class Part>
    [[nodiscard]] double followed(bool trains_rest, const Part& part) const
    {
        double sum = 0.0;
        for (std::size_t i = 0; i < errors_.layers.size(); ++i) {
            const LayerErrors& layer = errors_.layers[i];
            sum += open_[i] ? part(layer) : trains_rest ? layer.adapter.gradient : 0.0;
        }
        return sum;
    }

    [[nodiscard]] WayToTrain<M> vanilla() const
    {
        WayToTrain<M> result = way(train::method("vanilla"), "vanilla");
        result.setting = "dense";
        set_layers(result, {});
        return result;
    }
    /// Of each layer number `which` of a list of ranks.
    [[nodiscard]] std::vector<Index> ranks_of(const std::vector<RanksOfLayer>& lists, std::size_t which) const
    {
        std::vector<Index> ranks;
        for (std::size_t i = 0; i < lists.size(); ++i) {
            ranks.push_back(open_[i] ? lists[i][which] : 0);
        }
        return ranks;
    }
    [[nodiscard]] static bool any(const std::vector<Index>& ranks)
    {
        return std::any_of(ranks.begin(), ranks.end(), [](Index rank) { return rank > 0; });
    }
    void low_rank(std::vector<WayToTrain<M>>& ways) const
    {
        const train::Method& method = train::method(given_.elementwise ? "factors" : "wsi");
        for (std::size_t e = 0; e < given_.energies.size() && !given_.weight_ranks.empty(); ++e) {
            const auto ranks = ranks_of(given_.weight_ranks, e);
            if (!any(ranks)) {
                continue;
            }
            WayToTrain<M> result = way(method, std::string(method.name));
            result.method.weight_rank = linalg::Energy{given_.energies[e]};
            result.energy = given_.energies[e];
            result.setting = message("energy ", given_.energies[e]);
            double apart = 0.0;
            for (std::size_t i = 0; i < errors_.layers.size(); ++i) {
                apart += open_[i] ? errors_.layers[i].output_errors.at(e) : 0.0;
            }
            result.output_error = std::sqrt(apart);
            result.gradient_error =
                left(followed(true, [e](const LayerErrors& layer) { return layer.weight_parts.at(e); }));
            set_layers(result, ranks);
            ways.push_back(std::move(result));
        }
        for (std::size_t s = 0; s < given_.sizes.size() && !given_.output_ranks.empty(); ++s) {
            const auto ranks = ranks_of(given_.output_ranks, s);
            if (!any(ranks)) {
                continue;
            }
            WayToTrain<M> result = way(method, std::string(method.name) + ", by output");
            result.size = given_.sizes[s];
            result.method.ranks_are_chosen = true;
            result.setting = message("size ", given_.sizes[s]);
            result.output_error = given_.size_errors.at(s);
            result.gradient_error =
                left(followed(true, [s](const LayerErrors& layer) { return layer.output_parts.at(s); }));
            result.before = given_.before_sizes;
            set_layers(result, ranks);
            ways.push_back(std::move(result));
        }
    }
    /// With weights that are not trained in each format.
    void frozen(std::vector<WayToTrain<M>>& ways, const char* name) const
    {
        WayToTrain<M> full = way(train::method(name), name);
        const bool adapts = nn::adapter_options(full.method.method.weight(full.method)) != nullptr;
        const bool both = train::method(name) == train::method("lora");
        full.gradient_error = left(followed(false, [&](const LayerErrors& layer) {
            return !adapts ? 0.0 : both ? layer.adapter.both : layer.adapter.b_alone;
        }));
        const auto add = [&](Precision format, double apart) {
            WayToTrain<M> result = full;
            result.method.frozen_weights = format;
            result.output_error = std::sqrt(apart);
            result.setting = adapts ? message("rank ", given_.adapter.rank, ", ") : std::string();
            result.setting += "frozen in " + std::string(format == Precision::full ? "float32" : to_string(format));
            set_layers(result, {});
            ways.push_back(std::move(result));
        };
        add(Precision::full, 0.0);
        for (std::size_t f = 0; f < given_.formats.size() && !given_.rounding.empty(); ++f) {
            double apart = 0.0;
            for (std::size_t i = 0; i < errors_.layers.size(); ++i) {
                apart += errors_.layers[i].rounding_error(given_.rounding[i].at(f));
            }
            add(given_.formats[f], apart);
        }
    }

    const RunDescription<M>& run_;
    const MethodErrors& errors_;
    const WaysGiven& given_;
    std::size_t others_;
    std::vector<bool> open_;
    double gradient_ = 0.0;
};

}  // namespace detail

/// The ways to train that make sense, with their errors:
///
///     vanilla                  dense, exact                                                      0 and 0
///     wsi (factors)            weights of each energy                                            measured
///     wsi (factors), by output ranks dealt by outputs, of each size                              measured
///     lora, lora-fa, head      what is frozen in float32, bfloat16, int8; adapters of one rank   measured
///
/// `run` is what is given: model, optimiser, training, images, threads. Throws argument_error where no gradient reached
/// the weights.
template <nn::Model M>
[[nodiscard]] std::vector<WayToTrain<M>> ways_to_train(const RunDescription<M>& run, const MethodErrors& errors,
                                                       const WaysGiven& given)
{
    return detail::WayMaker<M>(run, errors, given).all();
}

}  // namespace wasi::plan
