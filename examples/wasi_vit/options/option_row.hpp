#pragma once
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "options/option_text.hpp"

/// A command's options as a table: one row an option. Command line, help, report and tests are made from the rows.
namespace wasi_examples {

/// What another value of an option changes.
enum class Effect {
    results,  ///< the numbers that come out
    cost,     ///< time or memory alone: the same numbers, bit for bit
    place,    ///< where files are written
};

/// How a value is read from the command line and shown again: what is shown can be typed.
template <class Options>
struct OptionValue {
    /// Throws wasi::argument_error naming the option.
    std::function<void(Options& options, const std::string& text, const std::string& option)> parse;
    /// Empty when the option was not given and has no default.
    std::function<std::string(const Options& options)> show;
    std::string words = {};  ///< "a, b or c" where only these may be typed
};

template <class Options>
struct OptionRow {
    std::string name;  ///< "--lr"; without dashes: what stands alone on the command line
    std::string type;  ///< what stands for a value in the help
    std::string help;
    OptionValue<Options> value;
    Effect effect = Effect::results;
    bool required = false;
    std::string one_of_group = {};  ///< exactly one of the rows with this name has to be given
    bool repeated = false;          ///< each value is kept; else the last one counts
    std::string alone = {};         ///< its value where it is given without one
    bool flag = false;              ///< never with a value: given, it is `alone`
};

template <class Options>
using OptionTable = std::vector<OptionRow<Options>>;

/// The rows of these names, for options that have all of another command's and more. One that must be given there, or
/// one of several, need not be here.
template <class Derived, class Base>
[[nodiscard]] OptionTable<Derived> rows_of(const OptionTable<Base>& table, const std::vector<std::string>& names)
{
    OptionTable<Derived> result;
    for (const std::string& name : names) {
        for (const OptionRow<Base>& row : table) {
            if (row.name == name) {
                result.push_back({row.name,
                                  row.type,
                                  row.help,
                                  {row.value.parse, row.value.show, row.value.words},
                                  row.effect,
                                  false,
                                  {},
                                  row.repeated,
                                  row.alone,
                                  row.flag});
            }
        }
    }
    return result;
}

namespace detail {

template <class T>
struct Plain {
    using type = T;
};
template <class T>
struct Plain<std::optional<T>> {
    using type = T;
};

/// The member at the end of a path of members.
template <class Options, class First, class... Rest>
[[nodiscard]] auto& member(Options& options, First first, Rest... rest)
{
    return ((options.*first).*....*rest);
}

/// The type of its value, whether there is one or not.
template <class Options, class... Path>
using ValueAt =
    typename Plain<std::remove_cvref_t<decltype(member(std::declval<Options&>(), std::declval<Path>()...))>>::type;

/// A value from functions between text and the member's type.
template <class Options, class Parse, class Show, class... Path>
[[nodiscard]] OptionValue<Options> make_value(Parse parse, Show show, Path... path)
{
    return {[=](Options& options, const std::string& text, const std::string& option) {
                member(options, path...) = parse(text, option);
            },
            [=](const Options& options) -> std::string {
                const auto& held = member(options, path...);
                if constexpr (requires { held.has_value(); }) {
                    return held ? show(*held) : std::string();
                } else {
                    return show(held);
                }
            }};
}

}  // namespace detail

/// Any text.
template <class Options, class First, class... Rest>
[[nodiscard]] OptionValue<Options> text(First Options::*first, Rest... rest)
{
    return detail::make_value<Options>([](const std::string& typed, const std::string&) { return typed; },
                                       [](const std::string& held) { return held; }, first, rest...);
}

/// Texts, of an option that may be given more than once.
template <class Options>
[[nodiscard]] OptionValue<Options> list_of_texts(std::vector<std::string> Options::*member)
{
    return {[=](Options& options, const std::string& text, const std::string&) { (options.*member).push_back(text); },
            [=](const Options& options) {
                std::string all;
                for (const std::string& one : options.*member) {
                    all += (all.empty() ? "" : " ") + one;
                }
                return all;
            }};
}

/// A number in a range.
template <class Options, class First, class... Rest>
[[nodiscard]] OptionValue<Options> number(Range<detail::ValueAt<Options, First Options::*, Rest...>> range,
                                          First Options::*first, Rest... rest)
{
    using Number = detail::ValueAt<Options, First Options::*, Rest...>;
    return detail::make_value<Options>(
        [=](const std::string& typed, const std::string& option) { return parse_number<Number>(typed, option, range); },
        [](Number held) { return number_text(held); }, first, rest...);
}

/// One of some words.
template <class Options, class First, class... Rest>
[[nodiscard]] OptionValue<Options> word(const Words<detail::ValueAt<Options, First Options::*, Rest...>>& words,
                                        First Options::*first, Rest... rest)
{
    using Value = detail::ValueAt<Options, First Options::*, Rest...>;
    auto value = detail::make_value<Options>(
        [=](const std::string& typed, const std::string& option) { return one_of<Value>(typed, option, words); },
        [=](const Value& held) { return word_of<Value>(held, words); }, first, rest...);
    value.words = list_text(words);
    return value;
}

/// A size in bytes.
template <class Options, class First, class... Rest>
[[nodiscard]] OptionValue<Options> bytes(First Options::*first, Rest... rest)
{
    return detail::make_value<Options>(
        [](const std::string& typed, const std::string& option) { return parse_bytes(typed, option); },
        [](std::int64_t held) { return bytes_option_text(held); }, first, rest...);
}

/// Anything else: `parse(text, option)` gives the value, `show(value)` the text.
template <class Options, class First, class Parse, class Show>
[[nodiscard]] OptionValue<Options> parsed(Parse parse, Show show, First Options::*member)
{
    return detail::make_value<Options>(std::move(parse), std::move(show), member);
}

}  // namespace wasi_examples
