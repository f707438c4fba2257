#pragma once
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wasi/files/adapter_config.hpp"
#include "wasi/files/model_file.hpp"
#include "wasi/nn/adapters.hpp"
#include "wasi/nn/models/vision_transformer.hpp"

/// Low-rank adapters of a Vision Transformer in PEFT's format: a folder with adapter_config.json and
/// adapter_model.safetensors, for the module names of torchvision. Needs the target wasi::io.
namespace wasi::files {

namespace detail {

inline constexpr std::string_view peft_a = "lora_A.weight";
inline constexpr std::string_view peft_b = "lora_B.weight";
inline constexpr std::string_view peft_magnitude = "lora_magnitude_vector";

}  // namespace detail

struct LoadAdapterOptions {
    /// How the adapter is to be trained: train_a, correct_b and precondition; the rest is what the folder says.
    nn::AdapterOptions wish = {};
    /// The model's weights are W0 + s B A already, of an adapter that was merged into them: it is taken out again, W0
    /// is what it was to rounding. Not of an adapter with magnitudes, whose lengths before are lost.
    bool merged = false;
};

/// Adapts the layers that the folder has factors for, and takes its head where it has one. The model's weights are
/// those that the adapter was started on; a start that moves them (nn::moves_weight) is made again first. Throws
/// io_error and shape_error for what does not fit, and for tensors that belong nowhere, and argument_error for a DoRA
/// adapter that is merged.
template <Scalar T, class S>
void load_adapter(nn::VisionTransformer<T, S>& model, const std::filesystem::path& folder,
                  const LoadAdapterOptions& how = {})
{
    const AdapterConfig config = read_adapter_config(folder);
    require<argument_error>(!how.merged || !config.dora, folder.string(),
                            ": a DoRA adapter cannot be taken out of weights that it was merged into");
    const auto path = folder / detail::peft_weights;
    const io::SafetensorsFile file(path);
    std::set<std::string> used;
    const auto read = [&](const std::string& name, Tensor<T>& values) {
        const auto& shape = file.info(name).shape;
        require<shape_error>(std::equal(shape.begin(), shape.end(), values.shape().begin(), values.shape().end()),
                             path.string(), ": tensor ", name, " has shape ", shape_text(shape), ", the model needs ",
                             shape_text(values.shape()));
        detail::fill_on_host(values, [&](std::span<T> numbers) {
            file.read(name, numbers);
            return true;
        });
        require<argument_error>(S::all_finite(std::as_const(values).matrix()), path.string(), ": tensor ", name,
                                " holds NaN or infinity");
        used.insert(name);
    };
    nn::visit_layers(model, [&](nn::Place place, nn::Linear<T, S>& layer) {
        const std::string& weight = layer.weight.name();
        if (place.role == nn::Role::head) {
            const std::string head = std::string(detail::peft_prefix) + weight;
            if (file.contains(head)) {
                read(head, layer.weight.dense());
                read(std::string(detail::peft_prefix) + layer.bias.name(), layer.bias.values);
            }
            return;
        }
        const std::string name_a = detail::peft_name(weight, detail::peft_a);
        if (!nn::is_selected(place.role, nn::Layers::all) || !file.contains(name_a)) {
            return;
        }
        const auto& shape = file.info(name_a).shape;
        require<io_error>(shape.size() == 2 && shape[0] >= 1, path.string(), ": tensor ", name_a, " has shape ",
                          shape_text(shape), ", a matrix is expected");
        nn::AdapterOptions options = how.wish;
        options.rank = shape[0];
        options.alpha = config.alpha;
        options.rank_stabilized = config.rank_stabilized;
        options.start = config.start;
        if (how.merged && nn::moves_weight(config.start)) {
            options.start = nn::AdapterStart::kaiming;  // what is left without the adapter is moved already
        }
        nn::set_up(layer.weight, config.dora ? nn::WeightSetup(nn::DoraOptions{options}) : nn::WeightSetup(options));
        auto& adapter = *nn::adapter_of(layer.weight);
        read(name_a, adapter.a.values);
        read(detail::peft_name(weight, detail::peft_b), adapter.b.values);
        if (config.dora) {
            read(detail::peft_name(weight, detail::peft_magnitude),
                 layer.weight.template held_as<nn::DoraOptions>()->magnitude.values);
        }
        if (how.merged) {
            adapter.unmerge();
        }
    });
    require<io_error>(!used.empty(), path.string(), ": has no adapter for any layer of this model");
    for (const std::string& name : file.names()) {
        require<io_error>(used.contains(name), path.string(), ": tensor ", name, " does not belong to this model");
    }
}

/// The factors that adapters start from, A0 and B0, by the names of their weights.
template <Scalar T>
using AdapterBeginnings = std::map<std::string, std::pair<Tensor<T>, Tensor<T>>>;

/// Takes the factors of every weight that has an adapter out of a model that was just set up, and lets the weight go:
/// for save_adapter, which then writes an adapter of the weights before that start. A visitor for load_checkpoint, so
/// that no more than one weight is held at a time. A0 and B0 follow from W and the options alone, the same bits each
/// time.
template <Scalar T, class S>
void take_beginning(nn::LinearWeight<T, S>& weight, AdapterBeginnings<T>& beginnings)
{
    if (auto* adapter = nn::adapter_of(weight)) {
        beginnings[weight.name()] = {std::move(adapter->a.values), std::move(adapter->b.values)};
        weight.hold(nn::empty_form(weight, nn::DenseOptions::kind));
    }
}

/// Writes the adapters of a model and its head; the folder is made. An adapter whose start has moved W belongs to the
/// weights that are left of it. PEFT and load_adapter make "pissa" and "olora" again from W. With `beginnings` what is
/// written belongs to W itself, as an ordinary adapter of rank 2 r: s (B A - B0 A0) = s [B, -B0] [A; A0], the form that
/// PEFT calls converted. Throws argument_error for a model without adapters, or with adapters of several options; for
/// one that started by pissa_fast, which nobody can make again, without `beginnings`; for magnitudes with them;
/// io_error when a file cannot be written.
template <Scalar T, class S>
void save_adapter(nn::VisionTransformer<T, S>& model, const std::filesystem::path& folder,
                  const AdapterBeginnings<T>& beginnings = {})
{
    std::vector<io::TensorToWrite> tensors;
    detail::HostCopies copies;
    std::vector<Tensor<T>> joined;  // what copies reads: they live until the file is written
    joined.reserve(2 * nn::selected_layers(model, nn::Layers::all).size());
    std::set<std::string> targets;
    std::optional<AdapterConfig> config;
    Index rank = 0;
    const auto write = [&](std::string name, const Tensor<T>& values) {
        tensors.push_back(
            {std::move(name), std::vector<Index>(values.shape().begin(), values.shape().end()), copies.of(values)});
    };
    const auto write_factors = [&](const std::string& weight, const nn::AdapterWeight<T, S>& adapter) {
        std::array<const Tensor<T>*, 2> factors{&adapter.a.values, &adapter.b.values};
        if (const auto found = beginnings.find(weight); found != beginnings.end()) {
            const auto& [a0, b0] = found->second;
            const Index r = adapter.rank();
            Memory& memory = a0.memory();
            Tensor<T>& a = joined.emplace_back(memory, Tag{}, Shape{2 * r, a0.shape()[1]});
            Tensor<T>& b = joined.emplace_back(memory, Tag{}, Shape{b0.shape()[0], 2 * r});
            S::copy(a.matrix().row_block(0, r), adapter.a_matrix());
            S::copy(a.matrix().row_block(r, r), a0.matrix());
            S::copy(b.matrix().col_block(0, r), adapter.b_matrix());
            S::add_scaled(b.matrix().col_block(r, r), T(0), T(-1), b0.matrix());
            factors = {&a, &b};
        }
        rank = factors[0]->shape()[0];
        write(detail::peft_name(weight, detail::peft_a), *factors[0]);
        write(detail::peft_name(weight, detail::peft_b), *factors[1]);
    };
    nn::visit_layers(model, [&](nn::Place place, nn::Linear<T, S>& layer) {
        const std::string& weight = layer.weight.name();
        if (place.role == nn::Role::head) {
            write(std::string(detail::peft_prefix) + weight, std::as_const(layer.weight).dense());
            write(std::string(detail::peft_prefix) + layer.bias.name(), layer.bias.values);
        } else if (const auto* adapter = nn::adapter_of(layer.weight)) {
            const nn::AdapterOptions own = adapter->options();
            const auto* dora = layer.weight.template held_as<nn::DoraOptions>();
            AdapterConfig next{own.alpha, own.rank_stabilized, own.start, dora != nullptr};
            if (beginnings.contains(weight)) {
                require<argument_error>(dora == nullptr, "save_adapter: ", weight,
                                        " has magnitudes, which no adapter of the weights before has");
                next.start = nn::AdapterStart::kaiming;
                next.alpha *= own.rank_stabilized ? std::sqrt(2.0) : 2.0;  // the same s at rank 2 r
            }
            require<argument_error>(next.start != nn::AdapterStart::pissa_fast, "save_adapter: ", weight,
                                    " started by pissa-fast, of which the factors at the start are needed");
            const Index before = rank;
            write_factors(weight, *adapter);
            require<argument_error>(!config || (*config == next && rank == before), "save_adapter: ", weight,
                                    " has an adapter of another rank, scale or kind than the layers before");
            config = next;
            targets.insert(detail::peft_target(weight));
            if (dora != nullptr) {
                write(detail::peft_name(weight, detail::peft_magnitude), dora->magnitude.values);
            }
        }
    });
    require<argument_error>(config.has_value(), "save_adapter: the model has no adapters");
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    require<io_error>(!failure, folder.string(), ": cannot be made a folder: ", failure.message());
    io::write_safetensors(folder / detail::peft_weights, tensors, {{"format", "pt"}});
    write_adapter_config(folder, *config, rank, targets);
}

}  // namespace wasi::files
