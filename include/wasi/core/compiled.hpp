#pragma once
// What is expensive to compile may be compiled once, in a library beside the program (the target wasi::compiled, or the
// files of cmake/compiled/ added to the program), with these macros defined for every file of both:
//
//   WASI_EXTERN_TEMPLATES   all of the following
//   WASI_EXTERN_FLOAT       templates on EigenStorage in float are compiled elsewhere
//   WASI_EXTERN_DOUBLE      the same in double
//   WASI_EXTERN_XTENSOR     the kernels of XtensorStorage too, for the scalars above
//
// Where both scalars are, the bodies of the kernels are not even read. Without these macros every file instantiates
// what it uses, as header-only code does.
#ifdef WASI_EXTERN_TEMPLATES
#ifndef WASI_EXTERN_FLOAT
#define WASI_EXTERN_FLOAT
#endif
#ifndef WASI_EXTERN_DOUBLE
#define WASI_EXTERN_DOUBLE
#endif
#ifndef WASI_EXTERN_XTENSOR
#define WASI_EXTERN_XTENSOR
#endif
#endif

// Each folder has its lists, LIST(TEMPLATE, S, T), in <folder>/compiled.hpp: explicit instantiations of its templates
// for a storage S and a scalar T, beginning with TEMPLATE. The header that defines the templates ends with
// WASI_COMPILED(LIST), which declares them `extern template`; a file of cmake/compiled/ says LIST(template, S, T).
#ifdef WASI_EXTERN_FLOAT
#define WASI_COMPILED_FLOAT(LIST) LIST(extern template, EigenStorage, float)
#else
#define WASI_COMPILED_FLOAT(LIST)
#endif
#ifdef WASI_EXTERN_DOUBLE
#define WASI_COMPILED_DOUBLE(LIST) LIST(extern template, EigenStorage, double)
#else
#define WASI_COMPILED_DOUBLE(LIST)
#endif
#define WASI_COMPILED(LIST) WASI_COMPILED_FLOAT(LIST) WASI_COMPILED_DOUBLE(LIST)

#if defined(WASI_EXTERN_FLOAT) || defined(WASI_EXTERN_DOUBLE)
namespace wasi::detail {

#if defined(__AVX512F__)
inline constexpr int vector_bits = 512;
#elif defined(__AVX__)
inline constexpr int vector_bits = 256;
#else
inline constexpr int vector_bits = 128;
#endif
#ifdef _OPENMP
inline constexpr bool openmp = true;
#else
inline constexpr bool openmp = false;
#endif

/// Defined in the compiled library for the flags that it was built with. Every file that expects the library asks for
/// this, so that flags which differ (Eigen's alignment depends on them) end in an undefined reference and not in a
/// crash: build both with the same flags, wasi_tune on both or on none.
template <int vectors, bool threads>
void program_and_compiled_library_have_the_same_flags();

namespace {
// NOLINTBEGIN(misc-definitions-in-headers): one in every file that asks is what is wanted
[[maybe_unused,
  gnu::used]] void (*const same_flags)() = &program_and_compiled_library_have_the_same_flags<vector_bits, openmp>;
}  // namespace
// NOLINTEND(misc-definitions-in-headers)
}  // namespace wasi::detail
#endif
