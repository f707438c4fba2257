# wasi::compiled: what is expensive to compile, compiled once in the build of whoever uses it, with its flags.
#
#   find_package(wasi REQUIRED)                            # or add_subdirectory, FetchContent
#   target_link_libraries(my_program PRIVATE wasi::compiled)   # wasi::wasi comes with it
#   wasi_tune(my_program)                                  # if at all, then both
#   wasi_tune(wasi::compiled)
#
# A static library that is built when something links it. Set before find_package or add_subdirectory:
#
#   WASI_COMPILED_SCALARS    float;double unless set. With one alone, the other is compiled where it is used.
#   WASI_COMPILED_STORAGES   eigen unless set; "eigen;xtensor" for the kernels of XtensorStorage too (needs wasi::xtensor)
include_guard(GLOBAL)

# Makes the target from the sources in `folder`.
function(wasi_add_compiled folder)
    get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
    if(TARGET wasi_compiled OR NOT "CXX" IN_LIST languages)
        return()
    endif()
    if(NOT WASI_COMPILED_SCALARS)
        set(WASI_COMPILED_SCALARS float double)
    endif()
    if(NOT WASI_COMPILED_STORAGES)
        set(WASI_COMPILED_STORAGES eigen)
    endif()
    add_library(wasi_compiled STATIC EXCLUDE_FROM_ALL "${folder}/flags.cpp")
    add_library(wasi::compiled ALIAS wasi_compiled)
    target_link_libraries(wasi_compiled PUBLIC wasi::wasi)
    foreach(scalar IN LISTS WASI_COMPILED_SCALARS)
        if(NOT scalar MATCHES "^(float|double)$")
            message(FATAL_ERROR "WASI_COMPILED_SCALARS: '${scalar}' is neither float nor double")
        endif()
        file(GLOB sources CONFIGURE_DEPENDS "${folder}/${scalar}_*.cpp")
        target_sources(wasi_compiled PRIVATE ${sources})
        string(TOUPPER "${scalar}" macro)
        target_compile_definitions(wasi_compiled PUBLIC "WASI_EXTERN_${macro}")
    endforeach()
    foreach(storage IN LISTS WASI_COMPILED_STORAGES)
        if(storage STREQUAL "xtensor")
            if(NOT TARGET wasi::xtensor)
                message(FATAL_ERROR "WASI_COMPILED_STORAGES: xtensor needs the target wasi::xtensor, which is not there")
            endif()
            list(TRANSFORM WASI_COMPILED_SCALARS REPLACE "(.+)" "${folder}/xtensor_\\1.cpp" OUTPUT_VARIABLE sources)
            target_sources(wasi_compiled PRIVATE ${sources})
            target_link_libraries(wasi_compiled PRIVATE wasi::xtensor)
            target_compile_definitions(wasi_compiled PUBLIC WASI_EXTERN_XTENSOR)
        elseif(NOT storage STREQUAL "eigen")
            message(FATAL_ERROR "WASI_COMPILED_STORAGES: '${storage}' is neither eigen nor xtensor")
        endif()
    endforeach()
endfunction()
