#!/usr/bin/env bash
# The same work in other systems, and ours.
#   bash bench/peers/run.sh numerics                  SVD, Tucker, warm steps against scikit-learn and PyTorch: one table
#   bash bench/peers/run.sh numerics --repeats 3      fewer repeats than 9
#   bash bench/peers/run.sh numerics --only warm      only the lines of the table that contain this
# Installs the peers (Debian, Ubuntu), builds ours for this processor, writes the data once. Leaves the table, a CSV and
# the data in out/peers/. A missed target is marked in the table and is no failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh

usage() { sed -n '2,7s/^# \{0,1\}//p' bench/peers/run.sh; }

case ${1:-} in
    numerics) shift ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'bench/peers/run.sh: what to run? (numerics)\n' >&2; usage >&2; exit 2 ;;
esac
options=()
while [ $# -gt 0 ]; do
    case $1 in
        --repeats | --only)
            if [ $# -lt 2 ]; then printf 'bench/peers/run.sh: %s needs a value\n' "$1" >&2; exit 2; fi
            options+=("$1" "$2")
            shift 2 ;;
        *) printf 'bench/peers/run.sh: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
    esac
done

build_dir=build/peers
python=/usr/bin/python3

# Builds build/peers/bench/peers_numerics: the release preset in a folder of its own.
build_program() {
    local log=build/peers.log processor
    mkdir -p build
    # A build folder that came here from another processor would hold instructions that this one may not have.
    processor=$(grep -m 1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null | cksum || true)
    if [ -d "$build_dir" ] && [ "$processor" != "$(cat "$build_dir/processor" 2>/dev/null || true)" ]; then
        rm -rf "$build_dir"
    fi
    printf 'Building peers_numerics ...\n' >&2
    if ! { cmake --preset release -B "$build_dir" -DWASI_BUILD_TESTS=OFF -DWASI_BUILD_EXAMPLES=OFF -DWASI_BUILD_BENCHMARKS=ON \
                 -DWASI_BENCHMARK_PROGRAMS=OFF &&
           cmake --build "$build_dir" --parallel "$(processor_count)" --target peers_numerics; } >"$log" 2>&1 </dev/null; then
        tail -n 60 "$log" >&2
        return 1
    fi
    printf '%s\n' "$processor" >"$build_dir/processor"
}

# The peers get the faster of Debian's BLAS libraries, not the reference one.
install_packages g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev \
    python3-numpy python3-torch python3-sklearn python3-scipy libopenblas0-pthread
require_tools cmake g++ "$python"
use_ninja
build_program

# Both sides on two threads, with the same settings.
export OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 PYTHONDONTWRITEBYTECODE=1
printf 'Data ...\n' >&2
"$python" bench/peers/make_data.py out/peers/data
"$python" bench/peers/compare.py --data out/peers/data --program "$build_dir/bench/peers_numerics" \
    --compile-commands "$build_dir/compile_commands.json" --out out/peers "${options[@]+"${options[@]}"}"
