#include "commands/weights.hpp"

#include <cstdio>

namespace wasi_examples {

ModelWithOrigin load_weights(const WeightsOptions& options, wasi::Memory& memory, bool quiet,
                             const wasi::files::WeightVisitor<float, wasi::EigenStorage>& visitor)
{
    auto loaded = wasi::files::load_checkpoint<float, wasi::EigenStorage>(
        options.path, memory, {.heads = options.heads, .train_layer_scale = options.train_layer_scale}, visitor);
    if (!quiet) {
        std::printf("%s\n", loaded.report.text().c_str());
        for (const std::string& note : loaded.report.notes) {
            std::printf("  %s\n", note.c_str());
        }
    }
    return {std::move(loaded.model), loaded.report.metadata(), loaded.report.preprocessing};
}

void require_head(const wasi::nn::VisionTransformerConfig& config, const std::optional<wasi::Index>& classes)
{
    wasi::require<wasi::argument_error>(config.head || classes.has_value(),
                                        "--weights: the file has no head; --classes C makes one for C classes");
}

}  // namespace wasi_examples
