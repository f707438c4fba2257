#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wasi/files/load_checkpoint.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi_examples {

/// What --weights, --heads, --train-layer-scale and --image say.
struct WeightsOptions {
    std::string path;  ///< a file or a folder of any family
    std::optional<wasi::Index> heads;
    bool train_layer_scale = false;
    std::optional<wasi::Index> image = {};
};

/// A model, and what its files have to carry of where it came from.
struct ModelWithOrigin {
    std::unique_ptr<wasi::nn::VisionTransformer<float, wasi::EigenStorage>> model;
    std::map<std::string, std::string> origin;
    std::optional<wasi::data::Preprocessing> preprocessing;
    std::vector<std::string> classes;  ///< names; empty where the files tell none
};

/// Loads what --weights names and, unless told to be quiet, prints what was loaded and settled. Throws wasi::error.
[[nodiscard]] ModelWithOrigin load_weights(const WeightsOptions& options, wasi::Memory& memory, bool quiet = false,
                                           const wasi::files::WeightVisitor<float, wasi::EigenStorage>& visitor = {});

/// What a model's origin says of pictures; wasi::data::Preprocessing::plain() where it says nothing. Throws
/// wasi::argument_error.
[[nodiscard]] wasi::data::Preprocessing preprocessing_of(const std::map<std::string, std::string>& origin);

/// Throws wasi::argument_error unless there is a head.
void require_head(bool there);

/// A name for each class: these, or numbers where they are not as many.
[[nodiscard]] std::vector<std::string> class_names(std::vector<std::string> names, wasi::Index classes);

}  // namespace wasi_examples
