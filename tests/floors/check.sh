#!/usr/bin/env bash
# check.sh SOURCE-FOLDER: the floors of docs/README.md are those of the headers.
#   - each folder of include/wasi/ is in the table, and each folder of the table is there
#   - each #include "wasi/..." points to the same folder or to a lower floor
#   - what the last column of the table says a folder knows nothing of has its words in words.txt, and none of them stands
#     in the code of the folder
set -euo pipefail
words=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/words.txt
cd "$1"
find include/wasi -name '*.hpp' | LC_ALL=C sort | xargs awk -v page=docs/README.md -v words="$words" '
function say(text) { print text; ++failures }
function trim(text) { gsub(/^[ \t]+|[ \t]+$/, "", text); return text }

# A row of the table: | FLOOR | [`FOLDER/`](PAGE) | what lives there | what, and what, it knows nothing of |
function read_row(line,    cell, n, i, part, folder) {
    if (split(line, cell, "|") != 6 || cell[3] !~ /`[a-z]+\/`/) { say(page ": a row that is not understood: " line); return }
    folder = cell[3]
    sub(/^[^`]*`/, "", folder)
    sub(/\/`.*$/, "", folder)
    floor_of[folder] = trim(cell[2]) + 0
    n = split(cell[5], part, ",")
    for (i = 1; i <= n; ++i) said[folder ": " trim(part[i])] = 1
}

function read_words(line,    part, n, i, word, folder, key) {
    if (line ~ /^#/ || trim(line) == "") return
    split(line, part, ": ")
    folder = part[1]
    key = folder ": " part[2]
    listed[key] = 1
    n = split(part[3], word, " ")
    if (n == 0) say(words ": no words for " key)
    for (i = 1; i <= n; ++i) {
        gsub(/\\w/, "[A-Za-z0-9_]", word[i])
        pattern[folder] = pattern[folder] (pattern[folder] == "" ? "" : "|") word[i]
    }
}

# The line without comments and without what stands in quotes.
function code_of(line) {
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    sub(/\/\/.*/, "", line)
    if (in_comment) {
        if (line !~ /\*\//) return ""
        sub(/^.*\*\//, "", line)
        in_comment = 0
    }
    gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, " ", line)
    if (line ~ /\/\*/) { sub(/\/\*.*/, "", line); in_comment = 1 }
    return line
}

BEGIN {
    while ((getline line <page) > 0) if (line ~ /^\| [0-9]+ \|/) read_row(line)
    while ((getline line <words) > 0) read_words(line)
    for (key in said) if (!(key in listed)) say(page ": no words stand in " words " for " key)
    for (key in listed) if (!(key in said)) say(words ": " page " does not say " key)
}

FNR == 1 {
    folder = FILENAME
    sub(/^include\/wasi\//, "", folder)
    inside = folder ~ /\//
    sub(/\/.*/, "", folder)
    in_comment = 0
    if (!inside) say(FILENAME ": headers stand in folders")
    else if (!(folder in floor_of)) { if (!(folder in seen)) say(page ": " folder "/ is not in the table") }
    seen[folder] = 1
    ++files
}

/^[ \t]*#[ \t]*include[ \t]*["<]wasi\// {
    target = $0
    sub(/^[^"<]*["<]wasi\//, "", target)
    path = target
    sub(/[">].*/, "", path)
    sub(/\/.*/, "", target)
    ++includes
    if (target == folder || !(folder in floor_of)) next
    if (!(target in floor_of)) say(FILENAME ":" FNR ": includes wasi/" path ", which is on no floor")
    else if (floor_of[target] >= floor_of[folder])
        say(FILENAME ":" FNR ": " folder "/ is on floor " floor_of[folder] " and includes wasi/" path ", on floor " floor_of[target])
    next
}

pattern[folder] != "" {
    code = code_of($0)
    if (match(" " code " ", "[^A-Za-z0-9_](" pattern[folder] ")[^A-Za-z0-9_]"))
        say(FILENAME ":" FNR ": " folder "/ is to know nothing of \047" trim(substr(" " code " ", RSTART + 1, RLENGTH - 2)) "\047: " trim($0))
}

END {
    for (folder in floor_of) if (!(folder in seen)) say(page ": there is no include/wasi/" folder "/")
    for (key in listed) ++rules
    printf "%d includes of %d headers, %d rules of words\n", includes, files, rules
    exit failures > 0 || includes == 0 || rules == 0
}'
