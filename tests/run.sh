#!/usr/bin/env bash
# The one test command.
#   bash tests/run.sh           installs what is missing, one g++ build, every test
#   bash tests/run.sh --full    adds: headers alone, consumers, packages, Eigen 5, the newest CMake, clang, sanitizers,
#                               clang-tidy, fuzzing, no OpenMP, ARM; says what it skipped for want of a package
#   bash tests/run.sh --only clang,tidy    some stages of --full: g++ headers demo find_package add_subdirectory compiled
#                               fetch_content re_export pkg_config vcpkg conan eigen5_alone eigen5 cmake_newest serial clang
#                               sanitizers tidy fuzz aarch64 aarch64_program
# WASI_NEWEST_PREFIX=FOLDER: where newer packages are installed, of those that eigen5 says it lacks. It looks there first.
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
        -h | --help) sed -n '2,10s/^# \{0,1\}//p' tests/run.sh; exit 0 ;;
        *) printf 'tests/run.sh: unknown argument %s (--full, --only)\n' "$1" >&2; exit 2 ;;
    esac
    shift
done

jobs=$(processor_count)
logs=build/logs
mkdir -p "$logs"
passed=0
failed=0

# wanted NAME: whether --only lets this stage run.
wanted() { case ",$only," in ",,"* | *",$1,"*) return 0 ;; *) return 1 ;; esac; }

# fetched COMMAND...: whether it could get what a stage needs; what it said is in build/logs/fetched.log.
fetched() { "$@" >>"$logs/fetched.log" 2>&1 </dev/null; }

skipped() { printf '%-16s skipped: %s\n' "$1" "$2"; }

