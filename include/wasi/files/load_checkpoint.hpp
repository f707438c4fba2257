#pragma once
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi/files/checkpoint_reader.hpp"
#include "wasi/files/model_file.hpp"

/// Vision Transformers out of checkpoints of all families that names.hpp lists. Needs the target wasi::io.
namespace wasi::files {

/// What came of loading a checkpoint.
struct LoadReport {
    std::string family;  ///< its title
    Index loaded = 0;    ///< tensors read
    Index total = 0;     ///< tensors there are
    std::vector<std::string> ignored;
    std::vector<std::string> notes;  ///< what was settled by default, folded or resampled, a sentence each
    std::optional<data::Preprocessing> preprocessing;  ///< nothing where a file of this library does not say it

    /// "timm: loaded 152 of 153 tensors, ignored 1 (mask_token)"
    [[nodiscard]] std::string text() const
    {
        std::string result = message(family, ": loaded ", loaded, " of ", total, " tensors");
        if (!ignored.empty()) {
            result += message(", ignored ", ignored.size(), " (", detail::list_of(ignored), ")");
        }
        return result;
    }
    /// What a model file has to carry of it.
    [[nodiscard]] std::map<std::string, std::string> metadata() const
    {
        if (!preprocessing) {
            return {};
        }
        return {{"preprocessing", data::to_text(*preprocessing)}};
    }
};

template <Scalar T, class S>
struct LoadedModel {
    std::unique_ptr<nn::VisionTransformer<T, S>> model;
    LoadReport report;
};

namespace detail {

/// Whether a file is this library's own with weights held otherwise than dense.
[[nodiscard]] inline bool has_forms(const CheckpointHeader& header)
{
    const auto is_factor = [](const auto& entry) { return entry.first.ends_with(nn::left_suffix); };
    return header.metadata.contains(forms_key) || header.metadata.contains(free_factors_key) ||
           std::any_of(header.tensors.begin(), header.tensors.end(), is_factor);
}

}  // namespace detail

/// Loads a file or a folder of any family, see names.hpp: recognised by names, its architecture found in shapes, config
/// and metadata, its values read layer by layer. `after_weight` is called with every linear weight as soon as it is
/// whole, e.g. to factorize it: of a model that is to be low rank no more than one weight is dense at a time. Throws
/// io_error for what is refused, missing or left over (a part of a checkpoint is never loaded alone), shape_error for a
/// wrong shape, argument_error for NaN, infinity and configurations that make no sense.
template <Scalar T, class S>
[[nodiscard]] LoadedModel<T, S> load_checkpoint(const std::filesystem::path& path, Memory& memory,
                                                const LoadOptions& options = {},
                                                const std::type_identity_t<WeightVisitor<T, S>>& after_weight = {})
{
    Checkpoint file(path);
    const NamedCheckpoint named(file.header());
    const CheckpointFacts facts = facts_of(named, options);
    LoadedModel<T, S> result;
    result.model = std::make_unique<nn::VisionTransformer<T, S>>(facts.config, memory);
    LoadReport& report = result.report;
    report.family = named.family().title;
    report.notes = facts.notes;
    if (facts.preprocessing_known) {
        report.preprocessing = facts.preprocessing;
    }
    report.total = static_cast<Index>(named.header().tensors.size());
    if (&named.family() == &families.front() && detail::has_forms(named.header()) && file.single() != nullptr) {
        read_model(*result.model, *file.single(), path, after_weight);
        report.loaded = report.total;
        return result;
    }
    detail::CheckpointReader<T> reader(file, named, facts, memory);
    nn::visit_weights(*result.model, [&](nn::Place place, auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            reader.read(parameter.name(), parameter.values);
        } else {
            reader.read(parameter.name(), parameter.dense());
            if (after_weight) {
                after_weight(place, parameter);
            }
        }
    });
    std::tie(report.loaded, report.ignored) = reader.account();
    for (const std::string& prefix : named.header().prefixes) {
        report.notes.push_back(message("the prefix ", prefix, " is cut off the names"));
    }
    return result;
}

}  // namespace wasi::files
