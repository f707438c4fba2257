#!/usr/bin/env bash
# check.sh SOURCE-FOLDER FLAGS-FILE COMPILER WORK-FOLDER [JOBS]: every C++ snippet of README.md and docs/*.md compiles (for
# syntax alone). Says how many there are, and which are not meant to compile and why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_dir=$1
flags=$2
compiler=$3
work=$4
jobs=${5:-2}
rm -rf "$work"
mkdir -p "$work"
cd "$source_dir"

status=0
for page in README.md CONTRIBUTING.md docs/*.md; do
    name=$(printf '%s' "${page%.md}" | tr -c 'A-Za-z0-9' _)
    if ! awk -v page="$page" -v prefix="$work/$name" -f "$here/extract.awk" "$page" >"$work/list"; then
        cat "$work/list"
        status=1
    fi
    awk -v page="$page" '{ print page ":" $0 }' "$work/list" >>"$work/all"
done

compile() {
    if ! "$compiler" "@$flags" -fsyntax-only "$1" >"$1.log" 2>&1; then
        printf -- '---- %s\n' "$1"
        grep -m 20 -E 'error' "$1.log" || head -n 20 "$1.log"
        return 1
    fi
}
export -f compile
export compiler flags
printf '%s\0' "$work"/*.cpp | xargs -0 -n 1 -P "$jobs" bash -c 'compile "$1"' _ || status=1

compiled=$(grep -c ' compiled$' "$work/all" || true)
skipped=$(grep -c ' skipped ' "$work/all" || true)
printf '%d snippets in %d files, %d not meant to compile\n' "$compiled" "$(ls "$work"/*.cpp | wc -l)" "$skipped"
grep ' skipped ' "$work/all" || true
if [ "$compiled" -eq 0 ]; then status=1; fi
exit $status
