#pragma once
#include <string>

#include <wasi/plan/saved_inputs.hpp>

namespace wasi_examples {

/// What was chosen, as a table for the terminal.
[[nodiscard]] std::string plan_text(const wasi::plan::ActivationPlan& plan);

/// "encoder_layer_3.mlp.0" from a parameter's name.
[[nodiscard]] std::string short_name(std::string name);

}  // namespace wasi_examples
