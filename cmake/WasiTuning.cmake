# wasi_tune(TARGET [PORTABLE]): the compiler flags with which Eigen's matrix product runs at full speed.
#
#   find_package(wasi REQUIRED)
#   add_executable(my_program my_program.cpp)
#   target_link_libraries(my_program PRIVATE wasi::wasi)
#   wasi_tune(my_program)
#
# Never imposed: wasi::wasi itself carries no such flag. Use it on every target that is linked into one program and
# shares Eigen types, wasi::compiled among them, or on none: Eigen's alignment depends on these flags.
#
#   default    for the processor that compiles. The program is not meant for another one.
#   PORTABLE   x86-64: any processor with AVX2 and FMA (x86-64-v3). Elsewhere: the compiler's own baseline.
#
# Why more than -march=native (float, 1600 x 768 x 3072, one thread of an AMD EPYC with AVX-512, Eigen 3.4, GFLOP/s,
# the range of the medians of five products over three runs, two in the row marked *):
#
#   g++ 12    -march=native                       71 - 79   tuned for Zen it spills registers in Eigen's kernel
#   g++ 12    -march=native -mtune=generic        91 - 97
#   g++ 12    -march=x86-64-v3                    79 - 95
#   clang 14  -march=native                       94 - 96
#   clang 14  -march=x86-64-v3                    51 - 55
#   clang 14  -march=x86-64-v3 -mtune=skylake     98 - 104  *
#   g++ 12    (no flags)                          32 - 37
#
# -mprefer-vector-width=256 and =512 made no difference outside the noise and are left out; so are -fno-math-errno and
# -fno-trapping-math, which were no faster. -ffast-math is never used: the library looks for NaN.
include_guard(GLOBAL)
include(CheckCXXCompilerFlag)

function(wasi_tune target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "PORTABLE" "" "")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "wasi_tune: unknown argument '${arg_UNPARSED_ARGUMENTS}', only PORTABLE is known")
    endif()
    if(NOT TARGET ${target})
        message(FATAL_ERROR "wasi_tune: '${target}' is not a target")
    endif()
    get_target_property(aliased ${target} ALIASED_TARGET)
    if(aliased)
        set(target ${aliased})
    endif()
    if(CMAKE_CROSSCOMPILING AND NOT arg_PORTABLE)
        message(STATUS "wasi_tune: ${target} is built for another machine, its processor is unknown: no flags added")
        return()
    endif()
    string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
    set(flags "")
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        if(processor MATCHES "^(x86_64|amd64)$")
            if(arg_PORTABLE)
                set(flags -march=x86-64-v3)
                if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
                    list(APPEND flags -mtune=skylake)
                endif()
            else()
                set(flags -march=native)
                if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
                    list(APPEND flags -mtune=generic)
                endif()
            endif()
        elseif(processor MATCHES "^(aarch64|arm64)$" AND NOT arg_PORTABLE)
            set(flags -mcpu=native)
        endif()
    endif()
    if(flags)
        string(MAKE_C_IDENTIFIER "WASI_HAS ${flags}" known)
        string(REPLACE ";" " " flags_text "${flags}")
        check_cxx_compiler_flag("${flags_text}" ${known})
        if(NOT ${known})
            message(STATUS "wasi_tune: the compiler does not know '${flags_text}', ${target} is built without")
            return()
        endif()
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        list(APPEND flags $<$<CONFIG:Release>:-O3> $<$<CONFIG:RelWithDebInfo>:-O3>)
    endif()
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "INTERFACE_LIBRARY")
        target_compile_options(${target} INTERFACE ${flags})
    else()
        target_compile_options(${target} PRIVATE ${flags})
    endif()
endfunction()
