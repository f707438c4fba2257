#pragma once
#include <CLI/CLI.hpp>

#include "options/option_row.hpp"

namespace wasi_examples {

/// Makes a table's rows the options of a command. `options` is filled while the command line is parsed, which throws
/// wasi::argument_error for a value that its row refuses.
template <class Options>
void add_options(CLI::App& command, const OptionTable<Options>& table, Options& options)
{
    std::map<std::string, CLI::App*> groups;
    for (const OptionRow<Options>& row : table) {
        CLI::App* where = &command;
        if (!row.one_of_group.empty()) {
            CLI::App*& group = groups[row.one_of_group];
            if (group == nullptr) {
                group = command.add_option_group(row.one_of_group);
                group->require_option(1);
            }
            where = group;
        }
        if (row.flag) {
            where->add_flag_callback(
                row.name, [&options, &row] { row.value.parse(options, row.alone, row.name); }, row.help);
            continue;
        }
        const auto take = [&options, &row](const CLI::results_t& typed) {
            for (const std::string& value : typed) {
                row.value.parse(options, value.empty() && !row.alone.empty() ? row.alone : value, row.name);
            }
            return true;
        };
        const std::string words = row.value.words.empty() ? "" : ": " + row.value.words;
        CLI::Option* option = where->add_option(row.name, take, row.help + words);
        option->type_name(row.type)->required(row.required);
        if (row.repeated) {
            option->expected(CLI::detail::expected_max_vector_size)->take_all();
        } else {
            option->take_last();  // as scripts that add an option to a command line expect
        }
        if (!row.alone.empty()) {
            option->expected(0, 1);  // what CLI11 takes for a missing value is the default text, so there is none
        } else if (const std::string standard = row.value.show(options); !standard.empty()) {
            option->default_str(standard);
        }
    }
}

}  // namespace wasi_examples
