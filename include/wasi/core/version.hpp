#pragma once

#include "wasi/core/language.hpp"

/// Version of the library, SemVer. CMake reads these three lines.
#define WASI_VERSION_MAJOR 0
#define WASI_VERSION_MINOR 1
#define WASI_VERSION_PATCH 0

/// One number for `#if`: 1.2.3 is 10203.
#define WASI_VERSION (WASI_VERSION_MAJOR * 10000 + WASI_VERSION_MINOR * 100 + WASI_VERSION_PATCH)
