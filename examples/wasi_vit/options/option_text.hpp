#pragma once
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wasi/core/error.hpp>
#include <wasi/core/scalar.hpp>

/// From what is typed to values, and back.
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

/// What a number may be.
template <class Number>
struct Range {
    Number least = std::numeric_limits<Number>::lowest();
    Number most = std::numeric_limits<Number>::max();
    bool without_least = false;  ///< the least itself is outside: (0, 1]
    bool without_most = false;   ///< the most itself is outside: [0, 1)
};

/// "must be at least 1", "must be in (0, 1]".
template <class Number>
[[nodiscard]] std::string range_text(const Range<Number>& range)
{
    if (range.most == std::numeric_limits<Number>::max()) {
        return wasi::message("must be ", range.without_least ? "above " : "at least ", range.least);
    }
    return wasi::message("must be in ", range.without_least ? "(" : "[", range.least, ", ", range.most,
                         range.without_most ? ")" : "]");
}

/// A number that fills the text and lies in the range. Throws wasi::argument_error naming the option.
template <class Number>
[[nodiscard]] Number parse_number(std::string_view text, std::string_view option, const Range<Number>& range = {})
{
    constexpr bool whole = std::numeric_limits<Number>::is_integer;
    Number value{};
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    wasi::require<wasi::argument_error>(failure != std::errc::result_out_of_range, option, ": '", text,
                                        "' is outside what the program can count");
    wasi::require<wasi::argument_error>(failure == std::errc() && end == text.data() + text.size(), option, ": '", text,
                                        "' is not a ", whole ? "whole number" : "number");
    if constexpr (!whole) {
        wasi::require<wasi::argument_error>(std::isfinite(value), option, ": '", text, "' is not a finite number");
    }
    const bool high_enough = range.without_least ? value > range.least : value >= range.least;
    const bool low_enough = range.without_most ? value < range.most : value <= range.most;
    wasi::require<wasi::argument_error>(high_enough && low_enough, option, ": ", range_text(range), ", got ", text);
    return value;
}

/// The number in as few digits as give it back, 0.0001 rather than 1e-04.
template <class Number>
[[nodiscard]] std::string number_text(Number value)
{
    std::array<char, 64> text{};
    if constexpr (std::numeric_limits<Number>::is_integer) {
        return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
    } else {
        const auto general = std::chars_format::general;
        return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value, general).ptr};
    }
}

/// The words of an option and what each means.
template <class Value>
using Words = std::vector<std::pair<std::string_view, Value>>;

/// "a, b or c".
template <class Value>
[[nodiscard]] std::string list_text(const Words<Value>& words, const char* before_last = " or ")
{
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        text += i == 0 ? "" : i + 1 < words.size() ? ", " : before_last;
        text += words[i].first;
    }
    return text;
}

/// The value that belongs to a word. Throws wasi::argument_error, listing the words.
template <class Value>
[[nodiscard]] Value one_of(std::string_view word, std::string_view option, const Words<Value>& words)
{
    for (const auto& [name, value] : words) {
        if (name == word) {
            return value;
        }
    }
    throw wasi::argument_error(wasi::message(option, ": '", word, "' is none of ", list_text(words, ", ")));
}

/// The word that belongs to a value.
template <class Value>
[[nodiscard]] std::string word_of(const Value& value, const Words<Value>& words)
{
    for (const auto& [name, meaning] : words) {
        if (meaning == value) {
            return std::string(name);
        }
    }
    return {};
}

/// Bytes from "12345", "512KiB", "4MiB", "1GiB", "64kB", "64KB", "4MB", "1GB" or "12345B". Throws wasi::argument_error
/// naming the option.
[[nodiscard]] std::int64_t parse_bytes(std::string_view text, std::string_view option);

/// The same bytes in the largest unit that gives a whole number: 4MiB, 64KB, 12345.
[[nodiscard]] std::string bytes_option_text(std::int64_t bytes);

}  // namespace wasi_examples
