#!/usr/bin/env bash
# check.sh CASES FLAGS-FILE COMPILER...: each compiler must refuse every line of CASES that is marked "refused: words",
# with one error that holds those words, and say no other error.
set -euo pipefail
cases=$1
flags=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

grep -o 'refused: .*' "$cases" | sed 's/^refused: //' >"$work/wanted"
for compiler in "$@"; do
    name=$(basename "$compiler")
    limit=-fmax-errors=0
    if "$compiler" --version | grep -q clang; then limit=-ferror-limit=0; fi
    if "$compiler" "@$flags" "$limit" -fsyntax-only "$cases" >"$work/said" 2>&1; then
        printf '%s compiles what it must refuse\n' "$name"
        status=1
        continue
    fi
    grep -E '(^|: )(fatal )?error: ' "$work/said" >"$work/left" || true
    refused=$(wc -l <"$work/left")
    # Each wanted sentence takes one error away.
    while IFS= read -r words; do
        line=$(grep -n -m 1 -F -- "$words" "$work/left" | cut -d: -f1 || true)
        if [ -n "$line" ]; then
            sed -i "${line}d" "$work/left"
        else
            printf '%s: no error says "%s"\n' "$name" "$words"
            status=1
        fi
    done <"$work/wanted"
    if [ -s "$work/left" ]; then
        printf '%s: errors that nothing wants:\n' "$name"
        cat "$work/left"
        status=1
    fi
    printf '%s: %d errors, %d wanted\n' "$name" "$refused" "$(wc -l <"$work/wanted")"
done
exit $status
