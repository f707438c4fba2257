# shellcheck shell=bash
# Shell function for the demo and the benchmarks; sourced after cmake/install_packages.sh, not run.

# build_for_this_processor FOLDER TARGET [CMAKE_OPTION...]: builds a target with the release preset in a folder of its own.
build_for_this_processor() {
    local folder=$1 target=$2 log=$1.log processor
    shift 2
    mkdir -p "$(dirname "$folder")"
    # A build folder that came here from another processor would hold instructions that this one may not have.
    processor=$(grep -m 1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null | cksum || true)
    if [ -d "$folder" ] && [ "$processor" != "$(cat "$folder/processor" 2>/dev/null || true)" ]; then
        rm -rf "$folder"
    fi
    printf 'Building %s ...\n' "$target" >&2
    if ! { cmake --preset release -B "$folder" -DWASI_BUILD_TESTS=OFF "$@" &&
           cmake --build "$folder" --parallel "$(processor_count)" --target "$target"; } >"$log" 2>&1 </dev/null; then
        tail -n 60 "$log" >&2
        return 1
    fi
    printf '%s\n' "$processor" >"$folder/processor"
}
