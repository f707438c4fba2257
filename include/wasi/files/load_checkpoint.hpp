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

namespace detail {

/// Names of classes, from the metadata of this library's files or from Hugging Face's id2label; none where there are
/// none, or only LABEL_0, LABEL_1, ... which say nothing.
[[nodiscard]] inline std::vector<std::string> class_names_in(const CheckpointHeader& header)
{
    std::vector<std::string> names;
    if (const auto found = header.metadata.find("classes"); found != header.metadata.end()) {
        const auto json = nlohmann::json::parse(found->second, nullptr, false);
        for (const auto& name : json.is_array() ? json : nlohmann::json::array()) {
            names.push_back(name.is_string() ? name.get<std::string>() : std::string());
        }
        return names;
    }
    const auto labels = header.config.is_object() ? header.config.find("id2label") : header.config.end();
    if (labels == header.config.end() || !labels->is_object()) {
        return names;
    }
    bool telling = false;
    for (std::size_t i = 0; i < labels->size(); ++i) {
        const std::string number = std::to_string(i);
        const auto name = labels->find(number);
        if (name == labels->end() || !name->is_string()) {
            return {};
        }
        names.push_back(name->get<std::string>());
        telling = telling || names.back() != "LABEL_" + number;
    }
    return telling ? names : std::vector<std::string>();
}

}  // namespace detail

/// What came of loading a checkpoint.
struct LoadReport {
    std::string family;  ///< its title
    Index loaded = 0;    ///< tensors read
    Index total = 0;     ///< tensors there are
    std::vector<std::string> ignored;
    std::vector<std::string> notes;    ///< what was settled by default, folded or resampled, a sentence each
    std::vector<std::string> classes;  ///< their names, where the files tell them
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
        std::map<std::string, std::string> result;
        if (preprocessing) {
            result["preprocessing"] = data::to_text(*preprocessing);
        }
        if (!classes.empty()) {
            result["classes"] = class_names_text(classes);
        }
        return result;
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
    report.classes = detail::class_names_in(named.header());
    if (!facts.config.head || std::ssize(report.classes) != facts.config.classes) {
        report.classes.clear();
    }
    if (facts.preprocessing_known) {
        report.preprocessing = facts.preprocessing;
    }
    report.total = static_cast<Index>(named.header().tensors.size());
    detail::CheckpointReader<T> reader(file, named, facts, memory);
    if (&named.family() == &families.front() && detail::has_forms(named.header()) && file.single() != nullptr) {
        const bool resampled = facts.config.image != facts.stored_grid * facts.config.patch;
        const std::string positions = name_in(named.family(), Part::positions, 0, "");
        read_model(*result.model, *file.single(), path, after_weight, [&](const std::string& name, Tensor<T>& values) {
            const bool own = resampled && name == positions;
            if (own) {
                reader.read(name, values);
            }
            return own;
        });
        report.loaded = report.total;
        return result;
    }
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
