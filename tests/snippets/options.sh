#!/usr/bin/env bash
# options.sh SOURCE-FOLDER WASI_VIT: what README.md, CONTRIBUTING.md and docs/ name exists.
#   - each option after "wasi_vit COMMAND" is in that command's --help
#   - each other --option is one of wasi_vit's, of a program in bench/, of a script of ours, or of a tool listed below
#   - each WASI_NAME stands in a CMake file, a header or a source file
set -euo pipefail
cd "$1"
vit=$2
pages=(README.md CONTRIBUTING.md docs/*.md)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
options() { grep -oE -- '(^|[^-A-Za-z0-9])--[a-z][a-z0-9_-]*[a-z0-9]' "$@" | grep -oE -- '--[a-z0-9_-]+'; }

# Other programs': cmake, ctest, doctest, Google Benchmark, vcpkg.
printf '%s\n' --preset --build --install --prefix --target --parallel --test-case --benchmark_filter \
    --benchmark_counters_tabular --overlay-ports >"$work/known"
for command in finetune plan predict evaluate probe compare inspect export compress expand; do
    { "$vit" "$command" --help; printf ' --help\n'; } >"$work/help.$command"
    options "$work/help.$command" >>"$work/known"
done
find bench examples tests cmake \( -name '*.sh' -o -path 'bench/*.cpp' -o -path 'bench/*.hpp' -o -path 'bench/*.py' \) -print0 |
    xargs -0 cat | options - >>"$work/known"

# A command line goes to the end of the line, or of the inline code; one that ends in a backslash goes on.
sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' "${pages[@]}" >"$work/lines"
count=0
while read -r command rest; do
    [ -f "$work/help.$command" ] || continue
    for option in $(printf '%s\n' "${rest%%\`*}" | options - || true); do
        count=$((count + 1))
        if ! options "$work/help.$command" | grep -qxF -- "$option"; then
            printf 'wasi_vit %s has no option %s: %s\n' "$command" "$option" "$rest"
            status=1
        fi
    done
done < <(grep -oE 'wasi_vit [a-z]+ .*' "$work/lines" | sed 's/^wasi_vit //')

options "${pages[@]}" | sort -u >"$work/named"
while IFS= read -r option; do
    count=$((count + 1))
    if ! grep -qxF -- "$option" "$work/known"; then
        printf 'nothing has an option %s: ' "$option"
        grep -nF -- "$option" "${pages[@]}" | head -n 3
        status=1
    fi
done <"$work/named"

for name in $(grep -ohE '\bWASI_[A-Z_]+[A-Z]\b' "${pages[@]}" | sort -u); do
    count=$((count + 1))
    if ! grep -rqwF --include='*.txt' --include='*.json' --include='*.cmake' --include='*.in' --include='*.hpp' \
        --include='*.cpp' --include='*.py' --include='*.sh' -- "$name" CMakeLists.txt CMakePresets.json cmake include tests bench examples; then
        printf 'nothing is called %s: ' "$name"
        grep -nwF -- "$name" "${pages[@]}" | head -n 3
        status=1
    fi
done
printf '%d names in %d pages looked up\n' "$count" "${#pages[@]}"
if [ "$count" -eq 0 ]; then status=1; fi
exit $status
