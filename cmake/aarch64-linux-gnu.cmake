# Toolchain: 64-bit ARM Linux from another machine, run under qemu (Debian: g++-aarch64-linux-gnu, qemu-user).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu)
# Nothing of the host's /usr: its headers would be mixed with the target's.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
# WASI_TARGET_ROOT: a folder with the target's libraries and headers, laid out as Debian's packages are.
if(WASI_TARGET_ROOT)
    list(APPEND CMAKE_FIND_ROOT_PATH "${WASI_TARGET_ROOT}")
    set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
