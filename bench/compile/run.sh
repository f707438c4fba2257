#!/usr/bin/env bash
# What including each numerics header adds to a compile, beyond Eigen itself.
#   bash bench/compile/run.sh                       all headers, 5 repeats, with g++
#   bash bench/compile/run.sh --compiler clang++ --repeats 3 --only linalg/
# Prints a table and leaves it with a CSV in out/compile/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh

case ${1:-} in
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' bench/compile/run.sh; exit 0 ;;
esac
install_packages g++ libeigen3-dev python3
require_tools g++ python3
PYTHONDONTWRITEBYTECODE=1 python3 bench/compile/measure.py --root "$root" --out out/compile "$@"
