# Install rules: the package for find_package(wasi [COMPONENTS io pictures xtensor]) and wasi.pc for pkg-config. They are the
# component wasi. As a subdirectory (WASI_INSTALL off) they stay out of the parent's `cmake --install`, but they are there:
# a parent may export targets of its own that link wasi::wasi, and `cmake --install BUILD --component wasi` installs us.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(WASI_INSTALL_CMAKEDIR "${CMAKE_INSTALL_LIBDIR}/cmake/wasi"
    CACHE STRING "Where wasiConfig.cmake goes, below the prefix")
mark_as_advanced(WASI_INSTALL_CMAKEDIR)

set(wasi_component COMPONENT wasi)
if(NOT WASI_INSTALL)
    list(APPEND wasi_component EXCLUDE_FROM_ALL)
endif()

# A file of targets for each of ours, since an installed package offers io, pictures and xtensor only where their needs are found.
set(wasi_targets wasi wasi_io wasi_pictures wasi_xtensor)
set(wasi_exports wasiTargets wasiIoTargets wasiPicturesTargets wasiXtensorTargets)
foreach(target export IN ZIP_LISTS wasi_targets wasi_exports)
    if(TARGET ${target})
        install(TARGETS ${target} EXPORT ${export}
                FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" ${wasi_component})
        install(EXPORT ${export} NAMESPACE wasi:: DESTINATION "${WASI_INSTALL_CMAKEDIR}" ${wasi_component})
    endif()
endforeach()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/wasiConfig.cmake.in" "${PROJECT_BINARY_DIR}/wasiConfig.cmake"
                              INSTALL_DESTINATION "${WASI_INSTALL_CMAKEDIR}" PATH_VARS CMAKE_INSTALL_DATADIR)
# Before 1.0 a minor version may break: 0.1.x takes the place of 0.1.y only. ARCH_INDEPENDENT: there is nothing but headers.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/wasiConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/wasiConfig.cmake" "${PROJECT_BINARY_DIR}/wasiConfigVersion.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/WasiFindEigen.cmake" "${CMAKE_CURRENT_LIST_DIR}/WasiTuning.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/WasiCompiled.cmake"
        DESTINATION "${WASI_INSTALL_CMAKEDIR}" ${wasi_component})

# Sources of wasi::compiled, which is built in the user's build.
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cmake/compiled/" DESTINATION "${CMAKE_INSTALL_DATADIR}/wasi/compiled"
        ${wasi_component} FILES_MATCHING PATTERN "*.cpp")

# ---- pkg-config: paths relative to the file, so that the prefix can be chosen when installing and moved afterwards ----
set(wasi_pc_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
cmake_path(IS_ABSOLUTE wasi_pc_dir wasi_pc_absolute)
if(wasi_pc_absolute)
    set(wasi_pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
    file(RELATIVE_PATH wasi_pc_prefix "/prefix/${wasi_pc_dir}" "/prefix")
    set(wasi_pc_prefix "\${pcfiledir}/${wasi_pc_prefix}")
    string(REGEX REPLACE "/$" "" wasi_pc_prefix "${wasi_pc_prefix}")
endif()
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_INCLUDEDIR wasi_pc_absolute)
if(wasi_pc_absolute)
    set(wasi_pc_include "${CMAKE_INSTALL_INCLUDEDIR}")
else()
    set(wasi_pc_include "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file("${CMAKE_CURRENT_LIST_DIR}/wasi.pc.in" "${PROJECT_BINARY_DIR}/wasi.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/wasi.pc" DESTINATION "${wasi_pc_dir}" ${wasi_component})

install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" ${wasi_component})
