#!/usr/bin/env bash
# The same work in other systems, and ours.
#   bash bench/peers/run.sh numerics                  SVD, PCA, Tucker, ... against scikit-learn, scipy, TensorLy and PyTorch
#   bash bench/peers/run.sh numerics --repeats 3      fewer repeats than 9
#   bash bench/peers/run.sh numerics --only warm      only the lines of the table that contain this
#   bash bench/peers/run.sh memory                    what the process of a training takes, ours and PyTorch's: ViT-B/32
#   bash bench/peers/run.sh memory --only "batch 16"  only the lines of the table that contain this
#   bash bench/peers/run.sh memory --repeats 1        fewer runs than 2 of the trainings whose times are compared
#   bash bench/peers/run.sh memory --steps 1          fewer timed steps a run than 3 at batch 16 and 2 at batch 64
# Installs the peers (of numerics from PyPI, into build/peers-python; of memory from Debian), builds ours for this
# processor, writes the data once. Leaves the table, a CSV and the data in out/peers/. A missed target is marked in the
# table and is no failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh
source cmake/build_for_this_processor.sh

usage() { sed -n '2,12s/^# \{0,1\}//p' bench/peers/run.sh; }

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
packages=(g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev)
# With the faster of Debian's BLAS libraries: PyTorch on the reference BLAS is no peer.
debian_peers=(python3-numpy python3-torch libopenblas0-pthread)
# Both sides on two threads, with the same settings.
export OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/bench/support

# peers_from_pypi: the newest peers that this Python has, in an environment of their own; they bring their own BLAS. Sets
# `python`. An environment that has them all is used as it is: remove build/peers-python to get newer ones. PyTorch without
# CUDA is not on PyPI but in PyTorch's own index.
peers_from_pypi() {
    local folder=build/peers-python log=build/peers-python.log
    local imports='import numpy, scipy, sklearn, tensorly, torch'
    mkdir -p build
    if ! "$folder/bin/python" -c "$imports" 2>/dev/null; then
        printf 'Peers from PyPI ...\n' >&2
        if ! { "$python" -m venv "$folder" && "$folder/bin/pip" install --upgrade numpy scipy scikit-learn tensorly &&
               { "$folder/bin/pip" install --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu torch ||
                 "$folder/bin/pip" install torch; } &&
               "$folder/bin/python" -c "$imports"; } >"$log" 2>&1; then
            tail -n 3 "$log" >&2
            return 1
        fi
    fi
    python=$folder/bin/python
}

# peers_from_debian: older ones, with Debian's OpenBLAS; TensorLy is not among them, and its lines could not be run.
peers_from_debian() {
    printf 'PyPI could not be used: the peers are those of Debian, which are older. TensorLy is missing.\n' >&2
    install_packages "${debian_peers[@]}" python3-sklearn python3-scipy
}

numerics() {
    install_packages "${packages[@]}" python3-venv
    require_tools cmake g++ "$python"
    peers_from_pypi || peers_from_debian
    use_ninja
    build_for_this_processor build/peers peers_numerics -DWASI_BUILD_EXAMPLES=OFF -DWASI_BUILD_BENCHMARKS=ON -DWASI_BENCHMARK_PROGRAMS=OFF
    printf 'Data ...\n' >&2
    "$python" bench/peers/make_data.py out/peers/data
    "$python" bench/peers/compare.py --data out/peers/data --program build/peers/bench/peers_numerics \
        --compile-commands build/peers/compile_commands.json --out out/peers "$@"
}

memory() {
    install_packages "${packages[@]}" "${debian_peers[@]}" python3-torchvision libcli11-dev libxtensor-dev time
    require_tools cmake g++ "$python" /usr/bin/time
    use_ninja
    build_for_this_processor build/release wasi_vit -DWASI_BUILD_BENCHMARKS=OFF
    printf 'Data ...\n' >&2
    "$python" bench/peers/memory_data.py out/peers/memory_data
    "$python" bench/peers/memory.py --data out/peers/memory_data --program build/release/examples/wasi_vit/wasi_vit \
        --out out/peers "$@"
}

"$table" "${options[@]+"${options[@]}"}"
