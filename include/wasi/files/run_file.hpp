#pragma once
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "wasi/files/model_file.hpp"
#include "wasi/optim/optimizer.hpp"

/// A training run in a safetensors file, to be gone on with: the model's values and all that its next steps depend on
/// (factors as they stand, R Rᵀ, warm bases, velocities, moments, counts), how each layer is set up, the number of the
/// next step, and what the run is. Random numbers are not among it: they follow from keys and positions. A resumed run
/// is bit for bit the uninterrupted one. Needs the target wasi::io.
namespace wasi::files {

/// What a run is, by names of its own: a run file whose facts differ is refused.
using RunFacts = std::map<std::string, std::string>;

namespace detail {

inline constexpr const char* run_version_key = "wasi_run";
inline constexpr const char* run_version = "3";
inline constexpr const char* next_step_key = "next_step";
inline constexpr std::string_view fact_prefix = "fact ";

/// A switch as a number; `last` is the largest there is. Throws io_error for one that is not.
template <class Switch>
void visit_switch(State& state, std::string_view name, Switch& value, Switch last)
{
    Index number = static_cast<Index>(value);
    state.number(name, number);
    require<io_error>(number >= 0 && number <= static_cast<Index>(last), "run file: ", name, " is ", number);
    value = static_cast<Switch>(number);
}

inline void visit_keep(State& state, nn::KeepOptions& keep)
{
    visit_switch(state, "recompute", keep.recompute, nn::Recompute::block);
    visit_switch(state, "probabilities", keep.probabilities, autograd::Probabilities::recompute);
    visit_switch(state, "norm_output", keep.norm_output, autograd::Output::rebuild);
    visit_switch(state, "gelu_input", keep.gelu_input, autograd::Output::rebuild);
    visit_switch(state, "gelu_output", keep.gelu_output, autograd::Output::rebuild);
    visit_switch(state, "saved_as", keep.saved_as, Precision::int4);
    visit_switch(state, "rounding", keep.rounding, Rounding::stochastic);
}

inline void visit_projection(State& state, subspace::InputProjectionOptions& options)
{
    visit_switch(state, "projection", options.projection, subspace::Projection::velora);
    state.number("rank", options.rank);
    state.number("principal_rank", options.principal_rank);
    state.number("refresh_every", options.refresh_every);
    state.number("scale", options.scale);
}

/// How a layer saves its input: the kind, and of Tucker forms the ranks where they are fixed (0 elsewhere). Read, other
/// options of Tucker forms are those that the layer has already.
template <Scalar T, class S>
void visit_input_setup(State& state, nn::Linear<T, S>& layer, const subspace::ActivationSubspaceOptions& others,
                       RandomKey key)
{
    const nn::InputSetup setup = nn::input_setup_of(layer);
    std::string kind(nn::kind_of(setup));
    state.text("kind", kind);
    if (kind == nn::ExactOptions::kind) {
        if (state.reading()) {
            nn::set_up(layer, nn::InputSetup(nn::ExactOptions{}), key);
        }
        return;
    }
    if (kind == nn::ProjectedOptions::kind) {
        nn::ProjectedOptions options = state.reading() ? nn::ProjectedOptions{} : std::get<nn::ProjectedOptions>(setup);
        visit_projection(state, options);
        if (state.reading()) {
            nn::set_up(layer, nn::InputSetup(options), key);
        }
        return;
    }
    require<io_error>(kind == nn::TuckerOptions::kind, "the run file saves the input of ", layer.weight.name(),
                      " in the unknown form '", kind, "'");
    nn::TuckerOptions options{others};
    if (!state.reading()) {
        options = std::get<nn::TuckerOptions>(setup);
    }
    constexpr std::array<std::string_view, 3> names{"fixed_batch_rank", "fixed_token_rank", "fixed_feature_rank"};
    auto ranks = options.ranks.by_mode();
    for (std::size_t mode = 0; mode < 3; ++mode) {
        Index rank = ranks[mode].fixed().value_or(0);
        state.number(names[mode], rank);
        if (rank > 0) {
            ranks[mode] = linalg::FixedRank{rank};
        }
    }
    options.ranks = tensor::ModeRules<3>(ranks);
    if (state.reading()) {
        nn::set_up(layer, nn::InputSetup(options), key);
    }
}

/// How everything of a model is set up. Read, it is set up so.
template <nn::Model M>
void visit_setup(M& model, State& state, const subspace::ActivationSubspaceOptions& inputs, RandomKey key,
                 const std::filesystem::path& path)
{
    Index block = 0;
    const auto visit_trained = [&](const std::string& name, auto& parameter) {
        Index trained = parameter.trainable() ? 1 : 0;
        state.number("trained " + name, trained);
        parameter.set_trainable(trained != 0);
    };
    model.visit([&](nn::Place, auto& part) {
        if constexpr (requires { part.weight; }) {
            std::string kind(nn::kind_of(nn::setup_of(part.weight)));
            state.text("form " + part.weight.name(), kind);
            if (state.reading()) {
                hold_as(part.weight, kind, path);
            }
            visit_trained(part.weight.name(), part.weight);
            visit_trained(part.bias.name(), part.bias);
            const State::Scope scope(state, "input " + part.weight.name() + " ");
            visit_input_setup(state, part, inputs, key.derive(part.layer()));
        } else if constexpr (requires { part.values; }) {
            visit_trained(part.name(), part);
        } else {
            const State::Scope scope(state, "keep " + number_text(block++) + " ");
            visit_keep(state, part);
        }
    });
}

}  // namespace detail

/// Writes a run, whole or not at all. The run itself does not change. `next_step`: of train(). `metadata`: what of the
/// model's configuration its tensors do not tell. `more`: puts beside the run whatever else goes on with it. Throws
/// io_error when the file cannot be written.
template <nn::Model M>
void save_run(M& model, optim::Optimizer<typename M::Value, typename M::Storage>& optimizer, Index next_step,
              const RunFacts& facts, const std::filesystem::path& path,
              const std::map<std::string, std::string>& metadata = {}, const std::function<void(State&)>& more = {})
{
    StateWriter writer(false);
    nn::visit_state(model, writer);
    detail::visit_setup(model, writer, {}, RandomKey(0), path);
    optimizer.state(writer, nn::trainable_parameters(model));
    writer.number(detail::next_step_key, next_step);
    if (more) {
        more(writer);
    }
    writer.metadata[detail::run_version_key] = detail::run_version;
    for (const auto& [name, value] : facts) {
        writer.metadata[std::string(detail::fact_prefix) + name] = value;
    }
    for (const auto& [name, value] : metadata) {
        writer.metadata[name] = value;
    }
    writer.write(path);
}

/// Throws io_error when the file is not a run of these facts, naming the first difference and both sides of it.
inline void check_run(const io::SafetensorsFile& file, const std::filesystem::path& path, const RunFacts& facts)
{
    const auto& metadata = file.metadata();
    const auto version = metadata.find(detail::run_version_key);
    require<io_error>(version != metadata.end(), path.string(), ": is not a run file");
    require<io_error>(version->second == detail::run_version, path.string(), ": a run file of version ",
                      version->second, ", this program reads version ", detail::run_version);
    for (const auto& [name, value] : facts) {
        const auto found = metadata.find(std::string(detail::fact_prefix) + name);
        require<io_error>(found != metadata.end(), path.string(), ": does not say its ", name);
        require<io_error>(found->second == value, path.string(), ": was a run with ", name, " '", found->second,
                          "', this one has '", value, "'");
    }
}

/// Reads a run into a model of the same shape and a fresh optimiser of the same options: sets every layer up as it was
/// (`inputs` are the options of compressed inputs other than fixed ranks, `key` what apply_method was given), fills in
/// all values and what `more` was written with, and returns the number of the next step. Throws what check_run and
/// read_model do.
template <nn::Model M>
[[nodiscard]] Index load_run(M& model, optim::Optimizer<typename M::Value, typename M::Storage>& optimizer,
                             const RunFacts& facts, const std::filesystem::path& path,
                             const subspace::ActivationSubspaceOptions& inputs, RandomKey key,
                             const std::function<void(State&)>& more = {})
{
    const io::SafetensorsFile file(path);
    check_run(file, path, facts);
    StateReader reader(file, path, false);
    detail::visit_setup(model, reader, inputs, key, path);
    nn::visit_state(model, reader);
    optimizer.state(reader, nn::trainable_parameters(model));
    if (more) {
        more(reader);
    }
    reader.require_all_read();
    Index next_step = 0;
    reader.number(detail::next_step_key, next_step);
    return next_step;
}

}  // namespace wasi::files