# stage NAME FUNCTION [ARGUMENT...]: one line with its seconds; what it said is shown if it fails. A stage that runs
# tests leaves their counts in build/logs/NAME.count. A stage that fails without a failed test is one failure.
stage() {
    local name=$1 start=$SECONDS status=ok
    local log="$logs/$name.log" count="$logs/$name.count" stage_passed=0 stage_failed=0
    shift
    if ! wanted "$name"; then return 0; fi
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

headers_alone() {
    local headers
    # shellcheck disable=SC2046  # words are names of headers
    headers=$(cd include && find wasi -name '*.hpp' ! -name instantiations.hpp | sort) &&
        bash tests/consumers/refused.sh g++ -Iinclude -isystem /usr/include/eigen3 -- $(printf '%s\n' "$headers") &&
        configure ci -DCMAKE_CXX_COMPILER=g++ && build ci --target headers_alone
}

consumer() {  # NAME-OF-STAGE FOLDER [CMAKE ARGUMENT...]
    local name=$1 folder=$2 build_dir="build/consumers/$1"
    shift 2
    rm -rf "$build_dir" &&
        cmake -S "tests/consumers/$folder" -B "$build_dir" -DCMAKE_BUILD_TYPE=Release "$@" &&
        cmake --build "$build_dir" --parallel "$jobs" &&
        (cd "$build_dir" && ctest --output-on-failure --no-tests=error) &&
        awk -f cmake/count_tests.awk "$build_dir/Testing/Temporary/LastTest.log" >"$logs/$name.count"
}

# Installs this repository. Nothing is compiled, and what is missing is an error instead of a download.
install_to() {  # PREFIX [CMAKE ARGUMENT...]
    local prefix=$1 build_dir="$1-build"
    shift
    rm -rf "$prefix" "$build_dir" &&
        cmake -S . -B "$build_dir" -DCMAKE_CXX_COMPILER=g++ -DWASI_BUILD_TESTS=OFF -DWASI_BUILD_EXAMPLES=OFF \
            -DWASI_BUILD_BENCHMARKS=OFF -DFETCHCONTENT_FULLY_DISCONNECTED=ON "$@" &&
        cmake --install "$build_dir" --prefix "$prefix"
}

find_package_consumer() {
    install_to build/consumers/prefix &&
        consumer find_package find_package "-DCMAKE_PREFIX_PATH=$root/build/consumers/prefix"
}

# wasi::compiled in a user's build: installed, and as a subdirectory with one scalar only.
compiled_consumers() {
    install_to build/consumers/compiled_prefix &&
        consumer compiled_installed compiled "-DCMAKE_PREFIX_PATH=$root/build/consumers/compiled_prefix" &&
        consumer compiled compiled "-DWASI_SOURCE=$root" -DWASI_COMPILED_SCALARS=float
}

fetch_content_consumer() {
    mkdir -p build/consumers && rm -rf build/consumers/archive && mkdir build/consumers/archive &&
        tar -czf build/consumers/archive/wasi.tar.gz --exclude=./build --exclude=./out --exclude=./.git . &&
        consumer fetch_content fetch_content "-DWASI_ARCHIVE=$root/build/consumers/archive/wasi.tar.gz"
}

# A library that links wasi::wasi and is exported, then a program that finds that library.
re_export_consumer() {
    local prefix="$root/build/consumers/re_export_prefix" library=build/consumers/re_export_library
    rm -rf "$prefix" "$library" &&
        cmake -S tests/consumers/re_export -B "$library" -DCMAKE_BUILD_TYPE=Release "-DWASI_SOURCE=$root" &&
        cmake --build "$library" &&
        cmake --install "$library" --prefix "$prefix" &&
        [ ! -e "$prefix/include/wasi" ] &&
        cmake --install "$library" --prefix "$prefix" --component wasi &&
        consumer re_export re_export/user "-DCMAKE_PREFIX_PATH=$prefix"
}

pkg_config_consumer() {
    # Moved after installing: the file's paths are relative to it.
    install_to build/consumers/pkg_config_before &&
        rm -rf build/consumers/pkg_config && mkdir -p build/consumers/pkg_config &&
        mv build/consumers/pkg_config_before build/consumers/pkg_config/moved &&
        CXX=g++ bash tests/consumers/pkg_config/run.sh "$root/build/consumers/pkg_config/moved" build/consumers/pkg_config &&
        echo '1 0' >"$logs/pkg_config.count"
}

vcpkg_consumer() {
    cmake "-DFOLDER=$root/build/consumers/vcpkg_port" -P tests/consumers/vcpkg_port/run.cmake &&
        consumer vcpkg find_package "-DCMAKE_PREFIX_PATH=$root/build/consumers/vcpkg_port/packages" -DWASI_COMPONENTS=io
}

# The recipe with the machine's Eigen and no server: its test_package builds and runs the consumers' program.
conan_consumer() (
    export CONAN_HOME="$root/build/consumers/conan"
    rm -rf "$CONAN_HOME" &&
        build/pypi/bin/conan profile detect &&
        build/pypi/bin/conan create cmake/packaging/conan --no-remote -o 'wasi/*:system=True' -s compiler.cppstd=20 &&
        echo '1 0' >"$logs/conan.count"
)

# from_pypi PACKAGE...: into a Python environment of our own, build/pypi.
from_pypi() {
    { [ -x build/pypi/bin/pip ] || python3 -m venv build/pypi; } &&
        build/pypi/bin/pip install --quiet --upgrade "$@"
}

# Headers that come in packages for Python, as an installation in build/newest: Eigen 5 (eigency carries it, without the
# folder unsupported/) and nlohmann-json. Their CMake files are of our making, with what CMake itself writes as versions.
newest_headers() {
    local prefix=build/newest wheels=build/pypi/wheels
    from_pypi pip && rm -rf "$prefix" "$wheels" && mkdir -p "$prefix/include" "$wheels" &&
        build/pypi/bin/pip download --quiet --no-deps --only-binary :all: --platform manylinux_2_28_x86_64 \
            --python-version 311 --dest "$wheels" eigency==5.0.1.1 nlohmann-json &&
        python3 -m zipfile -e "$wheels"/eigency-*.whl "$wheels/eigency" &&
        python3 -m zipfile -e "$wheels"/nlohmann_json-*.whl "$wheels/json" &&
        mv "$wheels/eigency/eigency/eigen" "$prefix/include/eigen3" &&
        mv "$wheels/json/nlohmann_json/include/nlohmann" "$prefix/include/nlohmann" &&
        cmake "-DPREFIX=$root/$prefix" -P tests/consumers/header_packages.cmake
}

# versions_used BUILD: what a build was made with, on one line.
versions_used() {
    local name folder version list=
    for name in Eigen3 nlohmann_json xtensor doctest CLI11 benchmark; do
        folder=$(sed -n "s/^${name}_DIR:PATH=//p" "$1/CMakeCache.txt")
        version=$(cat "$folder/${name}ConfigVersion.cmake" "$folder/${name}-config-version.cmake" 2>/dev/null |
                  sed -n 's/^ *set *(PACKAGE_VERSION "\([^"]*\)").*/\1/p' | head -n 1)
        if [ -n "$version" ]; then list="$list, $name $version"; fi
    done
    printf '%s' "${list#, }"
}

# older_than_newest BUILD: what BUILD was made with, and which of its packages are not the newest that the sources
# allow for: neither Debian 12 nor PyPI has those.
older_than_newest() {
    local used name wanted_version version lacking=
    used=$(versions_used "$1")
    while read -r name wanted_version; do
        version=$(sed -n "s/.*\b$name \([0-9.]*\).*/\1/p" <<<"$used")
        if [ "$(printf '%s
%s
' "$wanted_version" "${version:-0}" | sort -V | head -n 1)" != "$wanted_version" ]; then
            lacking="$lacking, $name $wanted_version"
        fi
    done <<<$'xtensor 0.27
doctest 2.5
nlohmann_json 3.12
benchmark 1.9'
    printf '%-16s with %s
' '' "$used"
    if [ -n "$lacking" ]; then skipped '' "not tried, no package here has them: ${lacking#, } (WASI_NEWEST_PREFIX)"; fi
}

eigen5() {
    configure ci-eigen5 -DCMAKE_CXX_COMPILER=g++ \
        "-DCMAKE_PREFIX_PATH=${WASI_NEWEST_PREFIX:+$WASI_NEWEST_PREFIX;}$root/build/newest" \
        "-DWASI_BUILD_BENCHMARKS=${WASI_NEWEST_PREFIX:+ON}" &&
        grep -q 'Eigen3 5[.]' <<<"$(versions_used build/ci-eigen5)" &&
        build ci-eigen5 && run_tests ci-eigen5 eigen5
}

# A machine on which no other Eigen is installed: wasi and its needs come from two prefixes, and nothing else is looked at.
eigen5_consumer() {
    install_to build/consumers/eigen5_prefix -DWASI_WITH_XTENSOR=OFF "-DCMAKE_PREFIX_PATH=$root/build/newest" &&
        consumer eigen5_alone find_package -DALONE=ON -DEIGEN=5.0.1 -DWASI_COMPONENTS=io \
            "-DCMAKE_PREFIX_PATH=$root/build/consumers/eigen5_prefix;$root/build/newest"
}

# The newest CMake configures everything, builds and runs one test program, installs, and serves two consumers.
cmake_newest() (
    PATH="$root/build/pypi/bin:$PATH"
    local folder=build/cmake-newest total_passed=0 name passed_here failed_here
    cmake --version && rm -rf "$folder" &&
        cmake --preset ci -B "$folder" -DCMAKE_CXX_COMPILER=g++ -DWASI_BUILD_BENCHMARKS=ON &&
        cmake --build "$folder" --parallel "$jobs" --target test_core &&
        (cd "$folder" && ctest --output-on-failure --no-tests=error -R '^(core|eigen_choice)$') &&
        awk -f cmake/count_tests.awk "$folder/Testing/Temporary/LastTest.log" >"$logs/cmake_newest_core.count" &&
        install_to build/consumers/cmake_newest_prefix &&
        consumer cmake_newest_installed find_package "-DCMAKE_PREFIX_PATH=$root/build/consumers/cmake_newest_prefix" &&
        consumer cmake_newest_folder add_subdirectory "-DWASI_SOURCE=$root" || return 1
    for name in core installed folder; do
        read -r passed_here failed_here <"$logs/cmake_newest_$name.count" && [ "$failed_here" -eq 0 ] || return 1
        total_passed=$((total_passed + passed_here))
    done
    echo "$total_passed 0" >"$logs/cmake_newest.count"
)

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

# With header-only packages of the host, without the rest of its /usr/include; with the program where its libraries are.
configure_aarch64() {
    local staged="$root/build/ci-aarch64-headers" libraries="$root/build/ci-aarch64-root" program=()
    if [ -f "$libraries/usr/include/jconfig.h" ]; then
        program=(-DWASI_WITH_PICTURES=ON -DWASI_BUILD_EXAMPLES=ON "-DWASI_TARGET_ROOT=$libraries")
    fi
    mkdir -p "$staged/doctest" "$staged/json/include" "$staged/xtensor/include" "$staged/xtl/include" \
        "$staged/cli11/include" &&
        ln -sfn /usr/include/doctest "$staged/doctest/doctest" &&
        ln -sfn /usr/include/nlohmann "$staged/json/include/nlohmann" &&
        ln -sfn /usr/include/xtensor "$staged/xtensor/include/xtensor" &&
        ln -sfn /usr/include/xtl "$staged/xtl/include/xtl" &&
        ln -sfn /usr/include/CLI "$staged/cli11/include/CLI" &&
        configure ci-aarch64 -DFETCHCONTENT_SOURCE_DIR_EIGEN=/usr/include/eigen3 \
            "-DFETCHCONTENT_SOURCE_DIR_DOCTEST=$staged/doctest" "-DFETCHCONTENT_SOURCE_DIR_JSON=$staged/json" \
            "-DFETCHCONTENT_SOURCE_DIR_XTENSOR=$staged/xtensor" "-DFETCHCONTENT_SOURCE_DIR_XTL=$staged/xtl" \
            "-DFETCHCONTENT_SOURCE_DIR_CLI11=$staged/cli11" "${program[@]}"
}

aarch64() { configure_aarch64 && build ci-aarch64 && run_tests ci-aarch64 aarch64; }

# libjpeg, libpng and zlib for ARM, unpacked and to be linked statically: nothing of them is installed here.
aarch64_libraries() {
    local folder="$root/build/ci-aarch64-root"
    [ -f "$folder/usr/include/jconfig.h" ] ||
        { unpack_packages arm64 "$folder" libjpeg62-turbo-dev libpng-dev zlib1g-dev &&
              rm -f "$folder"/usr/lib/aarch64-linux-gnu/*.so &&
              cp "$folder"/usr/include/aarch64-linux-gnu/*.h "$folder/usr/include/"; }
}

# The program on its whole way: pictures, a checkpoint, a plan, training, going on.
aarch64_program() {
    local folder=build/ci-aarch64
    configure_aarch64 &&
        cmake --build "$folder" --parallel "$jobs" --target wasi_vit test_pictures test_files test_program &&
        rm -f "$folder/Testing/Temporary/LastTest.log" &&
        (cd "$folder" && ctest --output-on-failure --no-tests=error -L '^(pictures|files|program)$') &&
        awk -f cmake/count_tests.awk "$folder/Testing/Temporary/LastTest.log" >"$logs/aarch64_program.count"
}

install_packages g++ make ninja-build cmake libeigen3-dev doctest-dev nlohmann-json3-dev libcli11-dev libxtensor-dev \
    libjpeg62-turbo-dev libpng-dev zlib1g-dev
require_tools cmake ctest g++ awk || { printf '0 passed, 1 failed\n'; exit 1; }
use_ninja

stage g++ everything ci g++ -DCMAKE_CXX_COMPILER=g++

if [ $full = yes ]; then
    install_packages clang clang-tidy libomp-dev libclang-rt-dev libbenchmark-dev pkg-config python3-venv
    stage headers headers_alone
    stage demo bash examples/run.sh --short --tuned
    stage find_package find_package_consumer
    stage add_subdirectory consumer add_subdirectory add_subdirectory "-DWASI_SOURCE=$root"
    stage compiled compiled_consumers
    stage fetch_content fetch_content_consumer
    stage re_export re_export_consumer
    stage pkg_config pkg_config_consumer
    stage vcpkg vcpkg_consumer
    if wanted conan; then
        if fetched from_pypi conan; then stage conan conan_consumer; else skipped conan 'no Conan from PyPI'; fi
    fi
    if wanted eigen5_alone || wanted eigen5; then
        if fetched newest_headers; then
            stage eigen5_alone eigen5_consumer
            stage eigen5 eigen5
            if wanted eigen5; then older_than_newest build/ci-eigen5; fi
        else
            skipped 'eigen5*' 'no headers of Eigen 5 from PyPI (eigency)'
        fi
    fi
    if wanted cmake_newest; then
        if fetched from_pypi cmake; then stage cmake_newest cmake_newest; else skipped cmake_newest 'no CMake from PyPI'; fi
    fi
    stage serial everything ci-serial serial
    stage clang everything ci-clang clang
    stage sanitizers everything dev sanitizers
    stage tidy tidy
    if compgen -G 'tests/fuzz/*_fuzz.cpp' >/dev/null; then stage fuzz fuzz; fi
    install_packages g++-aarch64-linux-gnu qemu-user
    if require_tools aarch64-linux-gnu-g++ qemu-aarch64; then
        libraries=no
        if { wanted aarch64 || wanted aarch64_program; } && fetched aarch64_libraries; then libraries=yes; fi
        stage aarch64 aarch64
        if [ $libraries = yes ]; then
            stage aarch64_program aarch64_program
        elif wanted aarch64_program; then
            skipped aarch64_program 'no libjpeg, libpng and zlib for arm64 from apt (build/logs/fetched.log)'
        fi
    else
        skipped 'aarch64*' 'no cross compiler or emulator'
    fi
fi

if [ $((passed + failed)) -eq 0 ] && [ -z "$only" ]; then
    printf 'No test was run.\n' >&2
    failed=1
fi
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
