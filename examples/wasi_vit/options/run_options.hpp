#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <wasi/optim/any_optimizer.hpp>
#include <wasi/train/method.hpp>

#include "options/options.hpp"

/// finetune's options as the library takes them. What does not go together is refused here.
namespace wasi_examples {

/// The model that --config, --heads and --classes describe; without --classes the number is not decided. Throws
/// wasi::argument_error when it makes no sense.
[[nodiscard]] wasi::nn::VisionTransformerConfig model_config(const FinetuneOptions& options);

/// Method, layers and rank rules. Throws wasi::argument_error.
[[nodiscard]] wasi::train::MethodOptions method_options(const FinetuneOptions& options);

/// Images that a start which looks at data is found on.
[[nodiscard]] wasi::Index calibration_images(const FinetuneOptions& options);

/// Whether ranks come from what weights put out. Throws wasi::argument_error when that does not go with the other
/// options.
[[nodiscard]] bool ranks_by_output(const FinetuneOptions& options);

/// The bytes of --activation-budget; 0 when there is none. Throws wasi::argument_error when it does not go with the
/// other options.
[[nodiscard]] std::int64_t activation_budget(const FinetuneOptions& options);

/// The bytes of --memory-budget; nothing when there is none. Throws wasi::argument_error when it does not go with the
/// other options.
[[nodiscard]] std::optional<std::size_t> memory_budget(const FinetuneOptions& options);

/// Throws wasi::argument_error where the optimiser does not take low-rank weights that are moved as one matrix
/// (`subspaces`), or options are given that belong to another.
void check_optimizer(const FinetuneOptions& options, bool subspaces);

/// Whether methods are compared within the budget: --method auto, or --memory-budget with ranks by output. Throws
/// wasi::argument_error when that does not go with the other options.
[[nodiscard]] bool compares_methods(const FinetuneOptions& options);

/// Takes away the options of adapters.
void without_adapter(FinetuneOptions& options);

/// "--method lora --rank 8 --frozen-weights int8": of these options, those that --method auto fills in and that are not
/// as they are by default.
[[nodiscard]] std::string command_text(const FinetuneOptions& options);

/// Whether the method has adapters.
[[nodiscard]] bool has_adapter(const FinetuneOptions& options);

/// The optimiser and its numbers.
[[nodiscard]] wasi::optim::OptimizerOptions optimizer_options(const FinetuneOptions& options);

/// Everything about the loop but on_step. Throws wasi::argument_error.
[[nodiscard]] wasi::train::TrainOptions train_options(const FinetuneOptions& options);

/// The same for so many training images: a larger batch is all of them. Throws wasi::argument_error when the steps of
/// the run cannot be counted.
[[nodiscard]] FinetuneOptions fit_to_images(FinetuneOptions options, wasi::Index images);

/// A line that says so where fit_to_images makes the batch smaller; else empty.
[[nodiscard]] std::string batch_note(const FinetuneOptions& options, wasi::Index images);

/// Sets the number of threads; 0 takes the processors of this machine.
void use_threads(int threads);

}  // namespace wasi_examples
