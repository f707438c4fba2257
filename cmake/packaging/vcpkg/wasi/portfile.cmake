# An overlay port of the clone that it lies in:
#   vcpkg install wasi --overlay-ports=<clone>/cmake/packaging/vcpkg
# In a registry SOURCE_PATH would come from vcpkg_from_github or vcpkg_from_git; nothing else would change.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

# Headers alone: one configuration, nothing compiled.
set(VCPKG_BUILD_TYPE release)

vcpkg_check_features(OUT_FEATURE_OPTIONS options FEATURES
    io WASI_WITH_IO
    pictures WASI_WITH_PICTURES
    xtensor WASI_WITH_XTENSOR
)
# FETCHCONTENT_FULLY_DISCONNECTED: what is missing is an error, not a download.
vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        ${options}
        -DWASI_BUILD_TESTS=OFF
        -DWASI_BUILD_EXAMPLES=OFF
        -DWASI_BUILD_BENCHMARKS=OFF
        -DFETCHCONTENT_FULLY_DISCONNECTED=ON
        "-DWASI_INSTALL_CMAKEDIR=share/${PORT}"
)
vcpkg_cmake_install()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
