# wasi_find_dependency(NAME): what is installed first (find_package), a pinned release archive second (FetchContent).
# Each makes the imported target that the package itself would make. With FETCHCONTENT_FULLY_DISCONNECTED, as package
# managers set it, nothing is fetched: what is missing is an error that says so.
include_guard(GLOBAL)
include(FetchContent)
include(WasiFindEigen)

# Stops where NAME would have to be fetched and must not be.
function(_wasi_may_fetch name target)
    string(TOUPPER "${name}" upper)
    if(FETCHCONTENT_FULLY_DISCONNECTED AND NOT FETCHCONTENT_SOURCE_DIR_${upper})
        message(FATAL_ERROR "wasi: ${target} is not installed, and FETCHCONTENT_FULLY_DISCONNECTED forbids to fetch it. "
                            "Install it, or set FETCHCONTENT_SOURCE_DIR_${upper} to its sources.")
    endif()
endfunction()

# Unpacks a header-only release and offers the folder INCLUDE of it as TARGET. Its own build files are never run.
function(_wasi_fetch_headers name target include url sha256)
    _wasi_may_fetch(${name} ${target})
    message(STATUS "wasi: ${target} is not installed, fetching ${url}")
    if(POLICY CMP0135)
        cmake_policy(SET CMP0135 NEW)
    endif()
    FetchContent_Declare(${name} URL "${url}" URL_HASH "SHA256=${sha256}" SOURCE_SUBDIR no-build-files-wanted)
    FetchContent_MakeAvailable(${name})
    set(headers "${${name}_SOURCE_DIR}/${include}")
    add_library(wasi_fetched_${name} INTERFACE)
    target_include_directories(wasi_fetched_${name} SYSTEM INTERFACE "${headers}")
    add_library(${target} ALIAS wasi_fetched_${name})
endfunction()

macro(wasi_find_dependency name)
    if("${name}" STREQUAL "eigen")
        wasi_find_eigen(wasi_eigen_refused)
        if(NOT TARGET Eigen3::Eigen)
            if(wasi_eigen_refused)
                message(WARNING "wasi: no installed Eigen is taken:${wasi_eigen_refused}")
            endif()
            _wasi_fetch_headers(eigen Eigen3::Eigen "."
                https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
                8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72)
        endif()
    elseif("${name}" STREQUAL "json")
        if(NOT TARGET nlohmann_json::nlohmann_json)
            find_package(nlohmann_json 3.9 QUIET)
        endif()
        if(NOT TARGET nlohmann_json::nlohmann_json)
            _wasi_fetch_headers(json nlohmann_json::nlohmann_json "include"
                https://github.com/nlohmann/json/releases/download/v3.11.2/json.tar.xz
                8c4b26bf4b422252e13f332bc5e388ec0ab5c3443d24399acb675e68278d341f)
        endif()
    elseif("${name}" STREQUAL "xtensor")
        if(NOT TARGET xtensor)
            find_package(xtensor 0.24 QUIET)
        endif()
        if(NOT TARGET xtensor)
            if(NOT TARGET xtl)
                _wasi_fetch_headers(xtl xtl "include"
                    https://github.com/xtensor-stack/xtl/archive/refs/tags/0.7.2.tar.gz
                    95c221bdc6eaba592878090916383e5b9390a076828552256693d5d97f78357c)
            endif()
            _wasi_fetch_headers(xtensor xtensor "include"
                https://github.com/xtensor-stack/xtensor/archive/refs/tags/0.24.3.tar.gz
                3acde856b9fb8cf4e2a7b66726da541275d40ab9b002e618ad985ab97f08ca4f)
            target_link_libraries(wasi_fetched_xtensor INTERFACE xtl)
        endif()
    elseif("${name}" STREQUAL "pictures")
        # Libraries with code of their own, part of every system: never fetched.
        foreach(package IN ITEMS JPEG PNG ZLIB Threads)
            if(NOT TARGET ${package}::${package})
                find_package(${package} QUIET)
            endif()
            if(NOT TARGET ${package}::${package})
                message(FATAL_ERROR "wasi: ${package}::${package} is not installed (Debian: libjpeg62-turbo-dev libpng-dev "
                                    "zlib1g-dev). Install it, or set WASI_WITH_PICTURES=OFF.")
            endif()
        endforeach()
    elseif("${name}" STREQUAL "cli11")
        if(NOT TARGET CLI11::CLI11)
            find_package(CLI11 2.1 QUIET)
        endif()
        if(NOT TARGET CLI11::CLI11)
            _wasi_fetch_headers(cli11 CLI11::CLI11 "include"
                https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.1.2.tar.gz
                26291377e892ba0e5b4972cdfd4a2ab3bf53af8dac1f4ea8fe0d1376b625c8cb)
        endif()
    elseif("${name}" STREQUAL "doctest")
        if(NOT TARGET doctest::doctest)
            find_package(doctest 2.4.9 QUIET)
        endif()
        if(NOT TARGET doctest::doctest)
            _wasi_fetch_headers(doctest doctest::doctest "."
                https://github.com/doctest/doctest/archive/refs/tags/v2.4.9.tar.gz
                19b2df757f2f3703a5e63cee553d85596875f06d91a3333acd80a969ef210856)
        endif()
    elseif("${name}" STREQUAL "benchmark")
        if(NOT TARGET benchmark::benchmark)
            find_package(benchmark 1.7 QUIET)
        endif()
        if(NOT TARGET benchmark::benchmark)
            # The one dependency with sources to compile, so its own build files are used.
            _wasi_may_fetch(benchmark benchmark::benchmark)
            message(STATUS "wasi: benchmark::benchmark is not installed, fetching it")
            if(POLICY CMP0135)
                cmake_policy(SET CMP0135 NEW)
            endif()
            set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "" FORCE)
            set(BENCHMARK_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
            FetchContent_Declare(benchmark
                URL https://github.com/google/benchmark/archive/refs/tags/v1.7.1.tar.gz
                URL_HASH SHA256=6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7)
            FetchContent_MakeAvailable(benchmark)
        endif()
    else()
        message(FATAL_ERROR "wasi_find_dependency: unknown dependency '${name}'")
    endif()
endmacro()
