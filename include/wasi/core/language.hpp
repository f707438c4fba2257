#pragma once

// What every header needs of the compiler and its flags, said in one sentence before anything else fails. Each header
// of the library reaches this one before it uses the language; tests/consumers/refused.sh is the test.

#if defined(_MSVC_LANG)
#define WASI_LANGUAGE _MSVC_LANG
#else
#define WASI_LANGUAGE __cplusplus
#endif

#if WASI_LANGUAGE < 202002L
#error "wasi needs C++20: compile with -std=c++20 (g++ 12 or newer, clang 14 or newer)."
// Not there on purpose: a missing file stops the compiler, where #error would go on to pages of what follows from it.
#include <wasi_needs_cpp20>
#endif

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "wasi looks for NaN and infinity: compile without -ffast-math, -Ofast and -ffinite-math-only."
#include <wasi_needs_nan_and_infinity>
#endif
