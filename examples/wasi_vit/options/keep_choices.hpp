#pragma once
#include <string>
#include <utility>
#include <vector>

#include <wasi/nn/keep_options.hpp>

namespace CLI {
class App;
}

namespace wasi_examples {

/// What is kept between the forward and the backward pass, as typed.
struct KeepChoices {
    std::string recompute = "nothing";
    std::string probabilities = "keep";
    std::string norm_output = "keep";
    std::string gelu_input = "keep";
    std::string gelu_output = "keep";
    std::string saved_as = "float";
};

void add_options(CLI::App& command, KeepChoices& choices);

/// Throws wasi::argument_error.
[[nodiscard]] wasi::nn::KeepOptions keep_options(const KeepChoices& choices);

/// Adds name and value of each choice, for reports.
void append_to_table(const KeepChoices& choices, std::vector<std::pair<std::string, std::string>>& table);

}  // namespace wasi_examples
