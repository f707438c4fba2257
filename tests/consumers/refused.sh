#!/usr/bin/env bash
# What a compiler says of public headers in an older language, or under flags that declare NaN absent: our one sentence,
# the stop, and nothing else. A header that needs nothing of C++20 may compile.
#   refused.sh COMPILER INCLUDE-OPTION... -- HEADER...      headers as users write them: wasi/linalg/svd.hpp
# Prints the headers of which more was said, and fails if there are any.
set -euo pipefail

compiler=$1
shift
options=()
while [ "$1" != -- ]; do options+=("$1"); shift; done
shift

failed=0
# refused SENTENCE HEADER OPTION...: the first error is the sentence, the second the missing file that stops the compiler.
refused() {
    local sentence=$1 header=$2 errors
    shift 2
    errors=$(printf '#include <%s>\n' "$header" |
             LC_ALL=C "$compiler" -x c++ -fsyntax-only "${options[@]}" "$@" - 2>&1 | grep -E '(^|: )(fatal )?error:' || true)
    case $errors in
        '') return 0 ;;
        *"$sentence"*$'\n'*wasi_needs_*) if [ "$(wc -l <<<"$errors")" -eq 2 ]; then return 0; fi ;;
    esac
    printf '%s %s:\n%s\n' "$header" "$*" "$errors"
    failed=$((failed + 1))
}

count=0
for header in "$@"; do
    refused 'wasi needs C++20' "$header" -std=c++17
    refused 'wasi looks for NaN' "$header" -std=c++20 -ffast-math
    count=$((count + 1))
done
# The sentences are there at all.
for flags in -std=c++17 '-std=c++20 -ffast-math' '-std=c++20 -ffinite-math-only'; do
    # shellcheck disable=SC2086  # two options
    if printf '#include <wasi/core/error.hpp>\n' | "$compiler" -x c++ -fsyntax-only "${options[@]}" $flags - 2>/dev/null; then
        printf 'accepted: %s\n' "$flags"
        failed=$((failed + 1))
    fi
done
printf '%d headers, %d said more than one sentence or nothing\n' "$count" "$failed"
[ "$failed" -eq 0 ]
