#!/usr/bin/env bash
# A user without CMake: pkg_config/run.sh PREFIX-OF-WASI FOLDER
# One command line compiles program.cpp in FOLDER, and it runs.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=$1
folder=$2
export PKG_CONFIG_PATH="$prefix/share/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"

pkg-config --print-errors --exists 'wasi >= 0.1'
mkdir -p "$folder"
# shellcheck disable=SC2046  # words are options
"${CXX:-c++}" -std=c++20 -O2 $(pkg-config --cflags wasi) "$source_dir/program.cpp" -o "$folder/program"
"$folder/program"
printf 'Version %s, %s\n' "$(pkg-config --modversion wasi)" "$(pkg-config --cflags wasi)"
