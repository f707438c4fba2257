#pragma once
#include <string>
#include <string_view>

namespace page {

/// A whole HTML document around `body`: styles, colours for light and dark pages, and the script that shows a chart's
/// values under the pointer. It loads nothing. `title` is plain text, `body` is HTML.
[[nodiscard]] std::string page_shell(std::string_view title, std::string_view body);

/// A figure with a heading above and, if not empty, a caption below. `heading` is plain text, the others are HTML.
[[nodiscard]] std::string figure_html(std::string_view heading, std::string_view content, std::string_view caption);

}  // namespace page
