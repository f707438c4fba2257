#pragma once
#include <string>
#include <string_view>

#include <wasi/core/scalar.hpp>

namespace page {

/// `text` with the five characters that mean something in HTML replaced; fit for element text and attribute values.
/// Control characters that HTML forbids become spaces, bytes that are not UTF-8 the sign for that (U+FFFD).
[[nodiscard]] std::string escape_html(std::string_view text);

/// `value` to `digits` significant digits: 0.0123, 1.23, 123, 1,230. "n/a" for NaN and infinity.
[[nodiscard]] std::string significant(double value, int digits = 3);

/// 1.50 KiB, 12.3 MiB ... "n/a" when negative or not finite.
[[nodiscard]] std::string bytes_text(double bytes);

/// 12.3 ms, 1.23 s, 4 min 5 s ... "n/a" when negative or not finite.
[[nodiscard]] std::string seconds_text(double seconds);

/// 1.23 GFLOP, 12.3 MFLOP ... "n/a" when negative or not finite.
[[nodiscard]] std::string flops_text(double operations);

/// A fraction as "96.1 %". "n/a" when not finite.
[[nodiscard]] std::string percent_text(double fraction, int decimals = 1);

/// A whole number with commas between groups of three: 1,797.
[[nodiscard]] std::string count_text(wasi::Index count);

/// `value` with exactly `decimals` digits after the point, whatever the locale. "n/a" for NaN and infinity.
[[nodiscard]] std::string fixed_text(double value, int decimals);

}  // namespace page
