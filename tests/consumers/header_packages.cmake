# cmake -DPREFIX=<folder> -P header_packages.cmake
# Makes packages for find_package of the headers in PREFIX/include/eigen3 and PREFIX/include/nlohmann, with the versions
# that the headers say. Version files are those that CMake writes, as most package managers have them.
cmake_minimum_required(VERSION 3.23)
include(CMakePackageConfigHelpers)

function(header_package name target include version)
    set(folder "${PREFIX}/share/cmake/${name}")
    file(WRITE "${folder}/${name}Config.cmake"
"get_filename_component(prefix \"\${CMAKE_CURRENT_LIST_DIR}/../../..\" ABSOLUTE)
if(NOT TARGET ${target})
    add_library(${target} INTERFACE IMPORTED)
    set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES \"\${prefix}/${include}\")
endif()
")
    write_basic_package_version_file("${folder}/${name}ConfigVersion.cmake" VERSION ${version}
                                     COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
    message(STATUS "${name} ${version} in ${PREFIX}")
endfunction()

# macro_value(FILE MACRO RESULT): the number that FILE defines MACRO as.
function(macro_value file macro result)
    file(STRINGS "${file}" line REGEX "^#define +${macro} +[0-9]+" LIMIT_COUNT 1)
    string(REGEX MATCH "[0-9]+" value "${line}")
    if(value STREQUAL "")
        message(FATAL_ERROR "${file} does not define ${macro}")
    endif()
    set(${result} ${value} PARENT_SCOPE)
endfunction()

macro_value("${PREFIX}/include/eigen3/Eigen/Version" EIGEN_MAJOR_VERSION major)
macro_value("${PREFIX}/include/eigen3/Eigen/Version" EIGEN_MINOR_VERSION minor)
macro_value("${PREFIX}/include/eigen3/Eigen/Version" EIGEN_PATCH_VERSION patch)
header_package(Eigen3 Eigen3::Eigen include/eigen3 ${major}.${minor}.${patch})

set(json "${PREFIX}/include/nlohmann/detail/abi_macros.hpp")
macro_value("${json}" NLOHMANN_JSON_VERSION_MAJOR major)
macro_value("${json}" NLOHMANN_JSON_VERSION_MINOR minor)
macro_value("${json}" NLOHMANN_JSON_VERSION_PATCH patch)
header_package(nlohmann_json nlohmann_json::nlohmann_json include ${major}.${minor}.${patch})
