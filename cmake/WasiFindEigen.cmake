# wasi_find_eigen(WHY): Eigen 3.4 or 5, as the target Eigen3::Eigen. A target that is there already is taken as it is.
# Otherwise WHY in the caller's scope says what was found and refused ("" for nothing found) if no target came of it.
#
# Asked three times, because Eigen's version files disagree: those of 5 and of 3.4.1 know ranges and take no other major
# version; that of 3.4.0 refuses a range that ends in another major version; those that package managers write
# (SameMajorVersion) may read the lower end of a range alone. So: the range, then 3.4, then 5. All three first where the
# caller points (CMAKE_PREFIX_PATH, a toolchain), then where the system installs: or the system's 3.4 would be taken
# before a 5 that was asked for by its prefix.
include_guard(GLOBAL)

macro(wasi_find_eigen why)
    set(${why} "")
    foreach(wasi_eigen_wanted IN ITEMS "3.4...<6" "3.4" "5")
        wasi_find_eigen_once(${why} NO_SYSTEM_ENVIRONMENT_PATH NO_CMAKE_SYSTEM_PATH NO_CMAKE_SYSTEM_PACKAGE_REGISTRY)
    endforeach()
    foreach(wasi_eigen_wanted IN ITEMS "3.4...<6" "3.4" "5")
        wasi_find_eigen_once(${why})
    endforeach()
    if(TARGET Eigen3::Eigen)
        set(${why} "")
    endif()
endmacro()

macro(wasi_find_eigen_once why)
    if(NOT TARGET Eigen3::Eigen)
        find_package(Eigen3 ${wasi_eigen_wanted} QUIET NO_MODULE ${ARGN})
        # What was looked at, once: CMake keeps the last call's list only.
        foreach(wasi_eigen_config wasi_eigen_version IN ZIP_LISTS Eigen3_CONSIDERED_CONFIGS Eigen3_CONSIDERED_VERSIONS)
            string(FIND "${${why}}" "${wasi_eigen_config}" wasi_eigen_at)
            if(wasi_eigen_at EQUAL -1)
                if(wasi_eigen_version STREQUAL "" OR wasi_eigen_version STREQUAL "unknown")
                    set(wasi_eigen_refusal "does not say its version")
                elseif(wasi_eigen_version VERSION_LESS 3.4)
                    set(wasi_eigen_refusal "is older than 3.4")
                elseif(wasi_eigen_version VERSION_GREATER_EQUAL 6)
                    set(wasi_eigen_refusal "is newer than 5, the last that was tested")
                else()
                    set(wasi_eigen_refusal "is refused by its own files, or makes no target Eigen3::Eigen")
                endif()
                string(APPEND ${why} "\n  Eigen ${wasi_eigen_version} in ${wasi_eigen_config} ${wasi_eigen_refusal}")
            endif()
        endforeach()
    endif()
endmacro()
