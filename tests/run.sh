#!/usr/bin/env bash
# The one test command.
#   bash tests/run.sh           installs what is missing, one g++ build, every test
#   bash tests/run.sh --full    adds: headers alone, consumers, clang, sanitizers, clang-tidy, fuzzing, no OpenMP, ARM
#   bash tests/run.sh --only clang,tidy    some stages of --full: g++ headers find_package add_subdirectory compiled serial
#                           clang sanitizers tidy fuzz aarch64
# Ends with "N passed, M failed": N test cases and test programs. The exit status is 0 only if all of them passed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
source cmake/install_packages.sh

full=no
only=
while [ $# -gt 0 ]; do
    case $1 in
        --full) full=yes ;;
        --only)
            if [ $# -lt 2 ]; then printf 'tests/run.sh: --only needs a list of stages\n' >&2; exit 2; fi
            full=yes
            only=$2
            shift ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' tests/run.sh; exit 0 ;;
        *) printf 'tests/run.sh: unknown argument %s (--full, --only)\n' "$1" >&2; exit 2 ;;
    esac
    shift
done

jobs=$(processor_count)
logs=build/logs
mkdir -p "$logs"
passed=0
failed=0

# stage NAME FUNCTION [ARGUMENT...]: one line with its seconds; what it said is shown if it fails. A stage that runs
# tests leaves their counts in build/logs/NAME.count. A stage that fails without a failed test is one failure.
stage() {
    local name=$1 start=$SECONDS status=ok
    local log="$logs/$name.log" count="$logs/$name.count" stage_passed=0 stage_failed=0
    shift
    case ",$only," in ",,"* | *",$name,"*) ;; *) return 0 ;; esac
    rm -f "$count"
    if ! "$@" >"$log" 2>&1 </dev/null; then status=FAILED; fi
    if [ -s "$count" ]; then read -r stage_passed stage_failed <"$count"; fi
    if [ $status = FAILED ] && [ "$stage_failed" -eq 0 ]; then stage_failed=1; fi
    if [ "$stage_failed" -ne 0 ]; then status=FAILED; fi
    passed=$((passed + stage_passed))
    failed=$((failed + stage_failed))
    if [ $status = FAILED ]; then
        printf -- '---- %s, the end of %s ----\n' "$name" "$log"
        tail -n 200 "$log"
        printf -- '----\n'
    fi
    printf '%-16s %-6s %4d s   %s\n' "$name" "$status" $((SECONDS - start)) \
        "$([ -s "$count" ] && printf '%s passed, %s failed.' "$stage_passed" "$stage_failed")"
}

# Bodies of stages. They run inside a condition, where set -e is off: hence the && chains.

configure() {  # PRESET [CMAKE ARGUMENT...]
    local preset=$1
    shift
    cmake --preset "$preset" "$@"
}

build() {  # PRESET [CMAKE ARGUMENT...]
    local preset=$1
    shift
    cmake --build --preset "$preset" --parallel "$jobs" "$@"
}

run_tests() {  # PRESET NAME-OF-STAGE
    local result=0 log="build/$1/Testing/Temporary/LastTest.log"
    rm -f "$log"
    ctest --preset "$1" --parallel "$jobs" --no-tests=error || result=1
    if [ -f "$log" ]; then
        awk -f cmake/count_tests.awk "$log" >"$logs/$2.count" || result=1
    fi
    # Zero tests is a failure, whatever ctest thinks of it.
    grep -qv '^0 0$' "$logs/$2.count" || result=1
    return "$result"
}

everything() {  # PRESET NAME-OF-STAGE [CMAKE ARGUMENT...]
    local preset=$1 name=$2
    shift 2
    configure "$preset" "$@" && build "$preset" && run_tests "$preset" "$name"
}

headers_alone() { configure ci -DCMAKE_CXX_COMPILER=g++ && build ci --target headers_alone; }

consumer() {  # FOLDER [CMAKE ARGUMENT...]
    local folder=$1 build_dir="build/consumers/$1"
    shift
    cmake -S "tests/consumers/$folder" -B "$build_dir" -DCMAKE_BUILD_TYPE=Release "$@" &&
        cmake --build "$build_dir" &&
        (cd "$build_dir" && ctest --output-on-failure --no-tests=error) &&
        awk -f cmake/count_tests.awk "$build_dir/Testing/Temporary/LastTest.log" >"$logs/$folder.count"
}

