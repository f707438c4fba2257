#!/usr/bin/env bash
# The same work in other systems, and ours.
#   bash bench/peers/run.sh numerics                  SVD, Tucker, warm steps against scikit-learn and PyTorch: one table
#   bash bench/peers/run.sh numerics --repeats 3      fewer repeats than 9
#   bash bench/peers/run.sh numerics --only warm      only the lines of the table that contain this
#   bash bench/peers/run.sh memory                    what the process of a training takes, ours and PyTorch's: ViT-B/32
#   bash bench/peers/run.sh memory --only "batch 16"  only the lines of the table that contain this
#   bash bench/peers/run.sh memory --repeats 1        fewer runs than 2 of the trainings whose times are compared
#   bash bench/peers/run.sh memory --steps 1          fewer timed steps a run than 3 at batch 16 and 2 at batch 64
# Installs the peers (Debian, Ubuntu), builds ours for this processor, writes the data once. Leaves the table, a CSV and
# the data in out/peers/. A missed target is marked in the table and is no failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh
source cmake/build_for_this_processor.sh

usage() { sed -n '2,11s/^# \{0,1\}//p' bench/peers/run.sh; }

table=${1:-}
case $table in
    numerics | memory) shift ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'bench/peers/run.sh: what to run? (numerics, memory)\n' >&2; usage >&2; exit 2 ;;
esac
options=()
while [ $# -gt 0 ]; do
    case $table$1 in
        *--repeats | *--only | memory--steps)
            if [ $# -lt 2 ]; then printf 'bench/peers/run.sh: %s needs a value\n' "$1" >&2; exit 2; fi
            options+=("$1" "$2")
            shift 2 ;;
        *) printf 'bench/peers/run.sh: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
    esac
done

python=/usr/bin/python3
# The peers get the faster of Debian's BLAS libraries, not the reference one.
packages=(g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev python3-numpy python3-torch libopenblas0-pthread)
# Both sides on two threads, with the same settings.
export OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/bench/support

numerics() {
    install_packages "${packages[@]}" python3-sklearn python3-scipy
    require_tools cmake g++ "$python"
    use_ninja
    build_for_this_processor build/peers peers_numerics -DWASI_BUILD_EXAMPLES=OFF -DWASI_BUILD_BENCHMARKS=ON -DWASI_BENCHMARK_PROGRAMS=OFF
    printf 'Data ...\n' >&2
    "$python" bench/peers/make_data.py out/peers/data
    "$python" bench/peers/compare.py --data out/peers/data --program build/peers/bench/peers_numerics \
        --compile-commands build/peers/compile_commands.json --out out/peers "$@"
}

memory() {
    install_packages "${packages[@]}" python3-torchvision libcli11-dev libxtensor-dev time
    require_tools cmake g++ "$python" /usr/bin/time
    use_ninja
    build_for_this_processor build/release wasi_vit -DWASI_BUILD_BENCHMARKS=OFF
    printf 'Data ...\n' >&2
    "$python" bench/peers/memory_data.py out/peers/memory_data
    "$python" bench/peers/memory.py --data out/peers/memory_data --program build/release/examples/wasi_vit/wasi_vit \
        --out out/peers "$@"
}

"$table" "${options[@]+"${options[@]}"}"
