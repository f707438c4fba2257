#pragma once
#include <locale>
#include <sstream>

#include "wasi/core/language.hpp"

namespace wasi {

/// A stream into a string whose numbers look the same everywhere ("4000", "0.5"), whatever std::locale::global says:
/// file headers, names, tables and messages are read by programs. A new std::ostringstream takes the global locale,
/// which in a host program may group digits or write a comma for the point.
class TextStream : public std::ostringstream {
public:
    TextStream() { imbue(std::locale::classic()); }
};

}  // namespace wasi
