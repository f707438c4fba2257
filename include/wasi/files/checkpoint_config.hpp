#pragma once
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "wasi/files/checkpoint_facts.hpp"
#include "wasi/files/checkpoint_names.hpp"
#include "wasi/files/preprocessing_config.hpp"

/// What a checkpoint's shapes, its config.json and its metadata say of the model. Needs the target wasi::io.
namespace wasi::files {

namespace detail {

/// Everything that is asked of a checkpoint's header, in the order in which it can be known.
class ConfigFinder {
public:
    ConfigFinder(const NamedCheckpoint& named, const LoadOptions& options)
        : named_(&named), header_(&named.header()), json_(*header_), options_(&options)
    {
    }

    [[nodiscard]] CheckpointFacts find()
    {
        find_shapes();
        find_positions();
        find_pooling();
        find_heads();
        find_numbers();
        find_preprocessing();
        find_image();
        check_config(facts_.config, header_->path);
        return std::move(facts_);
    }

private:
    [[nodiscard]] const std::string* metadata(const std::string& key) const
    {
        const auto found = header_->metadata.find(key);
        return found == header_->metadata.end() ? nullptr : &found->second;
    }
    void note(const auto&... parts) { facts_.notes.push_back(message(parts...)); }
    /// Rows of a matrix that may be held as factors.
    [[nodiscard]] Index rows(const std::string& name) const
    {
        const std::string left = name + std::string(nn::left_suffix);
        return named_->shape(header_->contains(left) ? left : name, 2)[0];
    }

    void find_shapes()
    {
        auto& config = facts_.config;
        const auto& patches = named_->shape(named_->find(Part::patches, "weight"), 4);
        const std::string& path = header_->path.string();
        require<io_error>(patches[1] == 3 && patches[2] == patches[3] && patches[2] >= 1, path, ": tensor ",
                          named_->find(Part::patches, "weight"), " has shape ", shape_text(patches),
                          ", (D, 3, p, p) is expected");
        config.dim = patches[0];
        config.patch = patches[2];
        config.depth = named_->depth();
        const std::string fc1 = named_->find(Part::fc1, 0, "weight");
        require<io_error>(!fc1.empty(), path, ": there is no tensor ",
                          name_in(named_->family(), Part::fc1, 0, "weight"));
        config.mlp = rows(fc1);
        const std::string fc2 = named_->find(Part::fc2, 0, "weight");
        if (const auto* shape = header_->shape(fc2); shape != nullptr && shape->size() == 2) {
            require<io_error>(2 * (*shape)[1] != config.mlp, path, ": tensor ", fc1, " has twice the rows that ", fc2,
                              " has columns: SwiGLU MLPs (DINOv2 giant) are not "
                              "supported");
        }
        config.class_token = !named_->find(Part::class_token).empty();
        config.distillation_token = !named_->find(Part::distillation_token).empty();
        if (const std::string name = named_->find(Part::registers); !name.empty()) {
            config.registers = named_->shape(name, 3)[1];
        }
        config.pre_norm = !named_->find(Part::pre_norm, "weight").empty();
        const bool scaled = !named_->find(Part::scale1, 0, "").empty();
        config.layer_scale = scaled && (&named_->family() == &families.front() || options_->train_layer_scale);
        facts_.folds_layer_scale = scaled && !config.layer_scale;
        json_.expect("hidden_size", config.dim);
        json_.expect("num_hidden_layers", config.depth);
        json_.expect("patch_size", config.patch);
        if (facts_.folds_layer_scale) {
            note("layer scale is folded into the weights before it: the spectra are those of the products");
        }
        for (const Part part : {Part::patches, Part::query, Part::key, Part::value, Part::attention}) {
            if (!named_->find(part, 0, "weight").empty() && named_->find(part, 0, "bias").empty()) {
                note("there is no bias of ", named_->find(part, 0, "weight"), ": it starts at zero");
            }
        }
    }

    [[nodiscard]] static Index root(Index patches)
    {
        const auto across =
            static_cast<Index>(std::llround(std::sqrt(static_cast<double>(std::max<Index>(patches, 0)))));
        return patches >= 1 && across * across == patches ? across : 0;
    }

