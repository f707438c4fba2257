#pragma once
#include <cstdint>
#include <string>

#include <wasi/plan/saved_inputs.hpp>

namespace wasi_examples {

/// Bytes from "12345", "512KiB", "4MiB", "1GiB", "64kB", "64KB", "4MB", "1GB" or "12345B". Throws wasi::argument_error
/// naming the option.
[[nodiscard]] std::int64_t parse_bytes(const std::string& text, const std::string& option);

/// What was chosen, as a table for the terminal.
[[nodiscard]] std::string plan_text(const wasi::plan::ActivationPlan& plan);

/// "encoder_layer_3.mlp.0" from a parameter's name.
[[nodiscard]] std::string short_name(std::string name);

}  // namespace wasi_examples
