#pragma once
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "wasi/files/file_state.hpp"
#include "wasi/nn/model.hpp"

/// A model in a safetensors file: every parameter under its name, a low-rank weight as NAME.left (O,K) and NAME.right
/// (K,I) in place of NAME. Metadata: `forms`, how each weight that is not dense is held (NAME=KIND, by commas), and
/// whatever the writer adds. Factors without a word in it have an orthonormal L. Needs the target wasi::io.
namespace wasi::files {

/// Names of classes as the word `classes` of a file's metadata has them.
[[nodiscard]] inline std::string class_names_text(const std::vector<std::string>& names)
{
    return nlohmann::json(names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Fills a parameter outside of linear layers in another way than as the file has it; whether it did.
template <Scalar T>
using ParameterReader = std::function<bool(const std::string& name, Tensor<T>& values)>;

/// What is to be done with a weight that was just read.
template <Scalar T, class S>
using WeightVisitor = std::function<void(nn::Place place, nn::LinearWeight<T, S>& weight)>;

namespace detail {

inline constexpr const char* forms_key = "forms";
inline constexpr const char* free_factors_key = "free_factors";  // in place of `forms` in older files: names alone

/// Calls f(NAME, WORD) for each of a list "NAME=WORD,NAME=WORD"; WORD is empty where there is no "=".
template <class F>
void for_each_word(const std::string& list, const F& f)
{
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(',', begin), list.size());
        const std::string entry = list.substr(begin, end - begin);
        const std::size_t cut = std::min(entry.find('='), entry.size());
        f(entry.substr(0, cut), entry.substr(std::min(cut + 1, entry.size())));
        begin = end + 1;
    }
}

/// How the weights of a file are held that are not dense. Throws io_error for free factors of which there is nothing.
[[nodiscard]] inline std::map<std::string, std::string> forms_in(const io::SafetensorsFile& file,
                                                                 const std::filesystem::path& path)
{
    std::map<std::string, std::string> forms;
    const std::string suffix(nn::left_suffix);
    for (const std::string& name : file.names()) {
        if (name.ends_with(suffix)) {
            forms[name.substr(0, name.size() - suffix.size())] = nn::SubspaceOptions::kind;
        }
    }
    const auto& metadata = file.metadata();
    if (const auto found = metadata.find(free_factors_key); found != metadata.end()) {
        for_each_word(found->second, [&](const std::string& name, const std::string&) {
            require<io_error>(forms.contains(name), path.string(), ": metadata ", free_factors_key, " names '", name,
                              "', of which there are no factors");
            forms[name] = nn::FactorsOptions::kind;
        });
    }
    if (const auto found = metadata.find(forms_key); found != metadata.end()) {
        for_each_word(found->second, [&](const std::string& name, const std::string& kind) { forms[name] = kind; });
    }
    return forms;
}

/// Throws io_error where the metadata names a form for something that is no linear weight of the model.
inline void check_forms(const io::SafetensorsFile& file, const std::filesystem::path& path,
                        const std::set<std::string>& weights)
{
    const auto& metadata = file.metadata();
    if (const auto found = metadata.find(forms_key); found != metadata.end()) {
        for_each_word(found->second, [&](const std::string& name, const std::string&) {
            require<io_error>(weights.contains(name), path.string(), ": metadata ", forms_key, " names '", name,
                              "', which is no linear weight of this model");
        });
    }
}

/// The weight in the form that the file has it in, empty, for state() to fill.
template <Scalar T, class S>
void hold_as(nn::LinearWeight<T, S>& weight, const std::string& kind, const std::filesystem::path& path)
{
    if (kind == nn::kind_of(nn::setup_of(weight))) {
        return;
    }
    auto form = nn::empty_form(weight, kind);
    require<io_error>(form != nullptr, path.string(), ": ", weight.name(), " is held in the unknown form '", kind, "'");
    weight.hold(std::move(form));
}

}  // namespace detail

/// Reads the values of a model of the same shape. Weights are held as the file has them, whatever they were; of those
/// that it has as factors a dense copy never exists. `after_weight` is called with every linear weight as soon as it is
/// read, e.g. to factorize it: of a model that is to be low rank no more than one weight is dense at a time. `instead`
/// is asked for each parameter outside of linear layers before the file is. Throws io_error for missing or extra
/// tensors, forms that are unknown or of no weight, and everything SafetensorsFile refuses, shape_error for a wrong
/// shape, argument_error for NaN, infinity, or an L that should be orthonormal and is not. The model is then in no
/// state to be used.
template <nn::Model M>
void read_model(M& model, const io::SafetensorsFile& file, const std::filesystem::path& path,
                const WeightVisitor<typename M::Value, typename M::Storage>& after_weight = {},
                const ParameterReader<typename M::Value>& instead = {})
{
    const auto forms = detail::forms_in(file, path);
    StateReader reader(file, path, true);
    std::set<std::string> weights;
    nn::visit_weights(model, [&](nn::Place place, auto& parameter) {
        if constexpr (requires { parameter.values; }) {
            if (instead && instead(parameter.name(), parameter.values)) {
                reader.note_read(parameter.name());
            } else {
                reader.tensor(parameter.name(), parameter.values, model.memory(), parameter.values.tag());
            }
        } else {
            weights.insert(parameter.name());
            const auto found = forms.find(parameter.name());
            detail::hold_as(parameter, found != forms.end() ? found->second : std::string(nn::DenseOptions::kind),
                            path);
            {
                const State::Scope scope(reader, parameter.name());
                parameter.form().state(reader);
            }
            if (after_weight) {
                after_weight(place, parameter);
            }
        }
    });
    reader.require_all_read();
    detail::check_forms(file, path, weights);
}

/// How the weights of a model that are not dense are held, as the metadata `forms` has it. `rounded`: with subspaces as
/// free factors.
template <nn::Model M>
[[nodiscard]] std::string forms_text(M& model, bool rounded = false)
{
    std::string forms;
    nn::visit_layers(model, [&](nn::Place, nn::LayerOf<M>& layer) {
        auto kind = nn::kind_of(nn::setup_of(layer.weight));
        if (rounded && kind == nn::SubspaceOptions::kind) {
            kind = nn::FactorsOptions::kind;
        }
        if (kind != nn::DenseOptions::kind) {
            forms += (forms.empty() ? "" : ",") + layer.weight.name() + "=" + std::string(kind);
        }
    });
    return forms;
}

/// Writes a model, whole or not at all. `metadata` is added to `forms`. `stored_as`: the type of its numbers in the
/// file, F32, F16 or BF16; else as they are. In 16 bits an orthonormal L is no longer one, so such factors are written
/// as free ones. Throws io_error when the file cannot be written, argument_error for a number that is too large for its
/// type.
template <nn::Model M>
void write_model(M& model, const std::filesystem::path& path, std::map<std::string, std::string> metadata = {},
                 std::optional<io::Dtype> stored_as = std::nullopt)
{
    StateWriter writer(true);
    nn::visit_state(model, writer);
    writer.metadata.merge(metadata);
    writer.metadata.erase(detail::free_factors_key);
    const bool rounded = stored_as == io::Dtype::f16 || stored_as == io::Dtype::bf16;
    writer.metadata[detail::forms_key] = forms_text(model, rounded);
    if (writer.metadata[detail::forms_key].empty()) {
        writer.metadata.erase(detail::forms_key);
    }
    writer.write(path, stored_as);
}

}  // namespace wasi::files
