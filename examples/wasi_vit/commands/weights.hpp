#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <wasi/files/load_checkpoint.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi_examples {

/// What --weights, --heads and --train-layer-scale say.
struct WeightsOptions {
    std::string path;  ///< a file or a folder of any family
    std::optional<wasi::Index> heads;
    bool train_layer_scale = false;
};

/// A model, and what its files have to carry of where it came from.
struct ModelWithOrigin {
    std::unique_ptr<wasi::nn::VisionTransformer<float, wasi::EigenStorage>> model;
    std::map<std::string, std::string> origin;
    std::optional<wasi::data::Preprocessing> preprocessing;
};

/// Loads what --weights names and, unless told to be quiet, prints what was loaded and settled. Throws wasi::error.
[[nodiscard]] ModelWithOrigin load_weights(const WeightsOptions& options, wasi::Memory& memory, bool quiet = false,
                                           const wasi::files::WeightVisitor<float, wasi::EigenStorage>& visitor = {});

/// Throws wasi::argument_error where the model has no head and --classes makes none.
void require_head(const wasi::nn::VisionTransformerConfig& config, const std::optional<wasi::Index>& classes);

}  // namespace wasi_examples
