#include "options/option_text.hpp"

namespace wasi_examples {
namespace {

using wasi::argument_error;
using wasi::require;

/// Of two names of a unit the first is written.
constexpr std::array<std::pair<std::string_view, std::int64_t>, 9> units{{{"GiB", 1 << 30},
                                                                          {"GB", 1'000'000'000},
                                                                          {"MiB", 1 << 20},
                                                                          {"MB", 1'000'000},
                                                                          {"KiB", 1 << 10},
                                                                          {"KB", 1'000},
                                                                          {"kB", 1'000},
                                                                          {"", 1},
                                                                          {"B", 1}}};

}  // namespace

std::int64_t parse_bytes(std::string_view text, std::string_view option)
{
    std::int64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [after, failure] = std::from_chars(text.data(), end, number);
    require<argument_error>(failure != std::errc::result_out_of_range, option, ": '", text,
                            "' is more bytes than 64 bits can count");
    require<argument_error>(failure == std::errc() && number >= 1, option, ": '", text,
                            "' is not a size such as 4MiB, 512KiB, 1GB or 12345");
    const std::string_view word(after, static_cast<std::size_t>(end - after));
    for (const auto& [name, unit] : units) {
        if (word == name) {
            require<argument_error>(number <= std::numeric_limits<std::int64_t>::max() / unit, option, ": '", text,
                                    "' is more bytes than 64 bits can count");
            return number * unit;
        }
    }
    throw argument_error(wasi::message(option, ": '", text, "' has the unknown unit '", word,
                                       "'; known are B, kB, KB, MB, GB, KiB, MiB, GiB"));
}

std::string bytes_option_text(std::int64_t bytes)
{
    for (const auto& [name, unit] : units) {
        if (bytes % unit == 0) {
            return std::to_string(bytes / unit) + std::string(name);
        }
    }
    return std::to_string(bytes);
}

}  // namespace wasi_examples
