#pragma once
#include "options/options.hpp"

namespace wasi_examples {

/// Each command throws wasi::error for whatever its user got wrong, and returns the program's exit status.
[[nodiscard]] int finetune(const FinetuneOptions& options);
[[nodiscard]] int plan(const FinetuneOptions& options);
[[nodiscard]] int evaluate(const FinetuneOptions& options);
[[nodiscard]] int probe(const ProbeOptions& options);
[[nodiscard]] int predict(const PredictOptions& options);
[[nodiscard]] int compare(const CompareOptions& options);
[[nodiscard]] int inspect(const InspectOptions& options);
[[nodiscard]] int export_model(const ExportCommandOptions& options);
[[nodiscard]] int compress(const CompressOptions& options);
[[nodiscard]] int expand(const ExpandOptions& options);

}  // namespace wasi_examples
