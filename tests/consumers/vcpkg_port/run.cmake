# cmake -DFOLDER=<build folder> -P run.cmake
# Runs the port of cmake/packaging/vcpkg with stand-ins for vcpkg's functions (vcpkg itself is no package of Debian's or
# PyPI's), as its documentation describes them: the package lands in FOLDER/packages, with the name and version that
# vcpkg.json says.
cmake_minimum_required(VERSION 3.23)

get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(port_folder "${root}/cmake/packaging/vcpkg/wasi")

file(READ "${port_folder}/vcpkg.json" manifest)
string(JSON PORT GET "${manifest}" name)
string(JSON VERSION GET "${manifest}" version)
file(STRINGS "${root}/include/wasi/core/version.hpp" lines REGEX "^#define WASI_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+$")
list(TRANSFORM lines REPLACE "^#define WASI_VERSION_[A-Z]+ +" "")
list(JOIN lines "." wanted)
if(NOT PORT STREQUAL "wasi" OR NOT VERSION STREQUAL wanted)
    message(FATAL_ERROR "vcpkg.json says '${PORT}' ${VERSION}, the headers say wasi ${wanted}")
endif()

file(REMOVE_RECURSE "${FOLDER}")
set(CURRENT_PACKAGES_DIR "${FOLDER}/packages")
set(FEATURES core io)

function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "failed: ${ARGN}")
    endif()
endfunction()

function(vcpkg_check_features)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "OUT_FEATURE_OPTIONS" "FEATURES")
    set(options "")
    while(arg_FEATURES)
        list(POP_FRONT arg_FEATURES feature variable)
        string(JSON description ERROR_VARIABLE missing GET "${manifest}" features ${feature} description)
        if(missing)
            message(FATAL_ERROR "the port asks for the feature ${feature}, which vcpkg.json lacks")
        endif()
        set(value OFF)
        if(feature IN_LIST FEATURES)
            set(value ON)
        endif()
        list(APPEND options "-D${variable}=${value}")
    endwhile()
    set(${arg_OUT_FEATURE_OPTIONS} "${options}" PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
    run("${CMAKE_COMMAND}" -S "${arg_SOURCE_PATH}" -B "${FOLDER}/build" -DCMAKE_BUILD_TYPE=Release
        "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" ${arg_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
    run("${CMAKE_COMMAND}" --build "${FOLDER}/build" --target install)
endfunction()

function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
    file(INSTALL ${arg_FILE_LIST} DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}" RENAME copyright)
endfunction()

include("${port_folder}/portfile.cmake")

# What vcpkg's own checks after a build look for.
foreach(file IN ITEMS include/wasi/linalg/svd.hpp share/wasi/wasiConfig.cmake share/wasi/wasiIoTargets.cmake
                      share/wasi/copyright share/wasi/usage share/pkgconfig/wasi.pc)
    if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/${file}")
        message(FATAL_ERROR "the port does not install ${file}")
    endif()
endforeach()
foreach(file IN ITEMS lib debug share/doc share/wasi/wasiXtensorTargets.cmake)
    if(EXISTS "${CURRENT_PACKAGES_DIR}/${file}")
        message(FATAL_ERROR "the port should not install ${file}")
    endif()
endforeach()
