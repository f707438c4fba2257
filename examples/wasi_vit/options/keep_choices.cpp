#include "options/keep_choices.hpp"

#include <CLI/CLI.hpp>

#include "options/option_text.hpp"

namespace wasi_examples {

void add_options(CLI::App& command, KeepChoices& choices)
{
    command
        .add_option("--recompute", choices.recompute,
                    "what of a block runs again in the backward pass: nothing, attention, mlp, halves or block")
        ->type_name("WHAT");
    command.add_option("--probabilities", choices.probabilities, "of attention: keep or recompute")->type_name("HOW");
    command
        .add_option("--norm-output", choices.norm_output,
                    "of layer norms, where a linear layer saves it exactly: keep or rebuild")
        ->type_name("HOW");
    command.add_option("--gelu-input", choices.gelu_input, "keep, or rebuild from X R^T of a low-rank fc1")
        ->type_name("HOW");
    command.add_option("--gelu-output", choices.gelu_output, "where fc2 saves it exactly: keep or rebuild")
        ->type_name("HOW");
    command
        .add_option("--saved-as", choices.saved_as,
                    "format of what is saved: float, or bfloat16 or half, which are not exact")
        ->type_name("FORMAT");
}

wasi::nn::KeepOptions keep_options(const KeepChoices& choices)
{
    using wasi::autograd::Output;
    using wasi::autograd::Probabilities;
    using wasi::nn::Recompute;
    const auto output = [](const std::string& word, std::string_view option) {
        return one_of<Output>(word, option, {{"keep", Output::keep}, {"rebuild", Output::rebuild}});
    };
    wasi::nn::KeepOptions result;
    result.recompute = one_of<Recompute>(choices.recompute, "--recompute",
                                         {{"nothing", Recompute::nothing},
                                          {"attention", Recompute::attention},
                                          {"mlp", Recompute::mlp},
                                          {"halves", Recompute::halves},
                                          {"block", Recompute::block}});
    result.probabilities =
        one_of<Probabilities>(choices.probabilities, "--probabilities",
                              {{"keep", Probabilities::keep}, {"recompute", Probabilities::recompute}});
    result.norm_output = output(choices.norm_output, "--norm-output");
    result.gelu_input = output(choices.gelu_input, "--gelu-input");
    result.gelu_output = output(choices.gelu_output, "--gelu-output");
    result.saved_as = one_of<wasi::Precision>(
        choices.saved_as, "--saved-as",
        {{"float", wasi::Precision::full}, {"bfloat16", wasi::Precision::bfloat16}, {"half", wasi::Precision::half}});
    return result;
}

void append_to_table(const KeepChoices& choices, std::vector<std::pair<std::string, std::string>>& table)
{
    table.insert(table.end(), {{"recompute", choices.recompute},
                               {"probabilities", choices.probabilities},
                               {"norm-output", choices.norm_output},
                               {"gelu-input", choices.gelu_input},
                               {"gelu-output", choices.gelu_output},
                               {"saved-as", choices.saved_as}});
}

}  // namespace wasi_examples
