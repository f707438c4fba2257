# cmake -DMODULE=cmake/WasiFindEigen.cmake -DFOLDER=<build folder> -P run.cmake
# Which Eigen wasi_find_eigen takes, of packages whose version files are of every kind that Eigen and package managers
# have written:
#   plain      SameMajorVersion as CMake writes it (Eigen 3.4.0)
#   naive      SameMajorVersion that has never heard of ranges (Conan, older CMake)
#   ranges     takes any range that holds the version, and of single versions those that begin alike (Eigen 3.4.1 and 5)
#   none       no version file
cmake_minimum_required(VERSION 3.23)
include(CMakePackageConfigHelpers)

set(naive [[
set(PACKAGE_VERSION "@version@")
string(REGEX MATCH "^[0-9]+" major "@version@")
if(NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION AND PACKAGE_FIND_VERSION_MAJOR STREQUAL major)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
]])
set(ranges [[
set(PACKAGE_VERSION "@version@")
if(PACKAGE_FIND_VERSION_RANGE)
    if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION_MIN AND PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION_MAX)
        set(PACKAGE_VERSION_COMPATIBLE TRUE)
    endif()
elseif("@version@." MATCHES "^${PACKAGE_FIND_VERSION}[.]")
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
]])

# make_package(KIND VERSION): an Eigen of that version in FOLDER/KIND-VERSION.
function(make_package kind version)
    set(config "${FOLDER}/${kind}-${version}/share/eigen3/cmake")
    file(WRITE "${config}/Eigen3Config.cmake" "add_library(Eigen3::Eigen INTERFACE IMPORTED)\n")
    if(kind STREQUAL "plain")
        write_basic_package_version_file("${config}/Eigen3ConfigVersion.cmake" VERSION ${version}
                                         COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
    elseif(NOT kind STREQUAL "none")
        string(CONFIGURE "${${kind}}" text @ONLY)
        file(WRITE "${config}/Eigen3ConfigVersion.cmake" "${text}")
    endif()
endfunction()

set(failures 0)
# expect(CHOSEN REFUSED PACKAGE... [SYSTEM PACKAGE]): what is chosen where only these are installed, and a word of the
# refusal, or "". The one after SYSTEM is where the system installs, the others are in CMAKE_PREFIX_PATH.
function(expect chosen refused)
    set(prefixes "")
    cmake_parse_arguments(of "" "SYSTEM" "" ${ARGN})
    if(of_SYSTEM)
        string(REGEX MATCH "^([a-z]+)-(.*)$" parts "${of_SYSTEM}")
        make_package(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
        set(system "${FOLDER}/${of_SYSTEM}")
    endif()
    foreach(package IN LISTS of_UNPARSED_ARGUMENTS)
        if(NOT package STREQUAL "EXISTING")
            string(REGEX MATCH "^([a-z]+)-(.*)$" parts "${package}")
            make_package(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
            list(APPEND prefixes "${FOLDER}/${package}")
        endif()
    endforeach()
    set(existing OFF)
    if("EXISTING" IN_LIST ARGN)
        set(existing ON)
    endif()
    file(REMOVE_RECURSE "${FOLDER}/build")
    execute_process(
        # A generator that asks nothing of the machine: nothing is built, so any program will do for make.
        COMMAND "${CMAKE_COMMAND}" -G "Unix Makefiles" -S "${CMAKE_CURRENT_FUNCTION_LIST_DIR}" -B "${FOLDER}/build"
                "-DMODULE=${MODULE}" "-DSYSTEM=${system}"
                "-DCMAKE_PREFIX_PATH=${prefixes}" -DEXISTING=${existing} "-DCMAKE_MAKE_PROGRAM=${CMAKE_COMMAND}"
        OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
    if(NOT result EQUAL 0 OR NOT output MATCHES "chosen ${chosen}\n" OR
       (refused STREQUAL "" AND NOT output MATCHES "refused:\n") OR NOT output MATCHES "${refused}")
        message("FAILED: of '${ARGN}' wanted ${chosen} '${refused}', got\n${output}")
        math(EXPR failures "${failures} + 1")
        set(failures ${failures} PARENT_SCOPE)
    endif()
endfunction()

file(REMOVE_RECURSE "${FOLDER}")
expect(none "")
expect(existing "" EXISTING)
expect(existing "" EXISTING ranges-5.0.1)
expect(3.4.0 "" plain-3.4.0)
expect(3.4.0 "" naive-3.4.0)
expect(3.4.1 "" ranges-3.4.1)
expect(5.0.1 "" ranges-5.0.1)
expect(5.0.1 "" plain-5.0.1)
expect(5.0.1 "" naive-5.0.1)
expect(5.1.0 "" plain-5.1.0)
expect(none "Eigen 3.3.9 in [^\n]*plain-3.3.9[^\n]* is older than 3.4" plain-3.3.9)
expect(none "Eigen 3.3.9 in [^\n]* is older than 3.4" naive-3.3.9)
expect(none "Eigen 6.0.0 in [^\n]* is newer than 5" ranges-6.0.0)
expect(none "Eigen 6.0.0 in [^\n]* is newer than 5" plain-6.0.0)
expect(none "does not say its version" none-0)
# Two of them: one that does is taken, in whatever order.
expect(3.4.0 "" plain-3.3.9 plain-3.4.0)
expect(5.0.1 "" plain-3.3.9 naive-5.0.1)
expect(5.0.1 "" naive-6.0.0 ranges-5.0.1)
expect(none "3.3.9.*6.0.0" plain-3.3.9 ranges-6.0.0)
# What the caller points at comes before what the system has, whatever is the newer.
foreach(kind IN ITEMS plain naive ranges)
    expect(5.0.1 "" ${kind}-5.0.1 SYSTEM plain-3.4.0)
    expect(3.4.0 "" ${kind}-3.4.0 SYSTEM ranges-5.0.1)
endforeach()
expect(3.4.0 "" plain-3.3.9 SYSTEM plain-3.4.0)
expect(5.0.1 "" SYSTEM naive-5.0.1)

if(failures GREATER 0)
    message(FATAL_ERROR "${failures} choices are wrong")
endif()
