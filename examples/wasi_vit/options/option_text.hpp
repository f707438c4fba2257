#pragma once
#include <charconv>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wasi/core/error.hpp>
#include <wasi/core/scalar.hpp>

/// From what is typed to values.
namespace wasi_examples {

/// The parts between separators.
[[nodiscard]] inline std::vector<std::string> split(const std::string& text, char separator)
{
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, separator);) {
        parts.push_back(part);
    }
    return parts;
}

/// A whole number. Throws wasi::argument_error naming the option.
[[nodiscard]] inline wasi::Index parse_index(std::string_view text, std::string_view option)
{
    wasi::Index value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    wasi::require<wasi::argument_error>(failure == std::errc() && end == text.data() + text.size(), option, ": '", text,
                                        "' is not a whole number");
    return value;
}

/// The value that belongs to a word. Throws wasi::argument_error, listing the words.
template <class Value>
[[nodiscard]] Value one_of(const std::string& word, std::string_view option,
                           const std::vector<std::pair<std::string_view, Value>>& choices)
{
    std::string known;
    for (const auto& [name, value] : choices) {
        if (name == word) {
            return value;
        }
        known += (known.empty() ? "" : ", ") + std::string(name);
    }
    throw wasi::argument_error(wasi::message(option, ": '", word, "' is none of ", known));
}

}  // namespace wasi_examples
