#!/usr/bin/env bash
# What including each numerics header adds to a compile, beyond Eigen itself; or what a user's compile costs in all.
#   bash bench/compile/run.sh                       all headers, 5 repeats, with g++
#   bash bench/compile/run.sh --compiler clang++ --repeats 3 --only linalg/
#   bash bench/compile/run.sh cost [--only linalg/] seconds and megabytes of each public header and of users' files,
#                                                   header-only and with wasi::compiled (cost.py --help)
# Prints a table and leaves it in out/compile/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh

program=measure.py
case ${1:-} in
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' bench/compile/run.sh; exit 0 ;;
    cost) program=cost.py; shift ;;
esac
install_packages g++ libeigen3-dev python3
require_tools g++ python3
PYTHONDONTWRITEBYTECODE=1 python3 "bench/compile/$program" --root "$root" --out out/compile "$@"
