#!/usr/bin/env bash
# Accuracy with error bars: fine-tuning on the embedded digits by many variants, paired by seed.
#   bash bench/seeds/run.sh                 five seeds, 20 epochs: two tables
#   bash bench/seeds/run.sh --seeds 10      more seeds: narrower intervals
#   bash bench/seeds/run.sh --epochs 5      shorter runs, pretraining included
#   bash bench/seeds/run.sh --only wasi     only the variants whose name contains this, and what they are compared with
# Installs what is missing (Debian, Ubuntu) and builds wasi_vit for this processor, as examples/run.sh does. Leaves the
# tables in out/seeds/seeds.md, every run in out/seeds/seeds.csv. A loss of accuracy is marked and is no failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh
source cmake/build_for_this_processor.sh

usage() { sed -n '2,8s/^# \{0,1\}//p' bench/seeds/run.sh; }

options=()
while [ $# -gt 0 ]; do
    case $1 in
        --seeds | --epochs | --only)
            if [ $# -lt 2 ]; then printf 'bench/seeds/run.sh: %s needs a value\n' "$1" >&2; exit 2; fi
            options+=("$1" "$2")
            shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) printf 'bench/seeds/run.sh: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
    esac
done

install_packages g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev libcli11-dev libxtensor-dev python3 \
    libjpeg62-turbo-dev libpng-dev zlib1g-dev
require_tools cmake g++ python3
use_ninja
build_for_this_processor build/release wasi_vit -DWASI_BUILD_BENCHMARKS=OFF
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/bench/support
python3 bench/seeds/seeds.py --program build/release/examples/wasi_vit/wasi_vit --out out/seeds "${options[@]+"${options[@]}"}"