    /// Positions are for the patches and all, some or none of the tokens before them.
    void find_positions()
    {
        const std::string name = named_->find(Part::positions);
        require<io_error>(!name.empty(), header_->path.string(), ": there is no tensor ",
                          name_in(named_->family(), Part::positions, 0, ""));
        const auto& shape = *header_->shape(name);
        require<io_error>(shape.size() >= 2 && shape.back() == facts_.config.dim, header_->path.string(), ": tensor ",
                          name, " has shape ", shape_text(shape), ", the last extent should be ", facts_.config.dim);
        const Index count = header_->tensors.find(name)->second.info.element_count() / facts_.config.dim;
        const Index placed = facts_.config.placed_tokens();
        const std::optional<Index> said = json_.image_size();
        std::vector<Index> grids;
        for (const Index before : {placed, placed + facts_.config.registers, Index{0}}) {
            const Index grid = root(count - before);
            if (grid > 0 && std::find(grids.begin(), grids.end(), grid) == grids.end()) {
                grids.push_back(grid);
            }
        }
        require<io_error>(!grids.empty(), header_->path.string(), ": ", name, " is for ", count - placed,
                          " patches, which is not a square");
        if (grids.size() > 1 && said) {
            const Index grid = *said / facts_.config.patch;
            require<io_error>(std::find(grids.begin(), grids.end(), grid) != grids.end(), json_.where(), "an image of ",
                              *said, " pixels, for which ", name, " ", shape_text(shape), " is not");
            grids = {grid};
        }
        require<io_error>(grids.size() == 1, header_->path.string(), ": ", name, " may be for a grid of ", grids[0],
                          " or of ", grids.back(), ": a config.json with image_size says which");
        facts_.stored_grid = grids[0];
        facts_.stored_position_rows = count;
        if (facts_.config.registers > 0 && count == placed + facts_.config.registers + grids[0] * grids[0]) {
            note("the positions of the register tokens are added to the tokens");
        }
    }

    void find_pooling()
    {
        auto& config = facts_.config;
        std::string head = named_->find(Part::head, "weight");
        if (head.empty()) {
            head = named_->transposed_head();
            facts_.transposed_head = !head.empty();
        }
        config.head = !head.empty();
        Index inputs = config.dim;
        if (config.head) {
            const auto& shape = named_->shape(head, 2);
            config.classes = shape[facts_.transposed_head ? 1 : 0];
            inputs = shape[facts_.transposed_head ? 0 : 1];
            if (!facts_.transposed_head && named_->find(Part::head, "bias").empty()) {
                note("there is no bias of ", head, ": it starts at zero");
            }
        }
        const std::string global = json_.word("global_pool");
        require<io_error>(global.empty() || global == "token" || global == "avg", json_.where(), "global_pool '",
                          printable(global), "' is not supported");
        if (const std::string* said = metadata("pooling")) {
            const auto* const found = std::find(nn::pooling_names.begin(), nn::pooling_names.end(), *said);
            require<io_error>(found != nn::pooling_names.end(), header_->path.string(), ": metadata pooling is '",
                              printable(*said), "'");
            config.pooling = static_cast<nn::Pooling>(found - nn::pooling_names.begin());
        } else if (!named_->find(Part::second_head, "weight").empty()) {
            config.pooling = nn::Pooling::class_and_distillation;
            note("the two heads, whose results are averaged, are one head on both tokens with half of the weights");
        } else if (inputs == 2 * config.dim && config.dim > 0) {
            config.pooling = nn::Pooling::class_and_mean;
        } else if (named_->find(Part::norm, "weight").starts_with("fc_norm")) {
            config.pooling = nn::Pooling::mean_before_norm;
        } else if (!config.class_token || global == "avg") {
            config.pooling = nn::Pooling::mean;
        }
        if (!config.head) {
            config.classes = config.features();
            note("there is no head: the result is its input, ", config.classes, " features, until one is made");
        }
    }

    void find_heads()
    {
        auto& heads = facts_.config.heads;
        const std::string& path = header_->path.string();
        if (options_->heads) {
            heads = *options_->heads;
        } else if (const auto said = json_.number("num_attention_heads")) {
            heads = *said;
        } else if (const auto of_timm = json_.number("num_heads")) {
            heads = *of_timm;
        } else if (const std::string* text = metadata("heads")) {
            heads = metadata_number(*text, path, "heads");
        } else {
            heads = 0;
            for (const PublishedHeads& published : published_heads) {
                heads = published.dim == facts_.config.dim ? published.heads : heads;
            }
            require<io_error>(heads > 0, path,
                              ": nothing tells the number of attention heads, and no published model "
                              "has the width ",
                              facts_.config.dim, ": give --heads (LoadOptions::heads)");
            note("attention heads: ", heads, ", as published models of width ", facts_.config.dim,
                 " have; --heads says otherwise");
        }
    }

