#pragma once
#include <filesystem>

#include "commands/training_setup.hpp"

namespace wasi_examples {

/// Starts from the adapter of --adapter, with the layers that it leaves out frozen. Throws wasi::argument_error for one
/// of another method.
void read_adapter(RunModel& model, const FinetuneOptions& options, const wasi::train::MethodOptions& method);

/// Holds the weights with adapters that start from the inputs of their layers (plan::input_directions), on the images
/// that
/// --calibration draws.
void start_from_inputs(RunModel& model, const RunData& data, const FinetuneOptions& options,
                       const wasi::train::MethodOptions& method);

/// Writes the adapter in PEFT's format. One whose start nobody else can repeat is written for the weights before it,
/// which are read once more.
void write_adapter(TrainingSetup& setup, const std::filesystem::path& folder);

}  // namespace wasi_examples
