#include "page/page_numbers.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <system_error>

namespace page {
namespace {

constexpr const char* not_available = "n/a";

/// A space that neither breaks nor is as wide as a word's: between a number and its unit.
constexpr const char* unit_space = "\xC2\xA0";

std::string convert(double value, std::chars_format format, int precision)
{
    std::array<char, 400> buffer{};  // the longest double has 309 digits before the point
    const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format, precision);
    return result.ec == std::errc{} ? std::string(buffer.data(), result.ptr) : not_available;
}

/// "1234567.8" -> "1,234,567.8".
std::string with_groups(std::string digits)
{
    const std::size_t first = !digits.empty() && digits.front() == '-' ? 1 : 0;
    const std::size_t point = std::min(digits.find('.'), digits.size());
    for (std::size_t at = point; at > first + 3; at -= 3) {
        digits.insert(at - 3, ",");
    }
    return digits;
}

/// The first unit in which the number is below `limit` (just under 1,000, where three digits would round to four).
template <std::size_t Count>
std::string scaled(double value, double base, const std::array<const char*, Count>& units)
{
    if (!std::isfinite(value) || value < 0.0) {
        return not_available;
    }
    std::size_t unit = 0;
    while (value >= 999.5 && unit + 1 < Count) {
        value /= base;
        ++unit;
    }
    return (unit == 0 && value == std::floor(value) ? fixed_text(value, 0) : significant(value)) + unit_space +
           units[unit];
}

/// The bytes of the UTF-8 character at the start of a text that is not empty; 0 if there is none (RFC 3629).
std::size_t character_bytes(std::string_view text)
{
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(0);
    if (first < 0x80) {
        return 1;
    }
    const std::size_t count = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || text.size() < count) {
        return 0;
    }
    for (std::size_t i = 1; i < count; ++i) {
        if (byte(i) < 0x80 || byte(i) > 0xBF) {
            return 0;
        }
    }
    // Longer than needed, halves of a UTF-16 pair, beyond the last character.
    const bool wrong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
                       (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F);
    return wrong ? 0 : count;
}

}  // namespace

std::string escape_html(std::string_view text)
{
    std::string escaped;
    escaped.reserve(text.size());
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char character = text[at];
        const std::size_t bytes = character_bytes(text.substr(at));
        if (bytes != 1) {
            escaped += bytes == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(at, bytes);
            at += bytes == 0 ? 0 : bytes - 1;
            continue;
        }
        switch (character) {
            case '&':
                escaped += "&amp;";
                break;
            case '<':
                escaped += "&lt;";
                break;
            case '>':
                escaped += "&gt;";
                break;
            case '"':
                escaped += "&quot;";
                break;
            case '\'':
                escaped += "&#39;";
                break;
            default: {
                const auto code = static_cast<unsigned char>(character);
                const bool forbidden = (code < 0x20 && character != '\n' && character != '\t') || code == 0x7F;
                escaped += forbidden ? ' ' : character;
            }
        }
    }
    return escaped;
}

std::string fixed_text(double value, int decimals)
{
    if (!std::isfinite(value)) {
        return not_available;
    }
    std::string text = convert(value, std::chars_format::fixed, decimals);
    if (text.find_first_not_of("-0.") == std::string::npos && text.front() == '-') {
        text.erase(0, 1);  // no minus sign before a rounded zero
    }
    return text;
}

std::string significant(double value, int digits)
{
    if (!std::isfinite(value)) {
        return not_available;
    }
    if (value == 0.0) {
        return "0";
    }
    // The exponent after rounding: 9.996 has two digits before the point at three significant digits.
    const std::string rounded = convert(value, std::chars_format::scientific, digits - 1);
    const std::size_t mark = rounded.find('e');
    int exponent = 0;
    const char* const exponent_start = rounded.data() + mark + (rounded[mark + 1] == '+' ? 2 : 1);
    std::from_chars(exponent_start, rounded.data() + rounded.size(), exponent);
    if (exponent < -4 || exponent > 11) {
        return rounded.substr(0, mark) + "e" + std::to_string(exponent);
    }
    return with_groups(fixed_text(value, std::max(0, digits - 1 - exponent)));
}

std::string bytes_text(double bytes)
{
    return scaled(bytes, 1024.0, std::array{"B", "KiB", "MiB", "GiB", "TiB"});
}

std::string flops_text(double operations)
{
    return scaled(operations, 1000.0, std::array{"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"});
}

std::string seconds_text(double seconds)
{
    if (!std::isfinite(seconds) || seconds < 0.0) {
        return not_available;
    }
    if (seconds >= 119.5) {
        const double whole = std::round(seconds);
        const double minutes = std::floor(whole / 60.0);
        return with_groups(fixed_text(minutes, 0)) + unit_space + "min" + unit_space +
               fixed_text(whole - 60.0 * minutes, 0) + unit_space + "s";
    }
    if (seconds >= 0.9995 || seconds == 0.0) {
        return significant(seconds) + unit_space + "s";
    }
    const bool milli = seconds >= 0.9995e-3;
    return significant(seconds * (milli ? 1e3 : 1e6)) + unit_space + (milli ? "ms" : "µs");
}

std::string percent_text(double fraction, int decimals)
{
    return std::isfinite(fraction) ? fixed_text(100.0 * fraction, decimals) + unit_space + "%" : not_available;
}

std::string count_text(wasi::Index count)
{
    return with_groups(std::to_string(count));
}

}  // namespace page
