#pragma once
#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "wasi/core/scalar.hpp"
#include "wasi/core/text_stream.hpp"

namespace wasi {

/// Base of everything this library throws on purpose. The message names the argument, its value and the shapes
/// involved.
class error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Training has left the finite numbers: a loss or a gradient is infinite or no number. No parameter has moved by it;
/// where gradients are streamed, others of the same step may have.
class divergence_error : public error {
public:
    using error::error;
};

/// Two shapes that must fit do not.
class shape_error : public error {
public:
    using error::error;
};

/// An argument outside its domain: a rank out of range, an energy outside (0, 1], NaN or infinity in a matrix.
class argument_error : public error {
public:
    using error::error;
};

/// A file that is missing, truncated, or says something about itself that is not true.
class io_error : public error {
public:
    using error::error;
};

/// A memory or rank budget that no choice can meet; the message names the least that would do.
class budget_error : public error {
public:
    using error::error;
};

/// "(3, 4)" from the extents of a matrix or tensor, for messages; in the classic locale.
template <class Range>
[[nodiscard]] std::string shape_text(const Range& extents)
{
    TextStream out;
    out << '(';
    const char* separator = "";
    for (const auto extent : extents) {
        out << separator << extent;
        separator = ", ";
    }
    out << ')';
    return out.str();
}

[[nodiscard]] inline std::string shape_text(std::initializer_list<Index> extents)
{
    return shape_text<std::initializer_list<Index>>(extents);
}

/// Joins its arguments into one message: message("rank ", 5, " is out of range"); in the classic locale.
template <class... Parts>
[[nodiscard]] std::string message(const Parts&... parts)
{
    TextStream out;
    static_cast<void>((out << ... << parts));
    return out.str();
}

/// Throws `Error` with the joined message unless `condition` holds. The message is only built when it is needed.
template <class Error, class... Parts>
void require(bool condition, const Parts&... parts)
{
    if (!condition) {
        throw Error(message(parts...));
    }
}

}  // namespace wasi
