# shellcheck shell=bash
# Shell functions for the scripts of tests, examples and benchmarks; sourced, not run.

# missing_packages NAME...: those of the Debian packages that are not installed, one a line.
missing_packages() {
    local name
    for name in "$@"; do
        if ! dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed; then
            printf '%s\n' "$name"
        fi
    done
}

# install_packages NAME...: installs what is missing, on Debian and Ubuntu as root. Elsewhere it says what is needed and
# returns 0: the tools may well be there under another name, and CMake tells what it cannot find.
install_packages() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        printf 'No apt-get here. What Debian calls these must be installed: %s\n' "$*"
        return 0
    fi
    local missing
    missing=$(missing_packages "$@")
    if [ -z "$missing" ]; then
        return 0
    fi
    # shellcheck disable=SC2086  # one word a package
    set -- $missing
    if [ "$(id -u)" -ne 0 ]; then
        printf 'Not installed: %s\nTo install: sudo apt-get install %s\n' "$*" "$*"
        return 0
    fi
    printf 'Installing: %s\n' "$*"
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get -qq -o DPkg::Lock::Timeout=300 update &&
           apt-get -qq -o DPkg::Lock::Timeout=300 -y --no-install-recommends install "$@"; } </dev/null >"${TMPDIR:-/tmp}/wasi-install.$$.log" 2>&1; then
        tail -n 20 "${TMPDIR:-/tmp}/wasi-install.$$.log" >&2
        printf 'Could not install: %s\n' "$*" >&2
    fi
    rm -f "${TMPDIR:-/tmp}/wasi-install.$$.log"
    return 0
}

# unpack_packages ARCHITECTURE FOLDER NAME...: Debian packages of another architecture, unpacked into FOLDER (an absolute
# path). Nothing is installed, and apt's lists and cache for it are in FOLDER/apt. Fails where apt has them not.
unpack_packages() {
    local architecture=$1 folder=$2 package
    shift 2
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/apt/packages" &&
        : >"$folder/apt/status" || return 1
    local apt=(apt-get -qq -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
               -o "Dir::State=$folder/apt" -o "Dir::State::lists=$folder/apt/lists" -o "Dir::State::status=$folder/apt/status"
               -o "Dir::Cache=$folder/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update && (cd "$folder/apt/packages" && "${apt[@]}" download "$@") || return 1
    for package in "$folder"/apt/packages/*.deb; do
        dpkg-deb -x "$package" "$folder" || return 1
    done
}

# require_tools NAME...: says which programs are not there, and fails if any.
require_tools() {
    local name failed=0
    for name in "$@"; do
        if ! command -v "$name" >/dev/null; then
            printf 'Missing program: %s\n' "$name" >&2
            failed=1
        fi
    done
    return "$failed"
}

# processor_count: how many compile jobs to run at once; one for every 2 GiB of memory at most.
processor_count() {
    local jobs memory
    jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
    if [ -r /proc/meminfo ]; then
        memory=$(awk '/^MemAvailable:/ {print int($2 / 2097152)}' /proc/meminfo)
        if [ "${memory:-1}" -lt 1 ]; then memory=1; fi
        if [ "$memory" -lt "$jobs" ]; then jobs=$memory; fi
    fi
    echo "$jobs"
}

# use_ninja: builds from here on use Ninja where it is installed. A file then waits only for what it needs, where make
# waits for whole targets. A build folder that exists keeps its generator.
use_ninja() {
    if [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null; then export CMAKE_GENERATOR=Ninja; fi
}
