# What our own programs, tests and benchmarks share. Not installed.
include_guard(GLOBAL)
include(CTest)

add_library(wasi_warnings INTERFACE)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(wasi_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                                                   $<$<BOOL:${WASI_WARNINGS_AS_ERRORS}>:-Werror>)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        # g++ 12 sees overlaps that are not there in std::string (GCC bug 105329).
        # With AVX-512 it warns of its own intrinsics, once for each place they are inlined (GCC bug 105593).
        target_compile_options(wasi_warnings INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
    endif()
endif()

# Our own targets are tuned as WASI_TUNE says.
function(wasi_tune_own target)
    if(WASI_TUNE STREQUAL "NATIVE")
        wasi_tune(${target})
    elseif(WASI_TUNE STREQUAL "PORTABLE")
        wasi_tune(${target} PORTABLE)
    endif()
endfunction()

if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
    # A compiler cache helps where flags name their processor. With -march=native the same flags mean different code on
    # different machines, and a shared cache would hand it over.
    find_program(WASI_CCACHE ccache)
    mark_as_advanced(WASI_CCACHE)
    if(WASI_CCACHE AND NOT WASI_TUNE STREQUAL "NATIVE" AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
        set(CMAKE_CXX_COMPILER_LAUNCHER "${WASI_CCACHE}")
    endif()
endif()

# Our programs link wasi::compiled, as a user's would.
target_link_libraries(wasi_compiled PRIVATE wasi_warnings)
wasi_tune_own(wasi_compiled)
