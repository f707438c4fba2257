# Install rules and the package for find_package(wasi [COMPONENTS io xtensor]).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if("eigen" IN_LIST WASI_FETCHED)
    message(STATUS "wasi: no install rules, because Eigen was fetched and is not installed on this machine")
    return()
endif()

set(wasi_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/wasi")

install(TARGETS wasi EXPORT wasiTargets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT wasiTargets NAMESPACE wasi:: DESTINATION "${wasi_package_dir}")

if(TARGET wasi_io)
    if("json" IN_LIST WASI_FETCHED)
        message(STATUS "wasi: wasi::io is not installed, because nlohmann-json was fetched and is not installed here")
    else()
        install(TARGETS wasi_io EXPORT wasiIoTargets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
        install(EXPORT wasiIoTargets NAMESPACE wasi:: DESTINATION "${wasi_package_dir}")
    endif()
endif()

if(TARGET wasi_xtensor)
    if("xtensor" IN_LIST WASI_FETCHED)
        message(STATUS "wasi: wasi::xtensor is not installed, because xtensor was fetched and is not installed here")
    else()
        install(TARGETS wasi_xtensor EXPORT wasiXtensorTargets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
        install(EXPORT wasiXtensorTargets NAMESPACE wasi:: DESTINATION "${wasi_package_dir}")
    endif()
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/wasiConfig.cmake.in" "${PROJECT_BINARY_DIR}/wasiConfig.cmake"
                              INSTALL_DESTINATION "${wasi_package_dir}" PATH_VARS CMAKE_INSTALL_DATADIR)
# Before 1.0 a minor version may break: 0.1.x takes the place of 0.1.y only. ARCH_INDEPENDENT: there is nothing but headers.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/wasiConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/wasiConfig.cmake" "${PROJECT_BINARY_DIR}/wasiConfigVersion.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/WasiTuning.cmake" "${CMAKE_CURRENT_LIST_DIR}/WasiCompiled.cmake"
        DESTINATION "${wasi_package_dir}")
# Sources of wasi::compiled, which is built in the user's build.
install(DIRECTORY "${PROJECT_SOURCE_DIR}/src/compiled/" DESTINATION "${CMAKE_INSTALL_DATADIR}/wasi/compiled"
        FILES_MATCHING PATTERN "*.cpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