    void find_numbers()
    {
        auto& config = facts_.config;
        config.epsilon = named_->family().epsilon;
        config.gelu = named_->family().gelu;
        if (named_->family().name == "timm" && config.pre_norm) {
            config.epsilon = 1e-5;
            config.gelu =
                json_.word("architecture").find("quickgelu") != std::string::npos ? nn::Gelu::quick : nn::Gelu::erf;
            if (json_.word("architecture").empty()) {
                note(
                    "GELU: with erf; OpenAI's weights have the quick one, which the architecture in a config.json "
                    "tells");
            }
        }
        if (const auto* epsilon = json_.field("layer_norm_eps")) {
            require<io_error>(epsilon->is_number(), json_.where(), "layer_norm_eps is ", printable(epsilon->dump()));
            config.epsilon = epsilon->get<double>();
        } else if (const std::string* text = metadata("epsilon")) {
            const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), config.epsilon);
            require<io_error>(failure == std::errc() && end == text->data() + text->size(), header_->path.string(),
                              ": metadata epsilon is '", printable(*text), "'");
        }
        std::string activation = json_.word("hidden_act");
        if (const std::string* text = metadata("gelu"); text != nullptr && activation.empty()) {
            activation = *text;
        }
        if (!activation.empty()) {
            const bool quick = activation == "quick_gelu" || activation == "quick";
            require<io_error>(quick || activation == "gelu" || activation == "erf", header_->path.string(),
                              ": the activation '", printable(activation),
                              "' is not supported, gelu and quick_gelu are");
            config.gelu = quick ? nn::Gelu::quick : nn::Gelu::erf;
        }
        const auto* swiglu = json_.field("use_swiglu_ffn");
        require<io_error>(swiglu == nullptr || *swiglu == false, json_.where(),
                          "use_swiglu_ffn: SwiGLU MLPs (DINOv2 giant) are not supported");
    }

    void find_preprocessing()
    {
        const auto& config = facts_.config;
        auto usual = named_->family().preprocessing;
        if (named_->family().name == "timm") {
            const bool scaled = config.layer_scale || facts_.folds_layer_scale;
            usual = config.pre_norm                       ? clip_preprocessing
                    : scaled || config.distillation_token ? deit_preprocessing
                                                          : usual;
        }
        bool said = false;
        facts_.preprocessing = preprocessing_of(*header_, usual, said);
        // A file of save_model says it, where there is anything to be said.
        facts_.preprocessing_known = said || &named_->family() != &families.front() || metadata("image") == nullptr;
        if (!said && facts_.preprocessing_known) {
            note("mean, deviation and resizing of pictures: as usual for ", named_->family().title);
        }
    }
    void find_image()
    {
        auto& config = facts_.config;
        const Index stored = facts_.stored_grid * config.patch;
        config.image = stored;
        const auto fits = [&](Index image) { return image >= config.patch && image % config.patch == 0; };
        if (options_->image) {
            require<argument_error>(fits(*options_->image), header_->path.string(), ": an image of ", *options_->image,
                                    " pixels is no multiple of patches of ", config.patch);
            config.image = *options_->image;
        } else if (header_->preprocessor.is_object() && fits(facts_.preprocessing.crop)) {
            config.image = facts_.preprocessing.crop;
        }
        if (config.image != stored) {
            note("positions are resampled from ", facts_.stored_grid, " x ", facts_.stored_grid, " to ",
                 config.image / config.patch, " x ", config.image / config.patch,
                 " patches: ", to_string(named_->family().resampling));
        }
        facts_.preprocessing = data::for_image(facts_.preprocessing, config.image);
    }

    const NamedCheckpoint* named_;
    const CheckpointHeader* header_;
    ConfigReader json_;
    const LoadOptions* options_;
    CheckpointFacts facts_;
};

}  // namespace detail

/// All that a checkpoint's header tells of the model. Throws io_error naming what is missing, contradicts itself or is
/// not supported, argument_error for a configuration that makes no sense.
[[nodiscard]] inline CheckpointFacts facts_of(const NamedCheckpoint& named, const LoadOptions& options = {})
{
    return detail::ConfigFinder(named, options).find();
}

}  // namespace wasi::files