find_package_consumer() {
    rm -rf build/consumers/prefix &&
        configure ci -DCMAKE_CXX_COMPILER=g++ &&
        cmake --install build/ci --prefix build/consumers/prefix &&
        consumer find_package "-DCMAKE_PREFIX_PATH=$root/build/consumers/prefix"
}

# wasi::compiled in a user's build: installed, and as a subdirectory with one scalar only.
compiled_consumers() {
    rm -rf build/consumers/compiled build/consumers/compiled_prefix &&
        configure ci -DCMAKE_CXX_COMPILER=g++ &&
        cmake --install build/ci --prefix build/consumers/compiled_prefix &&
        consumer compiled "-DCMAKE_PREFIX_PATH=$root/build/consumers/compiled_prefix" &&
        rm -rf build/consumers/compiled &&
        consumer compiled "-DWASI_SOURCE=$root" -DWASI_COMPILED_SCALARS=float
}

tidy() {
    # All findings at once, not the first file's.
    local keep_going=-k
    configure tidy || return 1
    if [ -f build/tidy/build.ninja ]; then keep_going=-k0; fi
    build tidy -- "$keep_going"
}

fuzz() {
    configure fuzz && build fuzz || return 1
    local source name
    for source in tests/fuzz/*_fuzz.cpp; do
        name=$(basename "$source" _fuzz.cpp)
        mkdir -p "build/fuzz/corpus_$name" &&
            "build/fuzz/tests/fuzz_$name" -max_total_time=30 -rss_limit_mb=2048 -print_final_stats=1 \
                -artifact_prefix=build/fuzz/ "build/fuzz/corpus_$name" || return 1
    done
}

aarch64() {
    # Header-only packages of the host, without the rest of its /usr/include.
    local staged="$root/build/ci-aarch64-headers"
    mkdir -p "$staged/doctest" "$staged/json/include" "$staged/xtensor/include" "$staged/xtl/include" &&
        ln -sfn /usr/include/doctest "$staged/doctest/doctest" &&
        ln -sfn /usr/include/nlohmann "$staged/json/include/nlohmann" &&
        ln -sfn /usr/include/xtensor "$staged/xtensor/include/xtensor" &&
        ln -sfn /usr/include/xtl "$staged/xtl/include/xtl" &&
        everything ci-aarch64 aarch64 -DFETCHCONTENT_SOURCE_DIR_EIGEN=/usr/include/eigen3 \
            "-DFETCHCONTENT_SOURCE_DIR_DOCTEST=$staged/doctest" "-DFETCHCONTENT_SOURCE_DIR_JSON=$staged/json" \
            "-DFETCHCONTENT_SOURCE_DIR_XTENSOR=$staged/xtensor" "-DFETCHCONTENT_SOURCE_DIR_XTL=$staged/xtl"
}

install_packages g++ make ninja-build cmake libeigen3-dev doctest-dev nlohmann-json3-dev libcli11-dev libxtensor-dev
require_tools cmake ctest g++ awk || { printf '0 passed, 1 failed\n'; exit 1; }
use_ninja

stage g++ everything ci g++ -DCMAKE_CXX_COMPILER=g++

if [ $full = yes ]; then
    install_packages clang clang-tidy libomp-dev libclang-rt-dev libbenchmark-dev
    stage headers headers_alone
    stage find_package find_package_consumer
    stage add_subdirectory consumer add_subdirectory "-DWASI_SOURCE=$root"
    stage compiled compiled_consumers
    stage serial everything ci-serial serial
    stage clang everything ci-clang clang
    stage sanitizers everything dev sanitizers
    stage tidy tidy
    if compgen -G 'tests/fuzz/*_fuzz.cpp' >/dev/null; then stage fuzz fuzz; fi
    install_packages g++-aarch64-linux-gnu qemu-user
    if require_tools aarch64-linux-gnu-g++ qemu-aarch64; then
        stage aarch64 aarch64
    else
        printf '%-16s skipped: no cross compiler or emulator\n' aarch64
    fi
fi

if [ $((passed + failed)) -eq 0 ] && [ -z "$only" ]; then
    printf 'No test was run.\n' >&2
    failed=1
fi
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
